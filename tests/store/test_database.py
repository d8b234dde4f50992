import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tribute.ledger.group import post
from tribute.records import InvalidInput, Posting, Transaction, utc_now
from tribute.store.database import Database
from tribute.store.schema import APPEND_ONLY


def good(key="k"):
    lines = (Posting(account="cash", amount_micro=-5, currency="CNY"), Posting(account="creator:a", amount_micro=5, currency="CNY"))
    return Transaction(key=key, kind="top-up", postings=lines, created=utc_now())


POSTING = "INSERT INTO postings (key, account, currency, amount_micro) VALUES (:key, :account, 'CNY', :amount)"
SEAL = "INSERT INTO transactions (key, hash, kind, memo, created) VALUES (:key, 'h', 'x', '{}', 'now')"


def run(database, *statements):
    with database.writing() as connection:
        for statement, values in statements:
            connection.execute(text(statement), values)


def test_the_database_itself_refuses_what_does_not_balance(database):
    with pytest.raises(DBAPIError, match="unbalanced"):
        run(
            database,
            (POSTING, {"key": "x", "account": "cash", "amount": -5}),
            (POSTING, {"key": "x", "account": "platform", "amount": 4}),
            (SEAL, {"key": "x"}),
        )
    with pytest.raises(DBAPIError, match="unbalanced"):
        run(database, (SEAL, {"key": "empty"}))


def test_postings_without_a_transaction_do_not_commit(database):
    with pytest.raises(DBAPIError):
        run(database, (POSTING, {"key": "loose", "account": "cash", "amount": -5}), (POSTING, {"key": "loose", "account": "platform", "amount": 5}))
    with database.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM postings")).scalar_one() == 0


def test_nothing_is_added_to_a_sealed_transaction(database):
    post(database, good())
    with pytest.raises(DBAPIError, match="sealed"):
        run(database, (POSTING, {"key": "k", "account": "platform", "amount": 0}))


def test_what_is_written_is_neither_changed_nor_deleted(database):
    post(database, good())
    for table in APPEND_ONLY:
        column = {
            "weeks": "week",
            "statements": "week",
            "transactions": "key",
            "postings": "account",
            "receipts": "key",
            "credits": "picture_id",
            "terms": "artist_id",
            "payees": "artist_id",
        }.get(table, "hash")
        if table not in ("transactions", "postings") and database.url.get_backend_name() == "sqlite":
            continue  # SQLite's triggers are per row, and these tables are empty here
        for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}"):
            with pytest.raises(DBAPIError, match="append-only"):
                run(database, (statement, {}))


def test_no_balance_falls_below_zero_even_by_hand(database):
    with pytest.raises(DBAPIError, match="not_below_zero"):
        run(
            database,
            (POSTING, {"key": "x", "account": "creator:a", "amount": -5}),
            (POSTING, {"key": "x", "account": "platform", "amount": 5}),
            (SEAL, {"key": "x"}),
        )


def test_opening_again_finds_what_was_written(database_url):
    first = Database(database_url)
    post(first, good())
    first.close()
    second = Database(database_url)
    with second.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM postings")).scalar_one() == 2
    second.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "oracle+cx://x", ""])
def test_a_bad_url_is_one_clear_line(url):
    with pytest.raises(InvalidInput, match="give sqlite"):
        Database(url)
