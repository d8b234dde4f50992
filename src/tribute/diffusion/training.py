"""The one training loop: resumable to the step, deterministic by seed, with a log, sample sheets and an average of the weights.

A step draws everything from a generator seeded by (seed, step), so a run that was killed and resumed takes the same steps as
one that was not. Learning rate: linear warm-up, constant, then linear decay to zero over the last `decay` of the steps
(warm-up-stable-decay, Hu et al. 2024, arXiv:2404.06395), so that a run can be lengthened before its decay begins. Weights move
by AdamW or, where a schedule says `muon`, hidden matrices by Muon (Jordan et al. 2024; its step scaled to AdamW's as Liu et al. 2025,
arXiv:2502.16982, so that both have one learning rate).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tribute.records import InvalidInput

SETTINGS = "config.json"  # of a run: what it is trained with


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. `learning_rate` is the peak; `ema_half_life` is in steps."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    decay: float = 0.25
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip_norm: float = 1.0
    ema_half_life: int = 200
    save_every_s: int = 180
    sheet_every: int = 500
    seed: int = 0
    muon: bool = False  # for hidden matrices: a quarter more time a step, and worth it once the model learns rare things by heart
    bfloat16: bool = False  # multiply in bfloat16 where the processor has the instructions; weights and sums stay float32
    compiled: bool = False  # by torch.compile where there is a C++ compiler: two minutes once, then a third less time a step (docs/decisions/0034)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step in [0, steps)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * warm * min(1.0, left)


def multiplies_in_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; where it does not, bfloat16 is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def compiled(module: nn.Module, schedule: Schedule) -> Callable[..., Any]:
    """`module`, compiled where its schedule says so and the machine can."""
    return torch.compile(module, dynamic=False) if schedule.compiled and shutil.which("g++") else module


def generator_at(seed: int, step: int) -> torch.Generator:
    """The source of all randomness in one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the target, then rename: a kill leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.part")
    write(beside)
    os.replace(beside, path)


