"""How often a work is drawn for training: rare kinds of picture as often as common ones, everyday things more often than odd ones.

The collection is clustered without labels, by features of its pictures, and a work is drawn as the inverse square root of its
cluster's size, so that faces do not drown foxes (OpenAI's DALL·E 2 mitigations, 2022, balance alike). Works of the commonest
concepts count `EVERYDAY` times: those are what people ask for.

Axes: N works, F features, K clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from tribute.records import Work

CLUSTERS = 400
COMMON = 300
EVERYDAY = 8.0


def cluster(features_NF: Tensor, clusters: int, rounds: int = 20, seed: int = 0) -> Tensor:
    """The cluster_N of each row, by k-means on the sphere (Dhillon and Modha 2001)."""
    rows_NF = nn.functional.normalize(features_NF - features_NF.mean(0), dim=1)
    start = torch.randperm(len(rows_NF), generator=torch.Generator().manual_seed(seed))[:clusters]
    centres_KF = rows_NF[start].clone()
    for _ in range(rounds):
        nearest_N = (rows_NF @ centres_KF.T).argmax(1)
        sums_KF = torch.zeros_like(centres_KF).index_add_(0, nearest_N, rows_NF)
        centres_KF = torch.where(sums_KF.norm(dim=1, keepdim=True) > 0, nn.functional.normalize(sums_KF, dim=1), centres_KF)
    return (rows_NF @ centres_KF.T).argmax(1)


def common_concepts(works: Sequence[Work], count: int = COMMON) -> list[str]:
    """The concepts with most works, portraits apart; among equals those with the shorter name, which are the commoner words."""
    works_of = Counter(work.concept for work in works if work.concept != "portrait")
    return sorted(works_of, key=lambda concept: (-works_of[concept], concept.count("-"), len(concept), concept))[:count]


def everyday_weights(works: Sequence[Work], everyday: Collection[str]) -> Tensor:
    """weights_N: `EVERYDAY` for a work of one of these concepts, 1 for others."""
    wanted = set(everyday)
    return torch.tensor([EVERYDAY if work.concept in wanted else 1.0 for work in works])


def concept_weights(works: Sequence[Work], everyday: Collection[str]) -> Tensor:
    """weights_N: everyday things more often, and what has many works (portraits, say) as the square root of their number in all."""
    works_of = Counter(work.concept for work in works)
    return everyday_weights(works, everyday) / torch.tensor([works_of[work.concept] for work in works]).sqrt()


def drawing_weights(works: Sequence[Work], features_NF: Tensor, everyday: Collection[str], clusters: int = CLUSTERS) -> Tensor:
    """weights_N of works whose pictures have these features; their mean is 1. `everyday`: the commonest concepts of all works, counted before any is
    held out; else what a pair is held out of counts as rare."""
    cluster_N = cluster(features_NF, min(clusters, len(works)))
    size_N = torch.bincount(cluster_N)[cluster_N].float()
    weights_N = everyday_weights(works, everyday) / size_N.sqrt()
    return weights_N / weights_N.mean()
