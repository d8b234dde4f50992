import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import make_picture
from tribute.ledger.audit import audit, beancount_account, beancount_lines
from tribute.ledger.book import all_balances, post_on
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.receipt import receipt_of
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import Unreadable, utc_now
from tribute.store.database import Database, grant_application

NOW = week_of(utc_now())


def filled(database, currency="CNY"):
    top_up(database, "mei", 10_000, currency, f"t{currency}")
    for number in range(6):
        picture = make_picture({"ada": 333_333, "bo-b": 100_001}, 7 + number, currency, picture_id=f"{number:08x}")
        transaction = download_transaction(picture, "mei", f"{currency}{number}")
        with database.writing() as connection:
            post_on(connection, transaction, receipt_of(picture, transaction, ()))


def test_a_clean_journal_and_where_a_forged_one_breaks(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    filled(database)
    settle(database, NOW)
    found = audit(database)
    assert (found["wrong"], found["entries"], found["trial_balance_micro"]) == ([], 9, {"CNY": 0})
    with database.writing() as connection:  # somebody with the file in hand and no triggers in the way
        connection.execute(text("DROP TRIGGER transactions_no_update"))
        connection.execute(text("UPDATE transactions SET memo = replace(memo, 'mei', 'eve') WHERE seq = 4"))
    assert audit(database)["wrong"] == ["entry 4 (download, key CNY2) is not as it was posted"]
    with database.writing() as connection:
        connection.execute(text("UPDATE transactions SET memo = replace(memo, 'eve', 'mei') WHERE seq = 4"))
        connection.execute(text(f"UPDATE transactions SET leaf = '{'0' * 64}' WHERE seq = 3"))
    assert audit(database)["wrong"] != []


def test_a_balance_that_was_written_past_the_ledger_is_told(memory):
    filled(memory)
    with memory.writing() as connection:
        connection.execute(text("UPDATE balances SET amount_micro = amount_micro + 1 WHERE account = 'platform'"))
    with pytest.raises(Unreadable, match="the balance of platform in CNY"):
        audit(memory)


def test_bean_check_accepts_the_export_and_its_balances_are_equal(memory, tmp_path):
    for currency in ("CNY", "JPY", "KWD"):
        filled(memory, currency)
    settle(memory, NOW)
    path = tmp_path / "ledger.beancount"
    with memory.reading() as connection:
        path.write_text("\n".join(beancount_lines(connection)) + "\n")
    done = subprocess.run([str(Path(sys.executable).with_name("bean-check")), str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    from beancount import loader
    from beancount.core import realization

    entries, errors, _ = loader.load_file(str(path))
    assert errors == []
    root = realization.realize(entries)
    for (account, currency), amount in all_balances(memory).items():
        places = {"CNY": 8, "JPY": 6, "KWD": 9}[currency]
        there = realization.get(root, beancount_account(account)).balance.get_currency_units(currency).number
        assert int(there.scaleb(places)) == -amount
    path.write_text(path.read_text().replace("0.", "1.", 1))
    assert subprocess.run([str(Path(sys.executable).with_name("bean-check")), str(path)], capture_output=True).returncode != 0


def test_names_that_differ_stay_apart_in_beancount():
    names = ["artist:ada", "artist:a-da", "artist:ad-a", "creator:a.da", "creator:a_da", "payable:ada", "commons", "cash"]
    assert len({beancount_account(name) for name in names}) == len(names)


def test_the_applications_role_can_post_and_can_change_nothing(postgresql, request):
    """On PostgreSQL, under a role that only has what `grant_application` gives it."""
    import secrets

    name = f"app{secrets.token_hex(4)}"
    admin = create_engine(postgresql.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
    owner_url = admin.url.set(database=name)
    owner = Database(owner_url.render_as_string(hide_password=False))
    with owner.writing() as connection:
        grant_application(connection, name)
    application = Database(owner_url.set(username=name).render_as_string(hide_password=False))
    filled(application)
    settle(application, NOW)
    post(application, download_transaction(make_picture({"ada": 1}), "mei", "again"))
    assert audit(application)["wrong"] == []
    for statement in ("UPDATE balances SET amount_micro = 0", "DELETE FROM balances", "INSERT INTO balances VALUES ('x', 'CNY', 1)",
                      "UPDATE transactions SET kind = 'x'", "DELETE FROM postings", "TRUNCATE receipts",
                      "ALTER TABLE postings DISABLE TRIGGER ALL", "DROP TABLE weeks"):  # fmt: skip
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"), application.writing() as connection:
            connection.execute(text(statement))
    application.close()
    owner.close()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(text(f"DROP ROLE {name}"))
    admin.dispose()