class Average:
    """Exponential moving average of the trained parameters, ramped up so that early steps do not weigh it down."""

    def __init__(self, parameters: dict[str, nn.Parameter], half_life: int) -> None:
        self.values = {name: value.detach().clone() for name, value in parameters.items()}
        self.decay_max = 0.5 ** (1 / half_life)

    @torch.no_grad()
    def update(self, parameters: dict[str, nn.Parameter], step: int) -> None:
        decay = min(self.decay_max, (1 + step) / (10 + step))
        for name, value in parameters.items():
            self.values[name].lerp_(value, 1 - decay)

    def copy_to(self, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """Puts the average in place; returns what was there."""
        before = {name: value.detach().clone() for name, value in parameters.items()}
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(self.values[name])
        return before


OUTER = ("conv_in", "conv_out", "time_embedding")  # layers that Muon leaves to AdamW: they do not map hidden states to hidden states


@torch.no_grad()
def orthogonal(updates_KMN: Tensor, narrow: bool, steps: int = 4) -> Tensor:
    """K matrices with their singular values brought near 1, by the quintic Newton-Schulz iteration of Jordan et al. 2024; `narrow` multiplies in bfloat16."""
    x_KMN = updates_KMN.mT if updates_KMN.shape[1] > updates_KMN.shape[2] else updates_KMN
    x_KMN = x_KMN / x_KMN.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    x_KMN = x_KMN.bfloat16() if narrow else x_KMN
    for _ in range(steps):
        gram_KMM = x_KMN @ x_KMN.mT
        x_KMN = torch.baddbmm(x_KMN, torch.baddbmm(gram_KMM, gram_KMM, gram_KMM, beta=-4.775, alpha=2.0315), x_KMN, beta=3.4445)
    return (x_KMN.mT if updates_KMN.shape[1] > updates_KMN.shape[2] else x_KMN).to(updates_KMN.dtype)


class Muon:
    """Muon, all matrices of one shape at a time. torch's own takes one after the other and always multiplies in bfloat16: 0.3 to 5 ms each for the
    hundred small ones of an adapter, and half a minute a step where the processor has no such instructions."""

    def __init__(self, matrices: Iterable[Tensor], weight_decay: float, momentum: float = 0.95) -> None:
        self.weight_decay, self.momentum, self.narrow = weight_decay, momentum, multiplies_in_bfloat16()
        self.buffers: dict[Tensor, Tensor] = {matrix: torch.zeros_like(matrix) for matrix in matrices}

    @torch.no_grad()
    def step(self, gradients: Sequence[tuple[Tensor, Tensor]], learning_rate: float) -> None:
        """Moves each (matrix, its gradient)."""
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for matrix, gradient in gradients:
            self.buffers[matrix].lerp_(gradient, 1 - self.momentum)
            by_shape.setdefault(matrix.shape, []).append((matrix, gradient.lerp(self.buffers[matrix], self.momentum)))
        for shape, some in by_shape.items():
            as_adamw = 0.2 * max(shape) ** 0.5  # as large as AdamW's steps are
            for (matrix, _), made in zip(some, orthogonal(torch.stack([update for _, update in some]), self.narrow), strict=True):
                matrix.mul_(1 - learning_rate * self.weight_decay).sub_(made, alpha=learning_rate * as_adamw)


class Optimiser:
    """AdamW for all parameters or, with `schedule.muon`, Muon for the hidden matrices; a convolution's weight is one of (out, in · height · width)."""

    def __init__(self, parameters: dict[str, nn.Parameter], schedule: Schedule) -> None:
        self.parameters = parameters
        hidden = [name for name, value in parameters.items() if schedule.muon and value.dim() > 1 and not name.startswith(OUTER)]
        self.matrices = {name: self._matrix(name, parameters[name].data) for name in hidden}  # they share the parameters' memory
        rest = [value for name, value in parameters.items() if name not in self.matrices]
        self.adamw = torch.optim.AdamW(rest, betas=(0.9, schedule.beta2), weight_decay=schedule.weight_decay, foreach=True) if rest else None
        self.muon = Muon(self.matrices.values(), schedule.weight_decay)

    def _matrix(self, name: str, tensor: Tensor) -> Tensor:
        """A parameter, or its gradient, as a matrix in the order of the parameter's memory."""
        rows_first = self.parameters[name].is_contiguous()  # else channels_last
        return tensor.flatten(1) if rows_first else tensor.permute(0, 2, 3, 1).flatten(1)

    def step(self, learning_rate: float, clip_norm: float) -> None:
        """Moves all parameters by their gradients, which are gone then."""
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm)
        gradients = {name: self.parameters[name].grad for name in self.matrices}
        self.muon.step([(self.matrices[name], self._matrix(name, grad)) for name, grad in gradients.items() if grad is not None], learning_rate)
        if self.adamw:
            self.adamw.param_groups[0]["lr"] = learning_rate
            self.adamw.step()
        for value in self.parameters.values():
            value.grad = None

    def moments(self, name: str) -> dict[str, Tensor]:
        """What is remembered of a parameter's gradients, but for how many there were."""
        if name in self.matrices:
            return {"momentum_buffer": self.muon.buffers[self.matrices[name]]}
        state = self.adamw.state.get(self.parameters[name], {}) if self.adamw else {}
        return {kind: value for kind, value in state.items() if kind != "step"}

    def remember(self, name: str, moments: dict[str, Tensor], step: int) -> None:
        """The moments of `step` steps; those of the other kind of optimiser are passed over."""
        if name in self.matrices:
            if "momentum_buffer" in moments:
                self.muon.buffers[self.matrices[name]] = moments["momentum_buffer"]
        elif self.adamw and "exp_avg" in moments:
            self.adamw.state[self.parameters[name]] = {"step": torch.tensor(float(step)), **moments}


def _save(run: Path, parameters: dict[str, nn.Parameter], average: Average, optimiser: Optimiser, step: int) -> None:
    tensors = {f"weight/{name}": value.detach() for name, value in parameters.items()}
    tensors |= {f"average/{name}": value for name, value in average.values.items()}
    for name in parameters:
        tensors |= {f"{kind}/{name}": value for kind, value in optimiser.moments(name).items()}
    contiguous = {name: value.contiguous().clone() for name, value in tensors.items()}
    write_atomically(run / "checkpoint.safetensors", lambda path: save_file(contiguous, path, metadata={"step": str(step)}))


def _restore(run: Path, parameters: dict[str, nn.Parameter], average: Average, optimiser: Optimiser) -> int:
    path = run / "checkpoint.safetensors"
    if not path.exists():
        return 0
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        step = int(opened.metadata()["step"])
    tensors = load_file(path)
    if {name.removeprefix("weight/") for name in tensors if name.startswith("weight/")} != set(parameters):
        raise InvalidInput(f"{path}: holds another model's weights; start in an empty run folder")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(tensors[f"weight/{name}"])
            average.values[name].copy_(tensors[f"average/{name}"])
            kinds = [kind for kind in ("exp_avg", "exp_avg_sq", "momentum_buffer") if f"{kind}/{name}" in tensors]
            optimiser.remember(name, {kind: tensors[f"{kind}/{name}"].clone(memory_format=torch.preserve_format) for kind in kinds}, step)
    return step


