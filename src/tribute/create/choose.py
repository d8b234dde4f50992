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
    passed_over: Callable[[np.ndarray], bool] = lambda _: False,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws each recipe with `tries` seeds, its own and the next ones, and keeps what is most like its words of those not `passed_over`: (recipes
    with the seeds kept, their pictures_HWC before they are enlarged).

    Where all are passed over, the same seeds are drawn with the next of ROUNDS' noise on their prompt, at first beside the same in another of the
    model's hands where none is asked for; after the last of them the first round's best is kept all the same. `progress` and `watch` are `sample`'s, of
    each round's and the first round's tries; a view shows the first try of each.
    """

    def first_of_each(done: int, total: int, look: Any) -> None:
        assert watch is not None
        watch(done, total, lambda: look()[::tries])

    kept: dict[int, tuple[Recipe, np.ndarray]] = {}
    first_best: dict[int, tuple[Recipe, np.ndarray]] = {}
    for turn, noise in enumerate(ROUNDS):
        waiting = [at for at in range(len(recipes)) if at not in kept]
        if not waiting:
            break
        others = {at: _other_hands(model, recipes[at]) if turn == 1 else [] for at in waiting}
        tried = [_try(model, recipes[at], more, noise, others[at]) for at in waiting for more in range(tries)]
        drawn = sample(model, [as_drawn(recipe) for recipe in tried], read, progress, first_of_each if watch and not first_best else None)
        for place, at in enumerate(waiting):
            mine = slice(place * tries, (place + 1) * tries)
            best_first = np.argsort(-likeness_to_words(model, recipes[at].drawn_prompt, drawn[mine]), kind="stable") + mine.start
            first_best.setdefault(at, (tried[best_first[0]], drawn[best_first[0]]))
            found = next((one for one in best_first if not passed_over(drawn[one])), None)
            if found is not None:
                kept[at] = tried[found], drawn[found]
    chosen = [kept.get(at, first_best[at]) for at in range(len(recipes))]
    return [recipe for recipe, _ in chosen], [picture_HWC for _, picture_HWC in chosen]


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
