"""The judge: a linear head on EfficientNet-Lite0 features that names the concept and the hand of a picture.

It learns from real works only and never sees a generated picture, nor was the model that it judges trained with its features.
Its own accuracy on held-out real works is the ceiling of every figure that it gives; one in as many as it knows is chance.

Axes: N pictures, F features, P principal components, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

COMPONENTS = 768  # that features are reduced to before the linear map; both together are linear


@dataclass(frozen=True)
class Judge:
    """A linear map of standardised features. `names` are the classes, in the order of the columns."""

    names: tuple[str, ...]
    mean_F: Tensor
    deviation_F: Tensor
    components_FP: Tensor
    weight_KP: Tensor
    bias_K: Tensor

    def scores(self, features_NF: Tensor) -> Tensor:
        """logits_NK"""
        return ((features_NF - self.mean_F) / self.deviation_F) @ self.components_FP @ self.weight_KP.T + self.bias_K

    def named(self, features_NF: Tensor) -> list[str]:
        """The likeliest class of each row."""
        return [self.names[at] for at in self.scores(features_NF).argmax(1).tolist()]

    def only(self, names: Iterable[str]) -> Judge:
        """The same judge when it is told that it is one of these."""
        at = [self.names.index(name) for name in sorted(set(names) & set(self.names))]
        return replace(self, names=tuple(self.names[row] for row in at), weight_KP=self.weight_KP[at], bias_K=self.bias_K[at])

    def accuracy(self, features_NF: Tensor, wanted: Sequence[str], top: int = 1) -> float:
        """The part of rows whose wanted class is among the `top` likeliest, in [0, 1]; NaN for no rows."""
        if not wanted:
            return float("nan")
        best_NT = self.scores(features_NF).topk(min(top, len(self.names)), dim=1).indices.tolist()
        return sum(name in [self.names[at] for at in row] for name, row in zip(wanted, best_NT, strict=True)) / len(wanted)


def train_judge(features_NF: Tensor, labels: Sequence[str], epochs: int = 40, weight_decay: float = 0.05, seed: int = 0) -> Judge:
    """Multinomial logistic regression on the leading principal components, by AdamW with dropout. The same input gives the same judge."""
    names = tuple(sorted(set(labels)))
    column = {name: at for at, name in enumerate(names)}
    wanted_N = torch.tensor([column[label] for label in labels])
    mean_F, deviation_F = features_NF.mean(0), features_NF.std(0).clamp(min=1e-3)
    standard_NF = (features_NF - mean_F) / deviation_F
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(standard_NF), generator=generator)[:8192]
    width = min(COMPONENTS, *standard_NF[some].shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, size_P, components_FP = torch.pca_lowrank(standard_NF[some], q=width, center=False, niter=2)
    components_FP = components_FP / (size_P / len(some) ** 0.5).clamp(min=1e-3).sqrt()  # half whitened: fine components count, but less
    rows_NP = standard_NF @ components_FP
    weight_KP = nn.Parameter(torch.zeros(len(names), width))
    bias_K = nn.Parameter(torch.zeros(len(names)))
    optimiser = torch.optim.AdamW([weight_KP, bias_K], lr=2e-3, weight_decay=weight_decay)
    batch = 512
    steps = epochs * max(4, len(rows_NP) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        at_B = torch.randint(len(rows_NP), (batch,), generator=generator)
        kept_BP = torch.rand(batch, width, generator=generator) > 0.3
        logits_BK = (rows_NP[at_B] * kept_BP / 0.7) @ weight_KP.T + bias_K
        loss = nn.functional.cross_entropy(logits_BK, wanted_N[at_B], label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return Judge(names, mean_F, deviation_F, components_FP, weight_KP.detach(), bias_K.detach())


def frechet_distance(one_NF: Tensor, other_NF: Tensor) -> float:
    """Fréchet distance of two sets of features taken as Gaussians (Heusel et al. 2017, arXiv:1706.08500, equation 6).

    Needs more rows than features for full rank; with fewer, compare only distances of equal counts.
    """
    means = [rows.double().mean(0) for rows in (one_NF, other_NF)]
    covariances = [torch.cov(rows.double().T) for rows in (one_NF, other_NF)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    return float((means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * middle)
