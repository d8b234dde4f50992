"""What credit measures with, how wrong each method is in money, and what it costs.

python -m bench.credit calibrate              mean distance between unrelated pictures of the starter: UNRELATED in credit/game.py
python -m bench.credit errors [--home HOME]   every method against exact shares, one to six styles; HOME: a data folder with the works' pictures
python -m bench.credit distances              how far exact credit moves with the distance: what the base keeps, how artists split the rest
python -m bench.credit cost                   seconds of credit beside its picture, by number of styles (idle machine)
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.rig import PROMPTS, Rig

from tribute.collection.starter import SOURCES
from tribute.credit.game import PIXELS, UNRELATED, Distance, Game, rms_32
from tribute.credit.method import Case
from tribute.credit.registry import METHODS
from tribute.credit.shapley import EXACT, PLAYERS_MAX, exact_scores, sampled_scores, shapley_scores
from tribute.credit.shares import BASE, to_credits
from tribute.records import PPM, Recipe
from tribute.studio.catalogues import catalogues_of
from tribute.studio.evaluation.speed import median_s

CASES = {1: 6, 2: 10, 3: 8, 4: 5, 5: 3, 6: 2}  # number of styles -> asks, each with two seeds
Shares = dict[str, float]


def asks(rig: Rig) -> list[tuple[Recipe, Recipe]]:
    """Varied asks, each with two seeds; every other prompt names the hands that it wears."""
    rng, names = np.random.default_rng(3), sorted(rig.styles)
    made = []
    for count, many in CASES.items():
        for at in range(many):
            worn = sorted(rng.choice(names, count, replace=False).tolist())
            prompt = PROMPTS[(at * 5 + count) % len(PROMPTS)]
            if at % 2:
                prompt += ", " + ", ".join(SOURCES[name].hand_en for name in worn)
            uses = [rig.use(name, float(rng.choice((0.4, 0.6, 0.8, 1.0)))) for name in worn]
            made.append((rig.recipe(prompt[:200], *uses, seed=at), rig.recipe(prompt[:200], *uses, seed=at + 1000)))
    return [pair for pair in made if len(rig.model.pipeline.tokenizer(pair[0].prompt).input_ids) <= rig.model.max_tokens]


def shares_of(scores: Any) -> Shares:
    return {share.party: share.share_ppm / PPM for share in to_credits(scores, {}, True).shares}


def apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Total variation."""
    return sum(abs(one.get(party, 0.0) - other.get(party, 0.0)) for party in {*one, *other}) / 2


def artists_alone(shares: Shares) -> Shares:
    rest = {party: share for party, share in shares.items() if party not in (BASE, "uncertain")}
    total = sum(rest.values())
    return {party: share / total if total else 1 / len(rest) for party, share in rest.items()}


