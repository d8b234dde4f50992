"""Noise on what the model reads, on a tiny model."""

from itertools import combinations

import numpy as np
import pytest
from pydantic import ValidationError

from tribute.commission import Ask, check_ask, commission, larger, recipes_of
from tribute.create.sample import sample
from tribute.credit.game import wearing
from tribute.records import InvalidPrompt, StyleUse


def ask(**more):
    return Ask(**({"prompt": "a blue heart", "seed": 7, "steps": 2, "width": 64, "height": 64} | more))


def drawn(bench, *asks):
    return sample(bench.model, [recipe for one in asks for recipe in recipes_of(one, bench.model, [])], None)


def apart(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max()


@pytest.mark.parametrize("guided", [{"guidance": 1.0}, {"guidance": 3.0, "negative_prompt": "red"}])
def test_noise_moves_a_picture_and_is_its_seeds_own(bench, guided):
    plain, moved, further = drawn(bench, *(ask(**guided, prompt_noise=noise) for noise in (0.0, 0.6, 1.2)))
    assert apart(plain, moved) > 1
    assert apart(plain, further) > 1 < apart(moved, further)
    (alone,) = drawn(bench, ask(**guided))
    assert apart(plain, alone) <= 1  # beside others that are moved it is what it is without them, to rounding
    (again,) = drawn(bench, ask(**guided, prompt_noise=0.6))
    assert apart(moved, again) <= 1


@pytest.mark.parametrize("guided", [{"guidance": 1.0}, {"guidance": 3.0, "negative_prompt": "red"}])
def test_noise_leads_a_part_of_the_steps_and_the_prompt_alone_the_others(bench, guided):
    """Each of a batch by its own; the part is rounded up to whole steps."""
    noisy = guided | {"steps": 8, "prompt_noise": 2.0}
    whole, nearly, first, least = drawn(bench, *(ask(**noisy, led_until=part) for part in (1.0, 0.9, 0.125, 0.01)))
    (plain,) = drawn(bench, ask(**noisy | {"prompt_noise": 0.0}))
    assert min(apart(*two) for two in combinations((whole, first, plain), 2)) > 1
    assert apart(whole, nearly) <= 1 >= apart(first, least)
    (alone,) = drawn(bench, ask(**noisy, led_until=0.125))
    assert apart(first, alone) <= 1


def test_what_is_moved_is_credited_and_drawn_again_like_any_picture(bench):
    styles = tuple(StyleUse(name=name, weight=1.0) for name in ("ada", "bo"))
    (picture,) = commission(bench.desk, bench.model, ask(styles=styles, prompt_noise=0.6, led_until=0.5))
    (again,) = commission(bench.desk, bench.model, ask(styles=styles, prompt_noise=0.6, led_until=0.5))
    assert picture.recipe == again.recipe
    assert picture.pixel_sha256 == again.pixel_sha256
    assert {share.party for share in picture.credits.shares} == {"base", "ada", "bo"}
    assert sum(share.share_ppm for share in picture.credits.shares) == 1_000_000
    assert (larger(picture, 2).prompt_noise, larger(picture, 2).led_until) == (0.6, 0.5)


@pytest.mark.parametrize("guided", [{"guidance": 1.0}, {"guidance": 3.0, "negative_prompt": "red"}])
def test_words_beside_a_prompt_are_half_of_what_is_read(bench, guided):
    plain, other, between = drawn(bench, ask(**guided), ask(prompt="an old red car", **guided), ask(beside="an old red car", **guided))
    assert apart(plain, between) > 1 < apart(other, between)
    (turned,) = drawn(bench, ask(prompt="an old red car", beside="a blue heart", **guided))
    assert apart(between, turned) <= 1
    same, moved = drawn(bench, ask(beside="a blue heart", **guided), ask(beside="an old red car", prompt_noise=0.6, **guided))
    assert apart(plain, same) <= 1 < apart(between, moved)


def test_words_beside_a_prompt_do_not_name_what_is_worn(bench):
    """A style is worn by its weight: its name, which an artist could have people say, is told to the model in neither."""
    worn = (StyleUse(name="ada", weight=1.0),)
    (named,) = commission(bench.desk, bench.model, ask(styles=worn, beside="a red car, ada"))
    (unnamed,) = commission(bench.desk, bench.model, ask(styles=worn, beside="a red car"))
    assert named.pixel_sha256 == unnamed.pixel_sha256
    assert larger(named, 2).beside == "a red car, ada"
    assert wearing(named.recipe, {"ada": ["ada"]}, frozenset()).drawn_beside == "a red car"  # nor do its coalitions


def test_words_beside_a_prompt_must_fit(bench):
    with bench.desk.database.reading() as connection, pytest.raises(InvalidPrompt, match="tokens"):
        check_ask(connection, ask(beside="word " * 90), bench.model)


def test_noise_has_bounds():
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(ValidationError):
            ask(prompt_noise=wrong)
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(ValidationError):
            ask(led_until=wrong)
