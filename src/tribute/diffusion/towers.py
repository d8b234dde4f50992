"""The two towers: pictures and words in one space, in English and Chinese.

Words come through the starter's own text encoder, pictures through EfficientNet-Lite0 (`features`); a small head on each side is
trained here, on the commons alone, with the contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020, figure 3), and beside
it by telling the plain name of a picture's concept from those of all others, which a batch holds too few of.

Axes: B batch, N rows, S picture features (`Features.both_NS`), D text states, E shared space, K concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from tribute.diffusion.features import MANNER, WIDTH
from tribute.diffusion.training import Schedule, train


@dataclass(frozen=True)
class TowersConfig:
    text_width: int = 256
    hidden: int = 512
    shared: int = 256
    dropout: float = 0.3
    temperature: float = 0.05
    names_weight: float = 0.5  # of the loss over all concepts' names, in each language
    label_smoothing: float = 0.1
    feature_noise: float = 0.3  # of a feature's deviation, added to pictures


class Towers(ModelMixin, ConfigMixin):  # type: ignore[misc]
    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, text_width: int = 256, hidden: int = 512, shared: int = 256, dropout: float = 0.3) -> None:
        super().__init__()
        self.picture_norm = nn.BatchNorm1d(WIDTH + MANNER)
        self.picture = nn.Sequential(nn.Dropout(dropout), nn.Linear(WIDTH + MANNER, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, shared))
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, hidden), nn.GELU(), nn.Linear(hidden, shared))

    def pictures(self, features_NS: Tensor) -> Tensor:
        """Unit vectors_NE of picture features."""
        return nn.functional.normalize(self.picture(self.picture_norm(features_NS)), dim=-1)

    def texts(self, states_ND: Tensor) -> Tensor:
        """Unit vectors_NE of the text encoder's states at the end of the text."""
        return nn.functional.normalize(self.text(states_ND), dim=-1)


def train_towers(
    run: Path, features_NS: Tensor, states_MD: Tensor, captions: Sequence[Sequence[int]], concept_N: Tensor, names: Sequence[Tensor],
    schedule: Schedule, config: TowersConfig,
) -> Towers:  # fmt: skip
    """`captions` gives each picture's rows of states_MD; pictures of one concept in a batch are not told apart.

    `names` are, for each language, the states_KD of the concepts' plain names, in the order that concept_N counts in.
    """
    torch.manual_seed(schedule.seed)
    towers: Towers = Towers(config.text_width, config.hidden, config.shared, config.dropout)
    noise_S = config.feature_noise * features_NS.std(0)

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        at_B = torch.randint(len(features_NS), (schedule.batch,), generator=generator)
        pick_B = torch.rand(schedule.batch, generator=generator).tolist()
        rows = [captions[at][int(pick * len(captions[at]))] for at, pick in zip(at_B.tolist(), pick_B, strict=True)]
        seen_BS = features_NS[at_B] + noise_S * torch.randn(schedule.batch, len(noise_S), generator=generator)
        vectors_BE = towers.pictures(seen_BS)
        logits_BB = vectors_BE @ towers.texts(states_MD[rows]).T / config.temperature
        same_BB = (concept_N[at_B][:, None] == concept_N[at_B][None]).float()
        wanted_BB = same_BB / same_BB.sum(1, keepdim=True)
        loss: Tensor = (nn.functional.cross_entropy(logits_BB, wanted_BB) + nn.functional.cross_entropy(logits_BB.T, wanted_BB)) / 2
        for states_KD in names:
            logits_BK = vectors_BE @ towers.texts(states_KD).T / config.temperature
            loss = loss + config.names_weight * nn.functional.cross_entropy(logits_BK, concept_N[at_B], label_smoothing=config.label_smoothing)
        return loss

    train(run, dict(towers.named_parameters()), loss_at, schedule, config=config)
    towers.eval()
    return towers


def top_accuracy(vectors_NE: Tensor, candidates_KE: Tensor, wanted_N: Sequence[int], top: int) -> float:
    """The part of rows whose wanted candidate is among the `top` nearest, in [0, 1]."""
    best_NT = (vectors_NE @ candidates_KE.T).topk(min(top, len(candidates_KE)), dim=1).indices
    return float((best_NT == torch.tensor(list(wanted_N))[:, None]).any(1).float().mean())
