"""Variations of a picture: its first noise moved along the sphere towards another seed's.

Spherical interpolation (Shoemake 1985), as A1111's variation seed and strength: strength 0 is the picture itself, 1 the other seed's. The
rest of the recipe stays, so credit replays a variation as it does any picture.

Axes: B pictures, C latent channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from tribute.diffusion.loading import Model
from tribute.records import Recipe


def between(one: Tensor, other: Tensor, part: float) -> Tensor:
    """The point `part` of the way from one to the other, along the great circle through both."""
    cosine = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(torch.sin(angle)) < 1e-4:
        return torch.lerp(one, other, part)
    mixed: Tensor = (torch.sin((1 - part) * angle) * one + torch.sin(part * angle) * other) / torch.sin(angle)
    return mixed


def varied_noise(model: Model, recipes: Sequence[Recipe]) -> Tensor:
    """noise_BCHW of recipes with a variation seed and strength."""
    first, unet = recipes[0], model.pipeline.unet
    size = (first.height // first.enlarge // model.multiple, first.width // first.enlarge // model.multiple)

    def noise(seed: int) -> Tensor:
        drawn: Tensor = randn_tensor((1, unet.config.in_channels, *size), generator=torch.Generator("cpu").manual_seed(seed), dtype=model.dtype)
        return drawn.float()

    rows = [between(noise(one.seed), noise(one.variation_seed or 0), one.variation_strength) for one in recipes]
    return torch.cat(rows).to(model.device, model.dtype)
