"""What an adapter keeps of the base and learns of other hands; on a small denoiser, made on the spot."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from tests.conftest import flat_art
from tribute.diffusion.adapters import StyleConfig, add_part, kept_loss, leading_ranks, train_decoder_part, train_style, turned_loss
from tribute.diffusion.autoencoder import AutoencoderConfig, build_autoencoder, principal_components
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


@pytest.mark.parametrize("shape", [(10, 12), (10, 3, 3, 3)])
def test_the_leading_ranks_of_a_layer_are_what_is_left_of_it(shape):
    """A change of two ranks in an adapter of five is all there with two, and with one its larger half."""
    torch.manual_seed(1)
    ups, downs = torch.linalg.qr(torch.randn(8, 2))[0], torch.linalg.qr(torch.randn(math.prod(shape[1:]), 2))[0].T * torch.tensor([[3.0], [1.0]])
    mixing = torch.randn(2, 5)
    up, down = (ups @ mixing).view(8, 5, *[1] * (len(shape) - 2)), (torch.linalg.pinv(mixing) @ downs).view(5, *shape[1:])
    weights = {"a.lora_A.weight": down, "a.lora_B.weight": up}

    def change(weights):
        return weights["a.lora_B.weight"].flatten(1) @ weights["a.lora_A.weight"].flatten(1)

    two, one = leading_ranks(weights, 2), leading_ranks(weights, 1)
    assert [value.shape[0] for value in (two["a.lora_A.weight"], one["a.lora_A.weight"])] == [2, 1]
    assert two["a.lora_B.weight"].dim() == len(shape)
    torch.testing.assert_close(change(two), ups @ downs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(change(one), ups[:, :1] @ downs[:1], atol=1e-4, rtol=1e-4)
    assert leading_ranks(weights, 5) == weights


def test_a_style_goes_on_from_a_larger_one_with_its_leading_ranks(tmp_path, denoiser):
    schedule = Schedule(steps=1, batch=2, learning_rate=1e-9, warmup=1)
    larger = train_style(tmp_path / "larger", denoiser, examples(4, 4, 1), encode, EMPTY, schedule, replace(CONFIG, rank=4))
    torch.manual_seed(3)
    smaller = train_style(tmp_path / "smaller", build_denoiser(SMALL), examples(4, 4, 1), encode, EMPTY, schedule, CONFIG, larger)
    assert {len(value) for name, value in load_file(smaller).items() if ".lora_A." in name} == {2}


def decoder_part(run, pictures, held, steps, start=None, rate=2e-2):
    config = AutoencoderConfig(widths=(8, 8, 8), latent_channels=6)
    torch.manual_seed(5)
    autoencoder = build_autoencoder(config)
    basis = principal_components(pictures, 6, 6, side=4)
    schedule = Schedule(steps=steps, batch=2, learning_rate=rate, warmup=1, ema_half_life=1, weight_decay=0.0)
    return train_decoder_part(run, autoencoder, pictures, held, basis, schedule, CONFIG, None, start)


def test_a_decoders_part_is_kept_where_it_gives_works_back_better(tmp_path):
    pictures = np.stack([flat_art(32, seed) for seed in range(6)])
    weights = decoder_part(tmp_path / "learned", pictures, pictures[:3], 20)
    without, with_it = (float(told) for told in (tmp_path / "learned" / "psnr.txt").read_text().split())
    assert with_it > without
    assert {name.split(".")[0] for name in weights} == {"vae"}
    assert len(weights) == 2 * len({name.split(".lora_")[0] for name in weights})
    adapter = tmp_path / "adapter.safetensors"
    save_file({"unet.conv1.lora_A.weight": torch.ones(2, 2)}, adapter)
    add_part(adapter, weights)
    assert load_file(adapter).keys() == {"unet.conv1.lora_A.weight", *weights}
    again = decoder_part(tmp_path / "again", pictures, pictures[:3], 1, adapter, 1e-9)
    assert float((tmp_path / "again" / "psnr.txt").read_text().split()[1]) == pytest.approx(with_it, abs=0.05)  # it went on from there
    assert again.keys() == weights.keys()


def test_a_decoders_part_is_not_kept_where_it_gives_works_back_no_better(tmp_path):
    pictures = np.stack([flat_art(32, seed) for seed in range(6)])
    assert decoder_part(tmp_path, pictures, np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8), 20) == {}
