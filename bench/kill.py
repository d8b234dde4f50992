"""kill -9 at random instants in downloads, refunds and settlements; then counts what is lost, doubled or half-posted.

python bench/kill.py --kills 200 [--database URL]     an SQLite file of its own by default; PostgreSQL by postgresql://...

A parent that never opens the database forks workers. Each says its last key again, then goes on: forty downloads with receipts a
week, a refund now and then, a settlement at each week's end, and tells each key on a pipe once it is committed. The parent kills it
between 5 and 150 ms later.
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
        settle(database, week_of(created))


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
        unproved = sum(bool(check(stored_receipt(connection, f"d{number}"))) for number in sorted(given)[:: max(1, len(given) // 50)])
    database.close()
    paid, owed = len(kept) - len(refunded), DUE_MICRO * (len(kept) - len(refunded))
    due = sum(statement.due_minor for statement in statements) * 10**6
    half = len(orphans) + len(kept ^ given) + unproved + len(audited["wrong"]) + sum(map(bool, audited["trial_balance_micro"].values()))
    half += balances["creator:mei", "CNY"] != 10**9 * 10**6 - PRICE_MICRO * paid
    half += balances.get(("artist:ada", "CNY"), 0) + balances.get(("payable:ada", "CNY"), 0) != owed
    half += balances.get(("payable:ada", "CNY"), 0) != due
    return {
        "kills": kills, "told": len(told), "posted": len(kept), "refunds": len(refunded), "weeks closed": len(closed),
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", default=f"sqlite:///{Path(tempfile.mkdtemp()) / 'kill.db'}")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    found = run(given.database, given.kills, given.seed)
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["doubled or half-posted"] or found["posted and not told"] > given.kills else 0)
