"""What an evaluation measures against: the real works, their features, and the two judges that learned from them.

Axes: N works, H height, W width, C channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from tribute.collection.starter import STYLES
from tribute.diffusion.balance import common_concepts
from tribute.diffusion.examples import load_pictures
from tribute.diffusion.features import Features, features
from tribute.diffusion.judge import Judge, train_judge
from tribute.diffusion.wording import held_out, held_out_pair, held_out_work
from tribute.provenance.copies import CopyIndex
from tribute.records import InvalidInput, Unknown, Work, sha256
from tribute.studio.training import allowed
from tribute.studio.wiring import Workshop


@dataclass(frozen=True)
class Material:
    """Real works with their pictures and features, row for row."""

    works: Sequence[Work]
    pictures_NHWC: np.ndarray
    features: Features

    def rows(self, *, trained: bool | None = None, work_held_out: bool | None = None, styles: Sequence[str] = (), portraits: bool = True) -> list[int]:
        """Rows by whether they were trained on, whether the work was drawn for holding out, and their styles (all if none is named)."""
        return [
            at
            for at, work in enumerate(self.works)
            if (trained is None or held_out(work) != trained)
            and (work_held_out is None or held_out_work(work) == work_held_out)
            and (not styles or work.style in styles)
            and (portraits or work.concept != "portrait")
        ]

    @cached_property
    def commons(self) -> int:
        """How many of the works, which come first, are the base's own."""
        return sum(work.style not in STYLES for work in self.works)

    @cached_property
    def all_works(self) -> CopyIndex:
        """Every work, held out or not, to see what several artists drew alike."""
        return CopyIndex(self.pictures_NHWC, [work.artist_id for work in self.works])

    @cached_property
    def by_heart(self) -> CopyIndex:
        """The works that were trained on, in the order of `rows`, to look for near copies of."""
        return self.all_works.only(self.rows(trained=True))

    def labels(self) -> dict[str, tuple[str, str]]:
        """Each concept's label in English and Chinese."""
        found: dict[str, tuple[str, str]] = {}
        for work in self.works:
            found.setdefault(work.concept, (work.captions_en[0], work.captions_zh[0]))
        return found

    def pairs(self, held: bool) -> list[tuple[str, str]]:
        """(concept, style) pairs of the commonest concepts that works were held out of whole, or were not; portraits apart."""
        common = {concept: place for place, concept in enumerate(common_concepts(self.works))}
        found = {(work.concept, work.style) for work in self.works if work.concept in common and held_out_pair(work.concept, work.style) == held}
        return sorted(found, key=lambda pair: (common[pair[0]], pair[1]))


@dataclass(frozen=True)
class Judges:
    """What names a picture's concept, and what names its hand, each with its accuracy on held-out real works."""

    concept: Judge
    style: Judge
    concept_ceiling: float  # on held-out works of the commonest concepts
    style_ceiling: float


def gather(workshop: Workshop) -> Material:
    """All works that consent allows now. Raises InvalidInput where their pictures are not in the store."""
    works = list(allowed(workshop, None)[1])
    for style in STYLES:
        works += allowed(workshop, style)[1]
    try:
        pictures_NHWC = load_pictures(works, workshop.blobs.get)
    except Unknown as error:
        raise InvalidInput("the works' pictures are not in this data folder; run `tribute collection build starter` first") from error
    return Material(works, pictures_NHWC, _features(workshop.home / "cache", works, pictures_NHWC))


def _features(folder: Path, works: Sequence[Work], pictures_NHWC: np.ndarray) -> Features:
    path = folder / f"features-{sha256(''.join(work.picture_sha256 for work in works).encode())[:16]}.safetensors"
    if path.is_file():
        return Features.load(path)
    found = features(pictures_NHWC)
    folder.mkdir(parents=True, exist_ok=True)
    found.save(path)
    return found


def train_judges(material: Material) -> Judges:
    """Both learn from every work that was not drawn for holding out: what the model may not see, its judge may."""
    seen, unseen = material.rows(work_held_out=False), material.rows(work_held_out=True)
    common = set(common_concepts(material.works))
    asked = [at for at in unseen if material.works[at].concept in common]

    def judge(kind: str, rows: list[int], looked_at: Tensor) -> tuple[Judge, float]:
        trained = train_judge(looked_at[seen], [getattr(material.works[at], kind) for at in seen])
        return trained, trained.accuracy(looked_at[rows], [getattr(material.works[at], kind) for at in rows])

    concept, concept_ceiling = judge("concept", asked, material.features.pooled_NF)
    style, style_ceiling = judge("style", unseen, material.features.manner_NM)
    return Judges(concept, style, concept_ceiling, style_ceiling)
