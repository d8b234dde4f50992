"""Keeping a collection: putting works in the store, and carrying a collection from one data folder to another as two files.

`collection.json` holds artists, consents, snapshots and styles; `works.jsonl.gz` one Work a line. A snapshot cites its works by their
lines, counted from 0, and says its own hash, which tells whether they are those works. Pictures do not travel: they are rebuilt from
their packages.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from tribute.collection.consent import allows, in_force, record_consent
from tribute.collection.starter import SOURCES
from tribute.records import USES, Artist, Consent, InvalidManifest, NotAllowed, Picture, Snapshot, Style, Work, canonical, sha256, utc_now
from tribute.store.blobs import Blobs
from tribute.store.database import Database, documents, get, insert_new, moment
from tribute.store.schema import artists, consents, pictures, snapshots, styles, works

STARTER_SINCE = datetime(2026, 11, 22, tzinfo=UTC)
STYLE_PRICE_MINOR = 50  # CNY 0.50 a kept picture, where the licence leaves it to us to offer one


def put_artists(connection: Connection, found: Iterable[Artist]) -> None:
    """Raises InvalidManifest where an id stands for somebody of another name."""
    found = list(found)
    names = {artist.id: artist.name for artist in documents(connection, artists, Artist)}
    for artist in found:
        if names.get(artist.id, artist.name) != artist.name:
            raise InvalidManifest(f"the id {artist.id!r} stands for {names[artist.id]!r}; {artist.name!r} needs another name")
    insert_new(connection, artists, [{"id": artist.id, "document": canonical(artist.document()).decode()} for artist in found])


def put_works(connection: Connection, found: Iterable[Work]) -> None:
    _put_documents(connection, ((work, canonical(work.document())) for work in found))


def _put_documents(connection: Connection, found: Iterable[tuple[Work, bytes]]) -> None:
    """Works, each with its canonical document."""
    rows = [
        {"hash": sha256(said), "picture_sha256": work.picture_sha256, "artist_id": work.artist_id, "style": work.style, "document": said.decode()}
        for work, said in found
    ]
    insert_new(connection, works, rows)


def add_works(database: Database, blobs: Blobs, found: Iterable[tuple[Artist, Work, bytes]]) -> list[Work]:
    """Stores pictures first, then everything that describes them in one transaction. An import that fails leaves no record."""
    described: list[Work] = []
    by: dict[str, Artist] = {}
    for artist, work, picture in found:
        blobs.put(picture)
        described.append(work)
        by[artist.id] = artist
    with database.writing() as connection:
        put_artists(connection, by.values())
        put_works(connection, described)
    return described


def put_style(connection: Connection, style: Style) -> None:
    """Adds a style, or replaces it by a newer training; one that was withdrawn stays withdrawn. Raises NotAllowed then."""
    withdrawn = connection.execute(select(styles.c.withdrawn).where(styles.c.name == style.name)).scalar_one_or_none()
    consent = allows(in_force(connection, style.artist_id), "style")
    if withdrawn and (consent is None or moment(consent.since) <= withdrawn):
        raise NotAllowed(f"the style {style.name!r} was withdrawn on {withdrawn[:10]}; it cannot be put back without its artist's new consent")
    row = {"name": style.name, "artist_id": style.artist_id, "withdrawn": None, "document": canonical(style.document()).decode()}
    insert_new(connection, styles, [row])
    connection.execute(update(styles).where(styles.c.name == style.name).values(**row))


def starter_terms() -> tuple[list[Artist], list[Consent]]:
    """The starter's artists, and the consent that each one's licence is: the commons for the base, attributed works for styles."""
    by = {source.artist.id: source.artist for source in SOURCES.values()}
    given: list[Consent] = []
    for artist_id in sorted(by):
        mine = [source for source in SOURCES.values() if source.artist.id == artist_id]
        for use, fit in (("train_base", [s for s in mine if s.commons]), ("style", [s for s in mine if not s.commons])):
            if fit:
                basis = "; ".join(f"{source.title_en}: {source.licence.spdx}" for source in fit)
                price = STYLE_PRICE_MINOR if use == "style" else 0
                given.append(Consent(artist_id=artist_id, use=use, allowed=True, price_minor=price, since=STARTER_SINCE, basis=basis))  # type: ignore[arg-type]
    return list(by.values()), given


def export_collection(connection: Connection, folder: Path) -> None:
    """Writes collection.json and works.jsonl.gz for everything in the store; the same store gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [canonical(work.document()) for work in documents(connection, works, Work)]
    line_of = {sha256(line): at for at, line in enumerate(lines)}
    everything: dict[str, Any] = {
        "artists": [artist.document() for artist in documents(connection, artists, Artist)],
        "consents": [consent.document() for consent in documents(connection, consents, Consent)],
        "snapshots": [
            {"hash": snapshot.hash, **snapshot.document(), "works": [line_of[digest] for digest in snapshot.works]}
            for snapshot in documents(connection, snapshots, Snapshot)
        ],
        "styles": [style.document() for style in documents(connection, styles, Style)],
    }
    (folder / "collection.json").write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "works.jsonl.gz").write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines), 9, mtime=0))


