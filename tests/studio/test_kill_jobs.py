"""kill -9 of the studio, and of workers in a fleet: every accepted job is done once. `bench/jobs.py` says how."""

import json
import os
import subprocess
import sys

import pytest


def run(*arguments):
    done = subprocess.run([sys.executable, "bench/jobs.py", *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_studio_that_is_killed_finishes_what_it_accepted():
    tally = run("kill", "--kills", "5")
    assert (tally["lost"], tally["doubled"], tally["done without its pictures"], tally["not done"]) == (0, 0, 0, 0)
    assert tally["done"] == tally["accepted"] >= 5


@pytest.mark.slow
def test_other_workers_take_over_from_one_that_was_killed(postgresql):
    from sqlalchemy import create_engine, text

    admin = create_engine(postgresql.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE fleet"))
    url = str(admin.url.set(database="fleet", drivername="postgresql").render_as_string(hide_password=False))
    admin.dispose()
    tally = run("fleet", "--database", url, "--workers", "2", "--kills", "2")
    assert (tally["lost"], tally["doubled"], tally["done without its pictures"], tally["not done"]) == (0, 0, 0, 0)
    assert tally["taken over after at most, s"] <= tally["stated, s"]
