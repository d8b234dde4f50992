"""The whole journal read again from its first entry: hashes, chain, weekly roots, sums; and its export to beancount.

Beancount's commodity is the currency; its sign is the other way round (a credit is negative there), and amounts have as many decimals
as millionths of the minor unit need, so nothing is rounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from tribute.ledger.book import CHAIN_START, effect_hash, journal, leaf_of, next_link, trial_balance
from tribute.ledger.settlement import leaves_between
from tribute.ledger.verifier import receipt_hash
from tribute.records import Posting
from tribute.records.merkle import merkle_root
from tribute.records.money import EXPONENTS
from tribute.store.database import Database
from tribute.store.schema import receipts, weeks


def audit(database: Database) -> dict[str, Any]:
    """{entries, chain, trial_balance_micro, wrong}: `wrong` names the first entry whose hash is not what its content gives, and each bad week.

    Raises Unreadable where a kept balance is not the sum of its postings.
    """
    totals = trial_balance(database)
    chain, count, wrong = CHAIN_START, 0, []
    with database.reading() as connection:
        given = {row.key: receipt_hash(json.loads(row.document)["hashes"]) for row in connection.execute(select(receipts.c.key, receipts.c.document))}
        for row, transaction in journal(connection):
            leaf = leaf_of(transaction, given.get(row.key, ""))
            chain = next_link(chain, leaf)
            count += 1
            if (row.leaf, row.chain, row.hash) != (leaf, chain, effect_hash(transaction)):
                wrong.append(f"entry {row.seq} ({row.kind}, key {row.key}) is not as it was posted")
                break
        after = 0
        for week in connection.execute(select(weeks).order_by(weeks.c.week)):
            leaves = leaves_between(connection, after, week.last_seq)
            if (week.entries, week.root) != (len(leaves), merkle_root(week.week, leaves)):
                wrong.append(f"week {week.week} does not have the root that was published")
            after = week.last_seq
    return {"entries": count, "chain": chain, "trial_balance_micro": totals, "wrong": wrong}


ROOTS = {"cash": "Assets:Cash", "refunds": "Expenses:Refunds", "platform": "Income:Platform"}


def beancount_account(account: str) -> str:
    """`artist:ada` → `Liabilities:Artist:X616461`: names are written in hexadecimal, since beancount knows letters, digits and dashes."""
    kind, _, name = account.partition(":")
    if account in ROOTS:
        return ROOTS[account]
    if not name:
        return f"Liabilities:{kind.title()}"
    plain = name.replace("-", "")
    return f"Liabilities:{kind.title()}:" + (f"N-{name}" if plain.isascii() and plain.isalnum() else f"X{name.encode().hex()}")


def _amount(posting: Posting) -> str:
    places = EXPONENTS.get(posting.currency, 2) + 6
    return f"{Decimal(-posting.amount_micro).scaleb(-places):f} {posting.currency}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def beancount_lines(connection: Connection) -> Iterator[str]:
    """The journal as a beancount file; every account's balance is asserted on the day after the last entry."""
    from datetime import timedelta

    opened: set[str] = set()
    sums: dict[tuple[str, str], int] = {}
    latest = None
    yield 'option "title" "Tribute"'
    yield 'option "inferred_tolerance_default" "*:0"'
    for row, transaction in journal(connection):
        day = f"{transaction.created:%Y-%m-%d}"
        latest = max(latest or transaction.created, transaction.created)
        for posting in transaction.postings:
            sums[posting.account, posting.currency] = sums.get((posting.account, posting.currency), 0) + posting.amount_micro
            if posting.account not in opened:
                opened.add(posting.account)
                yield f"1970-01-01 open {beancount_account(posting.account)}"
        yield f"{day} * {_quoted(transaction.kind)} {_quoted(transaction.key)}"
        yield f"  chain: {_quoted(row.chain)}"
        for posting in transaction.postings:
            yield f"  {beancount_account(posting.account)}  {_amount(posting)}"
    for (account, currency), amount in sorted(sums.items()):
        assert latest is not None
        line = Posting(account=account, amount_micro=amount, currency=currency)
        yield f"{latest + timedelta(days=1):%Y-%m-%d} balance {beancount_account(account)}  {_amount(line)}"
