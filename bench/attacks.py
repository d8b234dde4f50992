"""What an artist gains by gaming credit: each attack's income over the honest one, on the starter. Target: at most 1.05.

python -m bench.attacks [--json]

Each function returns (attacked ÷ honest income, what holds it); `tests/credit/test_attacks.py` holds each to its bound.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping

from bench.rig import PROMPTS as MANY
from bench.rig import Rig

from tribute.credit.game import Game
from tribute.credit.method import Case, Catalogue, CatalogueSize
from tribute.credit.shapley import exact_scores
from tribute.credit.shares import BASE, to_credits
from tribute.ledger.book import balance_micro
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.topup import top_up
from tribute.records import PPM, Recipe
from tribute.store.database import Database

PROMPTS = ("blue heart", "portrait of a person", "cat face", "house")
MINE, OTHER = "micah", "openmoji"


def shares(rig: Rig, recipe: Recipe, owners: Mapping[str, str] | None = None) -> dict[str, float]:
    """Exact shares as they would be paid."""
    credits = to_credits(exact_scores(Game(recipe, rig.render([recipe])[0], rig.render, owners)), {}, True)
    return {share.party: share.share_ppm / PPM for share in credits.shares}


def mean_gain(rig: Rig, gain: Callable[[str], tuple[float, float]]) -> float:
    """Attacked income over honest income, summed over the prompts: one lucky picture is no strategy."""
    pairs = [gain(prompt) for prompt in PROMPTS]
    return sum(attacked for attacked, _ in pairs) / max(1e-9, sum(honest for _, honest in pairs))


def split_in_two(rig: Rig, owners: Mapping[str, str] | None) -> float:
    def gain(prompt: str) -> tuple[float, float]:
        honest = shares(rig, rig.recipe(prompt, rig.use(MINE, 0.8), rig.use(OTHER, 0.6)))
        names = (rig.use(MINE, 0.4, "mine-one"), rig.use(MINE, 0.4, "mine-two"), rig.use(OTHER, 0.6))
        attacked = shares(rig, rig.recipe(prompt, *names), owners)
        return attacked["mine-one"] + attacked["mine-two"], honest[MINE]

    return mean_gain(rig, gain)


def two_names_one_account(rig: Rig) -> tuple[float, str]:
    """A catalogue under two names whose money goes to one account."""
    return split_in_two(rig, {"mine-one": "me", "mine-two": "me"}), "one account is one player"


def two_names_two_accounts(rig: Rig) -> tuple[float, str]:
    """The same with an account for each name: Shapley itself is not proof against it."""
    return split_in_two(rig, None), "policy: one person, one account; see docs/money/README.md"


def near_duplicates(rig: Rig) -> tuple[float, str]:
    """Ten thousand near-copies of one's own works beside them: exact credit does not count works."""
    recipe = rig.recipe(PROMPTS[0], rig.use(MINE), rig.use(OTHER))
    case = Case(recipe, rig.render([recipe])[0], rig.render)
    paid = []
    for works in (1000, 11_000):
        catalogues = {name: Catalogue(name, name, works if name == MINE else 1000) for name in (BASE, MINE, OTHER)}
        method = CatalogueSize()
        method.prepare(catalogues)
        by_size = to_credits(method.score(case), {}, True)
        paid.append((next(share.share_ppm for share in by_size.shares if share.party == MINE) / PPM, shares(rig, recipe)[MINE]))
    by_size_gain = paid[1][0] / paid[0][0]
    return paid[1][1] / paid[0][1], f"works are not counted; paid by catalogue size it would be {by_size_gain:.2f}"


SEEDS = (1,)


def stuffed_prompt(rig: Rig) -> tuple[float, str]:
    """The style's name, three times over, in the prompts of pictures that wear it, against the same prompts without it."""

    def share(prompt: str, seed: int) -> float:
        return shares(rig, rig.recipe(prompt, rig.use(MINE, 0.8), rig.use(OTHER, 0.6), seed=seed))[MINE]

    asked = [(prompt, seed) for prompt in MANY for seed in SEEDS]
    stuffed = sum(share(f"{prompt}, {' '.join([MINE] * 3)}", seed) for prompt, seed in asked)
    return stuffed / sum(share(*one) for one in asked), "words pay nobody: a worn style's name is not told to the model, and one that is not worn gets nothing"


def added_at_a_hundredth(rig: Rig) -> tuple[float, str]:
    """A style slipped into every picture at weight 0.01: what the others are paid without it, over what they are paid with it."""

    def loss(prompt: str) -> tuple[float, float]:
        honest = shares(rig, rig.recipe(prompt, rig.use(OTHER, 0.8)))
        attacked = shares(rig, rig.recipe(prompt, rig.use(OTHER, 0.8), rig.use(MINE, 0.01)))
        return honest[OTHER] + honest[BASE], attacked[OTHER] + attacked[BASE]

    without, with_it = (sum(one) for one in zip(*(loss(prompt) for prompt in PROMPTS), strict=True))
    taken = 1 - with_it / without
    return without / with_it, f"it takes {taken:.2%} of the money; the creator sees it in the recipe and chose it"


def wash_downloads(rig: Rig) -> tuple[float, str]:
    """Buying one's own pictures: what comes back of what was paid."""
    from tests.conftest import make_picture

    del rig
    database = Database("sqlite://")
    top_up(database, "me", 5000, "CNY", "t")
    for number in range(100):
        post(database, download_transaction(make_picture({"me": PPM}), "me", f"d{number}"))
    return balance_micro(database, "artist:me", "CNY") / (5000 * 10**6), "the studio's part is lost at every turn"


ATTACKS: dict[str, Callable[[Rig], tuple[float, str]]] = {
    "two names, one account": two_names_one_account,
    "two names, two accounts": two_names_two_accounts,
    "near-duplicate works": near_duplicates,
    "the style's name stuffed in the prompt": stuffed_prompt,
    "a style at weight 0.01 in every picture": added_at_a_hundredth,
    "wash downloads": wash_downloads,
}


def main() -> None:
    rig = Rig()
    found = {name: attack(rig) for name, attack in ATTACKS.items()}
    if "--json" in sys.argv:
        print(json.dumps({name: {"gain": round(gain, 4), "held by": why} for name, (gain, why) in found.items()}, indent=1))
        return
    print("| attack | gain | held by |\n|---|---|---|")
    for name, (gain, why) in found.items():
        print(f"| {name} | {gain:.3f} | {why} |")
    print(f"\n{len(found)} attacks, median gain {statistics.median(gain for gain, _ in found.values()):.3f}")


if __name__ == "__main__":
    main()
