"""The denoiser in OpenVINO, with adapters switched in and out without compiling anything again.

What a picture wears runs beside the base's own weights, which stay constants: y = W x + B (s ⊙ A x), where A and B are the ranks of all
worn adapters together and s has a factor for each row of the batch and each rank. A, B and s are inputs, so pictures that wear
different styles share a batch, and nobody's adapter touches another's row. The few-step student, which all rows wear, is added to W.
Each width of the side branch (a multiple of RANKS, none where nothing is worn) is compiled once, when it is first needed. Measured
by `python bench/create.py`; torch does the rest, and everything where OpenVINO is not installed.

Axes: B batch, C latent channels, H height, W width, T tokens, D text width, R ranks.
"""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tribute.diffusion.adapters import StyleConfig

LARGEST = 100_000_000  # parameters; above it a second copy of the network costs more than it saves
RANKS = 32
KEPT = 8  # networks on disk: a base with and without its student, a few widths each


class _Sided(nn.Module):
    """A layer, and beside it the branch of whatever is worn."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.worn: tuple[Tensor, Tensor, Tensor] | None = None  # A, B, s_BR

    def forward(self, x: Tensor, *others: Any, **more: Any) -> Tensor:
        made: Tensor = self.layer(x, *others, **more)
        if self.worn is None:
            return made
        down, up, factor_BR = self.worn
        if isinstance(self.layer, nn.Conv2d):
            inner = nn.functional.conv2d(x, down, None, self.layer.stride, self.layer.padding)
            return made + nn.functional.conv2d(inner * factor_BR[:, :, None, None], up)
        return made + nn.functional.linear(nn.functional.linear(x, down) * factor_BR[:, None, :], up)


class _WithSides(nn.Module):
    """The denoiser as a function of what is worn, for tracing."""

    def __init__(self, denoiser: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser, self.places = denoiser, []
        for name in names:
            parent, _, last = name.rpartition(".")
            sided = _Sided(denoiser.get_submodule(name))
            setattr(denoiser.get_submodule(parent), last, sided)
            self.places.append(sided)

    def forward(self, noisy_BCHW: Tensor, time: Tensor, states_BTD: Tensor, factor_BR: Tensor, *worn: Tensor) -> Tensor:
        for place, down, up in zip(self.places, worn[::2], worn[1::2], strict=True):
            place.worn = (down, up, factor_BR)
        made: Tensor = self.denoiser(noisy_BCHW, time, states_BTD, return_dict=False)[0]
        return made


class _Plain(nn.Module):
    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy_BCHW: Tensor, time: Tensor, states_BTD: Tensor) -> Tensor:
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


def prune(cache: Path, keep: int = KEPT) -> None:
    """Deletes the networks, traced and compiled, that were used least lately; `keep` of each stay."""
    for folder, ending in ((cache, ".xml"), (cache / "compiled", ".blob")):
        by_use = sorted(folder.glob(f"*{ending}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_use[keep:]:
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)


class Engine:
    """Stands in for `denoiser.forward` between `attach` and `detach`."""

    def __init__(self, denoiser: Any, dtype: torch.dtype, cache: Path | None = None) -> None:
        """`denoiser` wears nothing yet. Traced networks are kept in `cache`, by the hash of their weights, and read from there."""
        self.denoiser, self.dtype, self.cache = denoiser, dtype, cache or cache_folder()
        self.plain = copy.deepcopy(denoiser).float().eval()
        self.multiple = 2 ** (len(denoiser.config.block_out_channels) - 1)  # of the latents' sides, that the traced network takes
        targets = StyleConfig().targets
        self.names = [name for name, part in denoiser.named_modules() if name.endswith(targets) and isinstance(part, nn.Linear | nn.Conv2d)]
        self.requests: dict[tuple[str, int], Any] = {}  # (name of what is added to W, ranks) -> a compiled network's request
        self.merged, self.ranks, self.marks = "", 0, tuple[str, ...]()
        self.factor_BR, self.kept = np.zeros((1, 0), np.float32), list[Any]()

    def wear(self, rows: Mapping[str, Sequence[float]], marks: Mapping[str, str], merged: str | None = None) -> None:
        """Makes each row of the next batch wear each adapter so much, and all rows `merged` in full. `marks` tell one adapter's bytes from another's."""
        self.merged = merged or ""
        ranks_of = {name: self._rank(name) for name in rows}
        total = sum(ranks_of.values())
        self.ranks = -(-total // RANKS) * RANKS
        if not rows:
            return
        columns = [np.repeat(np.asarray(rows[name], np.float32)[:, None], rank, 1) for name, rank in ranks_of.items()]
        count = len(columns[0])
        self.factor_BR = np.concatenate([*columns, np.zeros((count, self.ranks - total), np.float32)], 1)
        now = (self.merged, *(f"{name}:{marks[name]}" for name in rows))
        if now != self.marks:
            self.marks, self.kept = now, self._sides(list(rows))
            request = self._request()
            for at, tensor in enumerate(self.kept):
                request.set_input_tensor(4 + at, tensor)

    def _rank(self, adapter: str) -> int:
        from peft.tuners.lora import LoraLayer

        layers = (self.denoiser.get_submodule(name) for name in self.names)
        return max((layer.r[adapter] for layer in layers if isinstance(layer, LoraLayer) and adapter in layer.r), default=0)

    @torch.no_grad()
    def _sides(self, adapters: Sequence[str]) -> list[Any]:
        """A and B of every adaptable layer in turn, all adapters' ranks together, each with its own scale in B."""
        from peft.tuners.lora import LoraLayer

        ov = import_openvino()
        made = []
        for name in self.names:
            layer, base = self.denoiser.get_submodule(name), self.plain.get_submodule(name).weight
            down = torch.zeros(self.ranks, *base.shape[1:])
            up = torch.zeros(base.shape[0], self.ranks, *([1, 1] if base.dim() == 4 else []))
            start = 0
            for adapter in adapters:
                rank = self._rank(adapter)
                if isinstance(layer, LoraLayer) and adapter in layer.r:
                    own = layer.r[adapter]
                    down[start : start + own] = layer.lora_A[adapter].weight.float()
                    up[:, start : start + own] = layer.lora_B[adapter].weight.float() * (layer.lora_alpha[adapter] / own)
                start += rank
            made += [ov.Tensor(np.ascontiguousarray(part.numpy()), shared_memory=False) for part in (down, up)]
        return made

    def _request(self) -> Any:
        """The compiled network for what is worn now, made when it is first asked for."""
        if (self.merged, self.ranks) not in self.requests:
            ov = import_openvino()
            core = ov.Core()
            denoiser = self._with_merged()
            path = self.cache / f"{self._hash(denoiser, ov.__version__)}.xml"
            network = core.read_model(path) if path.is_file() else self._convert(denoiser, path)
            path.touch()  # used now, so not pruned
            precision = "bf16" if self.dtype == torch.bfloat16 else "f32"
            compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": precision, "CACHE_DIR": str(self.cache / "compiled")})
            self.requests[self.merged, self.ranks] = compiled.create_infer_request()
        return self.requests[self.merged, self.ranks]

    @torch.no_grad()
    def _with_merged(self) -> Any:
        """A copy of the base, with the adapter that every row wears added to its weights."""
        denoiser = copy.deepcopy(self.plain)
        for name in self.names if self.merged else ():
            layer = self.denoiser.get_submodule(name)
            if self.merged in getattr(layer, "lora_A", {}):
                denoiser.get_submodule(name).weight += layer.get_delta_weight(self.merged).float()
        return denoiser

    def _hash(self, denoiser: Any, version: str) -> str:
        digest = hashlib.sha256(f"{version} {self.ranks} {denoiser.config}".encode())
        for value in denoiser.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def _convert(self, denoiser: Any, path: Path) -> Any:
        import contextlib
        import io
        import warnings

        ov = import_openvino()
        config = denoiser.config
        shapes = {0: [-1, config.in_channels, -1, -1], 1: [], 2: [-1, -1, config.cross_attention_dim]}
        example: list[Tensor] = [
            torch.zeros(1, config.in_channels, config.sample_size, config.sample_size), torch.tensor(1), torch.zeros(1, 8, config.cross_attention_dim),
        ]  # fmt: skip
        traced: nn.Module = _Plain(denoiser)
        if self.ranks:
            sides = [torch.from_numpy(tensor.data) for tensor in self.kept]
            example += [torch.zeros(1, self.ranks), *sides]
            shapes |= {3: [-1, self.ranks]} | {4 + at: list(side.shape) for at, side in enumerate(sides)}
            traced = _WithSides(denoiser, self.names)
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of branches on shapes: those that odd sizes take are left to torch below
            network = ov.convert_model(traced, example_input=tuple(example))
        network.reshape(shapes)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{os.getpid()}-{path.name}")
        ov.save_model(network, beside, compress_to_fp16=False)
        os.replace(beside.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(beside, path)
        prune(self.cache)
        return network

    def covers_adapters(self) -> bool:
        """False where an active adapter changes something that is not adaptable here."""
        from peft.tuners.lora import LoraLayer

        known = set(self.names)
        return all(name in known for name, part in self.denoiser.named_modules() if isinstance(part, LoraLayer))

    def attach(self) -> None:
        self.denoiser.forward = self._forward

    def detach(self) -> None:
        self.denoiser.__dict__.pop("forward", None)

    def _forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, *others: Any, return_dict: bool = True, **more: Any) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        if any(side % self.multiple for side in sample.shape[2:]):
            forward = type(self.denoiser).forward
            return forward(self.denoiser, sample, timestep, encoder_hidden_states, *others, return_dict=return_dict, **more)
        ov, request = import_openvino(), self._request()
        given = [sample.float().contiguous().numpy(), np.asarray(int(timestep), np.int64), encoder_hidden_states.float().contiguous().numpy()]
        if self.ranks:
            assert len(self.factor_BR) == len(sample), "a factor for every row"
            given.append(self.factor_BR)
        for at, value in enumerate(given):
            request.set_input_tensor(at, ov.Tensor(np.array(value)))
        request.infer()
        made = torch.from_numpy(request.get_output_tensor(0).data.copy()).to(sample.dtype)
        return UNet2DConditionOutput(sample=made) if return_dict else (made,)
