"""artist: list, terms, payee, withdraw. style: list."""

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


@app.command("terms")
def set_terms(
    artist: Annotated[str, typer.Argument(help="The artist's id.")],
    price: Annotated[str, typer.Option(help="What one kept picture costs at the least, such as 0.80, in the studio's currency.")],
    platform: Annotated[float, typer.Option(help="What the studio keeps of this artist's part, in percent, such as 25.")],
    use: Annotated[str, typer.Option(help="Which use: style or image_to_image.")] = "style",
    since: Annotated[str | None, typer.Option(help="From when on, such as 2026-12-01; now by default. Pictures made before keep their terms.")] = None,
    as_json: Json = False,
) -> None:
    """Agree a price and a part with an artist, for pictures made from then on."""
    from datetime import UTC, datetime

    from tribute.collection.consent import record_terms
    from tribute.records import Artist, InvalidInput, Terms, utc_now
    from tribute.records.money import format_minor, parse_minor
    from tribute.store.database import get
    from tribute.store.schema import artists
    from tribute.studio.wiring import open_workshop

    try:
        when = datetime.fromisoformat(since) if since else utc_now()
    except ValueError as error:
        raise InvalidInput(f"{since!r} is no date; give one such as 2026-12-01") from error
    workshop = open_workshop()
    currency = workshop.settings.currency
    agreed = Terms(
        artist_id=artist, use=use, price_minor=parse_minor(price, currency), currency=currency, platform_bp=round(platform * 100),  # type: ignore[arg-type]
        since=when if when.tzinfo else when.replace(tzinfo=UTC),
    )  # fmt: skip
    with workshop.database.writing() as connection:
        get(connection, artists, Artist, artist, "artist")
        record_terms(connection, agreed)
    if as_json:
        print_json(agreed.document())
    else:
        row = (artist, agreed.use, format_minor(agreed.price_minor, currency), f"{agreed.platform_bp / 100:g}%", f"{agreed.since:%Y-%m-%d %H:%M}")
        table(("artist", "use", "price", "platform part", "since"), [row])


@app.command()
def payee(
    artist: Annotated[str, typer.Argument(help="The artist's id.")],
    name: Annotated[str, typer.Option(help="Whose account it is.")],
    iban: Annotated[str, typer.Option(help="The account.")],
    bic: Annotated[str, typer.Option(help="The bank, where it must be named.")] = "",
    as_json: Json = False,
) -> None:
    """Say where an artist's money goes. Artists with one account are one artist where a picture is credited."""
    from tribute.ledger.payouts import set_payee
    from tribute.records import Artist, Payee, utc_now
    from tribute.store.database import get
    from tribute.store.schema import artists
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    with workshop.database.reading() as connection:
        get(connection, artists, Artist, artist, "artist")
    account = Payee(artist_id=artist, name=name, iban=iban.replace(" ", "").upper(), bic=bic.upper(), since=utc_now())
    set_payee(workshop.database, account)
    if as_json:
        print_json(account.document())
    else:
        table(("artist", "account"), [(artist, f"{account.iban[:4]} … {account.iban[-4:]}")])


@app.command()
def withdraw(
    artist: Annotated[str, typer.Argument(help="The artist's id.")],
    reason: Annotated[str, typer.Option(help="Kept with the withdrawal.")] = "withdrawn by the artist",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the proof.")] = Path(),
    as_json: Json = False,
) -> None:
    """End an artist's consent: deletes their adapters, drops their works from the next snapshot, keeps what they are owed. Prints a proof."""
    from tribute.records import InvalidInput
    from tribute.store.blobs import write_file
    from tribute.studio.leaving import leave
    from tribute.studio.wiring import open_workshop

    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder")
    workshop = open_workshop()
    proof = leave(workshop, artist, reason)
    facts = proof["body"]
    after = facts["snapshots_after"]
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
