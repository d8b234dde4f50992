"""Recipe for a style: a LoRA (Hu et al. 2021, arXiv:2106.09685) on one artist's works, in the diffusers format.

Rank 16 on attention, feed-forward and convolutions, as field trials found a hundred seconds enough for a hand that nobody
confuses. The base is left exactly as it is.

An adapter that learns its artist's works alone forgets what the base knows of things that it is not shown in the artist's hand (they
never drew them, or their work is held out), and draws ruins of what it was shown. So the base's own prediction is kept for those where
noise is high and a picture's shape is settled (prior preservation, Ruiz et al. 2023, arXiv:2208.12242, as distillation), and where
noise is middling works of other hands are turned into the artist's of the same thing, so that it learns how a shape becomes theirs
apart from which shapes they drew (docs/decisions/0038).

What latents leave out the decoder guesses, and one that learned from the commons guesses as they are drawn: of a thin outline that they have not it
makes a blur. So a style has a second part, on the decoder's convolutions, which learns to give back the artist's own works (docs/decisions/0040).

Axes: B batch, C latent channels, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tribute.diffusion.autoencoder import AutoencoderConfig, PatchBasis, Redrawn, decode_pictures, decoder_loss, psnr_db
from tribute.diffusion.denoiser import DenoiserConfig, Examples, build_scheduler, draw_batch, v_loss
from tribute.diffusion.loading import AUTOENCODER, DENOISER, in_peft_names
from tribute.diffusion.training import Schedule, train
from tribute.records import InvalidInput

DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class StyleConfig:
    rank: int = 16
    decoder_rank: int = 8
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
    kept: int = 16  # pictures a step, beside the schedule's batch, of things not shown in the artist's hand
    kept_from: int = 620  # of a thousand training steps: the noise from which the base's prediction is kept
    turned: int = 24  # pictures a step that are turned from another hand's
    turned_between: tuple[int, int] = (150, 780)  # the noise that they lie under
    wordless: float = 0.6  # how often they are turned without their caption: by what is seen, not by what is known by heart


def leading_ranks(weights: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """An adapter's weights (float32, under peft's names) with at most `rank` ranks a layer: those that change it most, by its singular values."""
    kept = dict(weights)
    for name in [key for key, value in weights.items() if key.endswith(DOWN) and len(value) > rank]:
        up_name = name.removesuffix(DOWN) + UP
        down, up = weights[name], weights[up_name]
        (up_basis, up_part), (down_basis, down_part) = torch.linalg.qr(up.flatten(1)), torch.linalg.qr(down.flatten(1).T)
        left, values_R, right = torch.linalg.svd(up_part @ down_part.T)
        root_R = values_R[:rank].sqrt()
        kept[name] = (root_R[:, None] * (right[:rank] @ down_basis.T)).reshape(rank, *down.shape[1:]).contiguous()
        kept[up_name] = ((up_basis @ left[:, :rank]) * root_R).reshape(len(up), rank, *up.shape[2:]).contiguous()
    return kept


def begin_with(network: Any, name: str, start: Path | None, rank: int, part: str = DENOISER) -> None:
    """Gives the adapter `name` of this rank the weights of an earlier one, where there is one: of its names that begin with `part`, and as many of its
    ranks as there is room for. Raises InvalidInput for one that does not fit."""
    if start is None or not start.is_file():
        return
    given = {key.removeprefix(part): value.float() for key, value in load_file(start).items() if key.startswith(part)}
    if not given and part == AUTOENCODER:
        return  # it has no such part
    left = set_peft_model_state_dict(network, leading_ranks(in_peft_names(given), rank), adapter_name=name)
    missing = [key for key in left.missing_keys if f".{name}." in key]
    if missing or left.unexpected_keys:
        raise InvalidInput(f"{start} does not fit this adapter: {len(missing)} weights missing, {len(left.unexpected_keys)} too many")


def kept_loss(
    denoiser: UNet2DConditionModel, others: Examples, encode: Callable[[Tensor], Tensor], scheduler: DDIMScheduler, config: StyleConfig,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Mean squared distance of v with the adapter from v without it, for a random batch of `others` under much noise."""
    clean_BCHW, ids_BT = draw_batch(others, config.kept, generator)
    step_B = torch.randint(config.kept_from, scheduler.config["num_train_timesteps"], (config.kept,), generator=generator)
    noisy_BCHW = scheduler.add_noise(clean_BCHW, torch.randn(clean_BCHW.shape, generator=generator), step_B).contiguous(memory_format=torch.channels_last)
    states_BTD = encode(ids_BT)
    denoiser.disable_adapters()
    with torch.no_grad():
        wanted_BCHW = denoiser(noisy_BCHW, step_B, states_BTD).sample
    denoiser.enable_adapters()  # which lets them learn again, too
    loss: Tensor = (denoiser(noisy_BCHW, step_B, states_BTD).sample - wanted_BCHW).square().mean()
    return loss