@torch.no_grad()
def start_from(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Begins `module` with another one's weights. Where it is wider, new inputs begin silent and new outputs as they were made.

    Raises InvalidInput where a weight is missing or larger than its place.
    """
    for name, value in module.named_parameters():
        given = weights.get(name)
        if given is None or given.dim() != value.dim() or any(had > has for had, has in zip(given.shape, value.shape, strict=True)):
            raise InvalidInput(f"{name} of shape {tuple(value.shape)} cannot start from {None if given is None else tuple(given.shape)}")
        inside = tuple(slice(0, size) for size in given.shape)
        if given.shape != value.shape and value.dim() > 1:
            value[: given.shape[0], given.shape[1] :] = 0.0
        value[inside] = given.to(value.dtype)


def mean_of(learned: dict[str, Tensor], earlier: dict[str, Tensor], share: float = 0.5) -> dict[str, Tensor]:
    """The mean of weights, `share` of it, and of those they began with, which knows more than either (Wortsman et al. 2022, docs/decisions/0025).

    Raises InvalidInput where they have not the same tensors.
    """
    if {name: value.shape for name, value in learned.items()} != {name: value.shape for name, value in earlier.items()}:
        raise InvalidInput("the earlier weights have other tensors than these, which did not begin with them; go on without --start")
    return {name: (share * value.float() + (1 - share) * earlier[name].float()).to(value.dtype) for name, value in learned.items()}


def _progress(steps: Iterable[int], total: int, start: int, title: str) -> Any:
    from tqdm import tqdm

    return tqdm(steps, total=total, initial=start, desc=title, dynamic_ncols=True, mininterval=2.0)


def train(
    run: Path,
    parameters: dict[str, nn.Parameter],
    loss_at: Callable[[int, torch.Generator], Tensor],
    schedule: Schedule,
    *,
    config: Any,
    sheet: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Minimises `loss_at(step, generator)` over `parameters`, in the folder `run`; leaves the averaged weights in place.

    Writes SETTINGS, log.jsonl (step, loss, pictures/s), checkpoint.safetensors and whatever `sheet(step)` draws with the
    averaged weights. Calling it again on the same folder goes on where it stopped. Returns the last log line.
    """
    run.mkdir(parents=True, exist_ok=True)
    narrow = schedule.bfloat16 and multiplies_in_bfloat16()
    resolved = {"schedule": asdict(schedule), "recipe": asdict(config), "torch": torch.__version__, "multiplied in": "bfloat16" if narrow else "float32"}
    (run / SETTINGS).write_text(json.dumps(resolved, indent=2, default=str) + "\n", encoding="utf-8")
    optimiser = Optimiser(parameters, schedule)
    average = Average(parameters, schedule.ema_half_life)
    start = _restore(run, parameters, average, optimiser)
    saved_at = logged_at = time.monotonic()
    recent: deque[float] = deque(maxlen=25)  # losses: the last line, too, is of as many steps as the others
    logged = start
    line: dict[str, Any] = {"step": start, "loss": math.nan}
    bar = _progress(range(start, schedule.steps), schedule.steps, start, run.name)
    for step in bar:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow), sdpa_kernel(SDPBackend.MATH):  # the fused kernel's way back is slow for few tokens
            loss = loss_at(step, generator_at(schedule.seed, step))
        value = loss.item()
        if not math.isfinite(value):
            raise InvalidInput(f"{run.name}: the loss became {value} at step {step}; lower the learning rate and resume")
        loss.backward()
        optimiser.step(schedule.rate_at(step), schedule.clip_norm)
        average.update(parameters, step)
        recent.append(value)
        done = step + 1
        if done % 25 == 0 or done == schedule.steps:
            now = time.monotonic()
            rate = (done - logged) * schedule.batch / max(1e-9, now - logged_at)
            line = {"step": done, "loss": round(sum(recent) / len(recent), 5), "per_s": round(rate, 1)}
            with (run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            bar.set_postfix(loss=line["loss"])
            logged, logged_at = done, now
        if time.monotonic() - saved_at > schedule.save_every_s or done == schedule.steps:
            _save(run, parameters, average, optimiser, done)
            saved_at = time.monotonic()
        if sheet and (done % schedule.sheet_every == 0 or done == schedule.steps):
            before = average.copy_to(parameters)
            sheet(done)
            with torch.no_grad():
                for name, old in before.items():
                    parameters[name].copy_(old)
            logged_at = time.monotonic()
    average.copy_to(parameters)
    return line