def rank_correlation(one: Shares, other: Shares) -> float:
    """Spearman's, over the exact method's parties; ties take their mean rank. nan where one of them ranks nobody."""
    parties = sorted(one)

    def ranks(values: Shares) -> np.ndarray:
        row = np.array([values.get(party, 0.0) for party in parties])
        return np.array([(row < value).sum() + ((row == value).sum() - 1) / 2 for value in row])

    first, second = ranks(one), ranks(other)
    return float(np.corrcoef(first, second)[0, 1]) if first.std() and second.std() else float("nan")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95% bootstrap interval over pictures."""
    rng, found = np.random.default_rng(0), np.array([value for value in values if value == value])
    means = [found[rng.integers(len(found), size=len(found))].mean() for _ in range(2000)]
    return float(found.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def calibrated(rig: Rig, distance: Distance) -> Distance:
    """The distance with its mean between unrelated pictures: another prompt, another seed, and another style or none."""
    hands = [(), *((rig.use(name),) for name in sorted(rig.styles))]
    drawn = [rig.render([rig.recipe(prompt, *hands[at % len(hands)], seed=at)])[0] for at, prompt in enumerate(PROMPTS * 2)]
    gaps = [distance.measure(one, other) for one, other in itertools.combinations(drawn, 2)]
    print(f"{distance.name}: {len(gaps)} pairs, mean {statistics.mean(gaps):.3f}, deviation {statistics.stdev(gaps):.3f}")
    return Distance(distance.name, distance.measure, statistics.mean(gaps))


def errors(rig: Rig) -> None:
    found = asks(rig)
    names = sorted(rig.styles)
    catalogues = catalogues_of(rig.workshop, names, pictures=True)
    methods = {name: make() for name, make in METHODS.items()}
    for method in methods.values():
        method.prepare(catalogues)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    noise = []
    for first, second in found:
        exact = shares_of(exact_scores(Game(first, rig.render([first])[0], rig.render)))
        again = shares_of(exact_scores(Game(second, rig.render([second])[0], rig.render)))
        noise.append((apart(exact, again), rank_correlation(exact, again), apart(artists_alone(exact), artists_alone(again))))
        case = Case(first, rig.render([first])[0], rig.render, rig.model, rig.fresh)
        for name, method in methods.items():
            if name != EXACT:
                shares = shares_of(method.score(case))
                rows.setdefault(name, []).append((apart(exact, shares), rank_correlation(exact, shares), apart(artists_alone(exact), artists_alone(shares))))
    print(f"{len(found)} pictures, 1 to 6 styles, against exact shares (rms-32); 95% bootstrap intervals over pictures\n")
    print("| method | total variation | rank correlation | yuan to a wrong party per 1,000 | to a wrong artist, per 1,000 paid to artists |")
    print("|---|---|---|---|---|")
    for name, values in [*rows.items(), ("the same ask, another seed", noise)]:
        variation, rank, artists = (interval([row[at] for row in values]) for at in range(3))
        print(
            f"| {name} | {variation[0]:.3f} ({variation[1]:.3f} to {variation[2]:.3f}) | {rank[0]:.2f} ({rank[1]:.2f} to {rank[2]:.2f}) "
            f"| {1000 * variation[0]:.0f} ({1000 * variation[1]:.0f} to {1000 * variation[2]:.0f}) | {1000 * artists[0]:.0f} |"
        )


def latent_distance(rig: Rig) -> Distance:
    vae = rig.model.pipeline.vae

    @torch.inference_mode()
    def measure(one_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
        both = torch.from_numpy(np.stack([one_HWC, other_HWC])).permute(0, 3, 1, 2).float() / 127.5 - 1
        first, second = vae.encode(both.to(vae.dtype)).latent_dist.mean.float()
        return float((first - second).square().mean().sqrt())

    return Distance("latent", measure, 1.0)


def feature_distance() -> Distance:
    from tribute.credit.similarity import embed

    def measure(one_HWC: np.ndarray, other_HWC: np.ndarray) -> float:
        first, second = embed(np.stack([one_HWC, other_HWC]))
        return float(1 - first @ second)

    return Distance("feature", measure, 1.0)


def distances(rig: Rig) -> None:
    known = [calibrated(rig, one) for one in (PIXELS, latent_distance(rig), feature_distance())]
    found = [first for first, _ in asks(rig) if 2 <= len(first.styles) <= 4]
    shares = {one.name: [shares_of(exact_scores(Game(recipe, rig.render([recipe])[0], rig.render, None, one))) for recipe in found] for one in known}
    print(f"\n{len(found)} pictures of two to four styles\n\n| distance | the base keeps, mean (deviation) | negative or stranger's value |\n|---|---|---|")
    for name, rows in shares.items():
        kept = [row[BASE] for row in rows]
        zero = statistics.mean(any(share == 0 for share in row.values()) for row in rows)
        print(f"| {name} | {statistics.mean(kept):.3f} ({statistics.stdev(kept):.3f}) | in {zero:.0%} of pictures |")
    print("\n| between | what the base keeps moves by | how the artists split the rest moves by (total variation) |\n|---|---|---|")
    for one, other in itertools.combinations(shares, 2):
        pairs = list(zip(shares[one], shares[other], strict=True))
        base = statistics.mean(abs(a[BASE] - b[BASE]) for a, b in pairs)
        split = statistics.mean(apart(artists_alone(a), artists_alone(b)) for a, b in pairs)
        means = [{party: statistics.mean(row.get(party, 0.0) for row in shares[name]) for party in sorted(rig.styles)} for name in (one, other)]
        print(f"| {one}, {other} | {base:.3f} a picture | {split:.3f} a picture, {apart(*(artists_alone(mean) for mean in means)):.3f} over all pictures |")


def cost(rig: Rig, repeats: int = 5) -> None:
    from tribute.commission import Ask, commission, play

    names, desk, model = sorted(rig.styles), rig.workshop.desk(), rig.model

    print("| styles | renders | drawn alone, s | drawn with what credit needs, s | sealed and stored with its credit, s | credit ÷ the rest of the picture |")
    print("|---" * 6 + "|", flush=True)
    for count in range(7):
        uses = tuple(rig.use(name) for name in names[:count])
        recipe = rig.recipe("portrait of a person", *uses)
        games: list[Game] = []

        def credited(recipe: Recipe = recipe, games: list[Game] = games) -> None:
            games[:] = play(model, [recipe], {}, rig.workshop.blobs.get)
            shapley_scores(games[0])

        alone, together = median_s(lambda recipe=recipe: rig.fresh([recipe]), repeats), median_s(credited, repeats)
        stored = median_s(lambda uses=uses: commission(desk, model, Ask(prompt="portrait of a person", told="", seed=1, styles=uses)), repeats)
        pending = count > PLAYERS_MAX
        added = together - alone
        rest = stored if pending else stored - added
        renders = games[0].renders if count <= PLAYERS_MAX else f"{games[0].renders}, pending"
        print(f"| {count} | {renders} | {alone:.2f} | {together:.2f} | {stored:.2f} | {added / rest:.2f} |", flush=True)
    print("\nsampled orders of eight artists: ", end="")
    uses = tuple(rig.use(name) for name in names)
    recipe = rig.recipe("portrait of a person", *uses)
    picture = rig.fresh([recipe])[0]
    for pairs in (3, 6, 12):
        game = Game(recipe, picture, rig.fresh)
        began = time.perf_counter()
        sampled_scores(game, pairs=pairs, narrow=0.0)
        print(f"{2 * pairs} orders {game.renders} renders {time.perf_counter() - began:.1f} s; ", end="", flush=True)
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("calibrate", "errors", "distances", "cost"))
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    opened = Rig(given.home)
    if given.what == "calibrate":
        print(json.dumps({"UNRELATED": round(calibrated(opened, Distance("rms-32", rms_32, UNRELATED)).unrelated, 3)}))
    else:
        {"errors": errors, "distances": distances, "cost": cost}[given.what](opened)
