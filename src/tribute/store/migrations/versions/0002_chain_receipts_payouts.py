"""The hash chain, weekly roots, receipts, later credits, terms, payees; the account `refunds`; balances that only the triggers write."""

from __future__ import annotations

import hashlib
import json

from alembic import op
from sqlalchemy import Column, Integer, String, bindparam, select, text, update

from tribute.store.schema import credits, payees, postings, receipts, terms, transactions, weeks

revision = "0002"
down_revision = "0001"
NEW = (receipts, credits, terms, payees)
NONE = "0" * 64


def _sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def _backfill() -> None:
    """Chains what was posted before there was a chain, hashes it whatever the order of its postings, gives closed weeks their roots."""
    bind = op.get_bind()
    lines: dict[str, list[dict[str, object]]] = {}
    columns = (postings.c.key, postings.c.account, postings.c.amount_micro, postings.c.currency)
    for line in bind.execute(select(*columns).order_by(postings.c.account, postings.c.amount_micro)):
        lines.setdefault(line.key, []).append({"account": line.account, "amount_micro": line.amount_micro, "currency": line.currency})
    chain, leaves, filled = NONE, [], []
    for row in bind.execute(select(transactions.c.seq, transactions.c.key, transactions.c.kind, transactions.c.memo, transactions.c.created).order_by("seq")):
        whole = {"key": row.key, "kind": row.kind, "memo": json.loads(row.memo), "created": row.created, "postings": lines[row.key], "receipt": ""}
        effect = _sha({name: value for name, value in whole.items() if name not in ("created", "receipt")})
        leaf = _sha(whole)
        chain = hashlib.sha256(bytes.fromhex(chain) + bytes.fromhex(leaf)).hexdigest()
        leaves.append((row.seq, leaf))
        filled.append({"at": row.seq, "made": leaf, "linked": chain, "effect": effect})
    if filled:
        change = update(transactions).where(transactions.c.seq == bindparam("at"))
        bind.execute(change.values(leaf=bindparam("made"), chain=bindparam("linked"), hash=bindparam("effect")), filled)
    after = 0
    for closed in bind.execute(select(weeks.c.week, weeks.c.last_seq).order_by(weeks.c.week)).all():
        from tribute.records.merkle import merkle_root

        inside = [leaf for seq, leaf in leaves if after < seq <= closed.last_seq]
        bind.execute(update(weeks).where(weeks.c.week == closed.week).values(entries=len(inside), root=merkle_root(closed.week, inside)))
        after = closed.last_seq


def _columns() -> None:
    for name in ("leaf", "chain"):
        op.add_column("transactions", Column(name, String(64), nullable=False, server_default=NONE))
    op.add_column("weeks", Column("entries", Integer, nullable=False, server_default="0"))
    op.add_column("weeks", Column("root", String(64), nullable=False, server_default=NONE))


def _sqlite() -> None:
    for table in ("transactions", "weeks"):
        op.execute(f"DROP TRIGGER {table}_no_update")
    _columns()
    _backfill()
    for table in ("transactions", "weeks"):
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END")
    for new in NEW:
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {new}_no_{verb.lower()} BEFORE {verb} ON {new} BEGIN SELECT RAISE(ABORT, '{new} is append-only'); END")
    # SQLite cannot change a CHECK: the table is made again, and the trigger that adds up goes on as it was.
    op.execute("DROP TRIGGER added_up")
    op.execute("ALTER TABLE balances RENAME TO balances_before")
    op.execute(
        "CREATE TABLE balances (account VARCHAR(80) NOT NULL, currency VARCHAR(3) NOT NULL, amount_micro BIGINT NOT NULL,"
        " CONSTRAINT pk_balances PRIMARY KEY (account, currency),"
        " CONSTRAINT ck_balances_not_below_zero CHECK (account IN ('cash', 'refunds') OR amount_micro >= 0))"
    )
    op.execute("INSERT INTO balances SELECT * FROM balances_before")
    op.execute("DROP TABLE balances_before")
    op.execute(
        "CREATE TRIGGER added_up AFTER INSERT ON postings BEGIN"
        " INSERT OR IGNORE INTO balances (account, currency, amount_micro) VALUES (NEW.account, NEW.currency, 0);"
        " UPDATE balances SET amount_micro = amount_micro + NEW.amount_micro WHERE account = NEW.account AND currency = NEW.currency; END"
    )


def _postgresql() -> None:
    for table in ("transactions", "weeks"):
        op.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
    _columns()
    _backfill()
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table in ("transactions", "weeks"):
        op.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only")
    for new in NEW:
        op.execute(f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {new} FOR EACH STATEMENT EXECUTE FUNCTION append_only()")
    op.execute("ALTER TABLE balances DROP CONSTRAINT ck_balances_not_below_zero")
    op.execute("ALTER TABLE balances ADD CONSTRAINT ck_balances_not_below_zero CHECK (account IN ('cash', 'refunds') OR amount_micro >= 0)")
    # The application's role needs no right to change balances: the trigger has its owner's.
    op.execute("ALTER FUNCTION added_up() SECURITY DEFINER SET search_path = public, pg_temp")


def upgrade() -> None:
    bind = op.get_bind()
    for table in NEW:
        table.create(bind)
    {"sqlite": _sqlite, "postgresql": _postgresql}[bind.dialect.name]()
    kind = text("kind = 'payout'")
    op.create_index("ix_transactions_payouts", "transactions", ["seq"], sqlite_where=kind, postgresql_where=kind)
