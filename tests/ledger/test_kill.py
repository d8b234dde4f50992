"""kill -9 at random instants in the middle of downloads and settlements: nothing lost, doubled or half-posted."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tribute.ledger.book import all_balances, top_up, trial_balance
from tribute.ledger.settlement import settle, week_of
from tribute.records import utc_now
from tribute.store.database import Database

WORKER = """
import sys
from tests.conftest import make_picture
from tribute.ledger.book import post
from tribute.ledger.download import download_transaction
from tribute.ledger.settlement import settle, week_of
from tribute.records import utc_now
from tribute.store.database import Database
database = Database(sys.argv[1])
print("ready", flush=True)
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 400):
    post(database, download_transaction(make_picture({"ada": 333_333}, picture_id=f"{number % 7:08x}"), "mei", f"d{number}"))
    print(number, flush=True)
settle(database, week_of(utc_now()))
"""


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(database_url):
    database = Database(database_url)
    top_up(database, "mei", 10**8, "CNY", "t")
    rng, told, start, kills = random.Random(7), set(), 0, 12
    for _ in range(kills):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, str(start)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
        )
        assert worker.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.01, 0.5))
        worker.send_signal(signal.SIGKILL)
        said = [int(line) for line in worker.stdout.read().split("\n")[:-1] if line.isdigit()]
        worker.wait()
        told |= set(said)
        start = max(told, default=start)  # the next worker says the last key again: it must not count twice
    database.close()
    database = Database(database_url)
    balances = all_balances(database)
    from sqlalchemy import select

    from tribute.store.schema import transactions

    with database.reading() as connection:
        kept = {key for key in connection.execute(select(transactions.c.key).where(transactions.c.kind == "download")).scalars()}
    assert {f"d{number}" for number in told} <= kept
    assert len(kept) - len(told) <= kills  # at most the one in hand at each kill was posted and not told
    assert balances["creator:mei", "CNY"] == (10**8 - 50 * len(kept)) * 10**6
    assert trial_balance(database) == {"CNY": 0}
    (statement,) = settle(database, week_of(utc_now()))
    assert statement.due_minor * 10**6 + statement.carried_forward_micro == 35 * 333_333 * len(kept)
    assert settle(database, week_of(utc_now())) == [statement]
    print(json.dumps({"kills": kills, "told": len(told), "kept": len(kept)}))
    database.close()
