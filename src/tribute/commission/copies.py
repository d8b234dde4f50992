"""Near copies of works that the model knows by heart: which pictures are, which prompts name such a work, and what is drawn in their place.

A prompt names a work by saying its label alone, and who drew it by wearing their style or, after a comma, in the words that captions have for how their
works are drawn.

Axes: H height, W width, C channel.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tribute.collection.starter import SOURCES
from tribute.commission.asking import TRIES
from tribute.create.choose import best_of, can_choose, own_or_best_of
from tribute.create.sample import Progress, Watch
from tribute.diffusion.loading import Model
from tribute.diffusion.wording import held_out
from tribute.provenance.fingerprints import ALIKE, fingerprints_of
from tribute.records import Recipe, Unreadable, Work

WORKS = "works.jsonl.gz"
BYTES_MAX = 200_000_000  # of the works that are read, unpacked
APART = re.compile(r"[,;\uff0c\uff1b\u3001]")  # what stands between a thing and how it is drawn
ARTICLE = re.compile(r"(?:an?|the|one)\s+|一个")


def near_copy(model: Model) -> Callable[[np.ndarray], bool]:
    """What says whether a picture_HWC may be a near copy of a work that the model's folder has the fingerprint of."""
    known = fingerprints_of(model.folder)
    return known.is_copy if known else lambda _: False


def too_alike(model: Model) -> Callable[[np.ndarray], float]:
    """What says by how much a picture_HWC is too like some work that the model's folder has the fingerprint of; below 0 it is a near copy of none."""
    known = fingerprints_of(model.folder)
    return lambda picture_HWC: float(known.similarities(picture_HWC).max()) - ALIKE if known else -1.0


def away_from_copies(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws recipes as people get them who give no seed, each the best of its `tries`, or by their own seed: (those kept, their pictures_HWC before they are
    enlarged). `progress` and `watch` are `sample`'s.

    Whoever wears an artist's style, who is paid for it, and names what they drew may get a near copy of that; where a seed is given, so may whoever names
    a work in words.
    """
    choosing = tries > 1 and can_choose(model)
    draw, drawn = (best_of, tries) if choosing else (own_or_best_of, TRIES)
    return draw(model, recipes, drawn, read, progress, watch, too_alike(model), lambda recipe: names_a_work(model.folder, recipe, in_words=not choosing))


def names_a_work(folder: Path, recipe: Recipe, in_words: bool = True) -> bool:
    """Whether a recipe names a work that the model in a folder was trained on: what it shows, and by whom as a style that is worn, or `in_words` too.
    Raises Unreadable."""
    thing, *rest = (part.strip() for part in APART.split(recipe.drawn_prompt.casefold()))
    hands = {use.name for use in recipe.styles if use.weight > 0}
    if in_words:
        hands |= {style for style, source in SOURCES.items() if {source.hand_en.casefold(), source.hand_zh} & set(rest)}
    article = ARTICLE.match(thing)
    called = {thing, thing[article.end() :]} if article else {thing}
    return bool(hands) and not _trained(folder).isdisjoint((label, hand) for label in called for hand in hands)


@lru_cache(maxsize=2)
def _trained(folder: Path) -> frozenset[tuple[str, str]]:
    """(label, style) of the works in a model's folder, without those that are held out; empty where it does not tell its works."""
    path = folder / WORKS
    if not path.is_file():
        return frozenset()
    try:
        with gzip.open(path) as packed:
            data = packed.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError(f"it unpacks to more than {BYTES_MAX:,} bytes")
        works = [Work.model_construct(**json.loads(line)) for line in data.splitlines()]
        trained = [work for work in works if not held_out(work)]
        return frozenset((APART.split(said[0].casefold())[0].strip(), work.style) for work in trained for said in (work.captions_en, work.captions_zh))
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{path} cannot be read: {str(error)[:200]}; take the file away to draw without it") from error
