"""How a work is worded for training: several captions in both languages, and colour variants of it.

Axes: N works, H height, W width, C channel; pictures are uint8 RGB.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from tribute.records import Work, sha256

# (English, Chinese, hue in degrees)
HUES = (("red", "红色", 0.0), ("orange", "橙色", 30.0), ("yellow", "黄色", 52.0), ("green", "绿色", 120.0), ("blue", "蓝色", 215.0),
        ("purple", "紫色", 275.0), ("pink", "粉色", 325.0))  # fmt: skip


def held_out(work: Work) -> bool:
    """True for what is never trained on: 5% of works, and 10% of (concept, style) pairs whole."""
    pair = int(sha256(f"{work.concept}|{work.style}".encode())[:8], 16) % 10 == 0 and work.concept != "portrait"
    return pair or int(sha256(work.picture_sha256.encode())[:8], 16) % 20 == 0


def captions(work: Work, hand_en: str, hand_zh: str) -> list[str]:
    """Wordings of one work: its label alone and with its tags, with and without the words for the hand that drew it."""
    said: list[str] = []
    for texts, hand, comma, article in ((work.captions_en, hand_en, ", ", "a "), (work.captions_zh, hand_zh, "，", "一个")):
        label, tags = texts[0], texts[1:]
        said += [label, label, f"{article}{label}", f"{label}{comma}{hand}", f"{article}{label}{comma}{hand}"]
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


def dominant_tint(picture_HWC: np.ndarray) -> Tint | None:
    """The hue of most saturated pixels, or None where a picture is mostly grey or of many colours."""
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
    if counts[best] < 0.6 * len(hues):
        return None
    return Tint(*HUES[best][:2], float(np.median(hues[nearest == best])), counts[best] / len(small))


def recolour(picture_HWC: np.ndarray, degrees: float) -> np.ndarray:
    """Every hue turned by `degrees`; greys, lightness and saturation stay."""
    from PIL import Image

    hsv = np.array(Image.fromarray(picture_HWC).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(degrees / 360 * 256)) % 256
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def tinted(work: Work, picture_HWC: np.ndarray, rng: np.random.Generator, variants: int) -> tuple[list[str], list[tuple[np.ndarray, list[str]]]]:
    """Extra captions that name the picture's own colour, and recoloured pictures with captions that name theirs."""
    tint = dominant_tint(picture_HWC)
    if tint is None:
        return [], []
    label_en, label_zh = work.captions_en[0], work.captions_zh[0]
    if any(name in label_en.split() for name, *_ in HUES):
        label_en, label_zh = " ".join(label_en.split()[1:]) or label_en, label_zh
        if any(label_zh.startswith(word[0]) for _, word, _ in HUES):
            label_zh = label_zh.lstrip("".join(word[0] for _, word, _ in HUES)).removeprefix("色").removeprefix("的") or label_zh
    own = [f"{tint.name_en} {label_en}", f"{tint.name_zh}{label_zh}", f"{tint.name_zh}的{label_zh}"]
    made = []
    others = [hue for hue in HUES if hue[0] != tint.name_en]
    for index in rng.permutation(len(others))[:variants]:
        name_en, name_zh, hue = others[index]
        recoloured = recolour(picture_HWC, hue - tint.hue)
        made.append((recoloured, [f"{name_en} {label_en}", f"a {name_en} {label_en}", f"{name_zh}{label_zh}", f"{name_zh}的{label_zh}"]))
    return own, made
