"""What the model is asked for: prompts, each with the concept, hand or colour that a right picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tribute.collection.starter import SOURCES, STYLES
from tribute.diffusion.wording import HUES, captions, tinted
from tribute.records import Work
from tribute.studio.evaluation.material import Material

OBJECTS = (
    ("apple", "苹果"), ("car", "汽车"), ("heart", "心"), ("hat", "帽子"), ("fish", "鱼"), ("bird", "鸟"), ("flower", "花"), ("house", "房子"),
    ("star", "星星"), ("balloon", "气球"), ("book", "书"), ("shoe", "鞋"), ("cat", "猫"), ("frog", "青蛙"), ("guitar", "吉他"), ("umbrella", "雨伞"),
)  # fmt: skip
# (what is said, the plain word, the concept that both mean)
SYNONYMS = (
    ("puppy", "dog", "dog-face"), ("kitten", "cat", "cat-face"), ("auto", "car", "automobile"), ("motor car", "car", "automobile"),
    ("bunny", "rabbit", "rabbit-face"), ("piglet", "pig", "pig-face"), ("pony", "horse", "horse-face"), ("kitty", "cat", "cat-face"),
    ("aeroplane", "airplane", "airplane"), ("jet plane", "airplane", "airplane"), ("bike", "bicycle", "bicycle"), ("spaceship", "rocket", "rocket"),
    ("timepiece", "watch", "watch"), ("wristwatch", "watch", "watch"), ("blaze", "fire", "fire"), ("flames", "fire", "fire"),
    ("donut", "doughnut", "doughnut"), ("burger", "hamburger", "hamburger"), ("spectacles", "glasses", "glasses"), ("eyeglasses", "glasses", "glasses"),
    ("steamboat", "ship", "ship"), ("yacht", "sailboat", "sailboat"), ("cab", "taxi", "taxi"), ("infant", "baby", "baby"),
    ("bloom", "blossom", "blossom"), ("serpent", "snake", "snake"), ("spectre", "ghost", "ghost"), ("toadstool", "mushroom", "mushroom"),
    ("小狗", "狗", "dog-face"), ("小猫", "猫", "cat-face"), ("轿车", "汽车", "automobile"), ("小汽车", "汽车", "automobile"), ("兔子", "兔", "rabbit-face"),
    ("小猪", "猪", "pig-face"), ("自行车", "单车", "bicycle"), ("脚踏车", "自行车", "bicycle"), ("火焰", "火", "fire"), ("汉堡", "汉堡包", "hamburger"),
    ("甜甜圈", "圈饼", "doughnut"), ("眼镜框", "眼镜", "glasses"), ("出租汽车", "出租车", "taxi"), ("婴儿", "宝宝", "baby"),
    ("蛇", "蛇类", "snake"), ("幽灵", "鬼", "ghost"), ("蘑菇", "菌菇", "mushroom"), ("宇宙飞船", "火箭", "rocket"), ("客机", "飞机", "airplane"),
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One picture to make. `adapter` is the style to wear, "" for none; what is not asked of it is ""."""

    prompt: str
    seed: int
    adapter: str = ""
    concept: str = ""
    hand: str = ""
    hue: str = ""


def pair_trials(pairs: Sequence[tuple[str, str]], labels: dict[str, tuple[str, str]], language: int, seed: int) -> list[Trial]:
    """The concept of each pair in its hand, in English (0) or Chinese (1): the base's own hands are asked for in words, an artist's adapter is worn and
    not named, as neither it nor the base has read words for it."""
    made = []
    for concept, style in pairs:
        label, hand = labels[concept][language], (SOURCES[style].hand_en, SOURCES[style].hand_zh)[language]
        worn = style in STYLES
        made.append(Trial(label if worn else f"{label}{('，' if language else ', ')}{hand}", seed, style if worn else "", concept, style))
    return made


def plain_trials(pairs: Sequence[tuple[str, str]], labels: dict[str, tuple[str, str]], count: int, seed: int) -> list[Trial]:
    """The first `count` concepts by their bare label, English and Chinese in turn; seeds far enough apart for several tries of each."""
    concepts = list(dict.fromkeys(concept for concept, _ in pairs))[:count]
    return [Trial(labels[concept][at % 2], seed + 100 * at, concept=concept) for at, concept in enumerate(concepts)]


def thing_trials(material: Material, pairs: Sequence[tuple[str, str]], labels: dict[str, tuple[str, str]], count: int, seed: int) -> list[Trial]:
    """The first `count` concepts by their bare English label, each in a style whose artist draws portraits alone; those styles in turn."""
    drawn = {(work.style, work.concept != "portrait") for work in material.works}
    worn = [style for style in STYLES if (style, False) in drawn and (style, True) not in drawn]
    concepts = list(dict.fromkeys(concept for concept, _ in pairs if concept != "portrait"))[: count if worn else 0]
    return [Trial(labels[concept][0], seed + at, worn[at % len(worn)], concept) for at, concept in enumerate(concepts)]


def one_hand_each(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """One pair a concept, the hands taken in turn."""
    by_concept: dict[str, list[str]] = {}
    for concept, style in pairs:
        by_concept.setdefault(concept, []).append(style)
    used = dict.fromkeys((style for _, style in pairs), 0)
    chosen = []
    for concept, styles in by_concept.items():
        style = min(styles, key=lambda name: (used[name], name))
        used[style] += 1
        chosen.append((concept, style))
    return chosen


def portrait_trials(material: Material, each: int, seed: int) -> list[Trial]:
    """Portraits in the words of held-out works, in each avatar style."""
    made = []
    for style in STYLES:
        rows = [at for at in material.rows(trained=False, styles=[style]) if material.works[at].concept == "portrait"][:each]
        made += [Trial(material.works[at].captions_en[0], seed + at, style, "portrait", style) for at in rows]
    return made


def trained_texts(works: Sequence[Work], pictures_NHWC: np.ndarray, seed: int) -> set[str]:
    """Every caption of the base's training, those of recoloured copies too; `seed` is that training's."""
    rng = np.random.default_rng(seed)
    said: set[str] = set()
    for work, picture_HWC in zip(works, pictures_NHWC, strict=True):
        own, made = tinted(work, picture_HWC, rng, variants=1)
        said.update(captions(work, "", ""), own, *(texts for _, texts in made))
    return said


def colour_trials(known: set[str], count: int, seed: int) -> tuple[list[Trial], list[Trial]]:
    """(in some caption, in none): up to half of `count` each of colour and object, half of them in Chinese."""
    inside: list[Trial] = []
    outside: list[Trial] = []
    for at, (thing_en, thing_zh) in enumerate(OBJECTS):
        for place, (colour_en, colour_zh, _) in enumerate(HUES):
            prompt = (f"{colour_en} {thing_en}", f"{colour_zh}的{thing_zh}")[(at + place) % 2]
            (inside if prompt in known else outside).append(Trial(prompt, seed + at, hue=colour_en))
    step = [max(1, len(some) // (count // 2)) for some in (inside, outside)]
    return inside[:: step[0]][: count // 2], outside[:: step[1]][: count // 2]


def synonym_trials(known: set[str], seed: int, each: int = 2) -> tuple[list[Trial], list[Trial]]:
    """(said otherwise, said plainly), row for row: only words that no caption holds."""
    fresh = [(said, plain, concept) for said, plain, concept in SYNONYMS if said not in known and said != plain]
    pairs = [(said, plain, concept, seed + at) for said, plain, concept in fresh for at in range(each)]
    return [Trial(said, at, concept=concept) for said, _, concept, at in pairs], [Trial(plain, at, concept=concept) for _, plain, concept, at in pairs]
