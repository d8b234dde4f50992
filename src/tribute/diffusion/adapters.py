"""Recipe for a style: a LoRA (Hu et al. 2021, arXiv:2106.09685) on one artist's works, in the diffusers format.

Rank 16 on attention, feed-forward and convolutions, as field trials found a hundred seconds enough for a hand that nobody
confuses. The base is left exactly as it is.

An adapter that learns its artist's works alone forgets what the base knows of things that it is not shown in the artist's hand (they
never drew them, or their work is held out), and draws ruins of what it was shown. So the base's own prediction is kept for those where
noise is high and a picture's shape is settled (prior preservation, Ruiz et al. 2023, arXiv:2208.12242, as distillation), and where
noise is middling works of other hands are turned into the artist's of the same thing, so that it learns how a shape becomes theirs
apart from which shapes they drew (docs/decisions/0038).

Axes: B batch, C latent channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from tribute.diffusion.denoiser import DenoiserConfig, Examples, build_scheduler, draw_batch, v_loss
from tribute.diffusion.training import Schedule, train
from tribute.records import InvalidInput


@dataclass(frozen=True)
class StyleConfig:
    rank: int = 16
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
    kept: int = 16  # pictures a step, beside the schedule's batch, of things not shown in the artist's hand
    kept_from: int = 620  # of a thousand training steps: the noise from which the base's prediction is kept
    turned: int = 24  # pictures a step that are turned from another hand's
    turned_between: tuple[int, int] = (150, 780)  # the noise that they lie under
    wordless: float = 0.6  # how often they are turned without their caption: by what is seen, not by what is known by heart


def begin_with(denoiser: UNet2DConditionModel, name: str, start: Path | None) -> None:
    """Gives the adapter `name` the weights of an earlier one, where there is one. Raises InvalidInput for one that does not fit."""
    if start is None or not start.is_file():
        return
    given = {key.removeprefix("unet."): value.float() for key, value in load_file(start).items()}
    given = {key.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): value for key, value in given.items()}
    left = set_peft_model_state_dict(denoiser, given, adapter_name=name)
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
    begin_with(denoiser, "default", start)
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