def snapshots_in(everything: dict[str, Any], hashes: Sequence[str]) -> list[Snapshot]:
    """The snapshots of a `collection.json`; `hashes` are those of the works in its lines. Raises InvalidManifest where these are not the works it cites."""
    found = []
    for document in everything["snapshots"]:
        cited = [hashes[line] if 0 <= line < len(hashes) else "" for line in document["works"]]
        snapshot = Snapshot.model_validate({**{name: value for name, value in document.items() if name != "hash"}, "works": cited})
        if snapshot.hash != document["hash"]:
            raise InvalidManifest(f"the works are not those that snapshot {document['hash'][:12]} cites; take collection.json and works.jsonl.gz of one export")
        found.append(snapshot)
    return found


def install_collection(database: Database, blobs: Blobs, folder: Path) -> None:
    """Takes over a collection and the adapters beside it (styles/NAME.safetensors); a newer one replaces an older one's adapters.

    What an artist said here stands: consents are taken over only of artists who have said nothing yet, and a style that was
    withdrawn, or whose artist has withdrawn, does not come back. Raises InvalidManifest where the files cannot be read.
    """
    try:
        everything = json.loads((folder / "collection.json").read_text(encoding="utf-8"))
        shipped = [Style.model_validate(document) for document in everything["styles"]]
        with database.reading() as connection:
            rows = connection.execute(select(styles.c.name, styles.c.withdrawn, styles.c.document)).all()
            begun = connection.execute(select(snapshots.c.hash).limit(1)).first() is not None
            spoken = set(connection.execute(select(consents.c.artist_id).distinct()).scalars())
            gone = {artist for artist in spoken if not (allows(in_force(connection, artist), "style"))}
            unused = {}
            for row in rows:
                old = Style.model_validate_json(row.document)
                unused[row.name] = old.adapter_sha256 if _unused(connection, old) else None
        here = {row.name: (row.withdrawn, Style.model_validate_json(row.document)) for row in rows}
        wanted = [style for style in shipped if style.artist_id not in gone and here.get(style.name, (None, None))[0] is None]
        newer = [style for style in wanted if here.get(style.name, (None, None))[1] != style]
        if begun and not newer:
            return
        lines = gzip.decompress((folder / "works.jsonl.gz").read_bytes()).splitlines()
        described = [Work.model_validate_json(line) for line in lines]
        found, said = _as_cited(everything, described, lines)
        adapters = [(folder / "styles" / f"{style.name}.safetensors").read_bytes() for style in newer]
    except InvalidManifest:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidManifest(f"the collection in {folder} cannot be read: {error}") from error
    for adapter in adapters:
        blobs.put(adapter)
    with database.writing() as connection:
        put_artists(connection, (Artist.model_validate(document) for document in everything["artists"]))
        for consent in map(Consent.model_validate, everything["consents"]):
            if consent.artist_id not in spoken:
                record_consent(connection, consent)
        _put_documents(connection, zip(described, said, strict=True))
        insert_new(connection, snapshots, [{"hash": row.hash, "document": canonical(row.document()).decode()} for row in found])
        for style in newer:
            put_style(connection, style)
    for style in newer:
        replaced = unused.get(style.name)
        if replaced not in (None, style.adapter_sha256):
            blobs.delete(replaced)  # no picture was made with it, so no replay needs it


