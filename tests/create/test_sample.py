import numpy as np
import pytest
import torch

from tribute.create.sample import check_size, pixel_hash, sample
from tribute.diffusion.denoiser import build_scheduler
from tribute.records import InvalidInput, InvalidPrompt, Recipe


def recipe(model, **more):
    given = {"prompt": "a blue heart", "seed": 1, "steps": 2, "guidance": 3.0, "width": 64, "height": 64} | more
    return Recipe(scheduler="x", model=model.name, model_sha256=model.sha256, snapshot=None, dtype="float32", **given)


def test_same_recipe_same_pixels_alone_or_in_a_batch(bench):
    alone = sample(bench.model, [recipe(bench.model, seed=2)], None)[0]
    assert pixel_hash(alone) == pixel_hash(sample(bench.model, [recipe(bench.model, seed=2)], None)[0])
    batch = sample(bench.model, [recipe(bench.model, seed=seed) for seed in (1, 2, 3)], None)
    assert np.abs(batch[1].astype(int) - alone).max() <= 1


def test_progress_is_told_step_by_step(bench):
    seen = []
    sample(bench.model, [recipe(bench.model, steps=3)], None, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 60 + 3), (4, 64), (60, 64), (64, 2048)])
def test_sizes_that_the_model_cannot_take(bench, width, height):
    with pytest.raises(InvalidInput, match="multiple of 4 from 64 to 256"):
        check_size(bench.model, width, height)


def test_a_prompt_longer_than_the_model_reads_is_refused_not_cut(bench):
    with pytest.raises(InvalidPrompt, match="reads 22"):
        sample(bench.model, [recipe(bench.model, prompt="word " * 60)], None)


def test_the_starters_scheduler_reproduces_an_analytic_gaussian():
    """For data N(μ, s²) the best v is known in closed form; DDIM with it must turn unit noise into N(μ, s²)."""
    scheduler = build_scheduler()
    scheduler.set_timesteps(200)
    mu, s = 0.7, 0.3
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in scheduler.timesteps:
        alpha = scheduler.alphas_cumprod[t].double()
        a, b = alpha.sqrt(), (1 - alpha).sqrt()
        gain = a * s**2 / (a**2 * s**2 + b**2)
        clean = mu + gain * (x - a * mu)
        noise = (x - a * clean) / b
        x = scheduler.step(a * noise - b * clean, t, x).prev_sample
    assert float(x.mean()) == pytest.approx(mu, abs=0.01)
    assert float(x.std()) == pytest.approx(s, abs=0.01)
