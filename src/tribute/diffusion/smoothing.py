"""Flat areas made flat again: what a denoiser leaves in them looks like watercolour, which is no flat artist's manner.

By L0 gradient minimisation (Xu et al. 2011, "Image smoothing via L0 gradient minimization", doi:10.1145/2024156.2024208, algorithm 1): the picture
nearest to what was drawn, at a price for every pixel that differs from its neighbours. Edges stay as sharp as they are, since a high one costs no more
than a low one. The price is measured for each hand, whose own works say how still their pictures are (docs/decisions/0041).

Axes: N pictures, H height, W width, C channel, V columns of a half spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STRENGTHS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008)  # that are tried for a hand: beyond these shapes go, too
GROWTH = 2.0  # a round, of how firmly the picture is held to the differences that stay: the paper's kappa
BEYOND = 6.0  # levels that full white and black count for more, so that an area stays so which is nearly all so: its mean would be greyish
LAST = 1e5  # how firmly in the end


@torch.inference_mode()
def smoothed(pictures: Sequence[np.ndarray], strengths: Sequence[float]) -> list[np.ndarray]:
    """uint8 RGB pictures_HWC of one size, each with its own strength from 0, which leaves it as it is, to SMOOTHING_MAX; edges wrap around."""
    made = list(pictures)
    for strength in sorted({strength for strength in strengths if strength > 0}):
        at = [place for place, own in enumerate(strengths) if own == strength]
        for place, picture_HWC in zip(at, _smoothed(torch.from_numpy(np.stack([pictures[place] for place in at])), strength), strict=True):
            made[place] = picture_HWC.numpy()
    return made


def _smoothed(pictures_NHWC: Tensor, strength: float) -> Tensor:
    drawn_NCHW = pictures_NHWC.permute(0, 3, 1, 2).float()
    drawn_NCHW = (drawn_NCHW + BEYOND * ((drawn_NCHW == 255).float() - (drawn_NCHW == 0).float())) / 255
    height, width = drawn_NCHW.shape[2:]
    down_H1 = 2 - 2 * torch.cos(2 * math.pi * torch.arange(height)[:, None] / height)
    power_HV = down_H1 + 2 - 2 * torch.cos(2 * math.pi * torch.arange(width // 2 + 1) / width)  # of the first differences
    drawn_NCHV, still_NCHW, firmly = torch.fft.rfft2(drawn_NCHW), drawn_NCHW, 2 * strength
    while firmly < LAST:
        across_NCHW, down_NCHW = still_NCHW.roll(-1, 3) - still_NCHW, still_NCHW.roll(-1, 2) - still_NCHW
        stays_N1HW = (across_NCHW.square() + down_NCHW.square()).sum(1, keepdim=True) >= strength / firmly
        across_NCHW, down_NCHW = across_NCHW * stays_N1HW, down_NCHW * stays_N1HW
        back_NCHW = across_NCHW.roll(1, 3) - across_NCHW + down_NCHW.roll(1, 2) - down_NCHW
        still_NCHW = torch.fft.irfft2((drawn_NCHV + firmly * torch.fft.rfft2(back_NCHW)) / (1 + firmly * power_HV), s=(height, width))
        firmly *= GROWTH
    return still_NCHW.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def stillness(pictures: Sequence[np.ndarray]) -> float:
    """The part of neighbouring pixels, across and down, of uint8 pictures_HWC that are exactly alike, in [0, 1]."""
    alike = [(picture_HWC == np.roll(picture_HWC, -1, axis)).all(2).mean() for picture_HWC in pictures for axis in (0, 1)]
    return float(np.mean(alike))


def strength_for(drawn: Sequence[np.ndarray], works: Sequence[np.ndarray]) -> float:
    """The least of STRENGTHS with which pictures drawn in a hand are as still as works of that hand, or the greatest where none will do."""
    wanted = stillness(works)
    return next((strength for strength in STRENGTHS if stillness(smoothed(drawn, [strength] * len(drawn))) >= wanted), STRENGTHS[-1])
