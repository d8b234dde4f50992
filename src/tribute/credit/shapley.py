"""Shapley shares of the game of coalitions: exactly, or by sampled orders of arrival with an interval (Shapley 1953; Castro et al. 2009).

Each artist's share is the mean of what they add over all orders in which the artists could have come; with the base's v(∅) the
shares are v(all) = 1. A value below 0 (a style that only takes the picture away from what the others made) is clipped in `shares`.
Orders are sampled in pairs, each with its reverse (Mitchell et al. 2022, arXiv:2104.12199), and the pairs' means are taken as
independent for the 95% interval; the cost grows by at most n − 1 renders an order.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np

from tribute.credit.game import Game, coalitions
from tribute.credit.shares import BASE, Scores
from tribute.records import InvalidInput

EXACT, SAMPLED = "shapley-exact", "shapley-sampled"
PLAYERS_MAX = 5  # with more, 2ⁿ − 1 renders are too many and orders are sampled
PAIRS = 12  # at most
NARROW = 0.02  # half of the 95% interval at which sampling stops
T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20)  # Student's t, two-sided, 1 to 11 degrees of freedom


def shapley_values(players: tuple[str, ...], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Each player's exact Shapley value of the game `value`, by all 2ⁿ coalitions."""
    count = len(players)
    known = {some: value(some) for some in coalitions(players)}
    shares = {}
    for player in players:
        others = [other for other in players if other != player]
        shares[player] = sum(
            factorial(size) * factorial(count - size - 1) / factorial(count) * (known[frozenset(some) | {player}] - known[frozenset(some)])
            for size in range(count)
            for some in combinations(others, size)
        )
    return shares


def exact_scores(game: Game) -> Scores:
    """2ⁿ − 1 renders for n artists, in one call. Raises InvalidInput above eight artists, 255 renders."""
    players = game.players
    if len(players) > 8:
        raise InvalidInput(f"exact credit for {len(players)} artists takes {2 ** len(players) - 1} renders; sample orders instead")
    values = game.values(coalitions(players))
    shares = shapley_values(players, lambda some: values[some])
    return Scores(EXACT, game.distance.name, {BASE: values[frozenset()], **game.by_style(shares)}, game.told())


def sampled_scores(game: Game, pairs: int = PAIRS, narrow: float = NARROW, seed: int = 0) -> Scores:
    """At most `pairs` pairs of orders, fewer where every artist's interval is narrower than ± `narrow` before. `uncertain` holds half of each interval."""
    rng = np.random.default_rng(seed)
    players = np.array(game.players)
    base = game.values([frozenset()])[frozenset()]
    means: list[dict[str, float]] = []
    half = dict.fromkeys(game.players, 1.0)
    while len(means) < pairs and (len(means) < 3 or max(half.values()) > narrow):
        order = rng.permutation(players).tolist()
        prefixes = [[frozenset(one[:at]) for at in range(len(one) + 1)] for one in (order, order[::-1])]
        values = game.values(some for row in prefixes for some in row)
        added = [
            {player: values[row[at + 1]] - values[row[at]] for at, player in enumerate(one)} for one, row in zip((order, order[::-1]), prefixes, strict=True)
        ]
        means.append({player: (added[0][player] + added[1][player]) / 2 for player in game.players})
        if len(means) >= 3:
            t = T_95[min(len(means) - 1, len(T_95)) - 1]
            half = {player: t * float(np.std([one[player] for one in means], ddof=1)) / len(means) ** 0.5 for player in game.players}
    shares = {player: float(np.mean([one[player] for one in means])) for player in game.players}
    note = f"{2 * len(means)} orders, {game.renders} renders"
    return Scores(SAMPLED, game.distance.name, {BASE: base, **game.by_style(shares)}, game.told(), note, game.by_style(half))


def shapley_scores(game: Game) -> Scores:
    """Exact up to PLAYERS_MAX artists, sampled beyond."""
    return exact_scores(game) if len(game.players) <= PLAYERS_MAX else sampled_scores(game)
