"""Networks traced once, kept on disk by the hash of their weights, and compiled in OpenVINO.

One compiled for its very shape takes a quarter to a half less time than one for any shape, and half a second and 75 MB to make. So rows of the
side that nearly all calls have are asked for in small batches of their own shape, as many at once as there are processors, each on its own
(docs/decisions/0025); rows of another side together, of a network for any shape.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ON_DISK = 12  # networks, traced and compiled; the starter has its decoder, and its base with and without its student, a few shapes each
IN_MEMORY = 12  # of those for their very shape
ROWS = (1, 2, 4)  # in a batch of its own shape
Shapes = tuple[tuple[int, ...], ...]


def import_openvino() -> Any:
    """The library, without the part of it that reports its use over the network. Raises ImportError where it is not installed."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it then takes its own stub
    import openvino

    return openvino


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tribute" / "engines"


def prune(cache: Path) -> None:
    """Deletes the networks, traced and compiled, that were used least lately; ON_DISK of each stay."""
    for folder, ending in ((cache, ".xml"), (cache / "compiled", ".blob")):
        by_use = sorted(folder.glob(f"*{ending}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_use[ON_DISK:]:
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)


def weights_digest(weights: Iterable[Tensor], *more: object) -> str:
    """A name for a network with these weights, and whatever else it depends on."""
    digest = hashlib.sha256(f"{import_openvino().__version__} {more}".encode())
    for value in weights:
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def trace(network: nn.Module, example: Sequence[Any], shapes: Mapping[int, Sequence[int]], path: Path) -> None:
    """Writes the network as a function of its inputs, -1 for sizes that may differ, to `path` (.xml, and its weights beside it in .bin)."""
    ov = import_openvino()
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches on shapes: those that odd sizes take are left to torch
        traced = ov.convert_model(network, example_input=tuple(example))
    traced.reshape(dict(shapes))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    ov.save_model(traced, beside, compress_to_fp16=False)
    os.replace(beside.with_suffix(".bin"), path.with_suffix(".bin"))
    os.replace(beside, path)


@dataclass(frozen=True)
class Kept:
    """Tensors for a network's last inputs, from `first` on, which stay from call to call. Equal names mean equal tensors."""

    names: tuple[str, ...] = ()
    first: int = 0
    tensors: Sequence[Any] = ()


class Request:
    """A compiled network, ready to be asked."""

    def __init__(self, native: Any) -> None:
        self.native, self.kept = native, Kept()

    def begin(self, given: Sequence[np.ndarray], kept: Kept) -> None:
        """Asks it for these leading inputs."""
        ov = import_openvino()
        if self.kept.names != kept.names:
            for at, tensor in enumerate(kept.tensors, kept.first):
                self.native.set_input_tensor(at, tensor)
            self.kept = kept
        for at, value in enumerate(given):
            self.native.set_input_tensor(at, ov.Tensor(np.array(value)))
        self.native.start_async()

    def answer(self) -> np.ndarray:
        """What it made of them."""
        self.native.wait()
        return np.array(self.native.get_output_tensor(0).data)


class Networks:
    """Compiled when they are first asked for. Of those for a shape of their own, the ones asked least lately are let go."""

    def __init__(self, dtype: torch.dtype, cache: Path) -> None:
        self.precision, self.cache, self.processors = "bf16" if dtype == torch.bfloat16 else "f32", cache, torch.get_num_threads()
        self.ready: dict[tuple[Any, Shapes | None, int], list[Request]] = {}
        self.paths: dict[Any, Path] = {}

    def ask(
        self, key: Any, traced: Callable[[], Path], given: Sequence[np.ndarray], *, own: bool, most: int = max(ROWS), kept: Kept | None = None
    ) -> torch.Tensor:
        """What the network `key` makes of its leading inputs; those that have axes have the batch first. `traced` gives its file.

        `own`: in batches of a shape of their own, of at most `most` rows, the last one filled up with its last row.
        """
        count, kept = len(given[0]), kept or Kept()
        streams = min(count, self.processors) if own else 1
        size = next((rows for rows in ROWS if rows == most or rows * streams >= count), max(ROWS)) if own else count
        rows = [np.arange(start, start + size).clip(max=count - 1) for start in range(0, count, size)]
        parts = [[value[some] if value.ndim else value for value in given] for some in rows]
        requests = self._requests(key, tuple(tuple(value.shape) for value in parts[0]) if own else None, streams, traced)
        made: list[np.ndarray] = []
        for at, part in enumerate(parts):
            if at >= len(requests):
                made.append(requests[at % len(requests)].answer())
            requests[at % len(requests)].begin(part, kept)
        made += [requests[at % len(requests)].answer() for at in range(len(made), len(parts))]
        return torch.from_numpy(np.concatenate(made)[:count])

    def _requests(self, key: Any, shapes: Shapes | None, streams: int, traced: Callable[[], Path]) -> list[Request]:
        found = self.ready.pop((key, shapes, streams), None)
        if found is None:
            own = [one for one in self.ready if one[1] is not None]
            if shapes and len(own) >= IN_MEMORY:
                del self.ready[own[0]]
            if key not in self.paths or not self.paths[key].is_file():
                self.paths[key] = traced()
            found = self._compiled(self.paths[key], shapes, streams)
        self.ready[key, shapes, streams] = found  # the last one asked is the last to go
        return found

    def _compiled(self, path: Path, shapes: Shapes | None, streams: int) -> list[Request]:
        core = import_openvino().Core()
        network = core.read_model(path)
        path.touch()  # used now, so not pruned
        if shapes:
            network.reshape({at: list(shape) for at, shape in enumerate(shapes)})
        compiled = core.compile_model(network, "CPU", {
            "INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": self.processors, "NUM_STREAMS": streams,
            "CACHE_DIR": str(self.cache / "compiled"),
        })  # fmt: skip
        prune(self.cache)
        return [Request(compiled.create_infer_request()) for _ in range(streams)]
