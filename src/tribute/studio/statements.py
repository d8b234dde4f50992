"""An artist's week as files: a page in each language, CSV and JSON. Amounts in CSV are decimals of the currency, not rounded."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tribute.records import Artist, Statement
from tribute.records.money import format_micro, format_minor
from tribute.store.blobs import write_file
from tribute.store.database import get
from tribute.store.schema import artists
from tribute.studio.words import say

if TYPE_CHECKING:
    from tribute.studio.wiring import Workshop

COLUMNS = ("picture", "downloads", "price", "share", "earned", "platform part", "due")
LANGUAGES = ("en", "zh")


def _plain(text: str) -> str:
    return text.rpartition(" ")[0]


def rows_of(statement: Statement) -> list[tuple[str, ...]]:
    """One row a picture, in the order of COLUMNS; amounts as decimals without their currency."""
    currency = statement.currency
    return [
        (
            line.picture_id, str(line.downloads), _plain(format_minor(line.price_minor, currency)), f"{line.mean_share_ppm / 10_000:.4f}%",
            *(_plain(format_micro(amount, currency)) for amount in (line.gross_micro, line.platform_micro, line.due_micro)),
        )
        for line in statement.lines
    ]  # fmt: skip


def totals_of(statement: Statement) -> list[tuple[str, str]]:
    """(word, amount) of what follows the rows: brought forward, earned this week, due, carried forward."""
    earned = sum(line.due_micro for line in statement.lines)
    return [
        ("brought forward", format_micro(statement.brought_forward_micro, statement.currency)),
        ("earned this week", format_micro(earned, statement.currency)),
        ("due", format_minor(statement.due_minor, statement.currency)),
        ("carried forward", format_micro(statement.carried_forward_micro, statement.currency)),
    ]


def as_csv(statement: Statement) -> str:
    """UTF-8 text with a header row of English names."""
    written = io.StringIO()
    sheet = csv.writer(written, lineterminator="\n")
    sheet.writerow([*COLUMNS, "currency"])
    sheet.writerows([*row, statement.currency] for row in rows_of(statement))
    return written.getvalue()


def as_html(statement: Statement, artist: Artist, studio: str, lang: str) -> str:
    """A page that needs nothing else and prints well."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["say"] = lambda text: say(text, lang)
    template = environment.from_string((files("tribute.studio") / "templates" / "statement.html").read_text(encoding="utf-8"))
    return template.render(statement=statement, artist=artist, studio=studio, lang=lang, columns=COLUMNS, rows=rows_of(statement), totals=totals_of(statement))


def write_statements(workshop: Workshop, found: list[Statement], folder: Path) -> list[Path]:
    """WEEK-ARTIST-CURRENCY.{en,zh}.html, .csv and .json for each statement, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for one in found:
        with workshop.database.reading() as connection:
            artist = get(connection, artists, Artist, one.artist_id, "artist")
        contents: dict[str, Any] = {f".{lang}.html": as_html(one, artist, workshop.settings.producer, lang) for lang in LANGUAGES}
        contents |= {".csv": as_csv(one), ".json": json.dumps(one.document(), ensure_ascii=False, indent=1) + "\n"}
        for ending, text in contents.items():
            path = folder / f"{one.week}-{one.artist_id}-{one.currency}{ending}"
            write_file(path, text.encode())
            written.append(path)
    return written
