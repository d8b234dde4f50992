"""Of several tries the one most like its words, by the model's own two towers, and of more where none is like them.

Near copies of works are passed over, where whoever asks can tell them. So were DALL·E's samples ranked by CLIP (Ramesh et al. 2021,
arXiv:2102.12092, section 2.6).

Axes: N pictures, H height, W width, C channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tribute.create.prompt import in_other_hands
from tribute.create.sample import Progress, Watch, as_drawn, sample, tokens_in
from tribute.diffusion.loading import Model
from tribute.records import Recipe

ROUNDS = (0.0, 0.0, 0.6, 0.9)  # the noise on the prompt in each round of tries: docs/decisions/0028 and 0039
FURTHER, FURTHER_TRIES = 2**17, 2  # of the seeds of the second round, and how many times as many it has
BESIDE = (0.0, 0.3, 0.45, 0.6)  # the noise of each try of the third round where another hand stands beside the prompt: docs/decisions/0029
LIKE = 0.45  # similarity of the towers from which a picture is like its words: every second one is right, docs/decisions/0039
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


class _Found(NamedTuple):
    likeness: float  # to its words
    alike: float  # by how much it is too like some work; below 0 it is like none
    recipe: Recipe
    picture_HWC: np.ndarray


def best_of(
    model: Model, recipes: Sequence[Recipe], tries: int, read: Any, progress: Progress | None = None, watch: Watch | None = None,
    too_alike: Callable[[np.ndarray], float] = lambda _: -1.0, may_copy: Callable[[Recipe, np.ndarray], bool] = lambda *_: False,
) -> tuple[list[Recipe], list[np.ndarray]]:  # fmt: skip
    """Draws each recipe with `tries` seeds, its own and the next ones, and keeps what is most like its words of those that are not `too_alike` (0 or
    more) to some work: (recipes with the seeds kept, their pictures_HWC before they are enlarged).

    Where all are, the most like its words is kept of those that a recipe `may_copy`. Where there is nothing to keep, or it is not `LIKE` its words, more is
    drawn: of twice as many other seeds; then of the first ones beside the same words in another of the model's hands, where none is asked for; and where
    there is nothing to keep still, with noise on the words. At last the likest of all is kept, or the least alike to a work.
    `progress` and `watch` are `sample`'s, of each round's and the first round's tries; a view shows the first try of each.
    """

    def first_of_each(done: int, total: int, look: Any) -> None:
        assert watch is not None
        watch(done, total, lambda: look()[::tries])

    best: dict[int, _Found] = {}
    waiting = list(range(len(recipes)))
    for turn in range(len(ROUNDS)):
        if turn > 1:  # words are mixed or noised where that leaves them as they are, or nothing else is like no work
            waiting = [at for at in waiting if best[at].alike >= 0 or (turn == 2 and _other_hands(model, recipes[at]))]
        if not waiting:
            break
        tried = [_tries(model, recipes[at], tries, turn) for at in waiting]
        together = [as_drawn(recipe) for row in tried for recipe in row]
        drawn = iter(sample(model, together, read, progress, first_of_each if watch and turn == 0 else None))
        left = []
        for at, row in zip(waiting, tried, strict=True):
            before = [best[at]] if at in best else []
            found = _looked_at(model, row, [next(drawn) for _ in row], too_alike, max((one.likeness for one in before if one.alike < 0), default=-1.0))
            best[at] = min([*found, *before], key=lambda one: (max(one.alike, 0.0), -one.likeness))
            if best[at].alike >= 0 and turn == 0 and (allowed := [one for one in found if may_copy(recipes[at], one.picture_HWC)]):
                best[at] = allowed[0]
            elif best[at].alike >= 0 or best[at].likeness < LIKE:
                left.append(at)
        waiting = left
    return [best[at].recipe for at in range(len(recipes))], [best[at].picture_HWC for at in range(len(recipes))]


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


def _looked_at(
    model: Model, recipes: Sequence[Recipe], drawn: Sequence[np.ndarray], too_alike: Callable[[np.ndarray], float], least: float,
) -> list[_Found]:  # fmt: skip
    """One recipe's tries that are more than `least` like its words, the likest first, as far as the first that is like no work."""
    likeness_N = likeness_to_words(model, recipes[0].drawn_prompt, drawn) if can_choose(model) else np.ones(len(drawn))
    found: list[_Found] = []
    for at in np.argsort(-likeness_N, kind="stable"):
        if likeness_N[at] <= least or (found and found[-1].alike < 0):
            break
        found.append(_Found(float(likeness_N[at]), too_alike(drawn[at]), recipes[at], drawn[at]))
    return found


def _other_hands(model: Model, recipe: Recipe) -> list[str]:
    """The recipe's prompt in the hands that the model knows, as far as it reads them; nothing where a hand is asked for, or it is led elsewhere already."""
    if recipe.styles or recipe.beside or recipe.prompt_noise:
        return []
    return [words for words in in_other_hands(recipe.drawn_prompt, model.hands) if tokens_in(model, words) <= model.max_tokens]


def _tries(model: Model, recipe: Recipe, tries: int, turn: int) -> list[Recipe]:
    """What is drawn of a recipe in a round."""
    seeds = [recipe.seed + number for number in range(tries)]
    if turn == 1:
        seeds = [FURTHER + FURTHER_TRIES * recipe.seed + number for number in range(FURTHER_TRIES * tries)]
    others = _other_hands(model, recipe) if turn == 2 else []
    noise = max(ROUNDS[turn], recipe.prompt_noise)
    steps = model.steps_of_student(finely=True) if recipe.student and (noise or others) else recipe.steps
    made = []
    for number, seed in enumerate(seeds):
        led: dict[str, Any] = {"beside": others[seed % len(others)], "prompt_noise": BESIDE[number % len(BESIDE)]} if others else {"prompt_noise": noise}
        made.append(recipe.model_copy(update={"seed": seed % 2**32, "steps": steps, **led}))
    return made
