"""collection: build, import, snapshot, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tribute.studio.cli.show import Json, print_json, table

app = typer.Typer(help="Works, their artists and licences.", no_args_is_help=True)


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Which collection: starter.")],
    packages: Annotated[Path | None, typer.Option(help="Folder for the npm packages; in the data folder by default.")] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the starter collection from its pinned packages (needs node and npm), with its consents and snapshots."""
    from tqdm import tqdm

    from tribute.collection.consent import allows, in_force, record_consent
    from tribute.collection.library import add_works, licence_counts, starter_terms
    from tribute.collection.snapshot import take_snapshot
    from tribute.collection.starter import SOURCES, STYLES, install_packages, starter_works
    from tribute.records import Unknown
    from tribute.studio.wiring import open_workshop

    if name != "starter":
        raise Unknown.of("collection", name, ("starter",))
    workshop = open_workshop(starter=None)
    folder = packages or workshop.home / "packages"
    install_packages(folder)
    drawn = tqdm(starter_works(folder), desc="works", unit="", mininterval=2.0)
    works = add_works(workshop.database, workshop.blobs, ((SOURCES[work.style].artist, work, picture) for work, picture in drawn))
    with workshop.database.writing() as connection:
        for consent in starter_terms()[1]:
            if not in_force(connection, consent.artist_id).get(consent.use):  # what an artist said here stands
                record_consent(connection, consent)
        base = take_snapshot(connection, "train_base")
        styles = {
            style: take_snapshot(connection, "style", style) for style in STYLES if allows(in_force(connection, SOURCES[style].artist.id), "style") is not None
        }
    counts = licence_counts(works)
    if as_json:
        rows = [{"style": style, "artist": artist, "licence": spdx, "works": count} for (style, artist, spdx), count in counts.items()]
        print_json({"works": rows, "base": base.hash, "styles": {style: snapshot.hash for style, snapshot in styles.items()}})
        return
    table(("style", "artist", "licence", "works"), [(*key, count) for key, count in counts.items()])
    typer.echo(f"base snapshot {base.hash} of {len(base.works)} works")


@app.command("import")
def import_folder(
    manifest: Annotated[Path, typer.Argument(help="CSV or JSONL with file, title, caption_en/caption_zh, artist, licence.")],
    style: Annotated[str, typer.Option(help="A name for this set of works.")],
    allow: Annotated[list[str] | None, typer.Option(help="A use that the artists consent to: train_base, style or image_to_image. None is assumed.")] = None,
    price: Annotated[str, typer.Option(help="What a kept picture costs at the least, in the studio's currency.")] = "0.50",
    as_json: Json = False,
) -> None:
    """Import a folder of pictures with captions, artists and licences. All of it, or nothing."""
    import re

    from tribute.collection.consent import in_force, record_consent
    from tribute.collection.folder import folder_works
    from tribute.collection.library import add_works
    from tribute.records import USES, Consent, InvalidInput, NotAllowed, Unknown, utc_now
    from tribute.records.money import parse_minor
    from tribute.studio.wiring import open_workshop

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", style):
        raise InvalidInput(f"{style[:80]!r} cannot be a style's name; use lower-case letters, digits and hyphens")
    for use in allow or []:
        if use not in USES:
            raise Unknown.of("use", use, USES)
    workshop = open_workshop()
    amount = parse_minor(price, workshop.settings.currency)
    works = add_works(workshop.database, workshop.blobs, list(folder_works(manifest, style)))
    by = sorted({work.artist_id for work in works})
    with workshop.database.writing() as connection:
        for use in allow or []:
            for artist in by:
                said = in_force(connection, artist).get(use)  # type: ignore[call-overload]
                if said is not None and not said.allowed:
                    raise NotAllowed(f"{artist} withdrew consent to {use} on {said.since:%Y-%m-%d}; an import cannot give it back")
                basis = f"stated at the import of {manifest.name}"
                currency = workshop.settings.currency
                consent = Consent(artist_id=artist, use=use, allowed=True, price_minor=amount, currency=currency, since=utc_now(), basis=basis)  # type: ignore[arg-type]
                record_consent(connection, consent)
    if as_json:
        print_json({"works": [work.hash for work in works], "artists": by, "consented": allow or []})
    else:
        typer.echo(f"{len(works)} works by {len(by)} artists as {style}; consent: {', '.join(allow or []) or 'none'}")


@app.command()
def snapshot(
    use: Annotated[str, typer.Argument(help="train_base or style.")],
    style: Annotated[str | None, typer.Option(help="Which style's works.")] = None,
    as_json: Json = False,
) -> None:
    """Take the manifest of exactly what a use is allowed now, named by its hash."""
    from tribute.collection.snapshot import take_snapshot
    from tribute.records import USES, Unknown
    from tribute.studio.wiring import open_workshop

    if use not in USES:
        raise Unknown.of("use", use, USES)
    workshop = open_workshop()
    with workshop.database.writing() as connection:
        taken = take_snapshot(connection, use, style)  # type: ignore[arg-type]
    if as_json:
        print_json({"hash": taken.hash, **taken.document()})
    else:
        typer.echo(f"{taken.hash}  {len(taken.works)} works by {', '.join(taken.artists)}")


@app.command()
def export(folder: Annotated[Path, typer.Argument(help="Where collection.json and works.jsonl.gz go.")]) -> None:
    """Write the collection's records (not its pictures) as two files that another studio can take over."""
    from tribute.collection.library import export_collection
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    with workshop.database.reading() as connection:
        export_collection(connection, folder)
    typer.echo(str(folder))
