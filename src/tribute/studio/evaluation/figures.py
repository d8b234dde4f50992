"""The figures: each with its target, its ceiling and its chance level.

Axes: N pictures, H height, W width, C channel.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from tribute.diffusion.balance import common_concepts
from tribute.diffusion.features import features
from tribute.diffusion.judge import frechet_distance
from tribute.diffusion.wording import dominant_tint, held_out_pair
from tribute.provenance.copies import ANYBODYS, THRESHOLD
from tribute.studio.evaluation.material import Judges, Material
from tribute.studio.evaluation.trials import Trial


@dataclass(frozen=True)
class Figure:
    """One measured number. `ceiling` and `chance` are what a perfect model and a blind one would reach; None where there is none."""

    name: str
    value: float
    unit: str = ""
    target: float | None = None
    at_most: bool = False  # the target is an upper bound
    ceiling: float | None = None
    chance: float | None = None
    note: str = ""
    parts: dict[str, float] = field(default_factory=dict)  # the same, split by hand, language, ...

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Figure:
        """The figure that a document is of."""
        return cls(**{key: value for key, value in document.items() if key != "met"})


Drawn = Sequence[tuple[Trial, np.ndarray]]


def part_right(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else float("nan")


def concepts_right(judges: Judges, drawn: Drawn) -> list[bool]:
    named = judges.concept.named(features([picture for _, picture in drawn]).pooled_NF)
    return [name == trial.concept for name, (trial, _) in zip(named, drawn, strict=True)]


def _by(drawn: Drawn, right: Sequence[bool], key: str) -> dict[str, float]:
    groups: dict[str, list[bool]] = {}
    for (trial, _), flag in zip(drawn, right, strict=True):
        groups.setdefault(getattr(trial, key), []).append(flag)
    return {name: round(part_right(flags), 4) for name, flags in sorted(groups.items())}


def told_figures(judges: Judges, material: Material, english: Drawn, decoded: Sequence[np.ndarray], decoded_rows: Sequence[int]) -> list[Figure]:
    """Easier questions of the same judge, and a harder ceiling: told that it is one of the concepts asked for, its first and its first five names;
    and the same of real held-out works that went through the model's decoder and upscaler, which is the most that any picture of this model could reach."""
    asked = {trial.concept for trial, _ in english}
    judge = judges.concept.only(asked)
    real = [at for at in material.rows(work_held_out=True) if material.works[at].concept in asked]
    seen, wanted = features([picture for _, picture in english]).pooled_NF, [trial.concept for trial, _ in english]
    found = []
    for top, name in ((1, "concept right, told which were asked for"), (5, "concept among five, told which were asked for")):
        ceiling = judge.accuracy(material.features[real].pooled_NF, [material.works[at].concept for at in real], top)
        note = f"the judge knows that it is one of the {len(judge.names)} that were asked for"
        found.append(Figure(name, judge.accuracy(seen, wanted, top), "", None, False, ceiling, top / len(judge.names), note))
    through = judge.accuracy(features(decoded).pooled_NF, [material.works[at].concept for at in decoded_rows])
    note = f"{len(decoded_rows)} held-out works of those concepts, decoded from their exact components: what no drawn picture can pass"
    return [*found, Figure("real works through the decoder, told which were asked for", through, "", None, False, found[0].ceiling, found[0].chance, note)]


