"""Importing a person's own folder of pictures, described by a CSV or JSONL file.

Columns: `file` (a path within the folder), `title`, `caption_en` and/or `caption_zh`, `artist`, `licence` (SPDX), and optionally
`artist_url`, `licence_url`, `credit_line`. The whole folder is checked before anything is stored.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tribute.collection.consent import signals_in
from tribute.collection.picture import open_picture, png_bytes, read_limited
from tribute.records import Artist, InvalidManifest, InvalidPicture, Licence, Work, sha256

NEEDED = ("file", "title", "artist", "licence")
MANIFEST_MAX_BYTES = 100_000_000
# SPDX identifiers that are taken as they are; anything else must be a LicenseRef-.
KNOWN_LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
}


def slug(text: str) -> str:
    """A name as an id: ASCII letters, digits and hyphens, and a short hash where that loses something."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if re.fullmatch(r"[A-Za-z0-9 .-]{1,48}", text) and plain:
        return plain
    return f"{plain[:40] or 'artist'}-{sha256(unicodedata.normalize('NFC', text).encode())[:10]}"  # the hash keeps different names apart


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        if manifest.stat().st_size > MANIFEST_MAX_BYTES:
            raise InvalidManifest(f"{manifest.name}: larger than {MANIFEST_MAX_BYTES:,} bytes; split it")
        text = manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{manifest.name}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InvalidManifest(f"{manifest}: {error.strerror}; give a CSV or JSONL file") from error
    if manifest.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InvalidManifest(f"{manifest.name} line {number}: not JSON") from error
                if not isinstance(row, dict):
                    raise InvalidManifest(f"{manifest.name} line {number}: not an object")
                yield number, row
        return
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in NEEDED if column not in (reader.fieldnames or [])]
    if missing:
        raise InvalidManifest(f"{manifest.name}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it needs {', '.join(NEEDED)}")
    try:
        yield from ((number, dict(row)) for number, row in enumerate(reader, 2))
    except csv.Error as error:
        raise InvalidManifest(f"{manifest.name} line {reader.line_num}: {error}") from error


def _licence(row: dict[str, Any], where: str) -> Licence:
    spdx = str(row["licence"]).strip()
    if spdx not in KNOWN_LICENCES and not re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]{1,60}", spdx):
        raise InvalidManifest(f"{where}: unknown licence {spdx[:60]!r}; give one of {', '.join(KNOWN_LICENCES)} or LicenseRef-NAME with licence_url")
    url = str(row.get("licence_url") or KNOWN_LICENCES.get(spdx, ""))
    credit = str(row.get("credit_line") or f"“{row['title']}” by {row['artist']}, {spdx}")
    return Licence(spdx=spdx, url=url[:500], credit_line=credit[:500])


def folder_works(manifest: Path, style: str) -> Iterator[tuple[Artist, Work, bytes]]:
    """Each described picture as (artist, work, PNG). Raises InvalidManifest or InvalidPicture, naming line and file."""
    folder = manifest.parent.resolve()
    seen = False
    for number, row in _rows(manifest):
        where = f"{manifest.name} line {number}"
        empty = [column for column in NEEDED if not str(row.get(column) or "").strip()]
        if empty:
            raise InvalidManifest(f"{where}: {', '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty")
        if any(character < " " or "\ud800" <= character <= "\udfff" for value in row.values() for character in str(value)):
            raise InvalidManifest(f"{where}: holds control characters; write it in plain text")
        try:
            path = (folder / str(row["file"])).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidManifest(f"{where}: {str(row['file'])[:80]!r} is no path") from error
        if not path.is_relative_to(folder):
            raise InvalidManifest(f"{where}: {str(row['file'])[:80]!r} leads out of the folder; give a path within it")
        try:
            data = read_limited(path)
            picture = open_picture(data, str(row["file"]))
        except InvalidPicture as error:
            raise InvalidPicture(f"{where}: {error}") from error
        english, chinese = str(row.get("caption_en") or "").strip(), str(row.get("caption_zh") or "").strip()
        if not english and not chinese:
            raise InvalidManifest(f"{where}: has neither caption_en nor caption_zh")
        artist = Artist(id=slug(str(row["artist"])), name=str(row["artist"]).strip()[:200], url=str(row.get("artist_url") or "")[:500])
        png = png_bytes(picture)
        seen = True
        yield (
            artist,
            Work(
                picture_sha256=sha256(png),
                title=str(row["title"]).strip()[:300],
                captions_en=(english or chinese,),
                captions_zh=(chinese or english,),
                artist_id=artist.id,
                licence=_licence(row, where),
                source=f"folder/{row['file']}"[:200],
                source_version="1",
                concept=slug(english or chinese)[:64],
                style=style,
                width=picture.width,
                height=picture.height,
                signals=signals_in(data),
            ),
            png,
        )
    if not seen:
        raise InvalidManifest(f"{manifest.name}: describes no picture")
