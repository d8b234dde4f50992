"""What an adapter keeps of the base and learns of other hands; on a small denoiser, made on the spot."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig

from tribute.diffusion.adapters import StyleConfig, kept_loss, train_style, turned_loss
from tribute.diffusion.denoiser import DenoiserConfig, Examples, build_denoiser, build_scheduler
from tribute.diffusion.training import Schedule

CONFIG = StyleConfig(rank=2, kept=4, turned=4)
SMALL = DenoiserConfig(widths=(32, 32), head_width=16, latent_channels=4, text_width=8)
EMPTY = torch.zeros(3, dtype=torch.long)


def encode(ids_BT):
    return ids_BT[..., None].float().expand(-1, -1, SMALL.text_width)


def examples(count: int, channels: int, seed: int) -> Examples:
    latents_NCHW = torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Examples(latents_NCHW, [[at] for at in range(count)], torch.arange(3 * count).view(count, 3), torch.ones(count))


@pytest.fixture
def denoiser() -> UNet2DConditionModel:
    torch.manual_seed(3)
    made = build_denoiser(SMALL)
    made.requires_grad_(False)
    return made


def worn(denoiser: UNet2DConditionModel) -> list[torch.nn.Parameter]:
    denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights="gaussian", target_modules=list(CONFIG.targets)))
    return [value for value in denoiser.parameters() if value.requires_grad]


def test_what_is_kept_is_how_far_the_adapter_leads_away_from_the_base(denoiser):
    learning = worn(denoiser)

    def loss():
        return kept_loss(denoiser, examples(6, 4, 1), encode, build_scheduler(), CONFIG, torch.Generator().manual_seed(5))

    assert loss().item() == 0.0  # a new adapter changes nothing
    with torch.no_grad():
        for value in learning:
            value.add_(0.1)
    led = loss()
    assert led.item() > 1e-4
    led.backward()
    assert all(value.requires_grad and value.grad is not None for value in learning)  # the adapter goes on learning, still worn
    assert [value for value in denoiser.parameters() if value.requires_grad and not any(value is one for one in learning)] == []


def test_a_picture_of_another_hand_is_turned_right_where_the_clean_one_made_is_the_artists_own(denoiser):
    counterparts, scheduler, seen = examples(5, 8, 2), build_scheduler(), []

    def knows(noisy_BCHW, step_B, states_BTD):
        """The velocity to the artist's own latents, whose row the words tell."""
        seen.extend(step_B.tolist())
        own_BCHW = counterparts.latents_NCHW[(states_BTD[:, 0, 0] / 3).long(), 4:]
        alpha = scheduler.alphas_cumprod[step_B].view(-1, 1, 1, 1)
        return SimpleNamespace(sample=(alpha.sqrt() * noisy_BCHW - own_BCHW) / (1 - alpha).sqrt())

    told = replace(CONFIG, turned=64, wordless=0.0)
    assert turned_loss(knows, counterparts, encode, scheduler, told, EMPTY, torch.Generator().manual_seed(1)).item() < 1e-8
    assert min(seen) >= CONFIG.turned_between[0]
    assert max(seen) < CONFIG.turned_between[1]
    untold = replace(CONFIG, turned=64)  # without their captions most of them cannot be known
    assert turned_loss(knows, counterparts, encode, scheduler, untold, EMPTY, torch.Generator().manual_seed(1)).item() > 0.5


@pytest.mark.slow
def test_a_style_leaves_to_the_base_what_its_artist_never_drew(tmp_path):
    """The same short training with and without the commons beside: nearer to the base on their words with."""
    schedule = Schedule(steps=30, batch=8, learning_rate=1e-2, warmup=1, ema_half_life=1, muon=True)
    own, others = examples(6, 4, 3), examples(6, 4, 4)
    others.token_ids.add_(50)
    left = {}
    for name, beside in (("alone", None), ("beside", others)):
        torch.manual_seed(3)
        model = build_denoiser(SMALL)
        path = train_style(tmp_path / name, model, own, encode, EMPTY, schedule, CONFIG, None, beside, examples(4, 8, 5))
        assert path.is_file()
        left[name] = kept_loss(model, others, encode, build_scheduler(), replace(CONFIG, kept=64), torch.Generator().manual_seed(7)).item()
    assert left["beside"] < 0.7 * left["alone"]
