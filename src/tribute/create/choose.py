"""Of several tries the one most like its words, by the model's own two towers.

Near copies of works are passed over, where whoever asks can tell them. So were DALL·E's samples ranked by CLIP (Ramesh et al. 2021,
arXiv:2102.12092, section 2.6).

Axes: N pictures, H height, W width, C channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tribute.create.sample import Progress, Watch, as_drawn, sample
from tribute.diffusion.loading import Model
from tribute.records import Recipe

ROUNDS = ((0.0, 1.0), (1.2, 0.25), (1.2, 0.5), (1.2, 0.75))  # noise on the prompt, and the part of the steps that it leads: docs/decisions/0028 and 0044
WORTH = 0.7  # of the likest try's similarity to the words: what has less is kept only where no later round has more
ELSEWHERE = 2**16  # of the seeds that are taken where those of one's own draw near copies


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
        similarity_N1 = model.towers.pictures(features(pictures).both_NS) @ model.towers.texts(states_1D).T
    return np.asarray(similarity_N1[:, 0])


def best_of(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None,
    too_alike: Callable[[np.ndarray], float] = lambda _: -1.0, may_copy: Callable[[Recipe, np.ndarray], bool] = lambda *_: False,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws each recipe with `tries` seeds, its own and the next ones, and keeps what is most like its words of those that are not `too_alike` (0 or
    more) to some work: (recipes with the seeds kept, their pictures_HWC before they are enlarged).

    Where all are, the most like its words is kept of those that a recipe `may_copy`. Of others, and where what is left is much less like its words than
    what was passed over, the same seeds are drawn with the next of ROUNDS' noise; of all rounds the likest to the words that is like no work is kept, or
    the least alike. `progress` and `watch` are `sample`'s, of each round's and the first round's tries; a view shows the first try of each.
    """

    def first_of_each(done: int, total: int, look: Any) -> None:
        assert watch is not None
        watch(done, total, lambda: look()[::tries])

    kept: dict[int, tuple[Recipe, np.ndarray]] = {}
    free: dict[int, tuple[float, Recipe, np.ndarray]] = {}  # how like its words what is most so is, of what is like no work
    least: dict[int, tuple[float, Recipe, np.ndarray]] = {}
    utmost: dict[int, float] = {}  # how like its words any try is
    for turn, lead in enumerate(ROUNDS):
        waiting = [at for at in range(len(recipes)) if at not in kept]
        if not waiting:
            break
        tried = [_try(model, recipes[at], more, *lead) for at in waiting for more in range(tries)]
        drawn = sample(model, [as_drawn(recipe) for recipe in tried], read, progress, first_of_each if watch and turn == 0 else None)
        for place, at in enumerate(waiting):
            like = _likest_first(model, recipes[at], drawn, range(place * tries, (place + 1) * tries))
            utmost[at] = max(utmost.get(at, -1.0), next(iter(like.values())))
            for one, how_like in like.items():
                if at in free and how_like <= free[at][0]:
                    break
                by = too_alike(drawn[one])
                if by < 0:
                    free[at] = how_like, tried[one], drawn[one]
                    break
                if at not in least or by < least[at][0]:
                    least[at] = by, tried[one], drawn[one]
            if at in free and free[at][0] >= min(utmost[at], WORTH * utmost[at]):
                kept[at] = free[at][1:]
            elif turn == 0 and at not in free and (allowed := [one for one in like if may_copy(recipes[at], drawn[one])]):
                kept[at] = tried[allowed[0]], drawn[allowed[0]]
    chosen = [kept[at] if at in kept else free[at][1:] if at in free else least[at][1:] for at in range(len(recipes))]
    return [recipe for recipe, _ in chosen], [picture_HWC for _, picture_HWC in chosen]


def own_or_best_of(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None,
    too_alike: Callable[[np.ndarray], float] = lambda _: -1.0, may_copy: Callable[[Recipe, np.ndarray], bool] = lambda *_: False,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws each recipe, and where that is `too_alike` to some work and it is none that it `may_copy`, the best of so many tries in its place, from seeds
    that follow from its own."""
    drawn = sample(model, [as_drawn(recipe) for recipe in recipes], read, progress, watch)
    kept = list(recipes)
    alike = [at for at, recipe in enumerate(recipes) if too_alike(drawn[at]) >= 0 and not may_copy(recipe, drawn[at])]
    if alike:
        elsewhere = [recipes[at].model_copy(update={"seed": (ELSEWHERE + tries * recipes[at].seed) % 2**32}) for at in alike]
        for at, recipe, picture_HWC in zip(alike, *best_of(model, elsewhere, tries, read, progress, None, too_alike), strict=True):
            kept[at], drawn[at] = recipe, picture_HWC
    return kept, drawn


def _likest_first(model: Model, recipe: Recipe, drawn: Sequence[np.ndarray], places: Sequence[int]) -> dict[int, float]:
    """The places of a recipe's tries among what was drawn, each with its similarity to the recipe's words, the likest first; as they are and all as like
    where that cannot be told."""
    if not can_choose(model):
        return dict.fromkeys(places, 0.0)
    similarity_N = likeness_to_words(model, recipe.drawn_prompt, [drawn[at] for at in places])
    return {places[at]: float(similarity_N[at]) for at in np.argsort(-similarity_N, kind="stable")}


def _try(model: Model, recipe: Recipe, number: int, noise: float, until: float) -> Recipe:
    led: dict[str, Any] = {}
    if noise:
        steps = model.student_steps if recipe.student else recipe.steps
        led = {"prompt_noise": max(noise, recipe.prompt_noise), "led_until": until, "steps": steps}
    return recipe.model_copy(update={"seed": (recipe.seed + number) % 2**32, **led})
