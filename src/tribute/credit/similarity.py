"""Feature similarity: how near a picture is to each party's works, as reverse image search would say.

A party's score is the mean cosine between the picture's features (EfficientNet-Lite0, pooled and the manner of early layers, each
part of unit length) and those of its nearest works, above the same for works of all parties together; not below 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tribute.credit.method import Case, Catalogues
from tribute.credit.shares import BASE, Scores
from tribute.diffusion.features import features

NEAREST = 10


def embed(pictures_NHWC: np.ndarray) -> Tensor:
    """Unit features of uint8 pictures: one row a picture."""
    found = features(pictures_NHWC)
    parts = [torch.nn.functional.normalize(part, dim=1) for part in (found.pooled_NF, found.manner_NM)]
    return torch.nn.functional.normalize(torch.cat(parts, 1), dim=1)


class Similarity:
    name = "feature-similarity"

    def prepare(self, catalogues: Catalogues) -> None:
        self.works = {name: embed(one.pictures()) for name, one in catalogues.items() if one.pictures is not None}
        self.mean = torch.cat(list(self.works.values())).mean(0)

    def score(self, case: Case) -> Scores:
        picture = embed(case.picture_HWC[None])[0]
        common = float(picture @ self.mean)
        near = {party: float((self.works[party] @ picture).topk(min(NEAREST, len(self.works[party]))).values.mean()) for party in (BASE, *case.styles)}
        return Scores(self.name, "efficientnet-lite0", {party: max(0.0, value - common) for party, value in near.items()}, near)
