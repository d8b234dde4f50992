import json
import shutil
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from tests.conftest import flat_art
from tribute.diffusion.autoencoder import AutoencoderConfig, build_autoencoder, principal_components, psnr_db, train_decoder
from tribute.diffusion.denoiser import SHIFT, build_scheduler, redraw, shifted_betas
from tribute.diffusion.training import Muon, Optimiser, Schedule, compiled, train
from tribute.records import InvalidInput


@dataclass(frozen=True)
class Nothing:
    pass


def fit(run, steps, stop_after=None, **more):
    """A noisy linear regression; `stop_after` raises in the middle as a kill would."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    truth = torch.tensor([[1.0, -2.0, 3.0, 0.5]])

    def loss_at(step, generator):
        if step == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=generator)
        return (model(x) - x @ truth.T).square().mean()

    schedule = Schedule(steps=steps, batch=16, learning_rate=0.1, warmup=5, ema_half_life=5, save_every_s=0, **more)
    train(run, dict(model.named_parameters()), loss_at, schedule, config=Nothing())
    return model


def test_training_learns_the_truth(tmp_path):
    model = fit(tmp_path / "run", 300)
    assert torch.allclose(model.weight, torch.tensor([[1.0, -2.0, 3.0, 0.5]]), atol=0.02)


@pytest.mark.parametrize("muon", [False, True])
def test_a_killed_run_resumes_to_the_very_same_weights(tmp_path, muon):
    whole = fit(tmp_path / "whole", 60, muon=muon)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", 60, stop_after=37, muon=muon)
    resumed = fit(tmp_path / "killed", 60, muon=muon)
    assert torch.equal(whole.weight, resumed.weight)
    assert (tmp_path / "killed" / "config.json").exists()


def test_nothing_is_compiled_unasked_or_without_a_compiler(monkeypatch):
    layer, schedule = nn.Linear(2, 2), Schedule(steps=1, batch=1, learning_rate=0.1, compiled=True)
    assert compiled(layer, replace(schedule, compiled=False)) is layer
    monkeypatch.setenv("PATH", "")
    assert compiled(layer, schedule) is layer


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_what_is_compiled_learns_the_same():
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.SiLU(), nn.GroupNorm(2, 4))
    fast = compiled(plain, Schedule(steps=1, batch=1, learning_rate=0.1, compiled=True))
    assert fast is not plain
    seen = torch.randn(3, 2, 8, 8)
    gradients = [torch.autograd.grad(module(seen).square().sum(), list(plain.parameters())) for module in (plain, fast)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_a_convolution_as_the_matrix_that_it_is(layout):
    """The step is a matrix whose singular values all lie near 0.2 · √(longer side) times the rate, whatever the gradient's were and the memory's order."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 4, 3).to(memory_format=layout)
    before = layer.weight.detach().clone()
    other = nn.Parameter(torch.ones(2, 2))
    schedule = Schedule(steps=1, batch=1, learning_rate=0.1, weight_decay=0.0, muon=True)
    optimiser = Optimiser({"hidden.weight": layer.weight, "hidden.bias": layer.bias, "conv_in.weight": other}, schedule)
    (layer(torch.randn(2, 8, 6, 6)).square().sum() + (other * torch.tensor([[3.0, 0.1], [0.2, 1.0]])).sum()).backward()
    downhill = layer.weight.grad.clone()
    optimiser.step(0.1, clip_norm=1e9)
    moved = before - layer.weight.detach()
    singular = torch.linalg.svdvals(moved.flatten(1)) / (0.1 * 0.2 * 72**0.5)
    assert bool(((singular > 0.4) & (singular < 1.4)).all())
    assert float((moved * downhill).sum()) > 0
    assert set(optimiser.matrices) == {"hidden.weight"}
    assert torch.allclose(other, torch.full((2, 2), 0.9), atol=1e-3)  # AdamW's first step is the rate itself