def _as_cited(everything: dict[str, Any], described: Sequence[Work], lines: Sequence[bytes]) -> tuple[list[Snapshot], list[bytes]]:
    """(the snapshots, each work's canonical document). A line that a snapshot cites by its hash is canonical: to write it out again takes half a second."""
    try:
        found = snapshots_in(everything, [sha256(line) for line in lines])
    except InvalidManifest:
        said = [canonical(work.document()) for work in described]
        return snapshots_in(everything, [sha256(document) for document in said]), said
    cited = {line for document in everything["snapshots"] for line in document["works"]}
    return found, [line if at in cited else canonical(work.document()) for at, (work, line) in enumerate(zip(described, lines, strict=True))]


def _unused(connection: Connection, style: Style) -> bool:
    """True where no picture was made with the style's present adapter."""
    found = connection.execute(select(pictures.c.id).where(pictures.c.document.contains(style.adapter_sha256)).limit(1)).first()
    return found is None


def adapters_of(connection: Connection, style: Style) -> list[str]:
    """Hashes of every adapter that the style has or that a picture was made with."""
    used = {style.adapter_sha256}
    for picture in documents(connection, pictures, Picture, pictures.c.document.contains(f'"name":"{style.name}"', autoescape=True)):
        used |= {use.adapter_sha256 for use in picture.recipe.styles if use.name == style.name}
    return sorted(used - {""})


def withdraw_artist(database: Database, blobs: Blobs, artist_id: str, reason: str) -> dict[str, Any]:
    """Ends an artist's consent to every use from now on and deletes their adapters; what they are owed stays.

    Returns the facts of a proof: the withdrawals' hashes, the deleted adapters', and their snapshots', before anything was
    redone without them. Saying it twice is harmless. Raises Unknown.
    """
    now = utc_now()
    with database.writing() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        gone = list(documents(connection, styles, Style, styles.c.artist_id == artist_id))
        said = [Consent(artist_id=artist_id, use=use, allowed=False, since=now, basis=reason) for use in USES]
        for consent in said:
            record_consent(connection, consent)
        unwithdrawn = (styles.c.artist_id == artist_id) & styles.c.withdrawn.is_(None)
        connection.execute(update(styles).where(unwithdrawn).values(withdrawn=moment(now)))
        adapters = {style.name: adapters_of(connection, style) for style in gone}
    for digests in adapters.values():
        for digest in digests:
            blobs.delete(digest)
    return {
        "artist": artist_id,
        "withdrawn": moment(now),
        "consents": [consent.hash for consent in said],
        "styles": [{"name": style.name, "adapters_sha256": adapters[style.name], "snapshot": style.snapshot} for style in gone],
    }


def finish_leaving(database: Database, blobs: Blobs, exists: Callable[[str], bool]) -> None:
    """Deletes the adapters of withdrawn styles that are still there, because whoever withdrew them was killed in between."""
    with database.reading() as connection:
        gone = list(documents(connection, styles, Style, styles.c.withdrawn.is_not(None)))
        left = [digest for style in gone if exists(style.adapter_sha256) for digest in adapters_of(connection, style)]
    for digest in left:
        blobs.delete(digest)


def licence_counts(found: Iterable[Work]) -> dict[tuple[str, str, str], int]:
    """(style, artist, SPDX) → works, for the model card."""
    counts: dict[tuple[str, str, str], int] = {}
    for work in found:
        key = (work.style, work.artist_id, work.licence.spdx)
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))
