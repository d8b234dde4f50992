"""Loading any Stable Diffusion 1.x, 2.x or XL folder or hub id, and switching style adapters in and out exactly.

Weights come from safetensors only. Adapters are never fused: a fused adapter does not come out again whole (diffusers 0.42).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tribute.diffusion.told import STUDENT_STEPS, told_of
from tribute.records import InvalidInput, NotInstalled, StyleUse, Unknown, Unreadable, sha256

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
STUDENT = "few_step_student"  # no style can have this name: theirs have no underscore
LATENTS_AT_ONCE = 1024  # latent positions that share a batch: 16 pictures of 8×8; larger than 32×32, one at a time
DENOISER, AUTOENCODER = "unet.", "vae."  # before the names of an adapter's weights, by what they change
DECODING = AUTOENCODER + "decoder."  # all that a style may change of an autoencoder: how latents are decoded
Wear = Sequence[StyleUse]  # the styles of one picture


def best_device() -> str:
    """cuda, mps or cpu: the fastest that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it in hardware, float16 on mps, else float32."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "mps":
        return torch.float16
    capabilities = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
    return torch.bfloat16 if any(has() for has in capabilities) else torch.float32


@dataclass
class Model:
    """A resident pipeline. `multiple` is what width and height must be multiples of; `lock` is held while it draws.

    `student` is the path of the adapter that draws in `student_steps` steps, and `upscaler` doubles the side, `towers` tell how like its words a picture
    is; None where the folder has none.
    """

    name: str
    folder: Path
    pipeline: Any
    sha256: str
    snapshot: str | None
    device: str
    dtype: torch.dtype
    multiple: int
    native: int
    max_tokens: int
    student: Path | None = None
    student_steps: int = STUDENT_STEPS
    engine: Any = None  # what runs the denoiser and the decoder instead of torch, or None
    upscaler: Any = None
    towers: Any = None
    vocabulary: dict[str, str] = field(default_factory=dict)  # words that it never heard, and the labels that mean the same
    smoothing: dict[str, float] = field(default_factory=dict)  # as `Told` has it
    adapters: dict[str, str] = field(default_factory=dict)  # loaded adapter name -> sha256 of its file
    worn: tuple[bool, dict[str, list[float]], dict[str, list[float]]] | None = None  # by torch's networks: whether the student, and, by the denoiser and
    # by the decoder, each adapter by how much in each row
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def smallest(self) -> int:
        """Pixels a side that a seal still fits in."""
        return max(2 * self.multiple, -(-64 // self.multiple) * self.multiple)

    @property
    def largest(self) -> int:
        """Pixels a side that are still drawn: four times what it was trained at."""
        return min(2048, 4 * self.native)

    @property
    def enlarges(self) -> Literal[1, 2]:
        """How many times the side of a drawn picture its pictures have by default."""
        return 2 if self.upscaler is not None else 1

    def steps_of_student(self, finely: bool) -> int:
        """How many its student takes. `finely`, twice as many: where what it is told is mixed or noisy to the end, which bends its way to a picture, or
        where it goes only a part of that way, over another picture (docs/decisions/0031)."""
        return 2 * self.student_steps if finely else self.student_steps

    def rows_at_once(self, width: int, height: int) -> int:
        """How many pictures of this drawn size share a batch."""
        return max(1, LATENTS_AT_ONCE * self.multiple**2 // (width * height))

    def wear(self, rows: Sequence[Wear], read: Any, *, student: bool = False, halves: int = 1) -> None:
        """Makes row r of the next batch wear exactly `rows[r]`, and all of them the student.

        `read(sha256)` gives an adapter's bytes; weight 0 means not worn; `halves` is 2 where guidance doubles the batch. Rows that
        differ share the batch: each has a factor of its own on every adapter's output, so nobody's adapter touches another's row.
        """
        worn = self.load_styles(rows, read)
        if student and STUDENT not in self.adapters:
            self._load_student()
        weights = {name: [next((use.weight for use in row if use.name == name), 0.0) for row in rows] for name in worn}
        drawing, decoding = {name: row * halves for name, row in weights.items()}, {name: row for name, row in weights.items() if name in self._decoding}
        wanted = (student, drawing, decoding)
        if wanted != self.worn:  # a twentieth of a second, as long as two steps of the starter
            self.worn = None
            self._set_adapters(*wanted)
            self.worn = wanted
        if self.engine is not None and self.engine.covers_adapters():
            self.engine.wear(drawing, self.adapters, STUDENT if student else None)
            self.engine.attach(decoder=not decoding)
        elif self.engine is not None:
            self.engine.detach()

    @property
    def _decoding(self) -> set[str]:
        """The loaded adapters that change the decoder too."""
        return set(getattr(self.pipeline.vae, "peft_config", {}))

    def _set_adapters(self, student: bool, drawing: dict[str, list[float]], decoding: dict[str, list[float]]) -> None:
        active = [*drawing, *([STUDENT] if student else [])]
        if active:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters(active, [*(row[0] for row in drawing.values()), *([1.0] if student else [])])
            self._weigh_rows(self.pipeline.unet, drawing)
        elif self.adapters:
            self.pipeline.disable_lora()
        vae = self.pipeline.vae
        if decoding:
            vae.enable_lora()
            vae.set_adapters(list(decoding), [row[0] for row in decoding.values()])
            self._weigh_rows(vae, decoding)
        elif self._decoding:
            vae.disable_lora()

    def load_styles(self, rows: Sequence[Wear], read: Any) -> list[str]:
        """Loads the adapters of every style that a row wears; returns their names."""
        worn = {use.name: use for row in rows for use in row if use.weight > 0}
        for use in worn.values():
            if self.adapters.get(use.name) != use.adapter_sha256:
                self._load(use, read(use.adapter_sha256))
        return sorted(worn)

    @property
    def engine_name(self) -> str:
        return "torch" if self.engine is None else "openvino"

    @contextmanager
    def in_torch(self) -> Iterator[None]:
        """For what looks inside the network: within it torch draws, whatever the engine."""
        engine, self.engine = self.engine, None
        try:
            if engine is not None:
                engine.detach()
            yield
        finally:
            self.engine = engine

    def _weigh_rows(self, network: torch.nn.Module, weights: dict[str, list[float]]) -> None:
        from peft.tuners.lora import LoraLayer

        factors = {name: torch.tensor(row, device=self.device, dtype=self.dtype) for name, row in weights.items() if len(set(row)) > 1}
        for path, layer in network.named_modules() if factors else ():
            if isinstance(layer, LoraLayer):
                base = layer.get_base_layer()
                trailing = 3 if isinstance(base, torch.nn.Conv2d) else 1 if "time_emb" in path else 2
                for name, factor_B in factors.items():
                    if name in layer.scaling:
                        unit = layer.lora_alpha[name] / layer.r[name]
                        layer.scaling[name] = (factor_B * unit).view(-1, *(1,) * trailing)

    def shares_batches(self, rows: Sequence[Wear]) -> bool:
        """Whether pictures that wear different styles can be drawn in one batch: not where a style speaks to the text encoder too."""
        from peft.tuners.lora import LoraLayer

        names = {use.name for row in rows for use in row}
        encoders = [getattr(self.pipeline, part, None) for part in ("text_encoder", "text_encoder_2")]
        layers = [layer for encoder in encoders if encoder is not None for layer in encoder.modules() if isinstance(layer, LoraLayer)]
        return not any(names & set(layer.scaling) for layer in layers)

    def _load_student(self) -> None:
        if self.student is None:
            raise InvalidInput(f"model {self.name!r} has no few-step student; give steps and guidance instead")
        self._attach(STUDENT, self.student.read_bytes(), "the few-step student")
        self.adapters[STUDENT] = STUDENT

    def _load(self, style: StyleUse, data: bytes) -> None:
        if sha256(data) != style.adapter_sha256:
            raise Unreadable(f"the adapter of style {style.name!r} no longer matches its hash")
        if style.name in self.adapters:
            self._forget(style.name)
            del self.adapters[style.name]
        self._attach(style.name, data, f"the adapter of style {style.name!r}")
        self.adapters[style.name] = style.adapter_sha256

    def _forget(self, name: str) -> None:
        """Takes an adapter out, as far as it was loaded."""
        if any(name in names for names in self.pipeline.get_list_adapters().values()):
            self.pipeline.delete_adapters(name)
        if name in self._decoding:
            self.pipeline.vae.delete_adapters(name)

    def _attach(self, name: str, data: bytes, what: str) -> None:
        """Raises Unreadable for bytes that are no adapter, or one of another model; nothing of them stays then."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        self.worn = None  # another adapter is active then, and one of this name may have been another
        try:
            with warnings.catch_warnings(), torch.inference_mode(False):  # whoever draws loads it; whoever asks for gradients needs it too
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are what is meant here
                weights = in_peft_names(load(data))
                if any(key.startswith(AUTOENCODER) and not key.startswith(DECODING) for key in weights):
                    raise ValueError("it changes how pictures are encoded, which no style may")
                self.pipeline.load_lora_weights({key: value for key, value in weights.items() if not key.startswith(DECODING)}, adapter_name=name)
                if any(key.startswith(DECODING) for key in weights):
                    self.pipeline.vae.load_lora_adapter(dict(weights), prefix=AUTOENCODER.removesuffix("."), adapter_name=name)
        except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
            self._forget(name)
            raise Unreadable(f"{what} does not fit model {self.name!r}: {str(error).splitlines()[0][:200]}") from error
        asked = {key.split(".lora_A.")[0] for key in weights if key.startswith((DENOISER, DECODING)) and ".lora_A." in key}
        parts = ((DENOISER, self.pipeline.unet), (AUTOENCODER, self.pipeline.vae))
        there = {prefix + path for prefix, part in parts for path, layer in part.named_modules() if name in getattr(layer, "lora_A", {})}
        if asked - there:
            self._forget(name)
            raise Unreadable(f"{what} was loaded without {len(asked - there)} of its {len(asked)} layers; nothing is drawn with a part of it")


def in_peft_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An adapter's weights all under peft's names.

    `convert_state_dict_to_diffusers` mixes two ways of naming, and diffusers 0.42 loads such a file whole or without its attention layers, as
    the process's hash seed has it.
    """
    return {name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): value for name, value in weights.items()}


def folder_of(name: str) -> Path:
    """The local folder of a model: a path, or a hub id that diffusers downloads (safetensors only). Raises Unknown."""
    path = Path(name).expanduser()
    if (path / "model_index.json").is_file():
        return path
    if path.exists() or not re.fullmatch(r"[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}", name):
        raise Unknown(f"no model at {name[:200]!r}; give a diffusers folder with a model_index.json, or a hub id such as owner/name")
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(name, use_safetensors=True))
    except Exception as error:  # the hub client raises a dozen kinds, network errors among them
        raise Unknown(f"model {name!r} is no folder here and cannot be fetched from the hub: {str(error).splitlines()[0][:200]}") from error


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of all weights and configurations, in order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix in (".safetensors", ".json", ".txt") and "styles" not in inside.parts and len(inside.parts) == 2:
            digest.update(str(inside).encode() + b"\0")
            with path.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


ENGINES = ("auto", "torch", "openvino")


def build_engine(pipeline: Any, engine: str, device: str, dtype: torch.dtype) -> Any:
    """What runs the denoiser and the decoder instead of torch, or None. Raises Unknown, or NotInstalled where it is asked for and cannot run here."""
    from tribute.diffusion.engine import Engine, suits

    if engine not in ENGINES:
        raise Unknown.of("engine", engine, ENGINES)
    if engine == "torch" or not suits(pipeline.unet, device):
        if engine == "openvino":
            raise NotInstalled("this model does not run in OpenVINO here; install it with pip install 'tribute[fast]', or use the engine torch")
        return None
    return Engine(pipeline.unet, pipeline.vae, dtype)


def load_upscaler(folder: Path, device: str, dtype: torch.dtype) -> Any:
    """The upscaler in a model's folder, or None where there is none. Raises Unreadable for damaged weights."""
    if not folder.is_dir():
        return None
    from tribute.diffusion.upscaler import Upscaler

    try:
        upscaler = Upscaler.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Unreadable(f"the upscaler in {folder} cannot be loaded: {str(error).splitlines()[0][:300]}") from error
    return upscaler.to(device, memory_format=torch.channels_last).eval()


def load_towers(folder: Path) -> Any:
    """The two towers in a model's folder, in float32 and on the processor, or None where there are none. Raises Unreadable for damaged weights."""
    if not folder.is_dir():
        return None
    from tribute.diffusion.towers import Towers

    try:
        return Towers.from_pretrained(folder, use_safetensors=True, local_files_only=True).float().eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Unreadable(f"the towers in {folder} cannot be loaded: {str(error).splitlines()[0][:300]}") from error


def load_model(name: str, device: str | None = None, dtype: torch.dtype | None = None, engine: str = "auto") -> Model:
    """Loads a pipeline to stay resident. `engine` is torch, openvino, or auto: OpenVINO where it is installed and gains.

    Raises Unknown for what is no SD 1.x/2.x/XL model, Unreadable for damaged weights, NotInstalled.
    """
    import diffusers
    import transformers

    from tribute.diffusion.vocabulary import VOCABULARY, load_vocabulary

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    folder = folder_of(name)
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        kind = index.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise Unreadable(f"{folder}/model_index.json cannot be read: {error}") from error
    if kind not in PIPELINES:
        raise Unknown(f"model {name!r} is a {kind}; give one of {', '.join(PIPELINES)}")
    device = device or best_device()
    dtype = dtype or best_dtype(device)
    quiet = {"safety_checker": None, "requires_safety_checker": False} if kind == "StableDiffusionPipeline" else {}
    try:
        pipeline = getattr(diffusers, kind).from_pretrained(str(folder), dtype=dtype, use_safetensors=True, local_files_only=True, **quiet)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Unreadable(f"model {name!r} cannot be loaded: {str(error).splitlines()[0][:300]}") from error
    except Exception as error:  # safetensors raises its own type on truncated files
        if type(error).__module__.startswith("safetensors"):
            raise Unreadable(f"model {name!r} cannot be loaded: {error}") from error
        raise
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if device == "cpu":
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    runner = build_engine(pipeline, engine, device, dtype)
    upscaler = load_upscaler(folder / "upscaler", device, dtype)
    student = folder / "student" / "pytorch_lora_weights.safetensors"
    scale = pipeline.vae_scale_factor
    told = told_of(folder)
    return Model(
        name=folder.name if Path(name).expanduser().exists() else name,
        folder=folder,
        pipeline=pipeline,
        sha256=weights_hash(folder),
        snapshot=told.snapshot,
        device=device,
        dtype=dtype,
        multiple=scale,
        native=pipeline.unet.config.sample_size * scale,
        max_tokens=pipeline.tokenizer.model_max_length,
        student=student if student.is_file() else None,
        student_steps=told.student_steps,
        engine=runner,
        upscaler=upscaler,
        towers=load_towers(folder / "towers"),
        vocabulary=load_vocabulary(folder / VOCABULARY),
        smoothing=told.smoothing,
    )
