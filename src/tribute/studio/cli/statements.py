"""settle, statement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tribute.studio.cli.show import Json, percent, print_json, table
from tribute.studio.words import say

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the statements as HTML in both languages, CSV and JSON.")]


def _show(workshop: Any, found: list[Any], output: Path | None, as_json: bool) -> None:
    from tribute.records import Artist
    from tribute.records.money import format_micro, format_minor
    from tribute.store.database import get
    from tribute.store.schema import artists
    from tribute.studio.statements import write_statements

    written = write_statements(workshop, found, output) if output is not None else []
    if as_json:
        print_json([statement.document() for statement in found])
        return
    if not found:
        typer.echo(say("nothing is owed"))
    for one in found:
        with workshop.database.reading() as connection:
            name = get(connection, artists, Artist, one.artist_id, "artist").name
        rows = [
            (line.picture_id, line.downloads, format_minor(line.price_minor, one.currency), percent(line.mean_share_ppm),
             *(format_micro(amount, one.currency) for amount in (line.gross_micro, line.platform_micro, line.due_micro)))
            for line in one.lines
        ]  # fmt: skip
        table(("picture", "downloads", "price", "share", "earned", "platform part", "due"), rows, f"{say('statement')} {one.week}   {say('artist')}: {name}")
        typer.echo(
            f"{say('brought forward')} {format_micro(one.brought_forward_micro, one.currency)}   "
            f"{say('due')} {format_minor(one.due_minor, one.currency)}   {say('carried forward')} {format_micro(one.carried_forward_micro, one.currency)}"
        )
    for path in written:
        typer.echo(str(path))


def settle(
    week: Annotated[str | None, typer.Option(help="ISO week, such as 2026-W47; the last whole week by default.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Close a week: what artists earned becomes payable, each gets a statement."""
    from datetime import timedelta

    from tribute.ledger.settlement import settle as close
    from tribute.ledger.settlement import week_of
    from tribute.records import utc_now
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    _show(workshop, close(workshop.database, week or week_of(utc_now() - timedelta(days=7))), output, as_json)


def statement(
    week: Annotated[str, typer.Argument(help="A closed ISO week, such as 2026-W47.")],
    artist: Annotated[str | None, typer.Option(help="Only this artist's.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Read the statements of a closed week again."""
    from tribute.ledger.settlement import read_statements, week_end
    from tribute.studio.wiring import open_workshop

    week_end(week)
    workshop = open_workshop()
    with workshop.database.reading() as connection:
        found = [one for one in read_statements(connection, week) if artist in (None, one.artist_id)]
    _show(workshop, found, output, as_json)
