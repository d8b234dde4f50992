"""What each word of a picture's prompt was looked at for, drawn once more and kept as blobs beside the data folder."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tribute.records import Busy, InvalidInput, Picture
from tribute.store.blobs import write_file
from tribute.studio.floor import Floor

SIDE = 256
_one = threading.Lock()  # at a time: it draws


def heat_of(floor: Floor, picture: Picture) -> tuple[list[dict[str, Any]], list[bytes]]:
    """(words with their share, area and strength; a WebP map each). Raises InvalidInput where another model drew it."""
    folder = floor.workshop.home / "heat"
    told = folder / f"{picture.id}.json"
    if not told.is_file():
        if not _one.acquire(timeout=5):
            raise Busy("the words of another picture are looked at just now; say it again in a few seconds")
        try:
            if not told.is_file():
                _draw(floor, picture, folder)
        finally:
            _one.release()
    words = json.loads(told.read_text(encoding="utf-8"))
    return words, [(folder / f"{picture.id}-{at}.webp").read_bytes() for at in range(len(words))]


def _draw(floor: Floor, picture: Picture, folder: Path) -> None:
    from tribute.create.sample import as_drawn, sample
    from tribute.credit.attention import heat_maps, keyword_shares

    model = floor.easel.model()
    if model.sha256 != picture.recipe.model_sha256:
        raise InvalidInput("this picture was drawn by another model than the studio's present one; its words cannot be shown")
    recipe, read = as_drawn(picture.recipe), floor.workshop.blobs.get
    found = keyword_shares(model, recipe, lambda one: sample(model, [one], read)[0])
    shown = Image.open(io.BytesIO(read(picture.file_sha256))).convert("RGB")
    shown.thumbnail((2 * SIDE, 2 * SIDE))
    folder.mkdir(parents=True, exist_ok=True)
    for at, one in enumerate(heat_maps(np.asarray(shown), found)):
        written = io.BytesIO()
        one.save(written, "WEBP", quality=85)
        write_file(folder / f"{picture.id}-{at}.webp", written.getvalue())
    words = [{"text": word.text, "share": round(word.share, 4), "area": round(word.area, 4), "strength": round(word.strength, 6)} for word in found]
    write_file(folder / f"{picture.id}.json", json.dumps(words, ensure_ascii=False).encode())
