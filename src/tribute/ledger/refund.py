"""Money back for a kept picture, within some days of it.

While its week is open a refund is the download's exact opposite, and the artists' statements show both. Once the week is closed
the artists were told what they are due, and that stands: the studio bears the refund, out of what it earned.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from tribute.ledger.book import lock, post_on, transaction_on
from tribute.records import InsufficientFunds, NotAllowed, Posting, Transaction, Unknown, utc_now
from tribute.store.database import Database
from tribute.store.schema import balances, transactions, weeks


def refund_key(download_key: str) -> str:
    """One download is given back once, whoever says so and however often."""
    return f"refund:{download_key}"[:200]


def refund(database: Database, download_key: str, reason: str, days: int, now: datetime | None = None) -> Transaction:
    """Gives a download's price back to its creator; said again, it is the same refund.

    Raises Unknown for what is no download, NotAllowed after `days`, InsufficientFunds where the studio has not earned as much.
    """
    now = now or utc_now()
    with database.writing() as connection:
        lock(connection)
        before = transaction_on(connection, refund_key(download_key))
        if before is not None:
            return before
        original = transaction_on(connection, download_key)
        if original is None or original.kind != "download":
            raise Unknown(f"no download has the key {download_key[:80]!r}; give a picture and the creator who kept it")
        if now > original.created + timedelta(days=days):
            raise NotAllowed(
                f"picture {original.memo['picture']} was kept on {original.created:%Y-%m-%d}, more than {days} days ago; it can no longer be refunded"
            )
        seq = connection.execute(select(transactions.c.seq).where(transactions.c.key == download_key)).scalar_one()
        closed = seq <= (connection.execute(select(func.max(weeks.c.last_seq))).scalar_one_or_none() or 0)
        lines = tuple(line.model_copy(update={"amount_micro": -line.amount_micro}) for line in original.postings)
        if closed:
            paid = next(line for line in lines if line.account.startswith("creator:"))
            lines = (paid, Posting(account="refunds", amount_micro=-paid.amount_micro, currency=paid.currency))
        memo: dict[str, Any] = {"reverses": download_key, "reason": reason, "borne_by": "studio" if closed else "all"}
        made = Transaction(key=refund_key(download_key), kind="refund", postings=lines, memo=memo, created=now)
        post_on(connection, made)
        own = select(func.sum(balances.c.amount_micro)).where(balances.c.account.in_(("platform", "refunds")), balances.c.currency == lines[0].currency)
        if closed and connection.execute(own).scalar_one() < 0:
            raise InsufficientFunds("the studio has not earned enough to bear this refund; its artists were paid already")
        return made
