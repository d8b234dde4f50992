"""How a work is worded for training: several captions in both languages, and colour variants of it.

Axes: N works, H height, W width, C channel; pictures are uint8 RGB.
"""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass

import numpy as np

from tribute.records import Work, sha256

# (English, Chinese, hue in degrees)
HUES = (("red", "红色", 0.0), ("orange", "橙色", 30.0), ("yellow", "黄色", 52.0), ("green", "绿色", 120.0), ("blue", "蓝色", 215.0),
        ("purple", "紫色", 275.0), ("pink", "粉色", 325.0))  # fmt: skip


def held_out_pair(concept: str, style: str) -> bool:
    """True for one (concept, style) pair in ten: no work of it is trained on."""
    return concept != "portrait" and int(sha256(f"{concept}|{style}".encode())[:8], 16) % 10 == 0


def held_out_work(work: Work) -> bool:
    """True for one work in twenty."""
    return int(sha256(work.picture_sha256.encode())[:8], 16) % 20 == 0


def held_out(work: Work) -> bool:
    """True for what is never trained on."""
    return held_out_pair(work.concept, work.style) or held_out_work(work)


def captions(work: Work, hand_en: str, hand_zh: str, name_hand: bool = True) -> list[str]:
    """Wordings of one work: its label alone and with its tags, without and, if `name_hand`, with the words for the hand that drew it.

    The hand is named in more than half of them: of a label and a hand a work is nearly the only picture, of a label alone one in five.
    """
    said: list[str] = []
    for texts, hand, comma, article in ((work.captions_en, hand_en, ", ", "a "), (work.captions_zh, hand_zh, "，", "一个")):
        label, tags = texts[0], texts[1:]
        said += [label, label, f"{article}{label}"]
        if name_hand:
            said += [f"{label}{comma}{hand}"] * 4 + [f"{article}{label}{comma}{hand}"] * 2
        if tags:
            said += [f"{label}{comma}{comma.join(tags[:3])}", comma.join(tags[:4])]
    return said


@dataclass(frozen=True)
class Tint:
    """A picture's dominant colour: English, Chinese, its hue in degrees, and the share of pixels that carry it."""

    name_en: str
    name_zh: str
    hue: float
    area: float


def dominant_tint(picture_HWC: np.ndarray, least: float = 0.6) -> Tint | None:
    """The hue of most saturated pixels, or None where a picture is mostly grey, or no hue has the `least` part of what is coloured."""
    small = picture_HWC[::4, ::4].reshape(-1, 3).astype(np.float32) / 255
    top, low = small.max(1), small.min(1)
    coloured = (top - low > 0.25) & (top > 0.25)
    drawn = int((low < 0.95).sum())
    if coloured.sum() < max(20, 0.35 * drawn):
        return None
    hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in small[coloured].tolist()]) * 360
    nearest = np.abs((hues[:, None] - np.array([hue for *_, hue in HUES])[None] + 180) % 360 - 180).argmin(1)
    counts = np.bincount(nearest, minlength=len(HUES))
    best = int(counts.argmax())
    if counts[best] < least * len(hues):
        return None
    return Tint(*HUES[best][:2], float(np.median(hues[nearest == best])), counts[best] / len(small))


def recolour(picture_HWC: np.ndarray, degrees: float) -> np.ndarray:
    """Every hue turned by `degrees`; greys, lightness and saturation stay."""
    from PIL import Image

    hsv = np.array(Image.fromarray(picture_HWC).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(degrees / 360 * 256)) % 256
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


SIDED = re.compile(r"\b(?:left|right|clockwise|arrows?|letters?|numbers?|buttons?|signs?|marks?|symbols?|clocks?|calendar|banknote)\b|[左右字]")


def mirrorable(work: Work) -> bool:
    """Whether a work's mirror image is still what its captions say: not where they name a side, or what may be written on. Nor are portraits
    mirrored: there are hundreds of each, and which way they look is part of the hand."""
    return work.concept != "portrait" and not any(SIDED.search(text.lower()) for text in (*work.captions_en, *work.captions_zh))


def uncoloured(label_en: str, label_zh: str) -> tuple[str, str]:
    """The labels without the colour that they name: ("green apple", "青苹果") to ("apple", "苹果")."""
    names = {name for name, *_ in HUES}
    kept = [word for word in label_en.split() if word not in names]
    if not kept or len(kept) == len(label_en.split()):
        return label_en, label_zh
    bare_zh = re.sub(r"^(?:红|橙|黄|绿|青|蓝|紫|粉红?)色?的?", "", label_zh)
    return " ".join(kept), bare_zh or label_zh


def tinted(work: Work, picture_HWC: np.ndarray, rng: np.random.Generator, variants: int) -> tuple[list[str], list[tuple[np.ndarray, list[str]]]]:
    """Extra captions that name the picture's own colour, and recoloured pictures with captions that name theirs."""
    tint = dominant_tint(picture_HWC) if work.concept != "portrait" else None  # a portrait's caption names its colours
    if tint is None:
        return [], []
    label_en, label_zh = uncoloured(work.captions_en[0], work.captions_zh[0])
    own = [f"{tint.name_en} {label_en}", f"{tint.name_zh}{label_zh}", f"{tint.name_zh}的{label_zh}"]
    made = []
    others = [hue for hue in HUES if hue[0] != tint.name_en]
    for index in rng.permutation(len(others))[:variants]:
        name_en, name_zh, hue = others[index]
        recoloured = recolour(picture_HWC, hue - tint.hue)
        made.append((recoloured, [f"{name_en} {label_en}", f"a {name_en} {label_en}", f"{name_zh}{label_zh}", f"{name_zh}的{label_zh}"]))
    return own, made