def test_muon_steps_as_torchs_own_does():
    """Matrices of one shape together, tall, wide and square; torch's multiplies in bfloat16, so the two agree to its rounding."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 20), (6, 20), (20, 6), (8, 8)]
    ours = [torch.randn(shape, generator=generator) for shape in shapes]
    begun = [matrix.clone() for matrix in ours]
    theirs = [nn.Parameter(matrix.clone()) for matrix in ours]
    muon = Muon(ours, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1, ns_steps=4, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradients = [torch.randn(shape, generator=generator) for shape in shapes]
        muon.step(list(zip(ours, gradients, strict=True)), 0.05)
        for matrix, gradient in zip(theirs, gradients, strict=True):
            matrix.grad = gradient
        reference.step()
    for one, other, before in zip(ours, theirs, begun, strict=True):
        assert float((one - other.detach()).norm() / (one - before).norm()) < 0.02


def test_a_run_of_adamw_goes_on_with_muon(tmp_path):
    fit(tmp_path, 20)
    went_on = fit(tmp_path, 400, muon=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps[:2] == [20, 25]
    assert torch.allclose(went_on.weight, torch.tensor([[1.0, -2.0, 3.0, 0.5]]), atol=0.05)


def test_another_models_checkpoint_is_refused(tmp_path):
    fit(tmp_path, 5)
    other = nn.Linear(3, 1)
    schedule = Schedule(steps=9, batch=1, learning_rate=0.1)
    with pytest.raises(InvalidInput, match="another model"):
        train(tmp_path, {"other": other.weight}, lambda step, generator: other.weight.sum(), schedule, config=Nothing())


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    weight = nn.Parameter(torch.ones(1))
    schedule = Schedule(steps=3, batch=1, learning_rate=0.1)
    with pytest.raises(InvalidInput, match="lower the learning rate"):
        train(tmp_path, {"w": weight}, lambda step, generator: weight.sum() * float("nan"), schedule, config=Nothing())


def test_the_rate_warms_up_stays_and_falls():
    schedule = Schedule(steps=100, batch=1, learning_rate=1.0, warmup=10, decay=0.25)
    assert [round(schedule.rate_at(step), 2) for step in (0, 9, 50, 75, 99)] == [0.1, 1.0, 1.0, 1.0, 0.04]


def test_all_components_give_the_picture_back():
    pictures = np.stack([flat_art(32, seed) for seed in range(40)])
    basis = principal_components(pictures, channels=192, unit_channels=192, side=8)
    again = basis.decode(basis.encode_pictures(pictures)).add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    assert psnr_db(again, pictures) > 45
    few = principal_components(pictures, channels=8, unit_channels=8, side=8)
    latents = few.encode_pictures(pictures)
    assert float(latents.square().mean().sqrt()) == pytest.approx(1.0, abs=0.15)


def test_the_decoder_recipe_runs_and_draws_its_sheet(tmp_path):
    pictures = np.stack([flat_art(64, seed) for seed in range(40)])
    config = AutoencoderConfig(widths=(8, 8, 8), latent_channels=6)
    basis = principal_components(pictures, 6, 6, side=4)
    schedule = Schedule(steps=6, batch=2, learning_rate=1e-3, sheet_every=3)
    train_decoder(tmp_path, pictures, pictures[:36], basis, schedule, config)
    assert (tmp_path / "sheet-000006.png").exists()
    assert len((tmp_path / "psnr.txt").read_text().splitlines()) == 2


def test_the_decoder_learns_from_latents_that_were_drawn_again(tmp_path):
    pictures = np.stack([flat_art(32, seed) for seed in range(4)])
    config = AutoencoderConfig(widths=(8, 8, 8), latent_channels=6, redrawn=1.0)
    basis = principal_components(pictures, 6, 6, side=4)
    asked = []

    def redrawn(latent_BCHW, generator):
        asked.append(latent_BCHW.shape)
        return torch.zeros_like(latent_BCHW)

    schedule = Schedule(steps=2, batch=2, learning_rate=1e-3, weight_decay=0.0)
    begun = dict(build_autoencoder(config).state_dict())
    with_zeros = train_decoder(tmp_path / "zeros", pictures, pictures, basis, schedule, config, begun, redrawn)
    without = train_decoder(tmp_path / "without", pictures, pictures, basis, schedule, config, begun)
    assert asked == [(2, 6, 8, 8)] * 2
    first = "post_quant_conv.weight"  # what multiplies the latents: zeros cannot move it
    assert torch.equal(with_zeros.state_dict()[first], begun[first])
    assert not torch.equal(without.state_dict()[first], begun[first])


def test_half_of_the_shifted_times_lie_above_their_image():
    scheduler, plain = build_scheduler(), DDIMScheduler(beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=True)
    assert float(scheduler.alphas_cumprod[-1]) == 0.0
    assert bool((scheduler.alphas_cumprod[1:] < scheduler.alphas_cumprod[:-1]).all())
    middle = SHIFT * 0.5 / (1 + (SHIFT - 1) * 0.5)
    assert float(scheduler.alphas_cumprod[499]) == pytest.approx(float(plain.alphas_cumprod[round(1000 * middle) - 1]), abs=2e-3)
    assert np.allclose(np.cumprod(1 - np.array(shifted_betas(shift=1.0)))[:-1], plain.alphas_cumprod[:-1].numpy(), atol=2e-4)


def test_latents_drawn_again_by_a_denoiser_that_knows_them_come_back():
    scheduler, generator = build_scheduler(), torch.Generator().manual_seed(0)
    latent_BCHW = torch.randn(16, 4, 8, 8, generator=generator)
    seen = []

    def knows(noisy_BCHW, step_B, states_BTD):
        alpha = scheduler.alphas_cumprod[step_B].view(-1, 1, 1, 1)
        noise = (noisy_BCHW - alpha.sqrt() * latent_BCHW) / (1 - alpha).sqrt()
        seen.extend(step_B.tolist())
        return SimpleNamespace(sample=alpha.sqrt() * noise - (1 - alpha).sqrt() * latent_BCHW)

    again = redraw(knows, torch.zeros(1, 3, 2), scheduler, latent_BCHW, 200, generator)
    assert torch.allclose(again, latent_BCHW, atol=1e-3)
    assert max(seen) < 200
    assert len(set(seen)) > 8
