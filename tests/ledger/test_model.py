"""A Hypothesis state machine: the ledger and a plain dictionary go through the same weeks and must agree after every step."""

from collections import defaultdict
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import make_picture
from tribute.ledger.audit import audit
from tribute.ledger.book import all_balances, post_on
from tribute.ledger.download import cut, download_transaction
from tribute.ledger.payouts import move_payout, request_payout
from tribute.ledger.receipt import receipt_of
from tribute.ledger.refund import refund
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Conflict, InsufficientFunds, utc_now
from tribute.store.database import Database

creators, artists = st.sampled_from(["mei", "noor"]), st.sampled_from(["ada", "bo", "chen"])


class Ledger(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.database = Database("sqlite://")
        self.now = utc_now() - timedelta(weeks=40)
        self.count = 0
        self.model = defaultdict(int)  # account -> micro
        self.downloads = {}  # key -> (creator, price, parts, week)
        self.refunded, self.closed = set(), set()
        self.payouts = {}  # id -> [artist, minor, state]

    def key(self):
        self.count += 1
        return f"k{self.count}"

    @rule(creator=creators, amount=st.integers(1, 500), twice=st.booleans())
    def top_up(self, creator, amount, twice):
        key = self.key()
        assert top_up(self.database, creator, amount, "CNY", key)
        if twice:
            assert not top_up(self.database, creator, amount, "CNY", key)
        self.model["cash"] -= amount * 10**6
        self.model[f"creator:{creator}"] += amount * 10**6

    @rule(creator=creators, price=st.integers(1, 90), shares=st.dictionaries(artists, st.integers(1, 333_333), max_size=3), twice=st.booleans())
    def download(self, creator, price, shares, twice):
        key = self.key()
        picture = make_picture(shares, price, picture_id=f"{self.count:08x}")
        transaction = download_transaction(picture, creator, key).model_copy(update={"created": self.now})
        try:
            for again in range(1 + twice):
                with self.database.writing() as connection:
                    assert post_on(connection, transaction, receipt_of(picture, transaction, ())) is (again == 0)
        except InsufficientFunds:
            assert self.model[f"creator:{creator}"] < price * 10**6
            return
        assert self.model[f"creator:{creator}"] >= price * 10**6
        parts = cut(picture.price, picture.credits)
        self.model[f"creator:{creator}"] -= price * 10**6
        for account, amount in parts.items():
            self.model[account] += amount
        self.downloads[key] = (creator, price, parts, week_of(self.now))

    @precondition(lambda self: self.downloads)
    @rule(data=st.data())
    def refund(self, data):
        key = data.draw(st.sampled_from(sorted(self.downloads)))
        creator, price, parts, week = self.downloads[key]
        before = key in self.refunded
        late = week in self.closed
        try:
            refund(self.database, key, "no reason", 10_000, self.now)
        except InsufficientFunds:
            assert late
            assert self.model["platform"] + self.model["refunds"] < price * 10**6
            return
        if before:
            return
        self.refunded.add(key)
        self.model[f"creator:{creator}"] += price * 10**6
        for account, amount in {"refunds": price * 10**6}.items() if late else parts.items():
            self.model[account] -= amount

    @rule()
    def a_week_ends(self):
        week = week_of(self.now)
        statements = settle(self.database, week)
        assert settle(self.database, week) == statements
        for statement in statements:
            account = f"artist:{statement.artist_id}"
            owed = self.model[account]
            assert (statement.due_minor, statement.carried_forward_micro) == divmod(owed, 10**6)
            self.model[account] -= statement.due_minor * 10**6
            self.model[f"payable:{statement.artist_id}"] += statement.due_minor * 10**6
        self.closed.add(week)
        self.now += timedelta(weeks=1)

    @rule(artist=artists)
    def request(self, artist):
        payable = self.model[f"payable:{artist}"] // 10**6
        try:
            made = request_payout(self.database, artist, "CNY", self.key())
        except InsufficientFunds:
            assert payable == 0
            return
        assert made.amount_minor == payable
        self.payouts[made.id] = [artist, payable, "requested"]
        self.model[f"payable:{artist}"] -= payable * 10**6
        self.model[f"payout:{made.id}"] += payable * 10**6

    @precondition(lambda self: self.payouts)
    @rule(data=st.data(), state=st.sampled_from(["sent", "confirmed", "returned", "cancelled"]))
    def move(self, data, state):
        payout = data.draw(st.sampled_from(sorted(self.payouts)))
        artist, amount, before = self.payouts[payout]
        ways = {("requested", "sent"): ("payout", "transit"), ("requested", "cancelled"): ("payout", "payable"),
                ("sent", "confirmed"): ("transit", "cash"), ("sent", "returned"): ("transit", "payable")}  # fmt: skip
        reached = {"requested": [], "sent": ["sent"], "confirmed": ["sent", "confirmed"], "returned": ["sent", "returned"], "cancelled": ["cancelled"]}
        try:
            move_payout(self.database, payout, state)
        except Conflict:
            assert (before, state) not in ways
            assert state not in reached[before]
            return
        if state in reached[before]:
            return
        source, target = ways[before, state]
        self.model[f"{source}:{payout}"] -= amount * 10**6
        self.model[{"transit": f"transit:{payout}", "payable": f"payable:{artist}", "cash": "cash"}[target]] += amount * 10**6
        self.payouts[payout][2] = state

    @invariant()
    def agree(self):
        held = {account: amount for (account, _), amount in all_balances(self.database).items() if amount}
        assert held == {account: amount for account, amount in self.model.items() if amount}
        assert sum(held.values()) == 0
        assert min([amount for account, amount in held.items() if account not in ("cash", "refunds")], default=0) >= 0

    def teardown(self):
        assert audit(self.database)["wrong"] == []
        self.database.close()


Ledger.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestLedger = Ledger.TestCase
