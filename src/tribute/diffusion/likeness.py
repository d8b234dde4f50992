"""Which works look like a picture: EfficientNet-Lite0 features, their leading components in eight bits a number.

Small enough to ship for every work of the starter (56 bytes a work), so "am I in it?" is answered without the works' pictures.
`bench/likeness.py` measures how often a changed copy still finds its work.

Axes: N works, Q queries, F features (1280), K components.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tribute.diffusion.features import features
from tribute.records import Unreadable

COMPONENTS = 56


@dataclass(frozen=True)
class Likeness:
    """vectors_NK of unit length, in the order of their works' sorted hashes, and how a picture becomes such a vector."""

    vectors_NK: Tensor  # int8
    mean_F: Tensor
    basis_FK: Tensor

    def of(self, pictures_NHWC: np.ndarray) -> Tensor:
        """Unit vectors_QK of uint8 pictures."""
        rows = (features(pictures_NHWC).pooled_NF.float() - self.mean_F.float()) @ self.basis_FK.float()
        return nn.functional.normalize(rows, dim=1)

    def similarities(self, pictures_NHWC: np.ndarray) -> Tensor:
        """similarity_QN in [-1, 1] of each picture to each work."""
        return self.of(pictures_NHWC) @ nn.functional.normalize(self.vectors_NK.float(), dim=1).T

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"vectors": self.vectors_NK, "mean": self.mean_F.half(), "basis": self.basis_FK.half().contiguous()}, path)

    @classmethod
    def load(cls, path: Path) -> Likeness:
        """Raises Unreadable for a damaged file."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            held = load_file(path)
            return cls(held["vectors"], held["mean"], held["basis"])
        except (OSError, SafetensorError, KeyError) as error:
            raise Unreadable(f"{path.name} cannot be read: {str(error)[:200]}") from error


def build_likeness(features_NF: Tensor, components: int = COMPONENTS) -> Likeness:
    """Whitened leading components of the works' features, by which pictures are told apart better than by the features themselves."""
    mean_F = features_NF.mean(0)
    centred_NF = (features_NF - mean_F).float()
    _, spread_K, directions_KF = torch.linalg.svd(centred_NF, full_matrices=False)
    deviation_K = (spread_K[:components] / len(features_NF) ** 0.5).clamp(min=1e-6)
    basis_FK = directions_KF[:components].T / deviation_K.sqrt()  # half-way to white: the faint ones are noise too
    rows_NK = nn.functional.normalize(centred_NF @ basis_FK, dim=1)
    return Likeness((rows_NK * 127 / rows_NK.abs().max()).round().to(torch.int8), mean_F, basis_FK)
