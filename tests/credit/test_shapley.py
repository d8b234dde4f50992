import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import flat_art, make_picture
from tribute.credit.game import Game, coalitions, rms_32, wearing
from tribute.credit.shapley import exact_scores, sampled_scores, shapley_scores, shapley_values
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


def game_of(*styles, owners=None):
    recipe = make_picture({}).recipe.model_copy(update={"styles": tuple(StyleUse(name=name, weight=weight) for name, weight in styles)})
    return Game(recipe, painted(recipe), paint_all, owners)


def scores(*styles):
    return shapley_scores(game_of(*styles))


def test_base_and_styles_sum_to_one():
    found = scores(("ada", 1.0), ("bo", 0.5))
    assert sum(found.parties.values()) == pytest.approx(1.0)
    assert found.parties["ada"] > found.parties["bo"] > 0


@pytest.mark.parametrize("prompt", ["ada bo", "a fox by ada and bo", "a fox"])
def test_every_coalition_is_told_the_words_that_the_whole_was(prompt):
    """Also where a prompt is nothing but the names of what is worn, and one of them would be left without the other."""
    whole = make_picture({}).recipe.model_copy(update={"prompt": prompt, "beside": "bo ada", "styles": (StyleUse(name="ada"), StyleUse(name="bo", weight=0.5))})
    styles_of = {"ada": ["ada"], "bo": ["bo"]}
    for some in coalitions(styles_of):
        part = wearing(whole, styles_of, some)
        assert (part.drawn_prompt, part.drawn_beside) == (whole.drawn_prompt, whole.drawn_beside)
        assert {use.name: use.weight for use in part.styles if use.weight} == {name: {"ada": 1.0, "bo": 0.5}[name] for name in some}


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


def test_two_names_of_one_owner_are_one_player():
    alone, two = scores(("ada", 1.0), ("bo", 1.0)), game_of(("ada", 0.5), ("twin", 0.5), ("bo", 1.0), owners={"ada": "ada", "twin": "ada"})
    found = shapley_scores(two)
    assert two.players == ("ada", "bo")
    assert found.parties["ada"] + found.parties["twin"] == pytest.approx(alone.parties["ada"], abs=0.02)
    assert found.parties["ada"] == pytest.approx(found.parties["twin"])


def many(count):
    """A game of `count` styles, each of which paints a row of its own and dims the next one's."""
    names = [f"s{at}" for at in range(count)]

    def paint(recipe):
        picture = np.full((64, 64, 3), 128, np.int32)
        for use in (use for use in recipe.styles if use.weight):
            at = names.index(use.name)
            picture[at * 4 : at * 4 + 4] += 20 + 10 * at
            picture[at * 4 + 4 : at * 4 + 8] -= 15
        return picture.clip(0, 255).astype(np.uint8)

    recipe = make_picture({}).recipe.model_copy(update={"styles": tuple(StyleUse(name=name) for name in names)})
    return Game(recipe, paint(recipe), lambda recipes: [paint(one) for one in recipes])


def test_sampled_orders_find_the_exact_values_within_their_interval():
    exact, sampled = exact_scores(many(6)), sampled_scores(many(6), pairs=12, narrow=0.0)
    missed = [name for name in exact.parties if abs(exact.parties[name] - sampled.parties[name]) > sampled.uncertain.get(name, 0.0) + 1e-9]
    assert len(missed) <= 1  # an interval of 95%
    assert sum(sampled.parties.values()) == pytest.approx(1.0)
    assert sampled.parties[BASE] == exact.parties[BASE]


def test_more_than_five_artists_are_sampled_and_the_cost_grows_with_the_orders():
    assert shapley_scores(many(6)).method == "shapley-sampled"
    assert shapley_scores(many(5)).method == "shapley-exact"
    few, more = many(8), many(8)
    sampled_scores(few, pairs=3, narrow=0.0)
    sampled_scores(more, pairs=6, narrow=0.0)
    assert few.renders <= 3 * 2 * 7 + 1
    assert few.renders < more.renders <= 2 * few.renders
    with pytest.raises(InvalidInput, match="sample orders"):
        exact_scores(many(9))


def test_what_is_uncertain_is_held_back_and_paid_to_nobody():
    found = sampled_scores(many(6), pairs=3)
    credits = to_credits(found, {}, True)
    shares = {share.party: share.share_ppm for share in credits.shares}
    assert sum(shares.values()) == 1_000_000
    held_back = sum(min(found.uncertain[name], max(0.0, found.parties[name])) for name in found.uncertain)
    assert shares["uncertain"] == pytest.approx(1e6 * held_back / sum(max(0.0, one) for one in found.parties.values()), abs=2)
    assert all(shares[name] <= 1e6 * max(0.0, found.parties[name]) + 1 for name in found.uncertain)


def test_the_distance_is_one():
    one, other = flat_art(seed=1), flat_art(seed=2)
    assert rms_32(one, one) == 0.0
    assert rms_32(one, other) == rms_32(other, one) > 0
    assert rms_32(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)) == pytest.approx(1.0)
