"""Am I in it? The works most like a picture, with their artists; and published pictures like one."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sqlalchemy import select

from tribute.collection.consent import allows, in_force
from tribute.collection.picture import open_picture
from tribute.collection.starter import SOURCES
from tribute.provenance.copies import CopyIndex, looks
from tribute.provenance.fingerprints import ALIKE, FINGERPRINTS, Fingerprints, fingerprints_of
from tribute.provenance.fingerprints import SURE as COPY
from tribute.records import Artist, NotAllowed, NotInstalled, Work
from tribute.store.database import get
from tribute.store.schema import artists, works
from tribute.studio.wiring import STARTER

if TYPE_CHECKING:
    from tribute.diffusion.likeness import Likeness
    from tribute.studio.wiring import Workshop

FILE = "likeness.safetensors"
SURE = 0.95  # works whose vectors are above it are taken for the picture itself, or a near copy of it; how often strangers are: docs/studio.md
SIDE = 128
CANDIDATES = 12  # works that an upload may be taken for
_alone = threading.Lock()


@lru_cache(maxsize=1)
def shipped() -> tuple[Likeness, Fingerprints, list[str]]:
    """The starter's works as vectors and as fingerprints, and the works' hashes in the order of both. Raises NotInstalled."""
    import gzip
    import json

    from tribute.diffusion.likeness import Likeness

    fingerprints = fingerprints_of(STARTER)
    if not (STARTER / FILE).is_file() or fingerprints is None:
        raise NotInstalled("the starter's works were not made searchable; say tribute train likeness")
    with gzip.open(STARTER / "works.jsonl.gz", "rt", encoding="utf-8") as lines:
        hashes = sorted(Work.model_validate(json.loads(line)).hash for line in lines)
    return Likeness.load(STARTER / FILE), fingerprints, hashes


def pixels_of(data: bytes, name: str = "the picture") -> np.ndarray:
    """uint8 pixels of an uploaded picture, on white, at the side that works were compared at. Raises InvalidPicture."""
    return np.asarray(open_picture(data, name).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def closest_works(workshop: Workshop, data: bytes, count: int, styles: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The works most like a picture, those first that it is taken for (`sure`), each with its similarity in [-1, 1]; of the base and `styles` alone, or of all.

    It is taken for a work that its small vector is all but the same as, or whose fingerprint says that it is a near copy of it; where that is not quite
    sure and the work's picture is in the store, that decides. Where styles are given it was drawn here, so nobody cut or mirrored it.
    Raises InvalidPicture, NotInstalled.
    """
    likeness, fingerprints, hashes = shipped()
    pixels_HWC = pixels_of(data)
    with _alone:
        similarity_N = likeness.similarities(pixels_HWC[None])[0].numpy()
    copied_N = fingerprints.copied(pixels_HWC) if styles is None else fingerprints.similarities(pixels_HWC)
    sure_N = (similarity_N >= SURE) | (copied_N >= (COPY if styles is None else ALIKE))
    maybe = [at for at in np.argsort(-copied_N)[:CANDIDATES] if copied_N[at] >= ALIKE and not sure_N[at]]
    held = _works(workshop, [hashes[at] for at in maybe])
    for at in maybe:
        work = held.get(hashes[at])
        sure_N[at] = work is not None and _shown(workshop, work) and _is_copy(pixels_HWC, workshop.blobs.get(work.picture_sha256))
    order = np.lexsort((-similarity_N, ~sure_N))[: 400 if styles is not None else 3 * count]
    held = _works(workshop, [hashes[at] for at in order])
    found: list[dict[str, Any]] = []
    for at in order:
        work = held.get(hashes[at])
        if work is None or (styles is not None and work.style not in styles and not (work.style in SOURCES and SOURCES[work.style].commons)):
            continue
        found.append({"work": work, "similarity": float(similarity_N[at]), "sure": bool(sure_N[at]), "shown": _shown(workshop, work)})
    return found[:count]


def _works(workshop: Workshop, hashes: Sequence[str]) -> dict[str, Work]:
    with workshop.database.reading() as connection:
        rows = connection.execute(select(works.c.hash, works.c.document).where(works.c.hash.in_(hashes))).all()
    return {row.hash: Work.model_validate_json(row.document) for row in rows}


def _shown(workshop: Workshop, work: Work) -> bool:
    return workshop.blobs.path(work.picture_sha256).exists()


def _is_copy(pixels_HWC: np.ndarray, work: bytes) -> bool:
    known = CopyIndex([_small(work)])
    return any(known.nearest(look).is_copy for look in looks(pixels_HWC))


def check_source(workshop: Workshop, data: bytes) -> None:
    """Raises NotAllowed for a picture to draw over that is a work, or a near copy of one, whose artist does not allow that; where works can be looked for."""
    if not (STARTER / FILE).is_file() or not (STARTER / FINGERPRINTS).is_file():
        return
    taken_for: list[Work] = [one["work"] for one in closest_works(workshop, data, CANDIDATES) if one["sure"]]
    with workshop.database.reading() as connection:
        for work in taken_for:
            if allows(in_force(connection, work.artist_id), "image_to_image") is None:
                artist = get(connection, artists, Artist, work.artist_id, "artist")
                raise NotAllowed(f"this picture is {work.title!r} by {artist.name}, or a near copy of it; they do not allow drawing over their works")


class Published:
    """Vectors of published pictures, made when they are first looked for."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self._held: dict[str, np.ndarray] = {}

    def nearest(self, data: bytes, candidates: Sequence[tuple[str, str]], count: int) -> list[str]:
        """Ids of (id, file hash) candidates, most like the picture first."""
        likeness, _, _ = shipped()
        with _alone:
            new = [(one, digest) for one, digest in candidates if one not in self._held]
            for at in range(0, len(new), 32):
                some = new[at : at + 32]
                vectors = likeness.of(np.stack([_small(self.workshop.blobs.get(digest)) for _, digest in some])).numpy()
                self._held |= {one: vector for (one, _), vector in zip(some, vectors, strict=True)}
            asked = likeness.of(pixels_of(data)[None])[0].numpy()
        ranked = sorted(candidates, key=lambda one: -float(self._held[one[0]] @ asked))
        return [one for one, _ in ranked[:count]]


def _small(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
