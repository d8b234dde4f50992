"""Pictures laid upon works: how like each work a picture is where it may be smaller or larger, narrower, turned, sheared and off its place.

A descriptor holds colours at 16×16 and the strength of edges at 24×24. Of a picture those in some poses are compared with every work; of the works
that it is most like then, the pose is followed by Gauss and Newton's steps towards the work's own descriptor (as Lucas and Kanade 1981 register images).

Axes: N works, D numbers of a descriptor, K numbers that it is compared in, V poses, W works that are followed, H height, W width, C channel; pictures are
uint8 RGB. A pose is six numbers: the logarithms of its scale and of how wide it is to how high, its turn and shear in radians, and how far it is moved right
and down, in half sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDE = 64  # that a picture is brought to
FOLLOWED, STEPS = 8, 6
PROBE = 0.02  # of each number of a pose, to see what it changes
UTMOST = (0.2, 0.14, 0.16, 0.12, 0.22, 0.22)  # that each number may come to
STRIDE = 0.08  # of each number, in one step
LIFT = 0.15  # following a pose hardly ever adds more to a likeness: docs/decisions/0039
NEAR, FAR = 3 / 64, 9 / 64


@cache
def poses() -> Tensor:
    """poses_V6 to begin with: small zooms and shifts, and larger ones with turns."""
    near = [(zoom, 0, 0, 0, right, down) for zoom, right, down in itertools.product((-0.06, 0, 0.06), (-NEAR, 0, NEAR), (-NEAR, 0, NEAR))]
    far = [(zoom, 0, turn, 0, *by) for zoom, turn, *by in itertools.product((-0.12, 0, 0.12), (-0.08, 0, 0.08), (-FAR, 0, FAR), (-FAR, 0, FAR))]
    return torch.tensor([*near, *far], dtype=torch.float32)


@cache
def _edge_cells() -> Tensor:
    """The matrix (24, SIDE) that brings SIDE pixels to 24 cells."""
    return torch.from_numpy(np.array(Image.fromarray(np.eye(SIDE, dtype=np.float32)).resize((SIDE, 24), Image.Resampling.BOX)))


def _unit(rows_VD: Tensor) -> Tensor:
    centred_VD = rows_VD - rows_VD.mean(1, keepdim=True)
    length_V1: Tensor = centred_VD.norm(dim=1, keepdim=True)
    return centred_VD / (length_V1 + 1e-3)


def descriptors(pictures_VCHW: Tensor) -> Tensor:
    """descriptors_VD, whose dot products are similarities, of pictures of SIDE pixels in [0, 255]."""
    colours_VD = nn.functional.avg_pool2d(pictures_VCHW, SIDE // 16).permute(0, 2, 3, 1).flatten(1)
    grey_VHW = (pictures_VCHW * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    edges_VHW = _edge_cells() @ torch.hypot(*torch.gradient(grey_VHW, dim=(1, 2))) @ _edge_cells().T
    return torch.cat([_unit(colours_VD), _unit(edges_VHW.flatten(1))], 1) / 2**0.5


def as_seen(picture_HWC: np.ndarray) -> Tensor:
    """picture_1CHW of SIDE pixels in [0, 255]"""
    small = Image.fromarray(picture_HWC).resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()


def _posed(picture_1CHW: Tensor, poses_V6: Tensor) -> Tensor:
    """descriptors_VD of a picture in these poses, on the ground of its first pixel."""
    scale_V, width_V, turn_V, shear_V, right_V, down_V = poses_V6.unbind(1)
    cos_V, sin_V = turn_V.cos() * scale_V.exp(), turn_V.sin() * scale_V.exp()
    across_V3 = torch.stack([cos_V * width_V.exp(), cos_V * shear_V - sin_V, right_V], 1)
    down_V3 = torch.stack([sin_V * width_V.exp(), sin_V * shear_V + cos_V, down_V], 1)
    shape = [len(poses_V6), *picture_1CHW.shape[1:]]
    at_S = (2 * torch.arange(SIDE) + 1) / SIDE - 1  # pixels' middles
    pose_V23 = torch.stack([across_V3, down_V3], 1)
    grid_V2HW = pose_V23[:, :, :1, None] * at_S + (pose_V23[:, :, 1:2] * at_S + pose_V23[:, :, 2:])[..., None]  # affine_grid takes forty times as long
    ground_1C11 = picture_1CHW[:, :, :1, :1]
    return descriptors(nn.functional.grid_sample((picture_1CHW - ground_1C11).expand(shape), grid_V2HW.permute(0, 2, 3, 1), align_corners=False) + ground_1C11)


@torch.no_grad()
def similarities(picture_HWC: np.ndarray, vectors_NK: Tensor, compared: Callable[[Tensor], Tensor], enough: float | None = None) -> np.ndarray:
    """similarity_N in [-1, 1] of a picture, in the pose that is likest, to works whose vectors are given; `compared` makes such vectors of descriptors_VD.

    `enough`: where all that matters is whether one is so alike. Then no pose is followed where one is already, and only of works that are within LIFT of it.
    """
    picture_1CHW = as_seen(picture_HWC)
    best_N, pose_N = (vectors_NK @ compared(_posed(picture_1CHW, poses())).T).max(1)
    found: np.ndarray = best_N.numpy()  # the same memory, so that what is followed below is found too
    followed_W = best_N.topk(min(FOLLOWED, len(best_N))).indices
    if enough is not None:
        followed_W = followed_W[best_N[followed_W] >= enough - LIFT]
        if not len(followed_W) or float(best_N[followed_W[0]]) >= enough:
            return found
    wanted_WK, pose_W6 = vectors_NK[followed_W], poses()[pose_N[followed_W]]
    probes_76 = torch.cat([torch.zeros(1, 6), PROBE * torch.eye(6)])
    utmost_6 = torch.tensor(UTMOST)
    for _ in range(STEPS):
        seen_W7K = compared(_posed(picture_1CHW, (pose_W6[:, None] + probes_76).flatten(0, 1))).unflatten(0, (-1, 7))
        best_N[followed_W] = torch.maximum(best_N[followed_W], (seen_W7K[:, 0] * wanted_WK).sum(1))
        slopes_W6K = (seen_W7K[:, 1:] - seen_W7K[:, :1]) / PROBE
        gram_W66 = slopes_W6K @ slopes_W6K.mT
        gram_W66 = gram_W66 + torch.diag_embed(0.01 * gram_W66.diagonal(dim1=1, dim2=2) + 1e-6)
        step_W61 = torch.linalg.solve(gram_W66, slopes_W6K @ (wanted_WK - seen_W7K[:, 0])[:, :, None])
        pose_W6 = (pose_W6 + step_W61[:, :, 0].clamp(-STRIDE, STRIDE)).clamp(-utmost_6, utmost_6)
    best_N[followed_W] = torch.maximum(best_N[followed_W], (compared(_posed(picture_1CHW, pose_W6)) * wanted_WK).sum(1))
    return found
