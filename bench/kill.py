"""kill -9 at random instants in downloads, refunds, settlements, payouts and withdrawals; then counts what is lost, doubled or half-posted.

python -m bench.kill --kills 200 [--database URL]     an SQLite file of its own by default; PostgreSQL by postgresql://...
python -m bench.kill --kills 100 --what withdrawals   artists leave; whoever is killed says it again

A parent that never opens the database forks workers. Each says its last key again, then goes on: forty downloads with receipts a
week, a refund now and then, a settlement at each week's end and a payout of it (requested, sent, confirmed or returned), and tells
each key on a pipe once it is committed. The parent kills it between 5 and 150 ms later.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.conftest import make_picture

from tribute.ledger.audit import audit
from tribute.ledger.book import all_balances, post_on
from tribute.ledger.download import download_transaction
from tribute.ledger.payouts import move_payout, payouts_on, request_payout
from tribute.ledger.receipt import receipt_of, stored_receipt
from tribute.ledger.refund import refund
from tribute.ledger.settlement import read_statements, settle, week_of
from tribute.ledger.topup import top_up
from tribute.ledger.verifier import check
from tribute.store.database import Database

FIRST = datetime.fromisoformat("2001-01-01T00:00:00+00:00")  # a Monday
A_WEEK, REFUNDED, SHARE = 40, 13, 333_333
PRICE_MICRO, DUE_MICRO = 50_000_000, 35 * SHARE


def one(database: Database, number: int) -> None:
    """Download `number`, and what follows it."""
    created = FIRST + timedelta(weeks=number // A_WEEK, seconds=number % A_WEEK)
    picture = make_picture({"ada": SHARE}, picture_id=f"{number:08x}").model_copy(update={"created": created})
    transaction = download_transaction(picture, "mei", f"d{number}").model_copy(update={"created": created})
    with database.writing() as connection:
        post_on(connection, transaction, receipt_of(picture, transaction, ()))
    if number % REFUNDED == 0:
        refund(database, f"d{number}", "test", 7, created)
    if number % A_WEEK == A_WEEK - 1:
        week = week_of(created)
        settle(database, week)
        payout = request_payout(database, "ada", "CNY", week)
        move_payout(database, payout.id, "sent")
        move_payout(database, payout.id, "returned" if number // A_WEEK % 3 == 2 else "confirmed")


def worker(url: str, start: int, told: int) -> None:
    database = Database(url)
    os.write(told, b"ready\n")
    number = start
    while True:
        one(database, number)
        os.write(told, f"{number}\n".encode())
        number += 1


def killed_once(url: str, start: int, delay_s: float) -> list[int]:
    """Forks a worker, kills it, and returns the numbers that it told of."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        try:
            worker(url, start, writes)
        finally:
            os._exit(1)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        assert pipe.readline() == "ready\n", "the worker did not start"
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        lines = pipe.read().split("\n")[:-1]
    return [int(line) for line in lines]


