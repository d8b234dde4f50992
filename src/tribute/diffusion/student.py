"""Recipe for the few-step student: progressive distillation with guidance folded in, kept as a LoRA on the base.

One step of the student does what two guided steps of the teacher do (Salimans and Ho 2022, arXiv:2202.00512, section 3; guidance
folded in as Meng et al. 2023, arXiv:2210.03142). As an adapter (Luo et al. 2023, arXiv:2311.05556) it ships in a few megabytes
and stacks with the artists' styles, with which it is trained too.

Axes: B batch, C latent channels, H height, W width, T tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from tribute.diffusion.adapters import StyleConfig, begin_with
from tribute.diffusion.denoiser import Examples, build_scheduler, draw_batch
from tribute.diffusion.training import Schedule, train

NAME = "student"


@dataclass(frozen=True)
class StudentConfig:
    steps: int = 8  # that the student is taught to take, spaced as the scheduler's `trailing`
    taken: int = 4  # that pictures are drawn in: judged as well as in the eight, and as well as after another round (docs/decisions/0031)
    guidance: float = 4.0  # of the teacher, folded in; at 7 fewer of its pictures are told right (docs/decisions/0022)
    rescale: float = 0.7  # how far the guided prediction is brought back to the spread of the unguided one: without it colours burn (docs/decisions/0024)
    rank: int = 32
    style_chance: float = 0.5  # how often a batch is drawn with an artist's style on both


def student_times(scheduler: DDIMScheduler, steps: int) -> Tensor:
    """The steps + 1 timesteps of a trailing schedule of the student, from pure noise to -1, the finished picture."""
    count = scheduler.config["num_train_timesteps"]
    return torch.tensor([round(count - at * count / steps) - 1 for at in range(steps + 1)])


def levels(scheduler: DDIMScheduler, time_B: Tensor) -> tuple[Tensor, Tensor]:
    """(signal, noise) factors of each time, shaped to multiply latents; time -1 is all signal."""
    alphas = torch.cat([scheduler.alphas_cumprod, torch.ones(1)])  # index -1
    alpha_B111 = alphas[time_B].view(-1, 1, 1, 1)
    return alpha_B111.sqrt(), (1 - alpha_B111).sqrt()


def ddim_step(latent_BCHW: Tensor, v_BCHW: Tensor, here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]) -> Tensor:
    """One deterministic step (Song et al. 2021, arXiv:2010.02502, equation 12 with η = 0) from a predicted velocity."""
    signal, noise = here
    clean_BCHW = signal * latent_BCHW - noise * v_BCHW
    noise_BCHW = noise * latent_BCHW + signal * v_BCHW
    return there[0] * clean_BCHW + there[1] * noise_BCHW


def wanted_velocity(latent_BCHW: Tensor, landed_BCHW: Tensor, here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]) -> Tensor:
    """The velocity whose one step from `here` to `there` lands where the teacher's two did."""
    (signal, noise), (later_signal, later_noise) = here, there
    along = later_signal * signal + later_noise * noise
    across = later_noise * signal - later_signal * noise
    return (landed_BCHW - along * latent_BCHW) / across


def guided(plain_BCHW: Tensor, told_BCHW: Tensor, guidance: float, rescale: float) -> Tensor:
    """Classifier-free guidance, rescaled as Lin et al. 2023 (arXiv:2305.08891, section 3.4) do where the last step has no signal."""
    made_BCHW = plain_BCHW + guidance * (told_BCHW - plain_BCHW)
    spread_B111 = told_BCHW.std((1, 2, 3), keepdim=True) / made_BCHW.std((1, 2, 3), keepdim=True)
    return made_BCHW * (rescale * spread_B111 + 1 - rescale)


def train_student(
    run: Path, denoiser: UNet2DConditionModel, styles: Sequence[str], examples: Examples, encode: Callable[[Tensor], Tensor], empty_ids_T: Tensor,
    schedule: Schedule, config: StudentConfig, start: Path | None = None,
) -> Path:  # fmt: skip
    """Distils `denoiser`, on which adapters named `styles` are loaded; writes pytorch_lora_weights.safetensors in `run`."""
    torch.manual_seed(schedule.seed)
    denoiser.requires_grad_(False)
    targets = list(StyleConfig().targets)
    denoiser.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, init_lora_weights="gaussian", target_modules=targets), adapter_name=NAME)
    begin_with(denoiser, NAME, start, config.rank)
    parameters = {name: value for name, value in denoiser.named_parameters() if f".{NAME}." in name}
    scheduler = build_scheduler()
    times = student_times(scheduler, config.steps)
    empty_states_1TD = encode(empty_ids_T[None])

    def use(names: Sequence[str]) -> None:
        if names:
            denoiser.enable_adapters()
            denoiser.set_adapters(list(names))
        else:
            denoiser.disable_adapters()
        for name, value in denoiser.named_parameters():
            if "lora_" in name:
                value.requires_grad_(f".{NAME}." in name)

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        clean_BCHW, ids_BT = draw_batch(examples, schedule.batch, generator)
        states_BTD = encode(ids_BT)
        at_B = torch.randint(config.steps, (schedule.batch,), generator=generator)
        start_B, end_B = times[at_B], times[at_B + 1]
        middle_B = (start_B + end_B) // 2
        here, halfway, there = (levels(scheduler, time_B) for time_B in (start_B, middle_B, end_B))
        latent_BCHW = here[0] * clean_BCHW + here[1] * torch.randn(clean_BCHW.shape, generator=generator)
        latent_BCHW = latent_BCHW.contiguous(memory_format=torch.channels_last)
        styled = bool(styles) and float(torch.rand(1, generator=generator)) < config.style_chance
        worn = [styles[int(torch.randint(len(styles), (1,), generator=generator))]] if styled else []
        both_BTD = torch.cat([empty_states_1TD.expand_as(states_BTD), states_BTD])

        def teach(noisy_BCHW: Tensor, time_B: Tensor) -> Tensor:
            plain_BCHW, told_BCHW = denoiser(torch.cat([noisy_BCHW] * 2), torch.cat([time_B] * 2), both_BTD).sample.chunk(2)
            return guided(plain_BCHW, told_BCHW, config.guidance, config.rescale)

        use(worn)
        with torch.no_grad():
            half_BCHW = ddim_step(latent_BCHW, teach(latent_BCHW, start_B), here, halfway)
            landed_BCHW = ddim_step(half_BCHW, teach(half_BCHW, middle_B), halfway, there)
            wanted_BCHW = wanted_velocity(latent_BCHW, landed_BCHW, here, there)
        use([*worn, NAME])
        made_BCHW = denoiser(latent_BCHW, start_B, states_BTD).sample
        loss: Tensor = (made_BCHW - wanted_BCHW).square().mean()
        return loss

    train(run, parameters, loss_at, schedule, config=config)
    layers = get_peft_model_state_dict(denoiser, adapter_name=NAME)
    layers = {name: value.detach().bfloat16().contiguous() for name, value in layers.items()}
    StableDiffusionPipeline.save_lora_weights(run, unet_lora_layers=layers, safe_serialization=True)
    return run / "pytorch_lora_weights.safetensors"
