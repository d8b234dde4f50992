"""Recipe for the autoencoder: diffusers' AutoencoderKL, sixteen pixels a side to one latent, started from principal components.

Trained from scratch and end to end it had not learned its colours after ten minutes (see docs/decisions), so its latents are
given: the leading principal components of 16×16 patches of the commons, each divided by the square root of its deviation, so
that fine ones are neither drowned nor as loud as coarse ones. The decoder learns to invert them and to put back what they
leave out (flat art is its edges, and those can be guessed); the encoder learns to compute them. Loss: L1 and L2 on pixels and
L1 on their horizontal and vertical differences; for the encoder L2 on latents. The posterior's variance is fixed and small.

Axes: B batch, N pictures, C channel, H height, W width. Pixels in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from tribute.diffusion.training import Schedule, start_from, train

Redrawn = Callable[[Tensor, torch.Generator], Tensor]  # latents_BCHW as a denoiser draws them


@dataclass(frozen=True)
class AutoencoderConfig:
    """Widths from full resolution down; each level but the last halves the side."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    latent_channels: int = 64
    unit_channels: int = 24  # the leading components, which together have unit deviation; the finer ones stay fainter
    layers_per_block: int = 1
    norm_groups: int = 1  # with two channels a group little of a picture's colour is left
    logvar: float = -12.0  # of the posterior
    latent_noise: float = 0.1  # the decoder sees latents blurred by up to this deviation: a denoiser's are never exact
    redrawn: float = 0.5  # how often the decoder sees latents as the denoiser draws them, where there is one
    edge_weight: float = 1.0
    square_weight: float = 0.5


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    levels = len(config.widths)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=config.latent_channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        mid_block_add_attention=False,
        sample_size=128,
    ).to(memory_format=torch.channels_last)


def to_pixels(uint8_BHWC: np.ndarray) -> Tensor:
    """uint8 pictures to float pixels_BCHW in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(uint8_BHWC)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def reconstruction_loss(made_BCHW: Tensor, real_BCHW: Tensor, config: AutoencoderConfig) -> Tensor:
    error_BCHW = made_BCHW - real_BCHW
    across = (error_BCHW[..., 1:] - error_BCHW[..., :-1]).abs().mean()
    down = (error_BCHW[..., 1:, :] - error_BCHW[..., :-1, :]).abs().mean()
    return error_BCHW.abs().mean() + config.edge_weight * (across + down) + config.square_weight * error_BCHW.square().mean()


def _whole(pictures_NHWC: np.ndarray, batch: int, generator: torch.Generator) -> Tensor:
    """Random pictures, mirrored half of the time; whole, since normalisation is over the picture, and of crops it learned another one."""
    at = torch.randint(len(pictures_NHWC), (batch,), generator=generator).tolist()
    mirrored = torch.rand(batch, generator=generator).lt(0.5).tolist()
    chosen = [pictures_NHWC[index][:, :: -1 if mirror else 1] for index, mirror in zip(at, mirrored, strict=True)]
    return to_pixels(np.stack(chosen)).to(memory_format=torch.channels_last)


def psnr_db(made_BHWC: np.ndarray, real_BHWC: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB: the mean over pictures, each against a peak of 255."""
    error = np.square(made_BHWC.astype(np.float32) - real_BHWC.astype(np.float32)).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-6))))