def turned_loss(
    denoiser: Callable[..., Any], counterparts: Examples, encode: Callable[[Tensor], Tensor], scheduler: DDIMScheduler, config: StyleConfig,
    empty_ids_T: Tensor, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Mean squared error of the clean latents, for a random batch. `counterparts`: of 2C channels, another hand's latents, which are noised, and the
    artist's own of the same thing, which are wanted."""
    both_BCHW, ids_BT = draw_batch(counterparts, config.turned, generator)
    theirs_BCHW, own_BCHW = both_BCHW.chunk(2, 1)
    ids_BT = torch.where((torch.rand(config.turned, generator=generator) < config.wordless)[:, None], empty_ids_T, ids_BT)
    step_B = torch.randint(*config.turned_between, (config.turned,), generator=generator)
    noisy_BCHW = scheduler.add_noise(theirs_BCHW, torch.randn(theirs_BCHW.shape, generator=generator), step_B)
    made_BCHW = denoiser(noisy_BCHW.contiguous(memory_format=torch.channels_last), step_B, encode(ids_BT)).sample
    alpha_B111 = scheduler.alphas_cumprod[step_B].view(-1, 1, 1, 1)
    clean_BCHW = alpha_B111.sqrt() * noisy_BCHW - (1 - alpha_B111).sqrt() * made_BCHW
    loss: Tensor = (clean_BCHW - own_BCHW).square().mean()
    return loss


def train_style(
    run: Path, denoiser: UNet2DConditionModel, examples: Examples, encode: Callable[[Tensor], Tensor], empty_ids_T: Tensor,
    schedule: Schedule, config: StyleConfig, start: Path | None = None, others: Examples | None = None, counterparts: Examples | None = None,
) -> Path:  # fmt: skip
    """Trains an adapter on a loaded base and writes it, in bfloat16, as pytorch_lora_weights.safetensors in `run`; `start`: an earlier one to go on from;
    `others`: the commons' works of what is not shown in the artist's hand; `counterparts`: as `turned_loss` takes them."""
    torch.manual_seed(schedule.seed)
    denoiser.requires_grad_(False)
    denoiser.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, init_lora_weights="gaussian", target_modules=list(config.targets)))
    begin_with(denoiser, "default", start, config.rank)
    parameters = {name: value for name, value in denoiser.named_parameters() if value.requires_grad}
    scheduler = build_scheduler()

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        loss = v_loss(denoiser, examples, encode, scheduler, schedule.batch, DenoiserConfig(), empty_ids_T, generator)
        if others:
            loss = loss + config.kept / schedule.batch * kept_loss(denoiser, others, encode, scheduler, config, generator)
        if counterparts:
            loss = loss + config.turned / schedule.batch * turned_loss(denoiser, counterparts, encode, scheduler, config, empty_ids_T, generator)
        return loss

    train(run, parameters, loss_at, schedule, config=config)
    layers = get_peft_model_state_dict(denoiser)
    layers = {name: value.detach().bfloat16().contiguous() for name, value in layers.items()}
    StableDiffusionPipeline.save_lora_weights(run, unet_lora_layers=layers, safe_serialization=True)
    return run / "pytorch_lora_weights.safetensors"


def train_decoder_part(
    run: Path, autoencoder: AutoencoderKL, pictures_NHWC: np.ndarray, held_out_NHWC: np.ndarray, basis: PatchBasis, schedule: Schedule,
    config: StyleConfig, redrawn: Redrawn | None = None, start: Path | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Trains the adapter of a decoder to give back one artist's uint8 pictures_NHWC, and returns its weights in bfloat16, by their names in the style's
    file; none where it gives the held-out ones back no better than the decoder alone. psnr.txt says how well, without it and with it.

    `redrawn`: as `decoder_loss` takes it, the adapter worn that it goes with; `start`: an earlier adapter to go on from.
    """
    torch.manual_seed(schedule.seed)
    held_out_latents = basis.encode_pictures(held_out_NHWC)
    without = psnr_db(decode_pictures(autoencoder, held_out_latents), held_out_NHWC)
    autoencoder.requires_grad_(False)
    layers = [name for name, part in autoencoder.named_modules() if name.startswith("decoder.") and isinstance(part, nn.Conv2d)]
    autoencoder.add_adapter(LoraConfig(r=config.decoder_rank, lora_alpha=config.decoder_rank, init_lora_weights="gaussian", target_modules=layers))
    begin_with(autoencoder, "default", start, config.decoder_rank, AUTOENCODER)
    parameters = {name: value for name, value in autoencoder.named_parameters() if value.requires_grad}

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        return decoder_loss(autoencoder, pictures_NHWC, basis, schedule.batch, AutoencoderConfig(), redrawn, generator)

    train(run, parameters, loss_at, schedule, config=config)
    with_it = psnr_db(decode_pictures(autoencoder, held_out_latents), held_out_NHWC)
    (run / "psnr.txt").write_text(f"{without:.2f}\t{with_it:.2f}\n", encoding="utf-8")
    if with_it <= without:
        return {}
    return {AUTOENCODER + name: value.detach().bfloat16().contiguous() for name, value in get_peft_model_state_dict(autoencoder).items()}


def add_part(adapter: Path, weights: dict[str, Tensor]) -> None:
    """Adds weights to an adapter's file, in the place of those of the same names."""
    whole = adapter.with_name(f".{adapter.name}")
    save_file({**load_file(adapter), **weights}, whole, {"format": "pt"})
    os.replace(whole, adapter)
