import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from tests.conftest import make_picture
from tribute.ledger.book import all_balances, trial_balance
from tribute.ledger.download import cut, download_transaction
from tribute.ledger.group import post
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import utc_now
from tribute.records.money import format_minor
from tribute.store.schema import postings, transactions

shares = st.dictionaries(st.sampled_from(["ada", "bo", "chen", "dee"]), st.integers(0, 250_000), max_size=4)


@given(shares, st.integers(0, 10**7), st.sampled_from(["CNY", "JPY", "KWD"]), st.integers(0, 10_000))
def test_every_cut_sums_to_the_price(parts, price, currency, platform_bp):
    picture = make_picture(parts, price, currency, platform_bp)
    given_out = cut(picture.price, picture.credits)
    assert sum(given_out.values()) == price * 10**6
    assert min(given_out.values()) >= 0
    if price:
        transaction = download_transaction(picture, "mei", "k")
        assert sum(posting.amount_micro for posting in transaction.postings) == 0


def test_an_unknown_base_is_never_paid_as_the_commons():
    picture = make_picture({"ada": 400_000})
    known = picture.credits.shares[0]
    unknown = picture.credits.model_copy(update={"shares": (known.model_copy(update={"party": "unknown-base"}), *picture.credits.shares[1:])})
    assert cut(picture.price, unknown) == {"platform": 15_000_000, "artist:ada": 14_000_000, "unclaimed": 21_000_000}
    assert "unclaimed" not in cut(picture.price, picture.credits)


@pytest.mark.slow
def test_thirty_thousand_downloads_owe_exactly_3150_yuan(memory):
    """0.50 yuan, shares that differ from picture to picture with a mean of 0.3, the studio keeps 30%: 3,150.00 yuan."""
    top_up(memory, "mei", 30_000 * 50, "CNY", "t")
    spread = [300_000 + sign * 7 * step for step in range(15_000) for sign in (1, -1)]
    assert sum(spread) == 30_000 * 300_000
    with memory.writing() as connection:
        for start in range(0, 30_000, 2000):
            made = [download_transaction(make_picture({"ada": share}, picture_id=f"{at:08x}"), "mei", f"d{at}")
                    for at, share in enumerate(spread[start : start + 2000], start)]  # fmt: skip
            rows = [{"key": one.key, **line.model_dump()} for one in made for line in one.postings]
            connection.execute(insert(postings), rows)
            kept = [{"key": one.key, "hash": one.key, "kind": one.kind, "memo": one.model_dump_json(include={"memo"})[8:-1],
                     "created": one.created.strftime("%Y-%m-%dT%H:%M:%S.000Z")} for one in made]  # fmt: skip
            connection.execute(insert(transactions), kept)
    assert all_balances(memory)["artist:ada", "CNY"] == 315_000 * 10**6
    assert trial_balance(memory) == {"CNY": 0}
    statement = settle(memory, week_of(utc_now()))[0]
    assert format_minor(statement.due_minor, "CNY") == "3150.00 CNY"
    assert statement.carried_forward_micro == 0
    assert len(statement.lines) == 30_000


@pytest.mark.parametrize("currency", ["CNY", "JPY", "KWD"])
def test_each_currency_has_its_own_books(memory, currency):
    top_up(memory, "mei", 1000, currency, "t")
    post(memory, download_transaction(make_picture({"ada": 333_333}, 7, currency), "mei", "d"))
    assert trial_balance(memory) == {currency: 0}
    assert abs(all_balances(memory)["artist:ada", currency] - 0.7 * 7 * 333_333) < 1
