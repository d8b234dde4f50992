"""Loading any Stable Diffusion 1.x, 2.x or XL folder or hub id, and switching style adapters in and out exactly.

Weights come from safetensors only. Adapters are never fused: a fused adapter does not come out again whole (diffusers 0.42).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tribute.records import StyleUse, Unknown, Unreadable, sha256

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


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
    """A resident pipeline. `multiple` is what width and height must be multiples of; `lock` is held while it draws."""

    name: str
    pipeline: Any
    sha256: str
    snapshot: str | None
    device: str
    dtype: torch.dtype
    multiple: int
    native: int
    max_tokens: int
    adapters: dict[str, str] = field(default_factory=dict)  # loaded adapter name -> sha256 of its file
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def smallest(self) -> int:
        """Pixels a side that a seal still fits in."""
        return max(2 * self.multiple, -(-64 // self.multiple) * self.multiple)

    @property
    def largest(self) -> int:
        """Pixels a side that are still drawn: four times what it was trained at."""
        return min(2048, 4 * self.native)

    def use_styles(self, styles: Sequence[StyleUse], read: Any) -> None:
        """Makes exactly these adapters active; `read(sha256)` gives an adapter's bytes. Weight 0 means not active."""
        active = [style for style in styles if style.weight > 0]
        for style in active:
            if self.adapters.get(style.name) != style.adapter_sha256:
                self._load(style, read(style.adapter_sha256))
        if active:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters([style.name for style in active], [style.weight for style in active])
        elif self.adapters:
            self.pipeline.disable_lora()

    def _load(self, style: StyleUse, data: bytes) -> None:
        from safetensors.torch import load

        if sha256(data) != style.adapter_sha256:
            raise Unreadable(f"the adapter of style {style.name!r} no longer matches its hash")
        if style.name in self.adapters:
            self.pipeline.delete_adapters(style.name)
            del self.adapters[style.name]
        try:
            self.pipeline.load_lora_weights(load(data), adapter_name=style.name)
        except (ValueError, RuntimeError, KeyError) as error:
            raise Unreadable(f"the adapter of style {style.name!r} does not fit model {self.name!r}: {str(error).splitlines()[0][:200]}") from error
        self.adapters[style.name] = style.adapter_sha256


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


def _cited_snapshot(path: Path) -> str | None:
    """The snapshot that a model says it was trained on; a file that cannot be read says nothing."""
    try:
        cited = json.loads(path.read_text(encoding="utf-8"))["snapshot"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return cited if isinstance(cited, str) else None


def load_model(name: str, device: str | None = None, dtype: torch.dtype | None = None) -> Model:
    """Loads a pipeline to stay resident. Raises Unknown for what is no SD 1.x/2.x/XL model, Unreadable for damaged weights."""
    import diffusers
    import transformers

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
    scale = pipeline.vae_scale_factor
    return Model(
        name=folder.name if Path(name).expanduser().exists() else name,
        pipeline=pipeline,
        sha256=weights_hash(folder),
        snapshot=_cited_snapshot(folder / "tribute.json"),
        device=device,
        dtype=dtype,
        multiple=scale,
        native=pipeline.unet.config.sample_size * scale,
        max_tokens=pipeline.tokenizer.model_max_length,
    )
