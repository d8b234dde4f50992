from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import flat_art
from tribute.diffusion.autoencoder import AutoencoderConfig, principal_components, psnr_db, train_decoder
from tribute.diffusion.training import Schedule, train
from tribute.records import InvalidInput


@dataclass(frozen=True)
class Nothing:
    pass


def fit(run, steps, stop_after=None):
    """A noisy linear regression; `stop_after` raises in the middle as a kill would."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    truth = torch.tensor([[1.0, -2.0, 3.0, 0.5]])

    def loss_at(step, generator):
        if step == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=generator)
        return (model(x) - x @ truth.T).square().mean()

    schedule = Schedule(steps=steps, batch=16, learning_rate=0.1, warmup=5, ema_half_life=5, save_every_s=0)
    train(run, dict(model.named_parameters()), loss_at, schedule, config=Nothing())
    return model


def test_training_learns_the_truth(tmp_path):
    model = fit(tmp_path / "run", 300)
    assert torch.allclose(model.weight, torch.tensor([[1.0, -2.0, 3.0, 0.5]]), atol=0.02)


def test_a_killed_run_resumes_to_the_very_same_weights(tmp_path):
    whole = fit(tmp_path / "whole", 60)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", 60, stop_after=37)
    resumed = fit(tmp_path / "killed", 60)
    assert torch.equal(whole.weight, resumed.weight)
    assert (tmp_path / "killed" / "config.json").exists()


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
    config = AutoencoderConfig(widths=(8, 8, 8), latent_channels=6, crop=16)
    basis = principal_components(pictures, 6, 6, side=4)
    schedule = Schedule(steps=6, batch=2, learning_rate=1e-3, sheet_every=3)
    train_decoder(tmp_path, pictures, pictures[:36], basis, schedule, config)
    assert (tmp_path / "sheet-000006.png").exists()
    assert len((tmp_path / "psnr.txt").read_text().splitlines()) == 2
