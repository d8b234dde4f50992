"""Works as fingerprints of 96 bytes, so that a near copy of one is told without the works' pictures.

A fingerprint is a work's descriptor (`copies`) in its leading principal components, four bits each, in steps that are the best for a
normal variable (Max 1960, "Quantizing for minimum distortion", table II: sixteen levels). A picture is compared in full numbers, laid
upon the works as there. How often that finds a changed work, and how like strangers are: `python bench/likeness.py`.

Axes: N works, D descriptor, K components, P pairs of components, V poses, H height, W width, C channel; pictures are uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from tribute.provenance.copies import looks
from tribute.records import Unreadable

FINGERPRINTS = "fingerprints.safetensors"
COMPONENTS = 192
DESCRIPTOR = 16 * 16 * 3 + 24 * 24  # numbers of one
STEP = 0.3352  # of a component's deviation
ALIKE = 0.915  # similarity from which a drawn picture may be a near copy: docs/decisions/0028, 0042 and 0044
ALL_ALIKE = 0.967  # similarity to works of several artists from which a drawn picture is nobody's own: docs/decisions/0043 and 0044
SURE = 0.94  # similarity from which any picture is taken for a copy: bench/likeness.py, docs/studio.md


@dataclass(frozen=True)
class Fingerprints:
    """codes_NP, two components' levels a byte, in the order of the works' sorted hashes; and how a descriptor becomes components."""

    codes_NP: np.ndarray  # uint8
    basis_DK: np.ndarray  # int8: directions times scale_K
    scale_K: np.ndarray
    mean_K: np.ndarray
    deviation_K: np.ndarray

    @cached_property
    def directions_DK(self) -> np.ndarray:
        """The principal components' directions."""
        directions: np.ndarray = (self.basis_DK / self.scale_K).astype(np.float32)
        return directions

    @cached_property
    def vectors_NK(self) -> np.ndarray:
        """The works' components, as unit vectors."""
        levels_NK = np.stack([self.codes_NP & 15, self.codes_NP >> 4], 2).reshape(len(self.codes_NP), -1)
        return _unit((levels_NK - np.float32(7.5)) * STEP * self.deviation_K + self.mean_K)

    def similarities(self, picture_HWC: np.ndarray, enough: float | None = None, rows: np.ndarray | None = None) -> np.ndarray:
        """similarity_N in [-1, 1] of a picture to each work, or to those in `rows` alone; `enough` as in `alignment.similarities`."""
        import torch

        from tribute.provenance.alignment import similarities

        directions_DK = torch.from_numpy(self.directions_DK)

        def components(seen_VD: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(seen_VD @ directions_DK, dim=1, eps=1e-6)

        vectors_NK = self.vectors_NK if rows is None else self.vectors_NK[rows]
        return similarities(picture_HWC, torch.from_numpy(vectors_NK), components, enough)

    def copied(self, picture_HWC: np.ndarray) -> np.ndarray:
        """similarity_N in [-1, 1] of a picture from anywhere, which may be a cut or mirrored copy."""
        best: np.ndarray = np.stack([self.similarities(look) for look in looks(picture_HWC)]).max(0)
        return best

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        named = {"codes": self.codes_NP, "basis": self.basis_DK, "scale": self.scale_K, "mean": self.mean_K, "deviation": self.deviation_K}
        save_file(named, path)

    @classmethod
    def load(cls, path: Path) -> Fingerprints:
        """Raises Unreadable for a damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            held = load_file(path)
            found = cls(held["codes"], held["basis"], held["scale"], held["mean"], held["deviation"])
        except (OSError, SafetensorError, KeyError) as error:
            raise Unreadable(f"{path.name} cannot be read: {str(error)[:200]}") from error
        components = found.basis_DK.shape[-1:]
        fit = [found.basis_DK.shape == (DESCRIPTOR, *components), found.codes_NP.ndim == 2, (2 * found.codes_NP.shape[-1],) == components]
        if not all(fit) or any(part.shape != components for part in (found.scale_K, found.mean_K, found.deviation_K)):
            raise Unreadable(f"{path.name} cannot be read: its parts do not fit each other; make it again with tribute train likeness")
        return found


def build_fingerprints(descriptors_ND: np.ndarray, components: int = COMPONENTS) -> Fingerprints:
    """Of at least two works' descriptors; an even number of components, at most as many as the descriptor has."""
    mean_D = descriptors_ND.mean(0)
    centred_ND = descriptors_ND - mean_D
    directions_DK = np.linalg.eigh(centred_ND.T @ centred_ND)[1][:, ::-1][:, :components]
    scale_K = (127 / np.abs(directions_DK).max(0)).astype(np.float32)
    basis_DK = np.round(directions_DK * scale_K).astype(np.int8)
    found_NK = centred_ND @ basis_DK.astype(np.float32) / scale_K
    deviation_K = np.maximum(found_NK.std(0), 1e-6).astype(np.float32)
    levels_NK = np.clip(np.round(found_NK / (STEP * deviation_K) + 7.5), 0, 15).astype(np.uint8)
    mean_K = (mean_D @ basis_DK.astype(np.float32) / scale_K).astype(np.float32)
    return Fingerprints(levels_NK[:, ::2] | levels_NK[:, 1::2] << 4, basis_DK, scale_K, mean_K, deviation_K)


@lru_cache(maxsize=2)
def fingerprints_of(folder: Path) -> Fingerprints | None:
    """Those of the works that a model's folder has learned from, or None where it has none. Raises Unreadable."""
    path = folder / FINGERPRINTS
    return Fingerprints.load(path) if path.is_file() else None


def _unit(rows_NK: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of one plain colour, which have none, stay 0."""
    unit: np.ndarray = (rows_NK / np.maximum(np.linalg.norm(rows_NK, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    return unit
