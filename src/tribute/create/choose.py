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

from tribute.create.prompt import in_other_hands
from tribute.create.sample import Progress, Watch, as_drawn, sample, tokens_in
from tribute.diffusion.loading import Model
from tribute.records import Recipe

ROUNDS = (0.0, 0.6, 0.9)  # the noise on the prompt of the tries, and of those after them where all of one were passed over: docs/decisions/0028
BESIDE = (0.0, 0.3, 0.45, 0.6)  # that of each try of the second round where another hand stands beside the prompt: docs/decisions/0029
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

    Where all are, the most like its words is kept of those that a recipe `may_copy`. Of others the same seeds are drawn with the next of ROUNDS' noise on
    their prompt, at first beside the same in another of the model's hands where none is asked for; after the last of them the least alike of all rounds is
    kept. `progress` and `watch` are `sample`'s, of each round's and the first round's tries; a view shows the first try of each.
    """

    def first_of_each(done: int, total: int, look: Any) -> None:
        assert watch is not None
        watch(done, total, lambda: look()[::tries])

    kept: dict[int, tuple[Recipe, np.ndarray]] = {}
    least: dict[int, tuple[float, Recipe, np.ndarray]] = {}
    for turn, noise in enumerate(ROUNDS):
        waiting = [at for at in range(len(recipes)) if at not in kept]
        if not waiting:
            break
        others = {at: _other_hands(model, recipes[at]) if turn == 1 else [] for at in waiting}
        tried = [_try(model, recipes[at], more, noise, others[at]) for at in waiting for more in range(tries)]
        drawn = sample(model, [as_drawn(recipe) for recipe in tried], read, progress, first_of_each if watch and turn == 0 else None)
        for place, at in enumerate(waiting):
            ranked, alike = _likest_first(model, recipes[at], drawn, range(place * tries, (place + 1) * tries)), dict[int, float]()
            for one in ranked:
                alike[one] = too_alike(drawn[one])
                if alike[one] < 0:
                    break
            best = min(alike, key=alike.__getitem__)  # the first that is like none, or the least alike
            if alike[best] < 0:
                kept[at] = tried[best], drawn[best]
            elif turn == 0 and (allowed := [one for one in ranked if may_copy(recipes[at], drawn[one])]):
                kept[at] = tried[allowed[0]], drawn[allowed[0]]
            elif at not in least or alike[best] < least[at][0]:
                least[at] = alike[best], tried[best], drawn[best]
    chosen = [kept[at] if at in kept else least[at][1:] for at in range(len(recipes))]
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


def _likest_first(model: Model, recipe: Recipe, drawn: Sequence[np.ndarray], places: Sequence[int]) -> list[int]:
    """The places of a recipe's tries among what was drawn, those first that are most like its words."""
    if len(places) == 1 or not can_choose(model):
        return list(places)
    similarity_N = likeness_to_words(model, recipe.drawn_prompt, [drawn[at] for at in places])
    return [places[at] for at in np.argsort(-similarity_N, kind="stable")]


def _other_hands(model: Model, recipe: Recipe) -> list[str]:
    """The recipe's prompt in the hands that the model knows, as far as it reads them; nothing where a hand is asked for, or it is led elsewhere already."""
    if recipe.styles or recipe.beside or recipe.prompt_noise:
        return []
    return [words for words in in_other_hands(recipe.drawn_prompt, model.hands) if tokens_in(model, words) <= model.max_tokens]


def _try(model: Model, recipe: Recipe, number: int, noise: float, others: Sequence[str]) -> Recipe:
    led: dict[str, Any] = {"beside": others[(recipe.seed + number) % len(others)], "prompt_noise": BESIDE[number % len(BESIDE)]} if others else {}
    led = {"prompt_noise": max(noise, recipe.prompt_noise), **led}
    steps = model.steps_of_student(finely=True) if recipe.student and (led["prompt_noise"] or others) else recipe.steps
    return recipe.model_copy(update={"seed": (recipe.seed + number) % 2**32, "steps": steps, **led})
