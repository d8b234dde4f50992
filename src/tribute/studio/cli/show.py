"""How commands print: JSON for programs, a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tribute.records import PPM
from tribute.studio.words import say

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        typer.echo(title)
    drawn = Table(header_style="bold")
    for at, column in enumerate(columns):
        drawn.add_column(say(column), justify="left" if at == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    Console(soft_wrap=False).print(drawn)


def percent(share_ppm: int) -> str:
    return f"{share_ppm * 100 / PPM:.2f}%"
