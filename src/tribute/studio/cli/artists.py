"""artist: list, withdraw. style: list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tribute.studio.cli.show import Json, print_json, table
from tribute.studio.words import say

app = typer.Typer(help="Artists and their consent.", no_args_is_help=True)
styles_app = typer.Typer(help="Styles that consent allows.", no_args_is_help=True)


@app.command("list")
def list_artists(as_json: Json = False) -> None:
    """Every artist with what they consent to now."""
    from tribute.collection.consent import in_force
    from tribute.records import USES, Artist
    from tribute.store.database import documents
    from tribute.store.schema import artists
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    with workshop.database.reading() as connection:
        found = [(artist, in_force(connection, artist.id)) for artist in documents(connection, artists, Artist)]
    if as_json:
        print_json([{**artist.document(), "consents": {use: consent.document() for use, consent in said.items()}} for artist, said in found])
        return
    rows = [(artist.id, artist.name, *(say("yes") if use in said and said[use].allowed else say("no") for use in USES)) for artist, said in found]
    table(("id", "artist", *USES), rows)


@app.command()
def withdraw(
    artist: Annotated[str, typer.Argument(help="The artist's id.")],
    reason: Annotated[str, typer.Option(help="Kept with the withdrawal.")] = "withdrawn by the artist",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the proof.")] = Path(),
    as_json: Json = False,
) -> None:
    """End an artist's consent: deletes their adapters, drops their works from the next snapshot, keeps what they are owed. Prints a proof."""
    from tribute.collection.library import withdraw_artist
    from tribute.collection.snapshot import take_snapshot
    from tribute.records import InvalidInput, canonical
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder")
    workshop = open_workshop()
    facts = withdraw_artist(workshop.database, workshop.blobs, artist, reason[:300])
    after: dict[str, str | None] = {}
    with workshop.database.writing() as connection:
        for style in facts["styles"]:
            try:
                after[style["name"]] = take_snapshot(connection, "style", style["name"]).hash
            except InvalidInput:
                after[style["name"]] = None
        try:
            after["base"] = take_snapshot(connection, "train_base").hash
        except InvalidInput:
            after["base"] = None
    facts["snapshots_after"] = after
    facts["adapter_files_left"] = [digest for style in facts["styles"] for digest in style["adapters_sha256"] if workshop.blobs.path(digest).exists()]
    studio = workshop.studio()
    proof = {"body": facts, "signature": studio.sign(canonical(facts)), "chain": studio.chain.decode()}
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"withdrawal-{artist}.json"
    write_file(path, (json.dumps(proof, ensure_ascii=False, indent=1) + "\n").encode())
    if as_json:
        print_json({**proof, "path": str(path)})
        return
    rows = [
        (style["name"], style["snapshot"][:12], (after[style["name"]] or "–")[:12], ", ".join(digest[:12] for digest in style["adapters_sha256"]))
        for style in facts["styles"]
    ]
    table(("style", "snapshot before", "after", "adapter deleted"), rows, f"{say('withdrawn')} {facts['withdrawn']}")
    typer.echo(f"{say('proof')}: {path}")


@styles_app.command("list")
def list_styles(as_json: Json = False) -> None:
    """Every style with its artist, licence and price."""
    from tribute.collection.consent import in_force
    from tribute.records import Artist, Style
    from tribute.records.money import format_minor
    from tribute.store.database import documents, get
    from tribute.store.schema import artists, styles
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    with workshop.database.reading() as connection:
        found = [
            (style, get(connection, artists, Artist, style.artist_id, "artist"), in_force(connection, style.artist_id).get("style"))
            for style in documents(connection, styles, Style)
        ]
    if as_json:
        print_json([{**style.document(), "artist": artist.name, "consent": said.document() if said else None} for style, artist, said in found])
        return
    rows = [
        (style.name, artist.name, style.licence.spdx, format_minor(said.price_minor, said.currency) if said and said.allowed else say("withdrawn"))
        for style, artist, said in found
    ]
    table(("style", "artist", "licence", "price"), rows)
