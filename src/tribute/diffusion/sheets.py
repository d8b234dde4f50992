"""Contact sheets: rows of equal pictures with optional words at the side and top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 4


def save_sheet(
    path: Path,
    rows: Sequence[Sequence[np.ndarray | Image.Image]],
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    font: str | None = None,
) -> None:
    """A PNG of `rows` of equal pictures (uint8 HWC arrays or Pillow pictures). Chinese names need a `font` file that has them."""
    pictures = [[cell if isinstance(cell, Image.Image) else Image.fromarray(cell) for cell in row] for row in rows]
    width, height = pictures[0][0].size
    letters = ImageFont.truetype(font, 15) if font else ImageFont.load_default(15)
    left = 8 + max((int(letters.getlength(name)) for name in row_names), default=0) if row_names else 0
    titles = [_lines(name, letters, width - 4) for name in column_names]
    top = 6 + 20 * max(map(len, titles)) if titles else 0
    columns = max(len(row) for row in pictures)
    sheet = Image.new("RGB", (left + columns * (width + MARGIN), top + len(pictures) * (height + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    for at, title in enumerate(titles):
        for down, line in enumerate(title):
            draw.text((left + at * (width + MARGIN) + 4, 4 + 20 * down), line, fill="black", font=letters)
    for at, row in enumerate(pictures):
        y = top + at * (height + MARGIN)
        if row_names:
            draw.text((4, y + height // 2 - 8), row_names[at], fill="black", font=letters)
        for column, cell in enumerate(row):
            sheet.paste(cell.convert("RGB"), (left + column * (width + MARGIN), y))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _lines(name: str, letters: Any, width: int) -> list[str]:
    """The name in lines of at most about so many pixels."""
    length = letters.getlength(name)
    return [name] if length <= width else wrap(name, max(1, int(0.9 * width * len(name) / length)))
