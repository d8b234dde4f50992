"""The tables. Records are stored as their canonical JSON in `document`; the other columns are there to find them by.

The ledger's rules are held by the database as well as by code: triggers (in the migrations) refuse a transaction whose
postings do not sum to zero in each currency, any change or deletion, a posting added later, and a balance below zero.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint, text

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
    Column("leaf", sha, nullable=False),  # over the whole transaction and its receipt: what a week's Merkle tree is built of
    Column("chain", sha, nullable=False),  # over the chain before it and its leaf
    Index("ix_transactions_payouts", "seq", sqlite_where=text("kind = 'payout'"), postgresql_where=text("kind = 'payout'")),
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
    CheckConstraint("account IN ('cash', 'refunds') OR amount_micro >= 0", name="not_below_zero"),
)
weeks = Table(
    "weeks",
    metadata,
    Column("week", String(8), primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("closed", moment, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("root", sha, nullable=False),
)
statements = Table(
    "statements",
    metadata,
    Column("week", String(8), ForeignKey("weeks.week"), primary_key=True),
    Column("artist_id", name, primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("document", Text, nullable=False),
)
receipts = Table(
    "receipts",
    metadata,
    Column("key", String(200), ForeignKey("transactions.key", deferrable=True, initially="DEFERRED"), primary_key=True),
    Column("picture_id", String(8), nullable=False, index=True),
    Column("document", Text, nullable=False),
)
credits = Table(  # of pictures whose credit was worked off after they were made
    "credits",
    metadata,
    Column("picture_id", String(8), ForeignKey("pictures.id"), primary_key=True),
    Column("document", Text, nullable=False),
)
terms = Table(
    "terms",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("artist_id", name, nullable=False, index=True),
    Column("use", String(20), nullable=False),
    Column("since", moment, nullable=False),
    Column("document", Text, nullable=False),
)
payees = Table(
    "payees",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("artist_id", name, nullable=False, index=True),
    Column("document", Text, nullable=False),
)
# The studio's people and what they make; nothing below is money, and all of it can change.
people = Table(
    "people",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", name, nullable=False, unique=True),
    Column("password", String(200)),  # argon2; none: a guest, or somebody who signs in otherwise
    Column("role", String(10), nullable=False),
    Column("artist_id", name),  # whose statements an artist sees
    Column("created", moment, nullable=False),
    Column("disabled", moment),
)
sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", sha, primary_key=True),
    Column("person_id", String(16), ForeignKey("people.id"), nullable=False, index=True),
    Column("created", moment, nullable=False),
    Column("expires", moment, nullable=False),
)
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("key_sha256", sha, nullable=False, unique=True),
    Column("person_id", String(16), ForeignKey("people.id"), nullable=False, index=True),
    Column("label", String(100), nullable=False),
    Column("created", moment, nullable=False),
    Column("revoked", moment),
)
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("person_id", String(16), ForeignKey("people.id"), nullable=False),
    Column("key", String(100)),  # a retry with the same key is the same job
    Column("asked_sha256", sha),  # of what a retry must repeat
    Column("state", String(10), nullable=False),
    Column("ask", Text, nullable=False),
    Column("parent_id", String(8)),  # the picture that this one is made from
    Column("turn", Integer, nullable=False),  # who is drawn next: the lowest
    Column("created", moment, nullable=False),
    Column("started", moment),
    Column("finished", moment),
    Column("stage", String(20), nullable=False, server_default=""),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("stop", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Column("worker", String(100)),
    UniqueConstraint("person_id", "key"),
    Index("ix_jobs_state", "state", "turn"),
    Index("ix_jobs_person", "person_id", "created"),
)
previews = Table(  # how a picture looks while it is drawn
    "previews",
    metadata,
    Column("job_id", String(100), ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("png", LargeBinary, nullable=False),
)
workers = Table(
    "workers",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("seen", moment, nullable=False),
    Column("model", String(200), nullable=False, server_default=""),
)
gallery = Table(  # whose picture it is, and whether others may see it
    "gallery",
    metadata,
    Column("picture_id", String(8), ForeignKey("pictures.id"), primary_key=True),
    Column("person_id", String(16), ForeignKey("people.id"), nullable=False, index=True),
    Column("job_id", String(100), ForeignKey("jobs.id")),
    Column("number", Integer),
    Column("parent_id", String(8), index=True),
    Column("created", moment, nullable=False),
    Column("published", moment, index=True),
    UniqueConstraint("job_id", "number"),  # whoever draws a job again adds nothing twice
)
likes = Table(
    "likes",
    metadata,
    Column("picture_id", String(8), ForeignKey("gallery.picture_id"), primary_key=True),
    Column("person_id", String(16), ForeignKey("people.id"), primary_key=True),
)
reports = Table(
    "reports",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("picture_id", String(8), ForeignKey("gallery.picture_id"), nullable=False, index=True),
    Column("person_id", String(16), ForeignKey("people.id"), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("created", moment, nullable=False),
    Column("decision", String(20)),
    Column("decided", moment),
)
STUDIO = (people, sessions, api_keys, jobs, previews, workers, gallery, likes, reports)
APPEND_ONLY = ("transactions", "postings", "consents", "snapshots", "works", "weeks", "statements", "receipts", "credits", "terms", "payees")
