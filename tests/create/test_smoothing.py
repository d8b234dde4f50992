"""How strongly a picture is smoothed follows from what it wears and says, and is part of its recipe; on a tiny model."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from tribute.commission import Ask, commission, larger, recipes_of
from tribute.create.sample import sample
from tribute.diffusion.smoothing import smoothed
from tribute.records import StyleUse


def ask(**more):
    return Ask(**({"prompt": "a blue heart", "seed": 7, "steps": 2, "width": 64, "height": 64} | more))


@pytest.fixture
def told(bench):
    """The tiny model, which tells how still its hands are, and its styles, which say so too."""
    model = replace(bench.model, smoothing={"": 0.004, "flat": 0.016, "扁平": 0.016, "glossy 3d": 0.0})
    found = {name: style.model_copy(update={"smoothing": strength}) for (name, style), strength in zip(bench.styles.items(), (0.008, 0.001), strict=False)}
    return model, found


@pytest.mark.parametrize(
    ("prompt", "strength"),
    [
        ("a heart", 0.004), ("a heart, flat", 0.016), ("a heart, FLAT ", 0.016), ("心，扁平", 0.016), ("a heart, glossy 3D", 0.0), ("a flat heart", 0.004),
        ("flat, a heart", 0.004),
    ],
)  # fmt: skip
def test_words_ask_for_a_hand_after_a_comma(told, prompt, strength):
    model, _ = told
    assert recipes_of(ask(prompt=prompt), model, [])[0].smoothing == strength


def test_a_worn_style_decides_and_of_several_the_one_that_needs_least(told):
    model, found = told
    names = tuple(found)

    def strength(**weights):
        worn = tuple(StyleUse(name=name, weight=weight) for name, weight in weights.items())
        return recipes_of(ask(styles=worn, prompt="a heart, flat"), model, [found[name] for name in weights])[0].smoothing

    assert strength(**{names[0]: 1.0}) == 0.008
    assert strength(**{names[0]: 1.0, names[1]: 0.3}) == 0.001
    assert strength(**{names[0]: 1.0, names[1]: 0.0}) == 0.008
    assert strength(**{names[1]: 0.0}) == 0.016  # nothing is worn: the words decide


def test_a_model_that_tells_nothing_smooths_nothing(bench):
    assert bench.model.smoothing == {}
    assert recipes_of(ask(prompt="a heart, flat"), bench.model, [])[0].smoothing == 0.0


def test_pictures_are_smoothed_each_by_its_own_recipe(bench):
    recipes = [recipes_of(ask(smoothing=strength), bench.model, [])[0] for strength in (0.0, 0.002, 0.05)]
    plain, some, most = sample(bench.model, recipes, None)
    for made, strength in ((some, 0.002), (most, 0.05)):
        assert np.abs(made.astype(int) - smoothed([plain], [strength])[0]).max() <= 1
        assert not np.array_equal(made, plain)


def test_a_smoothed_picture_is_credited_and_drawn_again_as_it_was(bench):
    worn = tuple(StyleUse(name=name) for name in list(bench.styles)[:2])
    (picture,) = commission(bench.desk, bench.model, ask(styles=worn, smoothing=0.01))
    assert picture.recipe.smoothing == 0.01
    assert sum(share.share_ppm for share in picture.credits.shares) == 1_000_000
    assert recipes_of(larger(picture, 2), replace(bench.model, smoothing={"": 0.05}), list(bench.styles.values())[:2])[0].smoothing == 0.01


@pytest.mark.parametrize("wrong", [-0.001, 0.11, float("nan"), float("inf"), "much"])
def test_a_strength_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError):
        ask(smoothing=wrong)
