"""A database of the first version, with money and a closed week in it, opened by this one."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text

from tribute.ledger.audit import audit
from tribute.ledger.book import all_balances
from tribute.ledger.receipt import published_root
from tribute.ledger.topup import top_up
from tribute.store.database import Database

OLD = (
    "INSERT INTO postings (key, account, currency, amount_micro) VALUES ('t', 'cash', 'CNY', -1000000), ('t', 'creator:mei', 'CNY', 1000000)",
    "INSERT INTO transactions (key, hash, kind, memo, created) VALUES ('t', 'x', 'top-up', '{\"creator\":\"mei\"}', '2026-11-01T00:00:00.000Z')",
    "INSERT INTO postings (key, account, currency, amount_micro) VALUES ('d', 'platform', 'CNY', 300000), ('d', 'creator:mei', 'CNY', -1000000),"
    " ('d', 'commons', 'CNY', 700000)",
    "INSERT INTO transactions (key, hash, kind, memo, created) VALUES ('d', 'y', 'download', '{}', '2026-11-02T00:00:00.000Z')",
    "INSERT INTO weeks (week, last_seq, closed) VALUES ('2026-W44', 1, '2026-11-02T00:00:00.000Z')",
)


def test_what_the_first_version_posted_is_kept_chained_and_still_idempotent(database_url):
    url = make_url(database_url)
    engine = create_engine(url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url)
    config = Config()
    config.set_main_option("script_location", str(files("tribute.store") / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in OLD:
            connection.execute(text(statement))
    engine.dispose()
    database = Database(database_url)
    held = {account: amount for (account, _), amount in all_balances(database).items()}
    assert held == {"cash": -1_000_000, "creator:mei": 0, "platform": 300_000, "commons": 700_000}
    found = audit(database)
    assert (found["wrong"], found["entries"]) == ([], 2)
    with database.reading() as connection:
        assert published_root(connection, "2026-W44")["entries"] == 1
    assert not top_up(database, "mei", 1, "CNY", "t")
    assert top_up(database, "mei", 1, "CNY", "t2")
    database.close()
