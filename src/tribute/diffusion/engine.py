"""The denoiser in OpenVINO, with adapters switched in and out without compiling anything again.

Every weight that an adapter may change is an input of the compiled network: what a picture wears is added to the base's weights in
torch and handed over as tensors; the base's own weights are never written to. Measured by `python bench/create.py`; torch does
the rest, and everything where OpenVINO is not installed.

Axes: B batch, C latent channels, H height, W width, T tokens, D text width.
"""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tribute.diffusion.adapters import StyleConfig

LARGEST = 100_000_000  # parameters; above it handing weights over costs more than it saves


class _WithWeights(nn.Module):
    """The denoiser as a function of its adaptable weights, for tracing."""

    def __init__(self, denoiser: Any, names: list[str]) -> None:
        super().__init__()
        self.denoiser = copy.deepcopy(denoiser)
        self.places = tuple(self.denoiser.get_submodule(name) for name in names)
        for place in self.places:
            del place._parameters["weight"]

    def forward(self, noisy_BCHW: Tensor, time: Tensor, states_BTD: Tensor, *weights: Tensor) -> Tensor:
        for place, weight in zip(self.places, weights, strict=True):
            place.__dict__["weight"] = weight
        made: Tensor = self.denoiser(noisy_BCHW, time, states_BTD, return_dict=False)[0]
        return made


def import_openvino() -> Any:
    """The library, without the part of it that reports its use over the network. Raises ImportError where it is not installed."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it then takes its own stub
    import openvino

    return openvino


def suits(denoiser: Any, device: str) -> bool:
    """Whether this engine can run the denoiser here and gains by it."""
    try:
        import_openvino()
    except ImportError:
        return False
    plain = denoiser.config.get("addition_embed_type") is None and denoiser.config.get("time_cond_proj_dim") is None
    return device == "cpu" and plain and sum(value.numel() for value in denoiser.parameters()) <= LARGEST


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tribute" / "engines"


class Engine:
    """Stands in for `denoiser.forward` between `attach` and `detach`."""

    def __init__(self, denoiser: Any, dtype: torch.dtype, cache: Path | None = None) -> None:
        """`denoiser` wears nothing yet. The traced network is kept in `cache`, by the hash of its weights, and read from there."""
        ov = import_openvino()
        self.denoiser, self.dtype = denoiser, dtype
        self.multiple = 2 ** (len(denoiser.config.block_out_channels) - 1)  # of the latents' sides, that the traced network takes
        targets = StyleConfig().targets
        self.names = [name for name, part in denoiser.named_modules() if name.endswith(targets) and isinstance(part, nn.Linear | nn.Conv2d)]
        self.base = [denoiser.get_submodule(name).weight for name in self.names]
        core = ov.Core()
        path = (cache or cache_folder()) / f"{self._hash(ov.__version__)}.xml"
        network = core.read_model(path) if path.is_file() else self._convert(path)
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32"})
        self.request = compiled.create_infer_request()
        self.kept: list[Any] = []  # tensors that the request reads from
        self.adapted = False
        self.refresh()

    def _hash(self, version: str) -> str:
        digest = hashlib.sha256(f"{version} {self.denoiser.config}".encode())
        inputs = set(self.names)
        for name, value in self.denoiser.state_dict().items():
            if name.removesuffix(".weight") not in inputs:
                digest.update(value.float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def _convert(self, path: Path) -> Any:
        import contextlib
        import io
        import warnings

        ov = import_openvino()
        config = self.denoiser.config
        example = (torch.zeros(1, config.in_channels, config.sample_size, config.sample_size), torch.tensor(1), torch.zeros(1, 8, config.cross_attention_dim))
        traced = _WithWeights(self.denoiser, self.names).float().eval()
        weights = [weight.detach().float() for weight in self.base]
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of branches on shapes: those that odd sizes take are left to torch below
            network = ov.convert_model(traced, example_input=(*example, *weights))
        fixed = {3 + at: list(weight.shape) for at, weight in enumerate(weights)}
        network.reshape({0: [-1, config.in_channels, -1, -1], 1: [], 2: [-1, -1, config.cross_attention_dim], **fixed})
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{os.getpid()}-{path.name}")
        ov.save_model(network, beside, compress_to_fp16=False)
        os.replace(beside.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(beside, path)
        return network

    @torch.no_grad()
    def refresh(self) -> None:
        """Hands over the weights that the denoiser's active adapters make."""
        from peft.tuners.lora import LoraLayer

        layers = [self.denoiser.get_submodule(name) for name in self.names]
        worn = any(isinstance(layer, LoraLayer) and not layer.disable_adapters and layer.active_adapters for layer in layers)
        if self.kept and not worn and not self.adapted:
            return
        ov = import_openvino()
        kept = []
        for layer, base in zip(layers, self.base, strict=True):
            weight = base.detach().float()
            if isinstance(layer, LoraLayer) and not layer.disable_adapters:
                for name in layer.active_adapters:
                    if name in layer.scaling:
                        weight = weight + layer.get_delta_weight(name).float()
            kept.append(ov.Tensor(np.ascontiguousarray(weight.contiguous().numpy()), shared_memory=True))
        for at, tensor in enumerate(kept):
            self.request.set_input_tensor(3 + at, tensor)
        self.kept, self.adapted = kept, worn

    def covers_adapters(self) -> bool:
        """False where an active adapter changes something that is not an input here."""
        from peft.tuners.lora import LoraLayer

        inputs = set(self.names)
        return all(name in inputs for name, part in self.denoiser.named_modules() if isinstance(part, LoraLayer))

    def attach(self) -> None:
        self.refresh()
        self.denoiser.forward = self._forward

    def detach(self) -> None:
        self.denoiser.__dict__.pop("forward", None)

    def _forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, *others: Any, return_dict: bool = True, **more: Any) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        if any(side % self.multiple for side in sample.shape[2:]):
            forward = type(self.denoiser).forward
            return forward(self.denoiser, sample, timestep, encoder_hidden_states, *others, return_dict=return_dict, **more)
        ov = import_openvino()
        time = np.asarray(int(timestep), np.int64)
        for at, value in enumerate((sample.float().contiguous().numpy(), time, encoder_hidden_states.float().contiguous().numpy())):
            self.request.set_input_tensor(at, ov.Tensor(np.array(value)))
        self.request.infer()
        made = torch.from_numpy(self.request.get_output_tensor(0).data.copy()).to(sample.dtype)
        return UNet2DConditionOutput(sample=made) if return_dict else (made,)
