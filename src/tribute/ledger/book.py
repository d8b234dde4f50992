"""The journal: transactions of postings that sum to zero, append-only, chained, one effect per idempotency key.

Accounts gain by credits and never fall below zero, but for the studio's two that are kept the other way round: `cash` (what it
holds) and `refunds` (what it bore for refunds after a week was closed).

    creator:NAME  prepaid            artist:ID  earned             payable:ID  closed by a settlement, to be paid out
    payout:ID     asked for          transit:ID in the bank's hands
    commons       the base's part where works ask for no payment    unclaimed  the part of a base that nobody vouches for
    uncertain     what sampled credit holds back                   platform   the studio's part

Whoever writes holds one lock from the first statement to the commit: balances of `platform` and `commons` change with every
download, so writers would wait for one another anyway, and so the chain has one order, which is the order of commits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from tribute.ledger.verifier import receipt_hash
from tribute.records import Conflict, InsufficientFunds, InvalidInput, Posting, Transaction, Unreadable, canonical, sha256
from tribute.store.database import Database, moment
from tribute.store.schema import balances, postings, receipts, transactions

LEDGER_LOCK = 20261123  # PostgreSQL advisory lock; SQLite's own write lock does the same
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
CHAIN_START = "0" * 64


def creator_account(name: str) -> str:
    """Raises InvalidInput for a name that no account can have."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot be a creator's name; use 1 to 64 letters, digits, '.', '_', '@' or '-', a letter or digit first")
    return f"creator:{name}"


def effect_hash(transaction: Transaction) -> str:
    """What a retry must repeat: everything but the time and the order of its postings."""
    document = _whole(transaction)
    del document["created"]
    return sha256(canonical(document))


def in_order(transaction: Transaction) -> tuple[Posting, ...]:
    """Postings in the one order that they are stored and hashed in."""
    return tuple(sorted(transaction.postings, key=lambda posting: (posting.account, posting.amount_micro)))


def _whole(transaction: Transaction) -> dict[str, Any]:
    return transaction.document() | {"postings": [posting.document() for posting in in_order(transaction)], "created": moment(transaction.created)}


def leaf_of(transaction: Transaction, receipt: str = "") -> str:
    """SHA-256 over the whole transaction and the hash of the receipt that was given for it, if any."""
    return sha256(canonical(_whole(transaction) | {"receipt": receipt}))


def next_link(chain: str, leaf: str) -> str:
    return sha256(bytes.fromhex(chain) + bytes.fromhex(leaf))


def lock(connection: Connection) -> None:
    """Waits until nobody else writes to the ledger; held until the caller's database transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:ledger)"), {"ledger": LEDGER_LOCK})


def post_all_on(connection: Connection, wanted: Sequence[Transaction], given: Sequence[dict[str, Any] | None] = ()) -> list[bool]:
    """Writes transactions, and the receipts `given` for them, within the caller's database transaction: all or none. False for one posted before.

    Raises Conflict where a key was used for something else, InsufficientFunds where a balance would fall below zero.
    """
    lock(connection)
    known: dict[str, str] = {}
    keys = [one.key for one in wanted]
    for at in range(0, len(keys), 500):
        query = select(transactions.c.key, transactions.c.hash).where(transactions.c.key.in_(keys[at : at + 500]))
        known |= {row.key: row.hash for row in connection.execute(query)}
    chain = connection.execute(select(transactions.c.chain).order_by(transactions.c.seq.desc()).limit(1)).scalar_one_or_none() or CHAIN_START
    lines: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    moved = []
    for one, receipt in zip(wanted, given or [None] * len(wanted), strict=True):
        effect = effect_hash(one)
        if known.get(one.key, effect) != effect:
            raise Conflict(f"the key {one.key!r} was used before for another transaction; give a new key")
        moved.append(one.key not in known)
        if one.key in known:
            continue
        known[one.key] = effect
        leaf = leaf_of(one, receipt_hash(receipt["hashes"]) if receipt else "")
        chain = next_link(chain, leaf)
        lines += [{"key": one.key, **posting.model_dump()} for posting in in_order(one)]
        created, memo = moment(one.created), canonical(one.memo).decode()
        rows.append({"key": one.key, "hash": effect, "kind": one.kind, "memo": memo, "created": created, "leaf": leaf, "chain": chain})
        if receipt:
            kept.append({"key": one.key, "picture_id": receipt["sections"]["picture"]["id"], "document": canonical(receipt).decode()})
    if rows:
        _write(connection, wanted, lines, rows)
    if kept:
        connection.execute(insert(receipts), kept)
    return moved


def _write(connection: Connection, wanted: Sequence[Transaction], lines: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(insert(postings), lines)
    except IntegrityError as error:
        if "not_below_zero" in str(error.orig):
            payer = min((posting for one in wanted for posting in one.postings), key=lambda posting: posting.amount_micro).account
            raise InsufficientFunds(f"{payer.partition(':')[2] or payer} has not enough money for this; top up first") from error
        raise
    connection.execute(insert(transactions), rows)


def post_on(connection: Connection, transaction: Transaction, receipt: dict[str, Any] | None = None) -> bool:
    """`post_all_on` of one."""
    return post_all_on(connection, [transaction], [receipt])[0]


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

    Raises Unreadable where they differ: somebody wrote past the ledger.
    """
    with database.reading() as connection:
        summed = select(postings.c.account, postings.c.currency, func.sum(postings.c.amount_micro)).group_by(postings.c.account, postings.c.currency)
        from_postings = {(row[0], row[1]): int(row[2]) for row in connection.execute(summed)}
        kept = {(row.account, row.currency): row.amount_micro for row in connection.execute(select(balances))}
    off = sorted({account for account, _ in from_postings.items() ^ kept.items()})
    if off:
        raise Unreadable(f"the balance of {off[0][0]} in {off[0][1]} is not the sum of its postings; restore the database from a backup")
    totals: dict[str, int] = {}
    for (_, currency), amount in from_postings.items():
        totals[currency] = totals.get(currency, 0) + amount
    return totals


def journal(connection: Connection, *where: Any) -> Iterator[tuple[Row[Any], Transaction]]:
    """Every transaction in order, with its row; read in steps, so that a long journal does not fill the memory."""
    after, step = 0, 2000
    while True:
        found = connection.execute(select(transactions).where(transactions.c.seq > after, *where).order_by(transactions.c.seq).limit(step)).all()
        if not found:
            return
        lines: dict[str, list[Posting]] = {}
        keys = [row.key for row in found]
        for at in range(0, len(keys), 500):
            for line in connection.execute(select(postings).where(postings.c.key.in_(keys[at : at + 500])).order_by(postings.c.id)):
                lines.setdefault(line.key, []).append(Posting(account=line.account, amount_micro=line.amount_micro, currency=line.currency))
        for row in found:
            yield row, _transaction(row, lines[row.key])
        after = found[-1].seq


def _transaction(row: Row[Any], lines: Sequence[Posting]) -> Transaction:
    return Transaction(key=row.key, kind=row.kind, postings=tuple(lines), memo=json.loads(row.memo), created=datetime.fromisoformat(row.created))


def read_transaction(database: Database, key: str) -> Transaction | None:
    """The transaction as it was first posted under a key, or None."""
    with database.reading() as connection:
        return transaction_on(connection, key)


def transaction_on(connection: Connection, key: str) -> Transaction | None:
    found = next(journal(connection, transactions.c.key == key), None)
    return found[1] if found else None
