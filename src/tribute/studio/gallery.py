"""Whose picture it is, who may see it, and what is shown to all.

A picture is its maker's alone until it is published; to anybody else it is not there, whatever route or name they try. Pictures made on the
command line belong to the operator.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, true, update

from tribute.commission import credited
from tribute.ledger.book import creator_account
from tribute.ledger.refund import refund_key
from tribute.records import InvalidInput, NotAllowed, Picture, Record, Unknown, utc_now
from tribute.store.database import Database, get, insert_new, moment
from tribute.store.schema import gallery, likes, pictures, postings, receipts, reports, transactions
from tribute.studio.people import Person

PAGE = 24


class Hung(Record):
    """A picture with its place in the gallery."""

    picture: Picture
    person_id: str | None
    job_id: str | None
    number: int | None
    parent_id: str | None
    published: str | None
    likes: int = 0


def _visible(person: Person | None) -> Any:
    if person is not None and person.is_operator:
        return true()
    shown = gallery.c.published.is_not(None)
    return shown if person is None else or_(shown, gallery.c.person_id == person.id)


_LIKES = select(func.count()).where(likes.c.picture_id == pictures.c.id).scalar_subquery()
_COLUMNS = (
    pictures.c.document, gallery.c.person_id, gallery.c.job_id, gallery.c.number, gallery.c.parent_id, gallery.c.published, _LIKES.label("likes")
)  # fmt: skip


def _hung(row: Any) -> Hung:
    return Hung(
        picture=Picture.model_validate_json(row.document), person_id=row.person_id, job_id=row.job_id, number=row.number, parent_id=row.parent_id,
        published=row.published, likes=row.likes,
    )  # fmt: skip


class Gallery:
    def __init__(self, database: Database) -> None:
        self.database = database

    def see(self, person: Person | None, picture_id: str) -> Hung:
        """A picture that this person may see, with its credit. Raises Unknown, in the same words for what is hidden and what is not there."""
        query = select(*_COLUMNS).select_from(pictures.outerjoin(gallery, gallery.c.picture_id == pictures.c.id))
        with self.database.reading() as connection:
            row = connection.execute(query.where(pictures.c.id == picture_id, _visible(person))).one_or_none()
        if row is None:
            raise Unknown.of("picture", picture_id)
        found = _hung(row)
        return found.model_copy(update={"picture": credited(self.database, found.picture)})

    def own(self, person: Person, picture_id: str) -> Hung:
        """A picture that is this person's to decide on: its maker's, or any for an operator. Raises Unknown."""
        found = self.see(person, picture_id)
        if found.person_id != person.id and not person.is_operator:
            raise Unknown.of("picture", picture_id)
        return found

    def page(
        self, person: Person | None, *where: Any, before: str = "", limit: int = PAGE, order: str = "newest"
    ) -> tuple[list[Hung], str]:  # fmt: skip
        """Pictures that this person may see, newest first, and the cursor of the next page ('' at the end). Raises InvalidInput for a bad cursor."""
        query = select(*_COLUMNS, pictures.c.created, pictures.c.id).select_from(pictures.outerjoin(gallery, gallery.c.picture_id == pictures.c.id))
        if before:
            created, _, last = before.rpartition("_")
            if len(created) != 24 or len(last) != 8:
                raise InvalidInput(f"the cursor {before[:60]!r} is not one that was given; begin without it")
            query = query.where(or_(pictures.c.created < created, and_(pictures.c.created == created, pictures.c.id < last)))
        by = (_LIKES.desc(), pictures.c.created.desc(), pictures.c.id.desc()) if order == "liked" else (pictures.c.created.desc(), pictures.c.id.desc())
        with self.database.reading() as connection:
            rows = connection.execute(query.where(_visible(person), *where).order_by(*by).limit(limit + 1)).all()
        more = len(rows) > limit and order != "liked"
        return [_hung(row) for row in rows[:limit]], f"{rows[limit - 1].created}_{rows[limit - 1].id}" if more else ""

    def of_ids(self, person: Person | None, ids: Sequence[str]) -> list[Hung]:
        found, _ = self.page(person, pictures.c.id.in_(ids), limit=len(ids) or 1)
        by_id = {one.picture.id: one for one in found}
        return [by_id[one] for one in ids if one in by_id]

    def kept(self, person: Person, picture_id: str) -> Picture | None:
        """A picture that this person paid for and keeps, whoever may see it now: what was paid for is not taken away."""
        with self.database.reading() as connection:
            if kept_key(connection, person, picture_id) is None:
                return None
            return credited(self.database, get(connection, pictures, Picture, picture_id, "picture"))

    def publish(self, person: Person, picture_id: str, shown: bool) -> None:
        """Shows a picture to all, or takes it back. Raises NotAllowed for one that the operator has hidden."""
        if self.own(person, picture_id).person_id is None:
            raise InvalidInput(f"picture {picture_id} was made on the command line; publish one that was made in the studio")
        with self.database.writing() as connection:
            hidden = select(reports.c.id).where(reports.c.picture_id == picture_id, reports.c.decision == "hide")
            if shown and not person.is_operator and connection.execute(hidden).first() is not None:
                raise NotAllowed("the operator has hidden this picture; ask them to show it again")
            connection.execute(update(gallery).where(gallery.c.picture_id == picture_id).values(published=moment(utc_now()) if shown else None))

    def like(self, person: Person, picture_id: str, liked: bool) -> int:
        """Likes a published picture, or takes it back; returns how many do."""
        if self.see(person, picture_id).published is None:
            raise InvalidInput("only published pictures can be liked")
        with self.database.writing() as connection:
            if liked:
                insert_new(connection, likes, [{"picture_id": picture_id, "person_id": person.id}])
            else:
                connection.execute(delete(likes).where(likes.c.picture_id == picture_id, likes.c.person_id == person.id))
            return int(connection.execute(select(func.count()).where(likes.c.picture_id == picture_id)).scalar_one())

    def likes_it(self, person: Person | None, picture_id: str) -> bool:
        if person is None:
            return False
        with self.database.reading() as connection:
            return connection.execute(select(likes.c.picture_id).where(likes.c.picture_id == picture_id, likes.c.person_id == person.id)).first() is not None

    def report(self, person: Person, picture_id: str, reason: str) -> str:
        """Tells the operator that something is wrong with a published picture; returns the report's id."""
        reason = " ".join(reason.split())
        if not 3 <= len(reason) <= 500:
            raise InvalidInput("say in 3 to 500 characters what is wrong with the picture")
        if self.see(person, picture_id).published is None:
            raise InvalidInput("only published pictures can be reported")
        report_id = secrets.token_hex(8)
        row = {"id": report_id, "picture_id": picture_id, "person_id": person.id, "reason": reason, "created": moment(utc_now())}
        with self.database.writing() as connection:
            connection.execute(insert(reports).values(row))
        return report_id

    def reports(self, limit: int = 100) -> list[dict[str, Any]]:
        with self.database.reading() as connection:
            rows = connection.execute(select(reports).order_by(reports.c.decision.is_not(None), reports.c.created.desc()).limit(limit)).all()
        return [dict(row._mapping) for row in rows]

    def decide(self, report_id: str, decision: str) -> None:
        """`hide` takes the picture from what others see, `keep` leaves it. Raises Unknown."""
        if decision not in ("hide", "keep"):
            raise Unknown.of("decision", decision, ("hide", "keep"))
        with self.database.writing() as connection:
            row = connection.execute(select(reports.c.picture_id).where(reports.c.id == report_id)).one_or_none()
            if row is None:
                raise Unknown.of("report", report_id)
            connection.execute(update(reports).where(reports.c.id == report_id).values(decision=decision, decided=moment(utc_now())))
            if decision == "hide":
                connection.execute(update(gallery).where(gallery.c.picture_id == row.picture_id).values(published=None))


def kept_by(connection: Connection, person: Person, *where: Any, limit: int = 100) -> list[Any]:
    """Rows of key, picture_id and created of the downloads that this person's account paid for, newest first."""
    query = select(receipts.c.key, receipts.c.picture_id, transactions.c.created).join(transactions, transactions.c.key == receipts.c.key)
    paid = query.join(postings, postings.c.key == receipts.c.key).where(postings.c.account == creator_account(person.name), *where)
    return list(connection.execute(paid.order_by(transactions.c.seq.desc()).limit(limit)).all())


def _downloads(connection: Connection, person: Person, picture_id: str) -> list[str]:
    return [row.key for row in reversed(kept_by(connection, person, receipts.c.picture_id == picture_id))]


def times_kept(connection: Connection, person: Person, picture_id: str) -> int:
    """How often this person paid for a picture, given back or not."""
    return len(_downloads(connection, person, picture_id))


def kept_key(connection: Connection, person: Person, picture_id: str) -> str | None:
    """The key of the download with which this person keeps a picture, if they did and were not given their money back."""
    for key in _downloads(connection, person, picture_id):
        if connection.execute(select(transactions.c.seq).where(transactions.c.key == refund_key(key))).first() is None:
            return str(key)
    return None
