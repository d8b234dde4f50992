"""Recipe for the upscaler: twice the side, once or several times over, with the edges of flat art kept crisp.

A residual network at the smaller size with sub-pixel convolution (Lim et al. 2017, arXiv:1707.02921; Shi et al. 2016,
arXiv:1609.05158). It learns from works at 256² and two kinds of halves of them: plain halves, and what the autoencoder's
decoder makes of their blurred latents, so that it also mends what a denoiser leaves soft.

Axes: B batch, N pictures, C channel, H height, W width. Pixels in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from tribute.diffusion.autoencoder import AutoencoderConfig, reconstruction_loss, to_pixels
from tribute.diffusion.training import Schedule, start_from, train


@dataclass(frozen=True)
class UpscalerConfig:
    width: int = 40
    depth: int = 7
    crop: int = 40  # pixels a side of the smaller picture
    softened: float = 0.7  # how often the smaller picture is the decoder's
    busiest: float = 0.6  # how often the busiest of three crops is taken: always, and it never learned that flat areas are flat


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden_BCHW: Tensor) -> Tensor:
        made: Tensor = hidden_BCHW + self.two(nn.functional.relu(self.one(hidden_BCHW)))
        return made


class Upscaler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """(B, 3, H, W) to (B, 3, 2H, 2W): bilinear, plus what the network adds."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 40, depth: int = 7) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        larger = nn.functional.interpolate(pixels_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
        hidden = self.blocks(nn.functional.relu(self.first(pixels_BCHW)))
        made: Tensor = larger + nn.functional.pixel_shuffle(self.last(hidden), 2)
        return made


def build_upscaler(config: UpscalerConfig) -> Upscaler:
    upscaler: Upscaler = Upscaler(config.width, config.depth).to(memory_format=torch.channels_last)
    return upscaler


@torch.inference_mode()
def enlarge(upscaler: Upscaler, picture_HWC: np.ndarray, times: int, tile: int = 512, overlap: int = 24) -> np.ndarray:
    """A uint8 RGB picture with `times` (1, 2, 4 or 8) as many pixels a side, tile by tile so that memory stays bounded."""
    assert times in (1, 2, 4, 8)
    made = picture_HWC
    for _ in range(times.bit_length() - 1):
        height, width, _ = made.shape
        larger = np.empty((2 * height, 2 * width, 3), np.uint8)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                y, x = max(0, top - overlap), max(0, left - overlap)
                bottom, right = min(height, top + tile), min(width, left + tile)
                part = made[y : min(height, bottom + overlap), x : min(width, right + overlap)]
                grown = upscaler(to_pixels(part[None]).to(upscaler.dtype).contiguous(memory_format=torch.channels_last))[0]
                pixels = grown.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
                kept = pixels[2 * (top - y) : 2 * (bottom - y), 2 * (left - x) : 2 * (right - x)]
                larger[2 * top : 2 * bottom, 2 * left : 2 * right] = kept
        made = larger
    return made


def _pairs(
    large_NHWC: np.ndarray, plain_NHWC: np.ndarray, soft_NHWC: np.ndarray, config: UpscalerConfig, batch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(smaller, larger) crops, often the busiest of three tries, mirrored half of the time."""
    count, height, width, _ = plain_NHWC.shape
    draws = torch.rand(batch, 10, generator=generator).tolist()
    small, large = [], []
    for which, soft, mirror, busy, *places in draws:
        at = int(which * count)
        source = (soft_NHWC if soft < config.softened else plain_NHWC)[at]
        tries = [(int(y * (height - config.crop)), int(x * (width - config.crop))) for y, x in zip(places[::2], places[1::2], strict=True)]
        tries = tries if busy < config.busiest else tries[:1]
        top, left = max(tries, key=lambda place: float(source[place[0] : place[0] + config.crop : 3, place[1] : place[1] + config.crop : 3].std()))
        step = -1 if mirror < 0.5 else 1
        small.append(source[top : top + config.crop, left : left + config.crop][:, ::step])
        large.append(large_NHWC[at, 2 * top : 2 * (top + config.crop), 2 * left : 2 * (left + config.crop)][:, ::step])
    return tuple(to_pixels(np.stack(some)).contiguous(memory_format=torch.channels_last) for some in (small, large))  # type: ignore[return-value]


def train_upscaler(
    run: Path, large_NHWC: np.ndarray, plain_NHWC: np.ndarray, soft_NHWC: np.ndarray, schedule: Schedule, config: UpscalerConfig,
    start: dict[str, Tensor] | None = None,
) -> Upscaler:  # fmt: skip
    """Trains on uint8 pictures and two kinds of halves of them, plain and softened, in the same order."""
    torch.manual_seed(schedule.seed)
    upscaler = build_upscaler(config)
    if start is not None:
        start_from(upscaler, start)
    losses = AutoencoderConfig()

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        small_BCHW, large_BCHW = _pairs(large_NHWC, plain_NHWC, soft_NHWC, config, schedule.batch, generator)
        return reconstruction_loss(upscaler(small_BCHW), large_BCHW, losses)

    def sheet(step: int) -> None:
        from PIL import Image

        from tribute.diffusion.sheets import save_sheet

        shown = range(0, len(soft_NHWC), max(1, len(soft_NHWC) // 8))
        rows = [
            [np.asarray(Image.fromarray(soft_NHWC[at]).resize((256, 256), Image.Resampling.BILINEAR)) for at in shown],
            [enlarge(upscaler, soft_NHWC[at], 2) for at in shown],
            [large_NHWC[at] for at in shown],
        ]
        save_sheet(run / f"sheet-{step:06d}.png", rows)

    train(run, dict(upscaler.named_parameters()), loss_at, schedule, config=config, sheet=sheet)
    upscaler.eval()
    return upscaler
