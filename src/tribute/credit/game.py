"""The game that exact and sampled credit are values of: a picture drawn again, from the same noise, with only some of its artists.

Players are artists, not styles: whoever owns several of a picture's styles is one player, so that a catalogue under two names is worth
no more than under one. v(T) says how close the render with only the artists T comes to the picture,

    v(T) = max(0, 1 − d(render_T, picture) / unrelated),   v(all) = 1,

where d is a distance of pictures as the model drew them, before they are enlarged, and `unrelated` its mean between pictures that
have nothing to do with one another: a render further from the picture than a stranger counts as 0. The base gets v(∅), the part of
the picture that stands without any artist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from tribute.records import Recipe

Render = Callable[[Sequence[Recipe]], list[np.ndarray]]  # recipes -> uint8 RGB pictures_HWC, before any watermark
Coalition = frozenset[str]
UNRELATED = 0.294


@dataclass(frozen=True)
class Distance:
    """A distance of uint8 RGB pictures_HWC, 0 for equal ones, and its mean between unrelated pictures."""

    name: str
    measure: Callable[[np.ndarray, np.ndarray], float]
    unrelated: float


def rms_32(one_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
    """Root mean square difference of RGB in [0, 1] after averaging down to 32×32, so that a shifted outline is no stranger."""
    small = [np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX), np.float64) / 255 for picture in (one_HWC, other_HWC)]
    return float(np.sqrt(np.square(small[0] - small[1]).mean()))


# `python -m bench.credit calibrate` measures UNRELATED; why this distance: docs/decisions/0010.
PIXELS = Distance("rms-32", rms_32, UNRELATED)


def styles_by_owner(recipe: Recipe, owner_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The players of a picture, each with the styles of weight above 0 that are theirs."""
    found: dict[str, list[str]] = {}
    for use in sorted(recipe.styles, key=lambda use: use.name):
        if use.weight > 0:
            found.setdefault(owner_of.get(use.name, use.name), []).append(use.name)
    return found


def wearing(recipe: Recipe, styles_of: Mapping[str, Sequence[str]], some: Coalition) -> Recipe:
    """The recipe with only the styles of some players; the others weigh nothing, so that the same words are told as of the whole."""
    names = {name for player in some for name in styles_of[player]}
    return recipe.model_copy(update={"styles": tuple(use if use.name in names else use.model_copy(update={"weight": 0.0}) for use in recipe.styles)})


def coalitions(players: Iterable[str]) -> list[Coalition]:
    """All of them, from nobody to everybody."""
    known = sorted(players)
    return [frozenset(some) for size in range(len(known) + 1) for some in combinations(known, size)]


class Game:
    """v of a picture's coalitions, each rendered once, however often it is asked for. `renders` counts them."""

    def __init__(self, recipe: Recipe, picture_HWC: np.ndarray, render: Render, owner_of: Mapping[str, str] | None = None, distance: Distance = PIXELS) -> None:
        """`owner_of` maps styles to who owns them; a style that is not in it owns itself."""
        self.recipe, self.picture_HWC, self.render, self.distance = recipe, picture_HWC, render, distance
        self.styles_of = styles_by_owner(recipe, owner_of or {})
        self.players = tuple(sorted(self.styles_of))
        self.known: dict[Coalition, float] = {frozenset(self.players): 1.0}
        self.renders = 0

    def values(self, coalitions: Iterable[Coalition]) -> dict[Coalition, float]:
        """v of each, those not known yet rendered in one call."""
        asked = list(coalitions)
        missing = [some for some in dict.fromkeys(asked) if some not in self.known]
        if missing:
            recipes = [wearing(self.recipe, self.styles_of, some) for some in missing]
            for some, made_HWC in zip(missing, self.render(recipes), strict=True):
                self.known[some] = max(0.0, 1.0 - self.distance.measure(made_HWC, self.picture_HWC) / self.distance.unrelated)
            self.renders += len(missing)
        return {some: self.known[some] for some in asked}

    def by_style(self, by_player: Mapping[str, float]) -> dict[str, float]:
        """A player's score handed to its styles by their weights; styles of weight 0 get 0."""
        weights = {use.name: use.weight for use in self.recipe.styles}
        scores = dict.fromkeys(weights, 0.0)
        for player, score in by_player.items():
            own = self.styles_of[player]
            for name in own:
                scores[name] = score * weights[name] / sum(weights[each] for each in own)
        return scores

    def told(self) -> dict[str, float]:
        """Every v that is known, as credits record it."""
        return {"v(" + "+".join(sorted(name for player in some for name in self.styles_of[player])) + ")": value for some, value in self.known.items()}
