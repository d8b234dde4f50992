import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import flat_art, make_picture
from tribute.credit.shapley import distance, shapley_scores, shapley_values
from tribute.credit.shares import BASE, to_credits
from tribute.records import InvalidInput, StyleUse

games = st.lists(st.floats(0, 1, allow_nan=False), min_size=8, max_size=8)


def game(values):
    return lambda some: values[sum(1 << "abc".index(player) for player in some)]


@given(games)
def test_efficiency(values):
    shares = shapley_values(("a", "b", "c"), game(values))
    assert sum(shares.values()) == pytest.approx(values[7] - values[0])


@given(games, games)
def test_additivity(one, two):
    both = shapley_values(("a", "b", "c"), game([x + y for x, y in zip(one, two, strict=True)]))
    first, second = shapley_values(("a", "b", "c"), game(one)), shapley_values(("a", "b", "c"), game(two))
    assert all(both[player] == pytest.approx(first[player] + second[player]) for player in "abc")


def test_a_known_game():
    """The glove game: a has a left glove, b and c a right one each; a pair is worth 1. Shapley (1953): 2/3, 1/6, 1/6."""
    shares = shapley_values(("a", "b", "c"), lambda some: float("a" in some and len(some) > 1))
    assert shares == pytest.approx({"a": 2 / 3, "b": 1 / 6, "c": 1 / 6})


def painted(recipe):
    """A model whose picture is known: grey, and each style paints its own rows in proportion to its weight."""
    picture = np.full((64, 64, 3), 128, np.uint8)
    for style in recipe.styles:
        rows = {"ada": slice(0, 16), "bo": slice(16, 32), "twin": slice(0, 16), "none": slice(0, 0)}[style.name]
        picture[rows] = np.minimum(255, picture[rows] + np.uint8(100 * min(1.0, style.weight)))
    return picture


def paint_all(recipes):
    return [painted(recipe) for recipe in recipes]


def scores(*styles):
    recipe = make_picture({}).recipe.model_copy(update={"styles": tuple(StyleUse(name=name, weight=weight) for name, weight in styles)})
    return shapley_scores(recipe, painted(recipe), paint_all)


def test_base_and_styles_sum_to_one():
    found = scores(("ada", 1.0), ("bo", 0.5))
    assert sum(found.parties.values()) == pytest.approx(1.0)
    assert found.parties["ada"] > found.parties["bo"] > 0


def test_a_style_of_weight_zero_gets_nothing():
    assert scores(("ada", 1.0), ("bo", 0.0)).parties["bo"] == 0.0


def test_equal_adapters_get_equal_shares():
    found = scores(("ada", 0.5), ("twin", 0.5))
    assert found.parties["ada"] == pytest.approx(found.parties["twin"])
    ppm = {share.party: share.share_ppm for share in to_credits(found, {}, True).shares}
    assert abs(ppm["ada"] - ppm["twin"]) <= 1


def test_adding_an_unused_style_changes_nothing():
    alone, beside = scores(("ada", 1.0)), scores(("ada", 1.0), ("none", 1.0))
    assert beside.parties["none"] == pytest.approx(0.0)
    assert beside.parties["ada"] == pytest.approx(alone.parties["ada"])
    assert beside.parties[BASE] == pytest.approx(alone.parties[BASE])


def test_no_style_leaves_it_all_to_the_base():
    assert scores().parties == {BASE: 1.0}


def test_too_many_styles_are_refused():
    styles = tuple(StyleUse(name=f"s{n}") for n in range(6))
    with pytest.raises(InvalidInput, match="at most 5"):
        shapley_scores(make_picture({}).recipe.model_copy(update={"styles": styles}), flat_art(), paint_all)


def test_the_distance_is_one():
    one, other = flat_art(seed=1), flat_art(seed=2)
    assert distance(one, one) == 0.0
    assert distance(one, other) == distance(other, one) > 0
    assert distance(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)) == pytest.approx(1.0)
