"""What every method of credit has in common: prepared once on the artists' catalogues, then asked about one picture at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tribute.credit.game import Render
from tribute.credit.shares import BASE, Scores
from tribute.records import Recipe

Catalogues = Mapping[str, "Catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """A party's works: a style's, or under the name `base` the commons'."""

    name: str
    owner: str
    works: int
    words: tuple[str, ...] = ()  # words that name the style's hand in a prompt
    pictures: Callable[[], np.ndarray] | None = None  # a sample of the works, uint8 pictures_NHWC


@dataclass(frozen=True)
class Case:
    """One picture: its recipe as drawn, its pixels, how to draw its recipe otherwise, and the model that did."""

    recipe: Recipe
    picture_HWC: np.ndarray
    render: Render
    model: Any = None
    redraw: Render | None = None  # draws even what was drawn before, for whoever looks on; `render` where there is none

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles that are worn, in order."""
        return tuple(sorted(use.name for use in self.recipe.styles if use.weight > 0))


class Method(Protocol):
    """`score` needs what `prepare` was given; `shares` alone makes shares of what it returns."""

    name: str

    def prepare(self, catalogues: Catalogues) -> None: ...

    def score(self, case: Case) -> Scores: ...


class Uniform:
    """The same for everybody, the base among them."""

    name = "uniform"

    def prepare(self, catalogues: Catalogues) -> None:
        del catalogues

    def score(self, case: Case) -> Scores:
        return Scores(self.name, "none", dict.fromkeys((BASE, *case.styles), 1.0))


class CatalogueSize:
    """By number of works, as stock agencies pay contributors."""

    name = "catalogue-size"

    def prepare(self, catalogues: Catalogues) -> None:
        self.works = {name: float(catalogue.works) for name, catalogue in catalogues.items()}

    def score(self, case: Case) -> Scores:
        return Scores(self.name, "none", {party: self.works.get(party, 0.0) for party in (BASE, *case.styles)})
