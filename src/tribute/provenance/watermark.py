"""A picture's id in its pixels: spread-transform dither modulation of mid-frequency luma (Chen and Wornell 2001, IEEE Trans. IT 47(4)).

The 32 bits of the id and a 24-bit checksum are each carried by a few dozen 8×8-DCT coefficients, scattered over the picture by a
fixed permutation: the coefficients' projection on a random direction is moved to the nearest point of one of two interleaved
lattices. The host picture does not disturb reading, flat white grounds can carry it (what clipping takes away is put back in
further rounds), and JPEG's rounding averages out. Who reads it need not know how the move is shared among the coefficients: flat blocks,
where grain is seen, take a third of what busy ones do (docs/decisions/0042). It is no secret and does not withstand an adversary, cropping or rotation; after
a resize it is looked for at the sizes that Tribute draws. A false reading needs 24 checksum bits by chance: below 1e-6 a file.

RivaGAN's weights, measured on this flat art at 128² and 256², gave back 0% to 6% of whole ids; see docs/decisions.
"""

from __future__ import annotations

import functools
import hashlib
import math

import numpy as np
from PIL import Image

STRENGTH = 18.0  # lattice spacing per √carriers, in units of the orthonormal DCT of luma 0..255; JPEG drops what is much finer
STEP_MIN = 90.0  # lattice spacing at the least, for pictures too small to average JPEG's rounding out
BITS = 56
CHECK_BITS = BITS - 32
ROUNDS = 8
FLAT = 1 / 3  # of the change in a busy block, in one that is all one shade
BUSY = 12.0  # deviation of luma, of 255, from which a block is as busy as any
SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 768, 1024)
# (row, column) of the coefficients used: low enough for JPEG to keep, high enough not to be seen
COEFFICIENTS = ((0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0), (2, 2))
SMALLEST, LARGEST = 64, 2048
LUMA = np.array([0.299, 0.587, 0.114])


@functools.cache
def _dct() -> np.ndarray:
    """The orthonormal 8×8 DCT-II matrix."""
    k, n = np.mgrid[0:8, 0:8]
    matrix: np.ndarray = np.cos(np.pi * k * (2 * n + 1) / 16) * np.where(k == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return matrix


@functools.lru_cache(maxsize=16)
def _layout(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """For a number of blocks: which carriers each bit has, and their signs: two arrays (BITS, carriers)."""
    rng = np.random.Generator(np.random.PCG64(20261122))
    carriers = blocks * len(COEFFICIENTS) // BITS
    order = rng.permutation(blocks * len(COEFFICIENTS))[: carriers * BITS].reshape(BITS, carriers)
    signs = rng.choice(np.array([-1.0, 1.0]), size=(BITS, carriers))
    return order, signs


def _step(carriers: int) -> float:
    return max(STEP_MIN, STRENGTH * math.sqrt(carriers))


def _payload(picture_id: str) -> np.ndarray:
    number = bytes.fromhex(picture_id)
    check = hashlib.sha256(b"tribute watermark 1" + number).digest()[: CHECK_BITS // 8]
    return np.unpackbits(np.frombuffer(number + check, np.uint8))


def _blocks(luma_HW: np.ndarray) -> np.ndarray:
    """blocks_B88, row by row."""
    rows, columns = luma_HW.shape[0] // 8, luma_HW.shape[1] // 8
    return luma_HW[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)


def _coefficients(luma_HW: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    grid = luma_HW.shape[0] // 8, luma_HW.shape[1] // 8
    return np.einsum("ki,bij,lj->bkl", _dct(), _blocks(luma_HW), _dct(), optimize=True), grid


def _shares(luma_HW: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How each bit's move is shared among its carriers, (BITS, carriers), each row in all 1."""
    hidden_B = FLAT + (1 - FLAT) * np.minimum(1, _blocks(luma_HW).std((1, 2)) / BUSY)
    hidden = np.repeat(hidden_B, len(COEFFICIENTS))[order]
    shares: np.ndarray = hidden / hidden.sum(1, keepdims=True)
    return shares


def _projections(luma_HW: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    blocks_BKL, grid = _coefficients(luma_HW)
    carried = np.stack([blocks_BKL[:, row, column] for row, column in COEFFICIENTS], 1).reshape(-1)
    order, signs = _layout(len(blocks_BKL))
    return (carried[order] * signs).sum(1) / np.sqrt(order.shape[1]), order, signs, grid


def embed(picture_HWC: np.ndarray, picture_id: str) -> np.ndarray:
    """uint8 RGB with the 8-hex-digit id in it. Sides of at least 64 pixels."""
    assert min(picture_HWC.shape[:2]) >= SMALLEST, picture_HWC.shape
    sign = np.where(_payload(picture_id) == 1, 0.25, -0.25)
    marked = picture_HWC.astype(np.float64)
    target = None
    for _ in range(ROUNDS):
        projected, order, signs, (rows, columns) = _projections(marked @ LUMA)
        if target is None:
            step = _step(order.shape[1])
            target = (np.round(projected / step - sign) + sign) * step
            shares = _shares(marked @ LUMA, order) * np.sqrt(order.shape[1])
        change = np.zeros(rows * columns * len(COEFFICIENTS))
        change[order.reshape(-1)] = (signs * shares * (target - projected)[:, None]).reshape(-1)
        spectrum_BKL = np.zeros((rows * columns, 8, 8))
        for at, (row, column) in enumerate(COEFFICIENTS):
            spectrum_BKL[:, row, column] = change.reshape(-1, len(COEFFICIENTS))[:, at]
        blocks = np.einsum("ki,bkl,lj->bij", _dct(), spectrum_BKL, _dct(), optimize=True)
        delta_HW = blocks.reshape(rows, columns, 8, 8).transpose(0, 2, 1, 3).reshape(rows * 8, columns * 8)
        marked[: rows * 8, : columns * 8] += delta_HW[..., None]
        marked = marked.clip(0, 255)
    return marked.round().astype(np.uint8)


def _read(picture_HWC: np.ndarray) -> str | None:
    projected, order, *_ = _projections(picture_HWC.astype(np.float64) @ LUMA)
    phase = projected / _step(order.shape[1])
    to_one, to_zero = (np.abs((phase - sign + 0.5) % 1 - 0.5) for sign in (0.25, -0.25))
    bits = (to_one < to_zero).astype(np.uint8)
    picture_id = np.packbits(bits[:32]).tobytes().hex()
    return picture_id if bool((bits == _payload(picture_id)).all()) else None


def read(picture: Image.Image) -> str | None:
    """The id in an RGB picture, or None where no checksum fits at its own size nor at those that Tribute draws."""
    width, height = picture.size
    if min(width, height) < SMALLEST // 2:
        return None
    fits = min(width, height) >= SMALLEST and max(width, height) <= LARGEST
    found = _read(np.asarray(picture)) if fits else None
    for short in SIZES if found is None else ():
        scale = short / min(width, height)
        size = (round(width * scale / 8) * 8, round(height * scale / 8) * 8)
        if size != (width, height) and max(size) <= LARGEST:
            found = _read(np.asarray(picture.resize(size, Image.Resampling.BICUBIC)))
            if found:
                return found
    return found
