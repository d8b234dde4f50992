"""Exact Shapley shares by rendering every coalition of styles again from the same noise (Shapley 1953; Castro et al. 2009).

The game: players are the picture's styles; v(T) says how close the render with only the styles T comes to the picture,

    v(T) = max(0, 1 − d(render_T, picture) / UNRELATED),   v(S) = 1,

where d is the root mean square difference of RGB values in [0, 1] after averaging both pictures, as the model drew them before they
are enlarged, down to 32×32 (so that a shifted outline is not a stranger), and UNRELATED is the mean d between unrelated pictures of
the starter's first weights, as `python bench/credit.py calibrate` measured it. What clips: a render further from the picture than a
stranger counts as v = 0. The base gets v(∅), the part of the picture that stands without any artist; each style gets its Shapley value, the mean of what it adds
over all orders of arrival; together they are v(S) = 1. A value below 0 (a style that only takes the picture away from what the
others made) is clipped in `shares`.

How much the base keeps depends on the distance (field trials moved it by .1 to .3), how the artists split the rest hardly does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import factorial

import numpy as np
from PIL import Image

from tribute.credit.shares import BASE, Scores
from tribute.records import InvalidInput, Recipe

METHOD = "shapley-exact"
DISTANCE = "rms-32"
UNRELATED = 0.389
PLAYERS_MAX = 5
Render = Callable[[Sequence[Recipe]], list[np.ndarray]]  # recipes -> uint8 RGB pictures_HWC, before any watermark


def distance(one_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
    """Root mean square difference at 32×32, in [0, 1]. Equal pictures have 0."""
    small = [np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX), np.float64) / 255 for picture in (one_HWC, other_HWC)]
    return float(np.sqrt(np.square(small[0] - small[1]).mean()))


def shapley_values(players: tuple[str, ...], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Each player's exact Shapley value of the game `value`, by all 2ⁿ coalitions."""
    count = len(players)
    known = {frozenset(some): value(frozenset(some)) for size in range(count + 1) for some in combinations(players, size)}
    shares = {}
    for player in players:
        others = [other for other in players if other != player]
        shares[player] = sum(
            factorial(size) * factorial(count - size - 1) / factorial(count) * (known[frozenset(some) | {player}] - known[frozenset(some)])
            for size in range(count)
            for some in combinations(others, size)
        )
    return shares


def shapley_scores(recipe: Recipe, picture_HWC: np.ndarray, render: Render) -> Scores:
    """Scores of a picture by `render`ing its coalitions, all in one call. Costs 2ⁿ − 1 renders for n styles of weight above 0.

    Raises InvalidInput above five styles.
    """
    players = tuple(sorted(style.name for style in recipe.styles if style.weight > 0))
    idle = [style.name for style in recipe.styles if style.weight == 0]
    if len(players) > PLAYERS_MAX:
        raise InvalidInput(f"exact credit for {len(players)} styles takes {2 ** len(players)} renders; mix at most {PLAYERS_MAX}")
    smaller = [frozenset(some) for size in range(len(players)) for some in combinations(players, size)]
    recipes = [recipe.model_copy(update={"styles": tuple(style for style in recipe.styles if style.name in some)}) for some in smaller]
    rendered = dict(zip(smaller, render(recipes) if recipes else [], strict=True))
    game = {some: max(0.0, 1.0 - distance(made_HWC, picture_HWC) / UNRELATED) for some, made_HWC in rendered.items()} | {frozenset(players): 1.0}
    values = {"v(" + "+".join(sorted(some)) + ")": value for some, value in game.items()}
    shares = shapley_values(players, lambda some: game[some])
    return Scores(METHOD, DISTANCE, {BASE: values["v()"], **shares, **dict.fromkeys(idle, 0.0)}, values)
