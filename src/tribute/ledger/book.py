"""The journal: transactions of postings that sum to zero, append-only, one effect per idempotency key.

Accounts: `cash` (what the studio holds; its balance is the only one that goes below zero), `creator:NAME` (prepaid),
`artist:ID` (earned), `payable:ID` (closed by a settlement, to be paid out), `commons` (the base's part where works ask for no payment), `unclaimed`
(the part of a base that nobody vouches for), `platform` (the studio's part).
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tribute.records import MICRO, Conflict, InsufficientFunds, InvalidInput, Posting, Transaction, canonical, sha256, utc_now
from tribute.store.database import Database, moment
from tribute.store.schema import balances, postings, transactions

SETTLING_LOCK = 20261123  # PostgreSQL advisory lock: shared by postings, exclusive to a settlement
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def creator_account(name: str) -> str:
    """Raises InvalidInput for a name that no account can have."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot be a creator's name; use 1 to 64 letters, digits, '.', '_', '@' or '-', a letter or digit first")
    return f"creator:{name}"


def effect_hash(transaction: Transaction) -> str:
    """What a retry must repeat: everything but the time."""
    document = transaction.document()
    del document["created"]
    return sha256(canonical(document))


def post_on(connection: Connection, transaction: Transaction) -> bool:
    """Writes a transaction within the caller's database transaction. False where the key was used for the same before.

    Raises Conflict where the key was used for something else, InsufficientFunds where a balance would fall below zero.
    """
    if connection.dialect.name == "postgresql":
        # Wait for whoever posts under this key, and keep a settlement from closing over a transaction not yet committed.
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:settling)"), {"settling": SETTLING_LOCK})
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": transaction.key})
    effect = effect_hash(transaction)
    before = connection.execute(select(transactions.c.hash).where(transactions.c.key == transaction.key)).scalar_one_or_none()
    if before == effect:
        return False
    if before is not None:
        raise Conflict(f"the key {transaction.key!r} was used before for another transaction; give a new key")
    rows = [{"key": transaction.key, **posting.model_dump()} for posting in sorted(transaction.postings, key=lambda p: (p.account, p.amount_micro))]
    try:
        connection.execute(insert(postings), rows)
    except IntegrityError as error:
        if "not_below_zero" in str(error.orig):
            payer = min(transaction.postings, key=lambda posting: posting.amount_micro)
            raise InsufficientFunds(f"{payer.account.partition(':')[2] or payer.account} has not enough money for this; top up first") from error
        raise
    memo = canonical(transaction.memo).decode()
    row = {"key": transaction.key, "hash": effect, "kind": transaction.kind, "memo": memo, "created": moment(transaction.created)}
    connection.execute(insert(transactions), [row])
    return True


def post(database: Database, transaction: Transaction) -> bool:
    """`post_on` in a transaction of its own; two callers with one key at once: one posts, the other sees that it did."""
    for attempt in (1, 2, 3):
        try:
            with database.writing() as connection:
                return post_on(connection, transaction)
        except DBAPIError as error:
            if attempt == 3 or not _may_retry(error):
                raise
    raise AssertionError("unreachable")


def _may_retry(error: DBAPIError) -> bool:
    """A race for one key, or PostgreSQL's serialisation failure or deadlock."""
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", "") in ("40001", "40P01")


def balance_micro(database: Database, account: str, currency: str) -> int:
    with database.reading() as connection:
        query = select(balances.c.amount_micro).where(balances.c.account == account, balances.c.currency == currency)
        return connection.execute(query).scalar_one_or_none() or 0


def all_balances(database: Database) -> dict[tuple[str, str], int]:
    """(account, currency) → micro units."""
    with database.reading() as connection:
        rows = connection.execute(select(balances.c.account, balances.c.currency, balances.c.amount_micro).order_by(balances.c.account))
        return {(row.account, row.currency): row.amount_micro for row in rows}


def trial_balance(database: Database) -> dict[str, int]:
    """Per currency the sum over all postings, which must be zero; also holds the kept balances against the postings.

    Raises AssertionError where they differ: that would be our bug.
    """
    with database.reading() as connection:
        summed = select(postings.c.account, postings.c.currency, func.sum(postings.c.amount_micro)).group_by(postings.c.account, postings.c.currency)
        from_postings = {(row[0], row[1]): int(row[2]) for row in connection.execute(summed)}
        kept = {(row.account, row.currency): row.amount_micro for row in connection.execute(select(balances))}
    assert from_postings == kept, "balances differ from postings"
    totals: dict[str, int] = {}
    for (_, currency), amount in from_postings.items():
        totals[currency] = totals.get(currency, 0) + amount
    return totals


def top_up(database: Database, creator: str, amount_minor: int, currency: str, key: str) -> bool:
    """Prepaid money in."""
    account, amount = creator_account(creator), amount_minor * MICRO
    lines = (Posting(account="cash", amount_micro=-amount, currency=currency), Posting(account=account, amount_micro=amount, currency=currency))
    return post(database, Transaction(key=key, kind="top-up", postings=lines, memo={"creator": creator}, created=utc_now()))


def reverse(database: Database, key: str, reason: str) -> Transaction:
    """Posts the opposite of a transaction: nothing is ever changed. A second reversal is the same one."""
    with database.reading() as connection:
        original = connection.execute(select(transactions).where(transactions.c.key == key)).one_or_none()
        rows = connection.execute(select(postings).where(postings.c.key == key).order_by(postings.c.id)).all()
    if original is None:
        raise InvalidInput(f"no transaction has the key {key!r}; give the key that it was posted with")
    if original.kind == "reversal":
        raise InvalidInput(f"{key!r} is itself a reversal; post the original again under a new key")
    lines = tuple(Posting(account=row.account, amount_micro=-row.amount_micro, currency=row.currency) for row in rows)
    memo: dict[str, Any] = {"reverses": key, "reason": reason}
    transaction = Transaction(key=f"reversal:{key}"[:200], kind="reversal", postings=lines, memo=memo, created=utc_now())
    post(database, transaction)
    return transaction


def read_transaction(database: Database, key: str) -> Transaction | None:
    """The transaction as it was first posted under a key, or None."""
    with database.reading() as connection:
        row = connection.execute(select(transactions).where(transactions.c.key == key)).one_or_none()
        lines = connection.execute(select(postings).where(postings.c.key == key).order_by(postings.c.id)).all()
    if row is None:
        return None
    return Transaction(
        key=key,
        kind=row.kind,
        postings=tuple(Posting(account=line.account, amount_micro=line.amount_micro, currency=line.currency) for line in lines),
        memo=json.loads(row.memo),
        created=datetime.fromisoformat(row.created),
    )
