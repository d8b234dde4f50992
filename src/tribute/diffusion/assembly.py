"""One model of what the stages of a run learned: a stock diffusers folder, its adapters as they were learned or halfway back to what they began with.

And back: the parts of a model laid out as the runs that made them, for a round that goes on from it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save
from transformers import CLIPTextModel

from tribute.diffusion import recipes
from tribute.diffusion.adapters import StyleConfig
from tribute.diffusion.autoencoder import AutoencoderConfig
from tribute.diffusion.denoiser import DenoiserConfig, build_scheduler
from tribute.diffusion.loading import DECODING
from tribute.diffusion.recipes import ADAPTER, LIKENESS
from tribute.diffusion.student import StudentConfig
from tribute.diffusion.text import TextConfig
from tribute.diffusion.told import TOLD, read_smoothing, write_smoothing
from tribute.diffusion.towers import Towers, TowersConfig
from tribute.diffusion.training import SETTINGS, Schedule, mean_of
from tribute.diffusion.upscaler import Upscaler, UpscalerConfig
from tribute.diffusion.vocabulary import VOCABULARY, VocabularyConfig

PARTS = {  # of a model's folder -> where its runs hold them
    "text_encoder": ("text/text_encoder", "parts/text_encoder"),
    "tokenizer": ("text/tokenizer", "parts/tokenizer"),
    "vae": ("autoencoder/vae",),
    "unet": ("denoiser/unet",),
    "upscaler": ("upscaler/upscaler",),
    "towers": ("towers/towers",),
    "student": ("student",),
    "basis.safetensors": ("parts/basis.safetensors",),
    LIKENESS: (f"likeness/{LIKENESS}",),
    VOCABULARY: (f"vocabulary/{VOCABULARY}",),
}


def unpack_model(model: Path, runs: Path) -> None:
    """Lays out what `assemble_model` wrote to `model` in the folder `runs`, each run with the schedule that the model tells of it."""
    told = json.loads((model / TOLD).read_text(encoding="utf-8"))
    recipe = told["recipe"]
    places = [(model / part, runs / place) for part, several in PARTS.items() for place in several if (model / part).exists()]
    places += [(path, runs / f"style-{path.stem}" / ADAPTER) for path in sorted((model / "styles").glob("*.safetensors"))]
    for source, place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place)
    write_smoothing(runs / "smoothing", told.get("smoothing", {}))
    schedules = {"denoiser": recipe["denoiser"]["schedule"], "student": recipe["student"]["schedule"]}
    for run in sorted(runs.iterdir()):
        schedule = schedules.get(run.name) or recipe["style"].get("schedules", {}).get(run.name.removeprefix("style-"))
        if schedule:
            (run / SETTINGS).write_text(json.dumps({"schedule": schedule}, indent=2) + "\n", encoding="utf-8")


def schedule_of(run: Path, otherwise: Schedule) -> Any:
    """What a run was trained with, or `otherwise` where it does not say."""
    path = run / SETTINGS
    return json.loads(path.read_text(encoding="utf-8"))["schedule"] if path.exists() else asdict(otherwise)


def adapter(run: Path, start: Path | None) -> bytes:
    """A run's adapter as it is shipped, halfway to `start`'s of the same name where that has one; what it changes in the decoder stays as learned."""
    path = run / ADAPTER
    earlier = start / run.name / ADAPTER if start else None
    if earlier is None or not earlier.exists():
        return path.read_bytes()
    learned = load_file(path)
    drawing, begun = ({key: value for key, value in one.items() if not key.startswith(DECODING)} for one in (learned, load_file(earlier)))
    return save({**learned, **mean_of(drawing, begun)}, {"format": "pt"})


def assemble_model(runs: Path, out: Path, snapshot: str, start: Path | None = None) -> None:
    """Writes the stages' results as one stock diffusers folder in bfloat16 that cites its snapshot.

    `start`: the earlier runs that the student and styles began with and are taken halfway back to.
    """
    student_data = adapter(runs / "student", start) if (runs / "student" / ADAPTER).exists() else None
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(runs / "text" / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    merges = out / "tokenizer" / "tokenizer.json"
    merges.write_text(json.dumps(json.loads(merges.read_text(encoding="utf-8")), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")  # half its size
    CLIPTextModel.from_pretrained(runs / "text" / "text_encoder").bfloat16().save_pretrained(out / "text_encoder")
    AutoencoderKL.from_pretrained(recipes.finished_vae(runs)).bfloat16().save_pretrained(out / "vae")
    UNet2DConditionModel.from_pretrained(runs / "denoiser" / "unet").bfloat16().save_pretrained(out / "unet")
    build_scheduler().save_pretrained(out / "scheduler")
    shutil.copyfile(runs / "parts" / "basis.safetensors", out / "basis.safetensors")
    if (runs / "upscaler" / "upscaler").exists():
        Upscaler.from_pretrained(runs / "upscaler" / "upscaler").bfloat16().save_pretrained(out / "upscaler")
    if student_data:
        (out / "student").mkdir(exist_ok=True)
        (out / "student" / ADAPTER).write_bytes(student_data)
    if (runs / "towers" / "towers").exists():
        Towers.from_pretrained(runs / "towers" / "towers").bfloat16().save_pretrained(out / "towers")
    for run, name in (("likeness", LIKENESS), ("vocabulary", VOCABULARY)):
        if (runs / run / name).exists():
            shutil.copyfile(runs / run / name, out / name)
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    styles = {run.name.removeprefix("style-"): schedule_of(run, recipes.STYLE) for run in sorted(runs.glob("style-*")) if (run / ADAPTER).exists()}
    recipe = {
        "autoencoder": {
            "decoder": asdict(recipes.DECODER),
            "encoder": asdict(recipes.ENCODER),
            "finish": asdict(recipes.FINISH),
            "config": asdict(AutoencoderConfig()),
        },
        "text": {"schedule": asdict(recipes.TEXT), "config": asdict(TextConfig())},
        "vocabulary": {"config": asdict(VocabularyConfig())},
        "denoiser": {"schedule": schedule_of(runs / "denoiser", recipes.DENOISER), "config": asdict(DenoiserConfig()), "learned": recipes.LEARNED},
        "style": {"schedules": styles, **recipes.style_sizes(), "config": asdict(StyleConfig())},
        "upscaler": {"schedule": asdict(recipes.UPSCALER), "config": asdict(UpscalerConfig())},
        "towers": {"schedule": asdict(recipes.TOWERS), "config": asdict(TowersConfig())},
        "student": {"schedule": schedule_of(runs / "student", recipes.STUDENT), "config": asdict(StudentConfig())},
    }
    smoothing = read_smoothing(runs / "smoothing")
    told = {"snapshot": snapshot, "student_steps": StudentConfig().taken, "smoothing": smoothing, "recipe": recipe}
    (out / TOLD).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