def concept_figures(judges: Judges, english: Drawn, chinese: Drawn, held_en: Drawn, held_zh: Drawn) -> list[Figure]:
    ceiling, chance = judges.concept_ceiling, 1 / len(judges.concept.names)
    flags_en, flags_zh = concepts_right(judges, english), concepts_right(judges, chinese)
    right_en, right_zh = part_right(flags_en), part_right(flags_zh)
    held_flags = concepts_right(judges, [*held_en, *held_zh])
    note = f"{len(english)} pictures, one hand a concept; the judge names one of {len(judges.concept.names):,} concepts"
    return [
        Figure("concept right, trained pairs, English", right_en, "", 0.85 * ceiling, False, ceiling, chance, note, _by(english, flags_en, "hand")),
        Figure("concept right, trained pairs, Chinese", right_zh, "", right_en - 0.05 if right_en > 0.05 else None, False, ceiling, chance,
               "target: within 5 points of English, where that is above 5 points itself",
               _by(chinese, flags_zh, "hand")),
        Figure("concept right, held-out pairs", part_right(held_flags), "", 0.65 * ceiling, False, ceiling, chance,
               f"{len(held_flags)} pictures of {len(held_en)} pairs, both languages", _by([*held_en, *held_zh], held_flags, "hand")),
    ]  # fmt: skip


def things_figure(judges: Judges, drawn: Drawn) -> Figure:
    """What is left of a thing where a style is worn whose artist draws portraits alone."""
    flags = concepts_right(judges, drawn)
    note = f"{len(flags)} pictures by bare names, each wearing the adapter of an artist who draws portraits alone"
    return Figure("concept right, things in styles of portraits", part_right(flags), "", None, False, judges.concept_ceiling,
                  1 / len(judges.concept.names), note, _by(drawn, flags, "adapter"))  # fmt: skip


def style_figure(judges: Judges, drawn: Drawn, name: str = "style told right", target: float | None = 0.95) -> Figure:
    told = judges.style.named(features([picture for _, picture in drawn]).manner_NM)
    flags = [hand == trial.hand for hand, (trial, _) in zip(told, drawn, strict=True)]
    worn = [flag for flag, (trial, _) in zip(flags, drawn, strict=True) if trial.adapter]
    note = f"{len(worn)} pictures that wear an artist's adapter; the base's own hands, asked for in words, are in the parts"
    return Figure(name, part_right(worn), "", target, False, judges.style_ceiling, 1 / len(judges.style.names), note, _by(drawn, flags, "hand"))


def style_through_figure(judges: Judges, material: Material, decoded: Sequence[np.ndarray], rows: Sequence[int]) -> Figure:
    """The same judge on real held-out works, in the hands that were asked for, that went through the decoder and the upscaler."""
    named, hands = judges.style.named(features(decoded).manner_NM), [material.works[at].style for at in rows]
    flags = [name == hand for name, hand in zip(named, hands, strict=True)]
    parts = {hand: round(part_right([flag for flag, own in zip(flags, hands, strict=True) if own == hand]), 4) for hand in sorted(set(hands))}
    note = f"{len(rows)} held-out works in the hands that were asked for, decoded from their exact components: what no picture in them can pass"
    return Figure(
        "real works through the decoder, style told right", part_right(flags), "", None, False, judges.style_ceiling, 1 / len(judges.style.names), note, parts
    )


def colour_figure(inside: Drawn, outside: Drawn) -> Figure:
    def right(drawn: Drawn) -> list[bool]:
        return [(tint := dominant_tint(picture, least=0.0)) is not None and tint.name_en == trial.hue for trial, picture in drawn]

    known, new = right(inside), right(outside)
    note = f"{len(known)} prompts that are in some caption, {len(new)} that are in none"
    parts = {"in a caption": part_right(known), "in no caption": part_right(new)}
    return Figure("dominant hue right", part_right([*known, *new]), "", 0.70, False, 1.0, 1 / 7, note, parts)


def tries_figures(judges: Judges, given: Mapping[str, Drawn]) -> list[Figure]:
    """How often people who give no seed get what they asked for, who get the likest to the words, by the towers, of several tries. The towers look
    through the same features as the judge, so part of the gain may be their common taste."""
    chance = 1 / len(judges.concept.names)
    figures = []
    for name, drawn in given.items():
        right = part_right(concepts_right(judges, drawn))
        figures.append(Figure(f"concept right, {name}", right, "", None, False, judges.concept_ceiling, chance, f"of {len(drawn)} pictures"))
    return figures


