"""The first tables, and the triggers that hold the ledger's rules in SQLite and PostgreSQL alike."""

from alembic import op

from tribute.store.schema import APPEND_ONLY, metadata

revision = "0001"
down_revision = None

UNBALANCED = """(SELECT COUNT(*) FROM postings WHERE postings.key = NEW.key) < 2
    OR EXISTS (SELECT 1 FROM postings WHERE postings.key = NEW.key GROUP BY currency HAVING SUM(amount_micro) <> 0)"""


def _sqlite() -> None:
    op.execute(f"CREATE TRIGGER balanced BEFORE INSERT ON transactions WHEN {UNBALANCED} BEGIN SELECT RAISE(ABORT, 'unbalanced transaction'); END")
    op.execute(
        "CREATE TRIGGER sealed BEFORE INSERT ON postings WHEN EXISTS (SELECT 1 FROM transactions WHERE transactions.key = NEW.key)"
        " BEGIN SELECT RAISE(ABORT, 'posting added to a sealed transaction'); END"
    )
    # An upsert inserts first as far as CHECK is concerned, so a first debit makes its row before it adds to it.
    op.execute(
        "CREATE TRIGGER added_up AFTER INSERT ON postings BEGIN"
        " INSERT OR IGNORE INTO balances (account, currency, amount_micro) VALUES (NEW.account, NEW.currency, 0);"
        " UPDATE balances SET amount_micro = amount_micro + NEW.amount_micro WHERE account = NEW.account AND currency = NEW.currency; END"
    )
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END")


def _function(name: str, body: str) -> None:
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")


def _postgresql() -> None:
    _function("balanced", f"IF {UNBALANCED} THEN RAISE EXCEPTION 'unbalanced transaction'; END IF; RETURN NEW;")
    op.execute("CREATE TRIGGER balanced BEFORE INSERT ON transactions FOR EACH ROW EXECUTE FUNCTION balanced()")
    _function(
        "sealed",
        "IF EXISTS (SELECT 1 FROM transactions WHERE transactions.key = NEW.key)"
        " THEN RAISE EXCEPTION 'posting added to a sealed transaction'; END IF; RETURN NEW;",
    )
    op.execute("CREATE TRIGGER sealed BEFORE INSERT ON postings FOR EACH ROW EXECUTE FUNCTION sealed()")
    _function(
        "added_up",
        "INSERT INTO balances (account, currency, amount_micro) VALUES (NEW.account, NEW.currency, 0) ON CONFLICT DO NOTHING;"
        " UPDATE balances SET amount_micro = amount_micro + NEW.amount_micro WHERE account = NEW.account AND currency = NEW.currency; RETURN NEW;",
    )
    op.execute("CREATE TRIGGER added_up AFTER INSERT ON postings FOR EACH ROW EXECUTE FUNCTION added_up()")
    _function("append_only", "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;")
    for table in APPEND_ONLY:
        op.execute(f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION append_only()")


def upgrade() -> None:
    bind = op.get_bind()
    metadata.create_all(bind)
    {"sqlite": _sqlite, "postgresql": _postgresql}[bind.dialect.name]()
