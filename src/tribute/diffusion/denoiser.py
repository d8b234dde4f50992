"""Recipe for the denoiser: diffusers' UNet2DConditionModel on 8×8 latents, v-prediction, and the scheduler that goes with it.

Salimans and Ho 2022 (arXiv:2202.00512) for v; a cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672) to zero terminal
signal (Lin et al. 2023, arXiv:2305.08891), its times shifted towards noise as Esser et al. 2024 (arXiv:2403.03206, equation 23)
shift theirs, since what a picture is of is decided there; min-SNR weighting with a larger γ (Hang et al. 2023,
arXiv:2303.09556). Captions are dropped for classifier-free guidance (Ho and Salimans 2022).

Axes: B batch, C latent channels, H height, W width, T tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from tribute.diffusion.training import Schedule, compiled, start_from, train


@dataclass(frozen=True)
class DenoiserConfig:
    widths: tuple[int, ...] = (128, 256)
    layers_per_block: int = 1
    head_width: int = 64
    latent_channels: int = 64
    text_width: int = 256
    sample_size: int = 8
    caption_dropout: float = 0.1
    snr_gamma: float = 20.0  # the finest latents are faint: with 5 their last noise was left in the picture


def build_denoiser(config: DenoiserConfig) -> UNet2DConditionModel:
    levels = len(config.widths)
    return UNet2DConditionModel(
        sample_size=config.sample_size,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        layers_per_block=config.layers_per_block,
        block_out_channels=config.widths,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=config.text_width,
        attention_head_dim=[width // config.head_width for width in config.widths],
    ).to(memory_format=torch.channels_last)


SHIFT = 2.5  # of times: half of them lie where the text tells most of what the latents are (docs/decisions/0022)


def shifted_betas(steps: int = 1000, shift: float = SHIFT, offset: float = 0.008) -> list[float]:
    """The cosine schedule's betas, a time u of [0, 1] taken as shift · u / (1 + (shift - 1) · u); the last one is 1."""
    times = np.arange(steps + 1) / steps
    times = shift * times / (1 + (shift - 1) * times)
    signal = np.cos((times + offset) / (1 + offset) * np.pi / 2) ** 2
    signal[-1] = 0.0
    return [float(beta) for beta in 1 - signal[1:] / signal[:-1]]


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        trained_betas=shifted_betas(),
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


@dataclass(frozen=True)
class Examples:
    """Scaled latents_NCHW, each with the rows of `tokens` that caption it, and a sampling weight each."""

    latents_NCHW: Tensor
    captions: Sequence[Sequence[int]]  # per example, rows of token_ids
    token_ids: Tensor  # rows of ids_T
    weights_N: Tensor


def draw_batch(examples: Examples, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(latents_BCHW, ids_BT): random examples by their weights, each with one of its captions."""
    at_B = torch.multinomial(examples.weights_N, batch, replacement=True, generator=generator)
    pick_B = torch.rand(batch, generator=generator)
    rows = [examples.captions[at][int(pick * len(examples.captions[at]))] for at, pick in zip(at_B.tolist(), pick_B.tolist(), strict=True)]
    return examples.latents_NCHW[at_B], examples.token_ids[torch.tensor(rows)]


def v_loss(
    denoiser: Callable[..., Any], examples: Examples, encode: Callable[[Tensor], Tensor], scheduler: DDIMScheduler,
    batch: int, config: DenoiserConfig, empty_ids_T: Tensor, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Min-SNR-weighted mean squared error of v for one random batch."""
    latent_BCHW, ids_BT = draw_batch(examples, batch, generator)
    dropped_B = torch.rand(batch, generator=generator) < config.caption_dropout
    ids_BT = torch.where(dropped_B[:, None], empty_ids_T, ids_BT)
    noise_BCHW = torch.randn(latent_BCHW.shape, generator=generator)
    count = scheduler.config["num_train_timesteps"]
    step_B = ((torch.arange(batch) + torch.rand(1, generator=generator)) / batch * count).long().clamp(max=count - 1)  # stratified
    step_B = step_B[torch.randperm(batch, generator=generator)]
    noisy_BCHW = scheduler.add_noise(latent_BCHW, noise_BCHW, step_B)
    target_BCHW = scheduler.get_velocity(latent_BCHW, noise_BCHW, step_B)
    made_BCHW = denoiser(noisy_BCHW.contiguous(memory_format=torch.channels_last), step_B, encode(ids_BT)).sample
    alpha_B = scheduler.alphas_cumprod[step_B]
    snr_B = alpha_B / (1 - alpha_B)
    weight_B = (config.snr_gamma / (snr_B + 1)).clamp(max=1.0)  # what a picture is of is settled where noise is high: full weight there
    error_B = (made_BCHW - target_BCHW).square().mean((1, 2, 3))
    loss: Tensor = (error_B * weight_B).mean()
    return loss


@torch.no_grad()
def redraw(denoiser: Callable[..., Any], states_1TD: Tensor, scheduler: DDIMScheduler, latent_BCHW: Tensor, latest: int, generator: torch.Generator) -> Tensor:
    """latents_BCHW noised to random times up to `latest`, in training steps, and drawn again from there in one step."""
    step_B = torch.randint(latest, (len(latent_BCHW),), generator=generator)
    noisy_BCHW = scheduler.add_noise(latent_BCHW, torch.randn(latent_BCHW.shape, generator=generator), step_B)
    made_BCHW = denoiser(noisy_BCHW.contiguous(memory_format=torch.channels_last), step_B, states_1TD.expand(len(latent_BCHW), -1, -1)).sample
    alpha_B111 = scheduler.alphas_cumprod[step_B].view(-1, 1, 1, 1)
    clean_BCHW: Tensor = alpha_B111.sqrt() * noisy_BCHW - (1 - alpha_B111).sqrt() * made_BCHW
    return clean_BCHW


def train_denoiser(
    run: Path, examples: Examples, encode: Callable[[Tensor], Tensor], empty_ids_T: Tensor, schedule: Schedule,
    config: DenoiserConfig, sheet: Callable[[UNet2DConditionModel, int], None], start: dict[str, Tensor] | None = None,
) -> UNet2DConditionModel:  # fmt: skip
    """Trains the base on the commons. `encode` is the frozen text encoder; `sheet` draws sample pictures."""
    torch.manual_seed(schedule.seed)
    denoiser = build_denoiser(config)
    if start is not None:
        start_from(denoiser, start)
    scheduler = build_scheduler()
    parameters = dict(denoiser.named_parameters())
    fast = compiled(denoiser, schedule)

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        return v_loss(fast, examples, encode, scheduler, schedule.batch, config, empty_ids_T, generator)

    train(run, parameters, loss_at, schedule, config=config, sheet=lambda step: sheet(denoiser, step))
    return denoiser.eval()
