"""Snapshots: immutable manifests of exactly what was allowed, named by their hash."""

from __future__ import annotations

from sqlalchemy import Connection, select

from tribute.collection.consent import allowed_works
from tribute.records import InvalidInput, Snapshot, Use, Work, canonical
from tribute.store.database import insert_new
from tribute.store.schema import snapshots, works


def works_of(connection: Connection, styles: tuple[str, ...] | None = None) -> list[Work]:
    """All works, or those of some styles, by hash."""
    query = select(works.c.document).order_by(works.c.hash)
    if styles is not None:
        query = query.where(works.c.style.in_(styles))
    return [Work.model_validate_json(document) for document in connection.execute(query).scalars()]


def take_snapshot(connection: Connection, use: Use, style: str | None = None) -> Snapshot:
    """The manifest of what `use` is allowed now: of one style's works, or for the base of all works. Raises InvalidInput where that is nothing."""
    kept, relied = allowed_works(connection, works_of(connection, (style,) if style else None), use)
    if not kept:
        raise InvalidInput(f"no work is allowed for {use}{f' of style {style!r}' if style else ''}; import works and record their artists' consent first")
    snapshot = Snapshot(
        use=use,
        style=style,
        works=tuple(sorted(work.hash for work in kept)),
        consents=tuple(sorted(consent.hash for consent in relied)),
        artists=tuple(sorted({work.artist_id for work in kept})),
    )
    insert_new(connection, snapshots, [{"hash": snapshot.hash, "document": canonical(snapshot.document()).decode()}])
    return snapshot


def snapshot_works(connection: Connection, snapshot: Snapshot) -> list[Work]:
    """The works that a snapshot lists, in its order."""
    wanted = set(snapshot.works)
    return [work for work in works_of(connection, (snapshot.style,) if snapshot.style else None) if work.hash in wanted]
