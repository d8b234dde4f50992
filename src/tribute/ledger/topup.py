"""Prepaid money in."""

from __future__ import annotations

from tribute.ledger.book import creator_account
from tribute.ledger.group import post
from tribute.records import MICRO, Posting, Transaction, utc_now
from tribute.store.database import Database


def top_up(database: Database, creator: str, amount_minor: int, currency: str, key: str) -> bool:
    """Moves money from `cash` to a creator's account; False where the key was used for the same before. Raises Conflict, InvalidInput."""
    account, amount = creator_account(creator), amount_minor * MICRO
    lines = (Posting(account="cash", amount_micro=-amount, currency=currency), Posting(account=account, amount_micro=amount, currency=currency))
    return post(database, Transaction(key=key, kind="top-up", postings=lines, memo={"creator": creator}, created=utc_now()))
