"""The first tables, and the triggers that hold the ledger's rules in SQLite and PostgreSQL alike."""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

revision = "0001"
down_revision = None

# The tables as they were then: later migrations change them, `tribute.store.schema` holds what they are now.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sha = String(64)
name = String(64)
moment = String(32)  # ISO 8601 in UTC to the millisecond: sorts as text, equal in both databases

artists = Table("artists", metadata, Column("id", name, primary_key=True), Column("document", Text, nullable=False))
works = Table(
    "works",
    metadata,
    Column("hash", sha, primary_key=True),
    Column("picture_sha256", sha, nullable=False, index=True),
    Column("artist_id", name, nullable=False, index=True),
    Column("style", name, nullable=False, index=True),
    Column("document", Text, nullable=False),
)
consents = Table(
    "consents",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("hash", sha, nullable=False, unique=True),
    Column("artist_id", name, nullable=False, index=True),
    Column("use", String(20), nullable=False),
    Column("document", Text, nullable=False),
)
snapshots = Table("snapshots", metadata, Column("hash", sha, primary_key=True), Column("document", Text, nullable=False))
styles = Table(
    "styles",
    metadata,
    Column("name", name, primary_key=True),
    Column("artist_id", name, nullable=False, index=True),
    Column("withdrawn", moment),
    Column("document", Text, nullable=False),
)
pictures = Table(
    "pictures",
    metadata,
    Column("id", String(8), primary_key=True),
    Column("file_sha256", sha, nullable=False, unique=True),
    Column("pixel_sha256", sha, nullable=False, index=True),
    Column("created", moment, nullable=False, index=True),
    Column("document", Text, nullable=False),
)
transactions = Table(
    "transactions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False, unique=True),
    Column("hash", sha, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("memo", Text, nullable=False),
    Column("created", moment, nullable=False, index=True),
)
postings = Table(
    "postings",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", String(200), ForeignKey("transactions.key", deferrable=True, initially="DEFERRED"), nullable=False, index=True),
    Column("account", String(80), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_micro", BigInteger, nullable=False),
    Index("ix_postings_account", "account", "currency"),
)
balances = Table(
    "balances",
    metadata,
    Column("account", String(80), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("amount_micro", BigInteger, nullable=False),
    CheckConstraint("account = 'cash' OR amount_micro >= 0", name="not_below_zero"),
)
weeks = Table(
    "weeks",
    metadata,
    Column("week", String(8), primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("closed", moment, nullable=False),
)
statements = Table(
    "statements",
    metadata,
    Column("week", String(8), ForeignKey("weeks.week"), primary_key=True),
    Column("artist_id", name, primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("document", Text, nullable=False),
)
APPEND_ONLY = ("transactions", "postings", "consents", "snapshots", "works", "weeks", "statements")

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
