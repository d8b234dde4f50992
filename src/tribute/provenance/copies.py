"""Near copies: does a picture return a work that the model learned from?

A work and a picture are compared by two normalised descriptors, colours at 16×16 and the strength of edges at 24×24, the mean of
both cosines, the picture laid upon the work (`alignment`), so that a work cropped, moved, turned or re-saved is still found. The
threshold lies between known strangers (the nearest work by another artist) and known copies (a work re-encoded, halved, cropped,
darkened, bleached, moved, or laid askew); `tribute evaluate` measures both again and prints them. What several artists drew alike
(a red heart, a moon, a minus sign) is nobody's own: a picture that is so alike to works of all of them is a near copy of none. Nor
is one that shows a plain shape of one colour (a blue heart, a disc, a square), whoever drew one first.

Axes: N works, D descriptor, H height, W width, C channel; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from PIL import Image

THRESHOLD = 0.92  # of the similarity, in [-1, 1]; see docs/decisions/0007 and 0036
ANYBODYS = 3  # artists: what is like works of so many is nobody's own; docs/decisions/0043
CUTS = (0.0, 0.06, 0.12)
PLAIN_SIDE = 64  # pixels that a picture is looked at in for how plain it is
PLAIN_GROUND, PLAIN_COLOUR = 0.12, 0.08  # farther from white than this in some channel is drawn, and nearer to the median colour is of one colour
PLAIN_PART = 0.97  # of what lies inside is of one colour, in a plain shape: docs/decisions/0045
PLAIN_EDGE = 3.92  # pixels of edge to the square root of the shape's, at most: a disc has some 3.1, a heart 3.2, a square 3.9, an arrow 5


def descriptor(picture_HWC: np.ndarray) -> np.ndarray:
    """descriptor_D whose dot product with another's is their similarity."""
    from tribute.provenance.alignment import as_seen, descriptors

    made: np.ndarray = descriptors(as_seen(picture_HWC))[0].numpy()
    return made


def looks(picture_HWC: np.ndarray) -> list[np.ndarray]:
    """The picture, the same on as much ground as cutting 6 or 12 hundredths off each side of a work takes away, and the three mirrored: to find works by
    cut and mirrored copies of them."""
    whole, ground = Image.fromarray(picture_HWC), tuple(int(value) for value in picture_HWC[0, 0])
    seen = []
    for part in CUTS:
        wide, high = (round(side * part / (1 - 2 * part)) for side in whole.size)
        laid = Image.new("RGB", (whole.width + 2 * wide, whole.height + 2 * high), ground)
        laid.paste(whole, (wide, high))
        seen.append(np.asarray(laid))
    return [*seen, *(np.ascontiguousarray(one[:, ::-1]) for one in seen)]


def is_anybodys(similarity_N: np.ndarray, artists: Sequence[str], threshold: float, look: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether a picture is alike, from the threshold on, to works of so many artists that it is nobody's own. `artists`: each work's, as far as known;
    `look(rows)`: its similarity to those works alone, each laid upon as well as can be, as `similarity_N` need not be."""
    from tribute.provenance.alignment import FOLLOWED, LIFT

    likest: dict[str, int] = {}
    within = np.flatnonzero(similarity_N >= threshold - LIFT)
    for at in within[np.argsort(-similarity_N[within])].tolist():
        if at < len(artists):
            likest.setdefault(artists[at], at)
    rows = np.array([*likest.values()][:FOLLOWED])
    return len(rows) >= ANYBODYS and int((look(rows) >= threshold).sum()) >= ANYBODYS


def is_plain(picture_HWC: np.ndarray) -> bool:
    """Whether a picture on white shows a plain shape of one colour (a heart, a disc, a square), which is too little to be anybody's own."""
    small = Image.fromarray(picture_HWC).resize((PLAIN_SIDE, PLAIN_SIDE), Image.Resampling.BOX)
    seen_HWC = np.asarray(small, np.float32) / 255
    shape_HW = (1 - seen_HWC).max(2) > PLAIN_GROUND
    around_HW = np.pad(shape_HW, 1)
    inside_HW = shape_HW & around_HW[:-2, 1:-1] & around_HW[2:, 1:-1] & around_HW[1:-1, :-2] & around_HW[1:-1, 2:]
    drawn, inside = int(shape_HW.sum()), int(inside_HW.sum())
    if not inside or drawn - inside > PLAIN_EDGE * drawn**0.5:
        return False
    apart_N = np.abs(seen_HWC[inside_HW] - np.median(seen_HWC[shape_HW], 0)).max(1)
    return bool((apart_N < PLAIN_COLOUR).mean() >= PLAIN_PART)


@dataclass(frozen=True)
class Nearest:
    """The work most like a picture: its place in the index and the similarity, in [-1, 1]."""

    work: int
    similarity: float

    @property
    def is_copy(self) -> bool:
        return self.similarity >= THRESHOLD


class CopyIndex:
    """The works to compare with, as descriptors_ND, and each one's artist, where those are known."""

    def __init__(self, works_NHWC: Sequence[np.ndarray] | np.ndarray, artists: Sequence[str] = ()) -> None:
        self.descriptors_ND = np.stack([descriptor(work) for work in works_NHWC])
        self.artists = artists

    def only(self, rows: Sequence[int]) -> CopyIndex:
        """The same of these works alone."""
        some = copy(self)
        some.descriptors_ND, some.artists = self.descriptors_ND[rows], [self.artists[at] for at in rows] if self.artists else ()
        return some

    def similarities(self, picture_HWC: np.ndarray) -> np.ndarray:
        """similarity_N of a picture to each work."""
        import torch

        from tribute.provenance.alignment import similarities

        return similarities(picture_HWC, torch.from_numpy(self.descriptors_ND), lambda seen_VD: seen_VD)

    def nearest(self, picture_HWC: np.ndarray) -> Nearest:
        similarity_N = self.similarities(picture_HWC)
        at = int(similarity_N.argmax())
        return Nearest(at, float(similarity_N[at]))

    def is_anybodys(self, picture_HWC: np.ndarray) -> bool:
        """Whether works of several artists are all but the picture, or it is plain: what they drew alike is nobody's own."""
        if is_plain(picture_HWC):
            return True
        return is_anybodys(self.similarities(picture_HWC), self.artists, THRESHOLD, lambda rows: self.only(rows.tolist()).similarities(picture_HWC))
