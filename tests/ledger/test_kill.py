"""kill -9 at random instants in downloads, refunds and settlements: nothing lost, doubled or half-posted. `bench/kill.py` says how."""

import json
import os
import subprocess
import sys

import pytest

KILLS = 40  # `python -m bench.kill --kills 200` for more


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(database_url):
    command = [sys.executable, "bench/kill.py", "--kills", str(KILLS), "--database", database_url]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    tally = json.loads(done.stdout)
    assert (tally["kills"], tally["lost"], tally["doubled or half-posted"]) == (KILLS, 0, 0)
    assert tally["posted"] > KILLS
    assert tally["posted and not told"] <= KILLS


@pytest.mark.slow
def test_an_artist_whose_leaving_was_killed_leaves_whole_when_it_is_said_again(database_url):
    command = [sys.executable, "bench/kill.py", "--kills", "20", "--what", "withdrawals", "--database", database_url]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert json.loads(done.stdout)["doubled or half-posted"] == 0