def _patches(pixels_NCHW: Tensor, side: int) -> Tensor:
    """pixels_NCHW to patches (N, H/side, W/side, 3·side²)."""
    count, channels, height, width = pixels_NCHW.shape
    cut = pixels_NCHW.reshape(count, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, height // side, width // side, -1)


@dataclass(frozen=True)
class PatchBasis:
    """Orthonormal components (patch, C), the mean patch and each component's divisor."""

    components: Tensor
    mean: Tensor
    divisor_C: Tensor

    @property
    def side(self) -> int:
        return math.isqrt(len(self.mean) // 3)

    def encode(self, pixels_NCHW: Tensor) -> Tensor:
        """latents_NCHW"""
        centred = _patches(pixels_NCHW, self.side) - self.mean
        return (centred @ self.components / self.divisor_C).permute(0, 3, 1, 2).contiguous()

    def encode_pictures(self, pictures_NHWC: np.ndarray, batch: int = 256) -> Tensor:
        return torch.cat([self.encode(to_pixels(pictures_NHWC[at : at + batch])) for at in range(0, len(pictures_NHWC), batch)])

    def decode(self, latents_NCHW: Tensor) -> Tensor:
        """pixels_NCHW: what the components alone hold."""
        count, _, rows, columns = latents_NCHW.shape
        flat = (latents_NCHW.permute(0, 2, 3, 1) * self.divisor_C) @ self.components.T + self.mean
        cut = flat.reshape(count, rows, columns, 3, self.side, self.side).permute(0, 3, 1, 4, 2, 5)
        return cut.reshape(count, 3, rows * self.side, columns * self.side)

    def save(self, path: Path) -> None:
        save_file({"components": self.components.contiguous(), "mean": self.mean, "divisor": self.divisor_C}, path)

    @classmethod
    def load(cls, path: Path) -> PatchBasis:
        stored = load_file(path)
        return cls(stored["components"], stored["mean"], stored["divisor"])


def principal_components(pictures_NHWC: np.ndarray, channels: int, unit_channels: int, side: int = 16) -> PatchBasis:
    """The leading components of the patches of uint8 pictures, scaled so that the first `unit_channels` have unit deviation together."""
    patches = _patches(to_pixels(pictures_NHWC), side).reshape(-1, 3 * side * side)
    mean = patches.mean(0)
    vectors, deviation_C = _leading(patches - mean, channels)
    overall = deviation_C[:unit_channels].mean().sqrt()  # deviations are √deviation after the division; their mean square is its mean
    return PatchBasis(vectors, mean, deviation_C.sqrt() * overall)


def _leading(centred: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """(components, their deviations_C) of rows whose mean is 0."""
    variance, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return vectors.flip(1)[:, :channels].contiguous(), variance.flip(0)[:channels].clamp(min=0).sqrt()


def extended(basis: PatchBasis, pictures_NHWC: np.ndarray, channels: int) -> PatchBasis:
    """`basis` as it is, then the leading components of what it leaves out of uint8 pictures, scaled alike."""
    centred = _patches(to_pixels(pictures_NHWC), basis.side).reshape(-1, len(basis.mean)) - basis.mean
    known = centred @ basis.components
    vectors, deviation_C = _leading(centred - known @ basis.components.T, channels - known.shape[1])
    overall = (basis.divisor_C / known.square().mean(0).sqrt().sqrt()).mean()
    return PatchBasis(torch.cat([basis.components, vectors], 1), basis.mean, torch.cat([basis.divisor_C, deviation_C.sqrt() * overall]))


@torch.no_grad()
def decode_pictures(autoencoder: AutoencoderKL, latents_NCHW: Tensor, batch: int = 16) -> np.ndarray:
    """uint8 pictures_NHWC, decoded in the autoencoder's own precision"""
    made = [autoencoder.decode(latents_NCHW[at : at + batch].to(autoencoder.dtype)).sample.float() for at in range(0, len(latents_NCHW), batch)]
    return torch.cat(made).add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def decoder_loss(
    autoencoder: AutoencoderKL, pictures_NHWC: np.ndarray, basis: PatchBasis, batch: int, config: AutoencoderConfig, redrawn: Redrawn | None,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """How far random pictures are from what comes back of their latents: blurred, or, so often, as `redrawn` gives them."""
    pixels_BCHW = _whole(pictures_NHWC, batch, generator)
    latent_BCHW = basis.encode(pixels_BCHW)
    level_B111 = config.latent_noise * torch.rand(len(latent_BCHW), 1, 1, 1, generator=generator)
    given_BCHW = latent_BCHW + level_B111 * torch.randn(latent_BCHW.shape, generator=generator)
    if redrawn is not None:
        often_B111 = torch.rand(len(latent_BCHW), 1, 1, 1, generator=generator) < config.redrawn
        given_BCHW = torch.where(often_B111, redrawn(latent_BCHW, generator), given_BCHW)
    return reconstruction_loss(autoencoder.decode(given_BCHW).sample, pixels_BCHW, config)


def train_decoder(
    run: Path, pictures_NHWC: np.ndarray, held_out_NHWC: np.ndarray, basis: PatchBasis, schedule: Schedule, config: AutoencoderConfig,
    start: dict[str, Tensor] | None = None, redrawn: Redrawn | None = None,
) -> AutoencoderKL:  # fmt: skip
    """Trains the decoder on uint8 pictures_NHWC; sheets show held-out works above what comes back, psnr.txt how well.

    `redrawn` gives latents_BCHW as a denoiser draws them, so that the decoder learns to put right what that leaves undone.
    """
    torch.manual_seed(schedule.seed)
    autoencoder = build_autoencoder(config)
    if start is not None:
        start_from(autoencoder, start)
    parameters = {name: value for name, value in autoencoder.named_parameters() if name.startswith(("decoder.", "post_quant_conv."))}
    held_out_latents = basis.encode_pictures(held_out_NHWC)

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        return decoder_loss(autoencoder, pictures_NHWC, basis, schedule.batch, config, redrawn, generator)

    def sheet(step: int) -> None:
        from tribute.diffusion.sheets import save_sheet

        made = decode_pictures(autoencoder, held_out_latents)
        with (run / "psnr.txt").open("a", encoding="utf-8") as log:
            log.write(f"{step}\t{psnr_db(made, held_out_NHWC):.2f}\n")
        rows = [row for start in range(0, 36, 12) for row in (held_out_NHWC[start : start + 12], made[start : start + 12])]
        save_sheet(run / f"sheet-{step:06d}.png", [list(row) for row in rows])

    train(run, parameters, loss_at, schedule, config=config, sheet=sheet)
    return autoencoder.eval()


def train_encoder(
    run: Path, autoencoder: AutoencoderKL, pictures_NHWC: np.ndarray, basis: PatchBasis, schedule: Schedule, config: AutoencoderConfig
) -> AutoencoderKL:
    """Trains the encoder of `autoencoder` to compute the components."""
    parameters = {name: value for name, value in autoencoder.named_parameters() if name.startswith(("encoder.", "quant_conv."))}
    with torch.no_grad():
        autoencoder.quant_conv.weight[config.latent_channels :] = 0.0
        autoencoder.quant_conv.bias[config.latent_channels :] = config.logvar

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        pixels_BCHW = _whole(pictures_NHWC, schedule.batch, generator)
        missed_BCHW: Tensor = autoencoder.encode(pixels_BCHW).latent_dist.mean - basis.encode(pixels_BCHW)
        return missed_BCHW.square().mean()

    train(run, parameters, loss_at, schedule, config=config)
    return autoencoder.eval()
