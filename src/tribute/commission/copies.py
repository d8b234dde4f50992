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
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tribute.collection.starter import SOURCES
from tribute.commission.asking import TRIES
from tribute.create.choose import best_of, can_choose, own_or_best_of
from tribute.create.prompt import APART, said_after
from tribute.create.sample import Progress, Watch
from tribute.diffusion.loading import Model
from tribute.diffusion.wording import held_out
from tribute.provenance.copies import is_anybodys, is_plain
from tribute.provenance.fingerprints import ALIKE, ALL_ALIKE, fingerprints_of
from tribute.records import Recipe, Unreadable, Work

WORKS = "works.jsonl.gz"
BYTES_MAX = 200_000_000  # of the works that are read, unpacked
ARTICLE = re.compile(r"(?:an?|the|one)\s+|一个")


def near_copy(model: Model) -> Callable[[np.ndarray], bool]:
    """What says whether a picture_HWC may be a near copy of a work that the model's folder has the fingerprint of; it is said of nearly all that are, and
    of some that are not quite."""
    alike = too_alike(model)
    return lambda picture_HWC: alike(picture_HWC) >= 0


def too_alike(model: Model) -> Callable[[np.ndarray], float]:
    """What says by how much a picture_HWC is too like some work that the model's folder has the fingerprint of, at least; below 0 it is a near copy of
    none, as what is surely like works of several artists is, and a plain shape of one colour."""
    folder, known = model.folder, fingerprints_of(model.folder)

    def alike(picture_HWC: np.ndarray) -> float:
        if known is None or is_plain(picture_HWC):
            return -1.0
        similarity_N = known.similarities(picture_HWC, ALIKE)
        by = float(similarity_N.max()) - ALIKE
        anybodys = by >= 0 and is_anybodys(similarity_N, _told(folder).artists, ALL_ALIKE, lambda rows: known.similarities(picture_HWC, rows=rows))
        return -1.0 if anybodys else by

    return alike


def away_from_copies(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws recipes as people get them who give no seed, each the best of its `tries`, or by their own seed: (those kept, their pictures_HWC before they are
    enlarged). `progress` and `watch` are `sample`'s.

    Whoever wears an artist's style, who is paid for it, and names what they drew may get a near copy of a work of theirs; where a seed is given, whoever
    names a work in words may get one of any.
    """
    choosing = tries > 1 and can_choose(model)
    draw, drawn = (best_of, tries) if choosing else (own_or_best_of, TRIES)
    return draw(model, recipes, drawn, read, progress, watch, too_alike(model), may_copy(model, in_words=not choosing))


def may_copy(model: Model, in_words: bool) -> Callable[[Recipe, np.ndarray], bool]:
    """What says whether a recipe may have a picture_HWC that looks like a work: where the work that it is most like is by an artist whose style the recipe
    wears and who drew what it names, or, `in_words`, where its words name a work."""
    folder, known = model.folder, fingerprints_of(model.folder)

    def may(recipe: Recipe, picture_HWC: np.ndarray) -> bool:
        if in_words and names_a_work(folder, recipe, said(recipe)):
            return True
        worn = {use.name for use in recipe.styles if use.weight > 0}
        if known is None or not names_a_work(folder, recipe, worn):
            return False
        drawn_by, nearest = _told(folder).styles, int(known.similarities(picture_HWC).argmax())
        return nearest < len(drawn_by) and drawn_by[nearest] in worn

    return may


def said(recipe: Recipe) -> set[str]:
    """The styles whose hand a recipe's words ask for, after a comma."""
    after = said_after(recipe.drawn_prompt)
    return {style for style, source in SOURCES.items() if {source.hand_en.casefold(), source.hand_zh} & after}


def names_a_work(folder: Path, recipe: Recipe, hands: Collection[str]) -> bool:
    """Whether a recipe says the label of a work in one of these styles that the model in a folder was trained on. Raises Unreadable."""
    thing = APART.split(recipe.drawn_prompt.casefold())[0].strip()
    article = ARTICLE.match(thing)
    called = {thing, thing[article.end() :]} if article else {thing}
    return bool(hands) and not _told(folder).trained.isdisjoint((label, hand) for label in called for hand in hands)


class _Told(NamedTuple):
    """What a model's folder tells of its works, nothing where it does not tell them."""

    trained: frozenset[tuple[str, str]] = frozenset()  # (label, style) of those that are not held out
    styles: tuple[str, ...] = ()  # each work's, in the order of their fingerprints
    artists: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def _told(folder: Path) -> _Told:
    path = folder / WORKS
    if not path.is_file():
        return _Told()
    try:
        with gzip.open(path) as packed:
            data = packed.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError(f"it unpacks to more than {BYTES_MAX:,} bytes")
        works = [Work.model_construct(**json.loads(line)) for line in data.splitlines()]
        pairs = ((captions[0], work.style) for work in works if not held_out(work) for captions in (work.captions_en, work.captions_zh))
        return _Told(frozenset((APART.split(label.casefold())[0].strip(), style) for label, style in pairs), tuple(work.style for work in works),
                     tuple(work.artist_id for work in works))  # fmt: skip
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{path} cannot be read: {str(error)[:200]}; take the file away to draw without it") from error
