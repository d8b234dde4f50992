"""Closing a week: what each artist earned becomes payable in whole minor units, with a statement that says for which pictures.

A week covers every download and refund posted since the last closing and before the week's end. What is less than one minor
unit stays in the artist's account and is carried forward, so nothing is lost to rounding. Closing also fixes the week's Merkle
root, over every transaction in it whatever its kind.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select

from tribute.ledger.book import lock, post_all_on
from tribute.records import MICRO, PPM, InvalidInput, Posting, Statement, StatementLine, Transaction, canonical, utc_now
from tribute.records.merkle import merkle_root
from tribute.store.database import Database, moment
from tribute.store.schema import postings, statements, transactions, weeks


def week_of(when: datetime) -> str:
    """ISO 8601 week, such as 2026-W47."""
    year, week, _ = when.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def week_end(week: str) -> datetime:
    """The first instant after the week, in UTC. Raises InvalidInput for what is no week."""
    found = re.fullmatch(r"([0-9]{4})-W([0-9]{2})", week)
    try:
        if not found:
            raise ValueError
        return datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC) + timedelta(days=7)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{week!r} is not an ISO week; give one such as {week_of(utc_now())}") from error


def _entries(connection: Connection, after: int, through: int) -> list[Any]:
    """Postings to artists in a range of transactions, with the memo of the download that they belong to."""
    columns = (transactions.c.kind, transactions.c.memo, postings.c.account, postings.c.currency, postings.c.amount_micro)
    joined = select(*columns).join_from(transactions, postings, transactions.c.key == postings.c.key)
    kinds = transactions.c.kind.in_(("download", "refund"))
    return list(connection.execute(joined.where(transactions.c.seq > after, transactions.c.seq <= through, kinds, postings.c.account.like("artist:%"))))


def _lines(connection: Connection, rows: list[Any]) -> dict[tuple[str, str], list[StatementLine]]:
    """(artist, currency) → one line a picture; a reversed download takes its own line back."""
    sums: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0, 0, 0]))
    originals: dict[str, dict[str, Any]] = {}
    for row in rows:
        memo, sign = json.loads(row.memo), 1
        if row.kind != "download":
            key, sign = memo["reverses"], -1
            if key not in originals:
                originals[key] = json.loads(connection.execute(select(transactions.c.memo).where(transactions.c.key == key)).scalar_one())
            memo = originals[key]
        artist = row.account.removeprefix("artist:")
        share = memo["shares_ppm"].get(artist, 0)
        entry = sums[artist, row.currency][memo["picture"]]
        entry[0] += sign
        entry[1] += sign * share
        entry[2] += sign * (memo["price_minor"] * MICRO * share // PPM)
        entry[3] += row.amount_micro
        entry[4] = memo["price_minor"]
    return {
        party: [
            StatementLine(
                picture_id=picture,
                downloads=count,
                price_minor=price,
                mean_share_ppm=share // count if count else 0,
                gross_micro=gross,
                platform_micro=gross - due,
                due_micro=due,
            )
            for picture, (count, share, gross, due, price) in sorted(by_picture.items())
        ]
        for party, by_picture in sums.items()
    }


def read_statements(connection: Connection, week: str) -> list[Statement]:
    query = select(statements.c.document).where(statements.c.week == week).order_by(statements.c.artist_id, statements.c.currency)
    return [Statement.model_validate_json(document) for document in connection.execute(query).scalars()]


def settle(database: Database, week: str) -> list[Statement]:
    """Closes `week` in one database transaction and returns its statements; a week that is closed is only read again.

    Raises InvalidInput for a week that has not begun, or that ends before one already closed.
    """
    end = week_end(week)
    if end - timedelta(days=7) > utc_now():
        raise InvalidInput(f"week {week} has not begun; settle {week_of(utc_now())} or an earlier one")
    with database.writing() as connection:
        lock(connection)
        if connection.execute(select(weeks.c.week).where(weeks.c.week == week)).first():
            return read_statements(connection, week)
        last = connection.execute(select(weeks.c.week, weeks.c.last_seq).order_by(weeks.c.week.desc()).limit(1)).first()
        if last and last.week > week:
            raise InvalidInput(f"week {last.week} is closed already, so {week} cannot be; downloads since then count to the next week")
        after = last.last_seq if last else 0
        newest = select(func.max(transactions.c.seq)).where(transactions.c.created < moment(end))
        through = max(connection.execute(newest).scalar_one_or_none() or 0, after)
        leaves = leaves_between(connection, after, through)
        closed = {"week": week, "last_seq": through, "closed": moment(utc_now()), "entries": len(leaves), "root": merkle_root(week, leaves)}
        lines = _lines(connection, _entries(connection, after, through))
        connection.execute(insert(weeks), [closed])
        brought = {(s.artist_id, s.currency): s.carried_forward_micro for s in read_statements(connection, last.week)} if last else {}
        parties = sorted(set(lines) | {party for party, amount in brought.items() if amount})
        made = [_statement(week, party, lines.get(party, []), brought.get(party, 0)) for party in parties]
        post_all_on(connection, [_payable(one) for one in made if one.due_minor])
        rows = [{"week": week, "artist_id": one.artist_id, "currency": one.currency, "document": canonical(one.document()).decode()} for one in made]
        if rows:
            connection.execute(insert(statements), rows)
        return made


def leaves_between(connection: Connection, after: int, through: int) -> list[str]:
    """The leaves of the transactions after one and up to another, in order."""
    inside = (transactions.c.seq > after, transactions.c.seq <= through)
    return list(connection.execute(select(transactions.c.leaf).where(*inside).order_by(transactions.c.seq)).scalars())


def _statement(week: str, party: tuple[str, str], earned: list[StatementLine], brought_micro: int) -> Statement:
    artist, currency = party
    owed_micro = brought_micro + sum(line.due_micro for line in earned)
    due_minor = max(0, owed_micro) // MICRO
    return Statement(
        artist_id=artist, week=week, currency=currency, lines=tuple(earned), brought_forward_micro=brought_micro, due_minor=due_minor,
        carried_forward_micro=owed_micro - due_minor * MICRO,
    )  # fmt: skip


def _payable(statement: Statement) -> Transaction:
    """Moves the whole minor units that an artist is owed to `payable`."""
    artist, currency, amount = statement.artist_id, statement.currency, statement.due_minor * MICRO
    moved = (
        Posting(account=f"artist:{artist}", amount_micro=-amount, currency=currency),
        Posting(account=f"payable:{artist}", amount_micro=amount, currency=currency),
    )
    key = f"settle:{statement.week}:{artist}:{currency}"
    return Transaction(key=key, kind="settlement", postings=moved, memo={"week": statement.week}, created=utc_now())