def synonym_figure(judges: Judges, otherwise: Drawn, plainly: Drawn) -> Figure:
    said, plain = part_right(concepts_right(judges, otherwise)), part_right(concepts_right(judges, plainly))
    note = f"{len(otherwise)} pictures of words that no caption holds, against {len(plainly)} of the plain word; a target only where that is above 5 points"
    parts = {"synonym": round(said, 4), "plain word": round(plain, 4)}
    return Figure("synonyms, to the plain word", said / plain if plain else float("nan"), "", 0.70 if plain > 0.05 else None, False, 1.0, 0.0, note, parts)


def frechet_figure(material: Material, drawn: Drawn, seed: int = 0) -> Figure:
    """Against held-out works, with as many rows on each side as the distance between two halves of real works has."""
    common = set(common_concepts(material.works))
    held = [at for at in material.rows(trained=False, portraits=False) if material.works[at].concept in common]
    others = [at for at in material.rows(trained=True, portraits=False) if material.works[at].concept in common]
    count = min(len(held), len(drawn), len(others) // 2)
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[: 2 * count].tolist()
    real = material.features[held[:count]].pooled_NF
    made = features([picture for _, picture in drawn[:count]]).pooled_NF
    halves = [material.features[[others[at] for at in half]].pooled_NF for half in (order[:count], order[count:])]
    apart, floor = frechet_distance(made, real), frechet_distance(*halves)
    return Figure("Fréchet distance to held-out works", apart, "", None, True, floor, None, f"{count} pictures on each side; ceiling: two halves of real works")


def _attacks(picture_HWC: np.ndarray) -> list[np.ndarray]:
    """What somebody may do to a work: save it as JPEG, halve, crop, darken, bleach and move it."""
    picture = Image.fromarray(picture_HWC)
    saved = io.BytesIO()
    picture.save(saved, "JPEG", quality=60)
    laid = Image.new("RGB", picture.size, "white")
    laid.paste(picture, (3, 2))
    side = picture.width
    edge = side // 32
    changed = (
        Image.open(saved), picture.resize((side // 2, side // 2)), picture.crop((edge, edge, side - edge, side - edge)).resize(picture.size),
        ImageEnhance.Brightness(picture).enhance(0.85), ImageEnhance.Color(picture).enhance(0.6), laid,
    )  # fmt: skip
    return [np.asarray(one.convert("RGB")) for one in changed]


def _askew(picture_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture up to a sixth larger or smaller, turned by up to eight degrees, and off its place by up to a tenth of its side, on white."""
    turn, zoom, middle = rng.uniform(-8, 8) / 180 * np.pi, np.exp(rng.uniform(-0.16, 0.16)), len(picture_HWC) / 2
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    right, down = rng.uniform(-0.2, 0.2, 2) * middle + middle
    matrix = (cos, -sin, middle - cos * right + sin * down, sin, cos, middle - sin * right - cos * down)
    size = picture_HWC.shape[1::-1]
    return np.asarray(Image.fromarray(picture_HWC).transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor="white"))


def copy_figures(material: Material, drawn: Drawn, led_away: int, probes: int = 60, seed: int = 0) -> list[Figure]:
    """How often a picture is a near copy of a trained work, by hand and kind of pair; and how well the detector tells. `led_away`: so many of held-out
    pairs give way to others, because their seed draws what looks like a work."""
    rows, index = material.rows(trained=True), material.by_heart
    artist_N = np.array(index.artists)

    def is_copy(similarity: float, picture_HWC: np.ndarray) -> bool:
        return similarity >= THRESHOLD and not material.all_works.is_anybodys(picture_HWC)

    row_of = {(work.concept, work.style): at for at, work in enumerate(material.works)}
    own: dict[tuple[str, str], np.ndarray] = {}  # similarity_N of the artist's own work of a held-out pair
    copied, anybodys, named, new = Counter[str](), Counter[str](), Counter[str](), 0
    for trial, picture in drawn:
        pair = trial.concept, trial.hand
        held_out = held_out_pair(*pair)
        kind = f"{trial.hand}, {'held-out pair' if held_out else 'trained pair'}"
        named[kind] += 1
        nearest = index.nearest(picture)
        copy = is_copy(nearest.similarity, picture)
        copied[kind] += copy
        anybodys[kind] += nearest.is_copy and not copy
        if held_out:
            own.setdefault(pair, index.similarities(material.pictures_NHWC[row_of[pair]]))
            new += copy and bool(own[pair][nearest.work] < THRESHOLD)
    parts = {kind: round(copied[kind] / named[kind], 4) for kind in sorted(named)}
    held = [kind for kind in named if kind.endswith("held-out pair")]
    of_held, of_all = sum(copied[kind] for kind in held), sum(copied.values())
    more = f"{{}} more are so like works of {ANYBODYS} artists or more, or so plain, that they are nobody's own"
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(rows), min(probes, len(rows)), replace=False)
    strangers, copies, askew = [], [], []
    for at in chosen:
        work_HWC = material.pictures_NHWC[rows[at]]
        strangers.append(is_copy(float((index.similarities(work_HWC) * (artist_N != artist_N[at])).max()), work_HWC))
        copies += [is_copy(index.nearest(made).similarity, made) for made in _attacks(work_HWC)]
        laid_askew = _askew(work_HWC, rng)
        askew.append(is_copy(index.nearest(laid_askew).similarity, laid_askew))
    found, laid, mistaken = (part_right(some) for some in (copies, askew, strangers))
    told = (
        f"threshold {THRESHOLD}: finds {found:.1%} of {len(copies)} known copies and {laid:.1%} of {len(askew)} laid askew, "
        f"takes {mistaken:.1%} of {len(strangers)} strangers for copies"
    )
    alike = sum(is_copy(float(similarity_N.max()), material.pictures_NHWC[row_of[pair]]) for pair, similarity_N in own.items())
    of_own = f"{alike} of the {len(own)} works that the artists drew of these pairs, which nothing was trained on, are near copies of a trained one"
    return [
        Figure("near copies, held-out pairs", float(of_held), "pictures", 0.0, True, float(alike), None,
               f"of {sum(named[kind] for kind in held)} by a seed, {led_away} of them led away; {more.format(sum(anybodys[kind] for kind in held))}; {told}; "
               f"ceiling: {of_own}"),
        Figure("near copies, held-out pairs, unlike the artist's own", float(new), "pictures", 0.0, True, 0.0, None,
               f"of the {of_held} above: the artist's own work of the pair is no near copy of that trained one"),
        Figure("near copies, all pairs", of_all / max(1, len(drawn)), "", None, True, 0.0, None,
               f"{of_all} of {len(drawn)}; {more.format(sum(anybodys.values()))}", parts),
    ]  # fmt: skip


def given_copies_figures(material: Material, given: Mapping[str, Drawn], led_away: Mapping[str, int]) -> list[Figure]:
    """Near copies among what people get, where tries that look like one are passed over. `led_away`: how many of each gave way to others."""
    figures = []
    for name, drawn in given.items():
        alike = [picture for _, picture in drawn if material.by_heart.nearest(picture).is_copy]
        anybodys = sum(material.all_works.is_anybodys(picture) for picture in alike)
        copied = len(alike) - anybodys
        target = 0.0 if name.startswith("held-out pairs") else None
        note = f"of {len(drawn)}; {led_away.get(name, 0)} of them led away; {anybodys} more are so like works of {ANYBODYS} artists or more, or so plain"
        figures.append(Figure(f"near copies, {name}", float(copied), "pictures", target, True, 0.0, None, note))
    return figures
