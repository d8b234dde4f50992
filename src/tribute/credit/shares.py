"""From scores to shares: the one place where clipping, normalising and rounding happen, whatever the method.

A negative score is set to 0: nobody is paid less than nothing, and nobody else is charged for it. Scores are then divided by
their sum and rounded to parts per million by floor and largest remainder, ties to the earlier name. Where all scores are 0 the
whole goes to the base. A base that cites no known snapshot is named `unknown-base`, and its part is nobody's.

Where a method says how uncertain it is, each style is credited with the lower end of its interval, and what is held back is the party
`uncertain`: a pool that is paid to nobody until somebody works the picture out exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tribute.records import PPM, Credits, Share
from tribute.records.money import split

BASE, UNKNOWN_BASE, UNCERTAIN = "base", "unknown-base", "uncertain"
RESOLUTION = 10**12  # scores are integers of this fineness before they are split


@dataclass(frozen=True)
class Scores:
    """What a method found: a score for `base` and each style, and the values that it came from."""

    method: str
    distance: str
    parties: Mapping[str, float]
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    uncertain: Mapping[str, float] = field(default_factory=dict)  # half of each score's 95% interval


def to_credits(scores: Scores, artist_of: Mapping[str, str], base_known: bool) -> Credits:
    """Shares that sum to one million. `artist_of` maps each style to its artist's id."""
    clipped = {party: max(0.0, score) if math.isfinite(score) else 0.0 for party, score in scores.parties.items()}
    if scores.uncertain:
        lower = {party: max(0.0, score - scores.uncertain.get(party, 0.0)) for party, score in clipped.items()}
        clipped = {**lower, UNCERTAIN: sum(clipped.values()) - sum(lower.values())}
    base = BASE if base_known else UNKNOWN_BASE
    named = {base if party == BASE else party: score for party, score in clipped.items()}
    total = sum(named.values())
    weights = {party: round(score / total * RESOLUTION) for party, score in named.items()} if total > 0 else {**dict.fromkeys(named, 0), base: 1}
    parts = split(PPM, weights)
    order = sorted(parts, key=lambda party: (party != base, -parts[party], party))
    negative = sorted(party for party, score in scores.parties.items() if score < 0)
    note = "; ".join(filter(None, [scores.note, f"clipped at 0: {', '.join(negative)}" if negative else ""]))
    return Credits(
        method=scores.method,
        distance=scores.distance,
        shares=tuple(Share(party=party, artist_id=artist_of.get(party), share_ppm=parts[party]) for party in order),
        values={name: round(value, 9) for name, value in scores.values.items()},
        note=note,
    )