def tally(url: str, told: set[int], kills: int) -> dict[str, Any]:
    """Everything held against what was told and what arithmetic demands."""
    database = Database(url)
    audited = audit(database)
    balances = all_balances(database)
    with database.reading() as connection:
        from sqlalchemy import select

        from tribute.store.schema import postings, receipts, transactions, weeks

        kinds = {kind: set(connection.execute(select(transactions.c.key).where(transactions.c.kind == kind)).scalars()) for kind in ("download", "refund")}
        kept, refunded = ({int(key.removeprefix("refund:")[1:]) for key in kinds[kind]} for kind in ("download", "refund"))
        given = {int(key[1:]) for key in connection.execute(select(receipts.c.key)).scalars()}
        orphans = connection.execute(select(postings.c.id).where(postings.c.key.not_in(select(transactions.c.key)))).all()
        closed = list(connection.execute(select(weeks.c.week).order_by(weeks.c.week)).scalars())
        statements = [statement for week in closed for statement in read_statements(connection, week)]
        payouts = payouts_on(connection)
        unproved = sum(bool(check(stored_receipt(connection, f"d{number}"))) for number in sorted(given)[:: max(1, len(given) // 50)])
    database.close()
    paid, owed = len(kept) - len(refunded), DUE_MICRO * (len(kept) - len(refunded))
    due = sum(statement.due_minor for statement in statements) * 10**6
    half = len(orphans) + len(kept ^ given) + unproved + len(audited["wrong"]) + sum(map(bool, audited["trial_balance_micro"].values()))
    half += balances["creator:mei", "CNY"] != 10**9 * 10**6 - PRICE_MICRO * paid
    ends = {state: sum(one.amount_minor for one in payouts if one.state == state) * 10**6 for state in ("requested", "sent", "confirmed", "returned")}
    half += balances.get(("artist:ada", "CNY"), 0) + due != owed
    half += balances.get(("payable:ada", "CNY"), 0) != due - ends["requested"] - ends["sent"] - ends["confirmed"]
    half += sum(amount for (account, _), amount in balances.items() if account.startswith("payout:")) != ends["requested"]
    half += sum(amount for (account, _), amount in balances.items() if account.startswith("transit:")) != ends["sent"]
    half += len(payouts) > len(closed)
    return {
        "kills": kills, "told": len(told), "posted": len(kept), "refunds": len(refunded), "weeks closed": len(closed), "payouts": len(payouts),
        "lost": len(told - kept), "posted and not told": len(kept - told), "doubled or half-posted": int(half),
    }  # fmt: skip


def run(url: str, kills: int, seed: int = 7) -> dict[str, Any]:
    """The tally of `kills` kills on an empty database."""
    if os.fork() == 0:  # the parent never opens the database, so that no connection is shared by a fork
        database = Database(url)
        top_up(database, "mei", 10**9, "CNY", "t")
        database.close()
        os._exit(0)
    os.wait()
    rng, told, start = random.Random(seed), set(), 0
    for _ in range(kills):
        told |= set(killed_once(url, start, rng.uniform(0.005, 0.15)))
        start = max(told, default=start)
    return tally(url, told, kills)


def withdrawals(url: str, kills: int, seed: int = 7) -> dict[str, Any]:
    """Artists leave, one after the other, and the process is killed while they do; said again, each has left whole."""
    from tribute.collection.consent import record_consent
    from tribute.collection.library import put_artists, put_style, withdraw_artist
    from tribute.commission.asking import allowed_styles
    from tribute.records import Artist, Consent, Licence, NotAllowed, Style, StyleUse, sha256, utc_now
    from tribute.store.blobs import DiskBlobs

    blobs, rng = DiskBlobs(Path(tempfile.mkdtemp())), random.Random(seed)

    def told(number: int) -> Style:
        data = f"adapter {number}".encode()
        licence = Licence(spdx="CC-BY-4.0", url="", credit_line="")
        return Style(name=f"s{number}", artist_id=f"a{number}", title_en="s", title_zh="s", licence=licence, snapshot="1" * 64, adapter_sha256=sha256(data),
                     base_snapshot="1" * 64)  # fmt: skip

    def prepare() -> None:
        database = Database(url)
        for number in range(kills):
            blobs.put(f"adapter {number}".encode())
            with database.writing() as connection:
                put_artists(connection, [Artist(id=f"a{number}", name=f"A {number}")])
                record_consent(connection, Consent(artist_id=f"a{number}", use="style", allowed=True, since=utc_now(), basis="agreed"))
                put_style(connection, told(number))

    def leave(number: int) -> None:
        withdraw_artist(Database(url), blobs, f"a{number}", "test")

    in_child(prepare)
    half, before = 0, {"nothing": 0, "ended, adapter still there": 0, "whole": 0}
    for number in range(kills):
        child = os.fork()
        if child == 0:
            try:
                leave(number)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    database = Database(url)
    for number in range(kills):
        there = blobs.path(told(number).adapter_sha256).exists()
        try:
            with database.reading() as connection:
                allowed_styles(connection, [StyleUse(name=f"s{number}")])
            ended = False
        except NotAllowed:
            ended = True
        before["nothing" if not ended else "ended, adapter still there" if there else "whole"] += 1
        half += not ended and not there  # deleted, and still offered
        withdraw_artist(database, blobs, f"a{number}", "test")
        half += blobs.path(told(number).adapter_sha256).exists()
    database.close()
    return {"kills": kills, "after the kill": before, "lost": 0, "posted and not told": 0, "doubled or half-posted": half}


def in_child(work: Any) -> None:
    """Runs in a process of its own, so that no connection is shared by a fork."""
    if os.fork() == 0:
        work()
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", default=f"sqlite:///{Path(tempfile.mkdtemp()) / 'kill.db'}")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--what", choices=("money", "withdrawals"), default="money")
    given = parser.parse_args()
    found = (run if given.what == "money" else withdrawals)(given.database, given.kills, given.seed)
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["doubled or half-posted"] or found["posted and not told"] > given.kills else 0)
