from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import make_picture
from tribute.commission import Ask, larger, recipes_of
from tribute.create.sample import check_size, pixel_hash, sample
from tribute.credit.game import wearing
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


def test_guidance_is_rescaled_where_the_noisiest_step_holds_no_signal(bench):
    """Told by the scheduler, recorded in the recipe, and drawn as diffusers' own pipeline draws it."""
    plain = Ask(prompt="a blue heart", seed=1, steps=3, width=64, height=64)
    assert recipes_of(plain, bench.model, [])[0].guidance_rescale == 0.0
    bench.model.pipeline.scheduler = build_scheduler()
    (asked,) = recipes_of(plain, bench.model, [])
    assert asked.guidance_rescale == 0.7
    assert recipes_of(plain.model_copy(update={"guidance": 1.0}), bench.model, [])[0].guidance_rescale == 0.0  # nothing is guided
    assert recipes_of(plain.model_copy(update={"source_sha256": "0" * 64}), bench.model, [])[0].guidance_rescale == 0.0
    (made,) = sample(bench.model, [asked], None)
    same = {"width": 64, "height": 64, "num_inference_steps": 3, "guidance_scale": 4.0, "guidance_rescale": 0.7, "output_type": "np"}
    with torch.inference_mode():
        stock = bench.model.pipeline("a blue heart", negative_prompt="", generator=torch.Generator().manual_seed(1), **same).images[0]
    assert np.abs(made.astype(int) - (stock * 255).round()).max() <= 1
    assert pixel_hash(made) != pixel_hash(sample(bench.model, [asked.model_copy(update={"guidance_rescale": 0.0})], None)[0])


def test_a_prompt_that_fits_is_not_refused_for_the_models_longer_words(bench):
    model = replace(bench.model, vocabulary={"kitten": "cat face " * 20})
    (fits,), (short,) = (recipes_of(Ask(prompt=prompt, seed=1, steps=2, width=64, height=64), model, []) for prompt in ("a kitten", "a fox"))
    assert (fits.drawn_prompt, fits.told, short.told) == ("a kitten", "", "")
    sample(model, [fits], None)
    (long,) = recipes_of(Ask(prompt="a kitten" + " and more" * 60, seed=1, steps=2, width=64, height=64), model, [])
    with pytest.raises(InvalidPrompt, match="reads 22"):
        sample(model, [long], None)


def test_a_word_that_the_model_never_heard_is_drawn_by_the_one_that_it_knows(bench):
    """The recipe records both; its coalitions are told what the whole was."""
    model = replace(bench.model, vocabulary={"kitten": "cat face"})
    (said,), (own,) = (recipes_of(Ask(prompt=prompt, seed=1, steps=2, width=64, height=64), model, []) for prompt in ("a kitten", "a cat face"))
    assert (said.prompt, said.told, own.told) == ("a kitten", "a cat face", "")
    alone, known, unheard = (sample(model, [one], None)[0] for one in (said, own, said.model_copy(update={"told": ""})))
    assert pixel_hash(alone) == pixel_hash(known) != pixel_hash(unheard)
    assert np.abs(np.stack(sample(model, [said, own], None)).astype(int) - alone).max() <= 1
    assert wearing(said, {}, frozenset()).drawn_prompt == "a cat face"
    assert larger(make_picture({}).model_copy(update={"recipe": said}), 2).told == "a cat face"
    earlier = Ask(prompt="a kitten", told="", seed=1, steps=2, width=64, height=64)  # a picture of before there was a vocabulary, drawn again
    assert recipes_of(earlier, model, [])[0].drawn_prompt == "a kitten"
    with pytest.raises(InvalidPrompt, match="reads 22"):
        sample(model, [said.model_copy(update={"told": "word " * 60})], None)
