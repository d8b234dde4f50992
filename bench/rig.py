"""What the credit benches share: the starter, its styles, and renders that are drawn once however often they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tribute.create.sample import sample
from tribute.records import Recipe, Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.wiring import STARTER, Settings, open_workshop

PROMPTS = ("blue heart", "red apple", "cat face", "grinning face", "house", "sailboat", "tree", "pizza", "猫脸", "汽车", "portrait of a person", "rocket")


class Rig:
    def __init__(self, home: Path | None = None) -> None:
        """`home`: a data folder with the collection's pictures, for methods that look at works."""
        settings = Settings(home=home or Path(tempfile.mkdtemp()), **({} if home else {"database": "sqlite://"}))
        self.workshop = open_workshop(settings, STARTER)
        self.model = self.workshop.model("starter")
        with self.workshop.database.reading() as connection:
            self.styles = {style.name: style for style in documents(connection, styles, Style)}
        self.drawn: dict[str, np.ndarray] = {}

    def use(self, name: str, weight: float = 0.8, alias: str = "") -> StyleUse:
        """A style in a recipe; `alias` wears the same adapter under another name."""
        return StyleUse(name=alias or name, weight=weight, adapter_sha256=self.styles[name].adapter_sha256)

    def recipe(self, prompt: str, *uses: StyleUse, seed: int = 1) -> Recipe:
        model = self.model
        return Recipe(
            prompt=prompt, styles=uses, seed=seed, steps=model.student_steps, guidance=1.0, width=model.native, height=model.native, student=True,
            scheduler="DDIMScheduler", model="starter", model_sha256=model.sha256, snapshot=model.snapshot,
            dtype=str(model.dtype).removeprefix("torch."), engine=model.engine_name,
        )  # fmt: skip

    def render(self, recipes: Sequence[Recipe]) -> list[np.ndarray]:
        """Pictures as drawn; a recipe that was drawn before is not drawn again."""
        missing = list({recipe.hash: recipe for recipe in recipes if recipe.hash not in self.drawn}.values())
        if missing:
            self.drawn |= {recipe.hash: made for recipe, made in zip(missing, sample(self.model, missing, self.workshop.blobs.get), strict=True)}
        return [self.drawn[recipe.hash] for recipe in recipes]

    def fresh(self, recipes: Sequence[Recipe]) -> list[np.ndarray]:
        """Pictures drawn now, for timing."""
        return sample(self.model, recipes, self.workshop.blobs.get)
