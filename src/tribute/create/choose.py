"""Of several tries the one most like its words, by the model's own two towers.

So were DALL·E's samples ranked by CLIP (Ramesh et al. 2021, arXiv:2102.12092, section 2.6).

Axes: N pictures, H height, W width, C channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tribute.create.sample import Progress, Watch, as_drawn, sample
from tribute.diffusion.loading import Model
from tribute.records import Recipe


def can_choose(model: Model) -> bool:
    """Whether this model can tell how like its words a picture is: it has towers, and what they see with is installed."""
    from tribute.diffusion.features import installed

    return model.towers is not None and installed()


@torch.inference_mode()
def likeness_to_words(model: Model, prompt: str, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """similarity_N in [-1, 1] of uint8 pictures_HWC to a prompt. Holds the model's lock."""
    from tribute.diffusion.features import features
    from tribute.diffusion.text import end_states, tokens_of

    with model.lock:
        states_1D = end_states(model.pipeline.text_encoder, tokens_of(model.pipeline.tokenizer, [prompt])).float()
        similarity_N1 = model.towers.pictures(features(pictures).pooled_NF) @ model.towers.texts(states_1D).T
    return np.asarray(similarity_N1[:, 0])


def best_of(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws each recipe with `tries` seeds, its own and the next ones, and keeps what is most like its words: (recipes with the seeds kept, their
    pictures_HWC before they are enlarged). `progress` and `watch` are `sample`'s, of the tries; a view shows the first try of each."""
    tried = [recipe.model_copy(update={"seed": (recipe.seed + more) % 2**32}) for recipe in recipes for more in range(tries)]

    def first_of_each(done: int, total: int, look: Any) -> None:
        assert watch is not None
        watch(done, total, lambda: look()[::tries])

    drawn = sample(model, [as_drawn(recipe) for recipe in tried], read, progress, first_of_each if watch else None)
    kept = [
        at + int(likeness_to_words(model, tried[at].drawn_prompt, drawn[at : at + tries]).argmax())
        for at in range(0, len(tried), tries)
    ]  # fmt: skip
    return [tried[at] for at in kept], [drawn[at] for at in kept]
