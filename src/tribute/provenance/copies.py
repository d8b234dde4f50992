"""Near copies: does a picture return a work that the model learned from?

A work and a picture are compared by two normalised descriptors, colours at 16×16 and the strength of edges at 24×24, the mean of
both cosines; of the picture, 27 small shifts and zooms are tried, so that a work cropped, moved or re-saved is still found. The
threshold lies between known strangers (the nearest work by another artist) and known copies (a work re-encoded, halved, cropped,
darkened, bleached or moved); `tribute evaluate` measures both again and prints them.

Axes: N works, D descriptor, V variants, H height, W width, C channel; pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

THRESHOLD = 0.90  # of the similarity, in [-1, 1]; see docs/decisions/0007
SIDE = 128
ZOOMS, SHIFTS = (0.94, 1.0, 1.06), (-3, 0, 3)
CUTS = (0.0, 0.06, 0.12)


def _unit(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values.astype(np.float32).ravel() - values.mean()
    unit: np.ndarray = centred / (np.linalg.norm(centred) + 1e-3)
    return unit


def descriptor(picture_HWC: np.ndarray) -> np.ndarray:
    """descriptor_D whose dot product with another's is their similarity."""
    picture = Image.fromarray(picture_HWC)
    colours = np.asarray(picture.resize((16, 16), Image.Resampling.BOX), np.float32)
    grey = np.asarray(picture.convert("L").resize((64, 64), Image.Resampling.BOX), np.float32)
    edges = Image.fromarray(np.hypot(*np.gradient(grey)).astype(np.float32)).resize((24, 24), Image.Resampling.BOX)
    both: np.ndarray = np.concatenate([_unit(colours), _unit(np.asarray(edges))]) / np.sqrt(2)
    return both


def variants(picture_HWC: np.ndarray) -> np.ndarray:
    """descriptors_VD of the picture slightly zoomed and moved."""
    picture = Image.fromarray(picture_HWC).resize((SIDE, SIDE), Image.Resampling.BOX)
    ground = tuple(int(value) for value in np.asarray(picture)[0, 0])
    made = []
    for zoom in ZOOMS:
        edge = SIDE * (1 - zoom) / 2
        for right in SHIFTS:
            for down in SHIFTS:
                matrix = (zoom, 0, edge + right, 0, zoom, edge + down)
                moved = picture.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=ground)
                made.append(descriptor(np.asarray(moved)))
    return np.stack(made)


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


@dataclass(frozen=True)
class Nearest:
    """The work most like a picture: its place in the index and the similarity, in [-1, 1]."""

    work: int
    similarity: float

    @property
    def is_copy(self) -> bool:
        return self.similarity >= THRESHOLD


class CopyIndex:
    """The works to compare with, as descriptors_ND."""

    def __init__(self, works_NHWC: Sequence[np.ndarray] | np.ndarray) -> None:
        self.descriptors_ND = np.stack([descriptor(work) for work in works_NHWC])

    def similarities(self, picture_HWC: np.ndarray) -> np.ndarray:
        """similarity_N of a picture to each work."""
        best: np.ndarray = (variants(picture_HWC) @ self.descriptors_ND.T).max(0)
        return best

    def nearest(self, picture_HWC: np.ndarray) -> Nearest:
        similarity_N = self.similarities(picture_HWC)
        at = int(similarity_N.argmax())
        return Nearest(at, float(similarity_N[at]))
