"""The methods of crediting parties, by name; works within a style have `influence`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tribute.credit.attention import KeywordAttention
from tribute.credit.game import Game
from tribute.credit.method import Case, Catalogues, CatalogueSize, Method, Uniform
from tribute.credit.shapley import EXACT, SAMPLED, exact_scores, sampled_scores
from tribute.credit.shares import Scores
from tribute.credit.similarity import Similarity


class Played:
    """A value of the game, as a method."""

    def __init__(self, name: str, value: Callable[..., Scores], **options: Any) -> None:
        self.name, self.value, self.options = name, value, options

    def prepare(self, catalogues: Catalogues) -> None:
        self.owner_of = {name: one.owner for name, one in catalogues.items()}

    def score(self, case: Case) -> Scores:
        return self.value(Game(case.recipe, case.picture_HWC, case.render, self.owner_of), **self.options)


METHODS: dict[str, Callable[[], Method]] = {
    Uniform.name: Uniform,
    CatalogueSize.name: CatalogueSize,
    KeywordAttention.name: KeywordAttention,
    Similarity.name: Similarity,
    SAMPLED: lambda: Played(SAMPLED, sampled_scores),
    EXACT: lambda: Played(EXACT, exact_scores),
}
