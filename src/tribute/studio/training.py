"""Joins recipes with the store: which works each stage may see, which snapshot its weights cite, and the shipped folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tribute.collection.library import export_collection, put_style
from tribute.collection.snapshot import snapshot_works, take_snapshot
from tribute.collection.starter import SOURCES, STYLES
from tribute.records import InvalidInput, Snapshot, Style, Unknown, Work, sha256
from tribute.studio.wiring import Workshop

HANDS = {name: (source.hand_en, source.hand_zh) for name, source in SOURCES.items()}


def allowed(workshop: Workshop, style: str | None) -> tuple[Snapshot, list[Work]]:
    """What the base or a style may be trained on now."""
    with workshop.database.writing() as connection:
        snapshot = take_snapshot(connection, "style" if style else "train_base", style)
        return snapshot, snapshot_works(connection, snapshot)


def run_stage(workshop: Workshop, recipes: Any, stage: str, runs: Path, styles: tuple[str, ...], output: Path) -> None:
    """Runs a recipe, or for `assemble` writes the model with its adapters, collection and terms to `output`."""
    parts = runs / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    if stage == "assemble":
        assemble(workshop, recipes, runs, output)
        return
    if stage == "style":
        for name in styles or STYLES:
            if name not in HANDS:
                raise Unknown.of("style", name, STYLES)
            snapshot, works = allowed(workshop, name)
            base = runs / "denoiser"
            path = recipes.style(runs / f"style-{name}", works, workshop.blobs.get, parts=parts, base=base, hands=HANDS)
            add_style(workshop, name, snapshot, path)
        return
    snapshot, works = allowed(workshop, None)
    read = workshop.blobs.get
    if stage == "basis":
        recipes.basis(parts, works, read)
    elif stage == "autoencoder":
        recipes.autoencoder(runs / "autoencoder", works, read, parts=parts)
    elif stage == "text":
        recipes.text(runs / "text", works, read)
        for name in ("tokenizer", "text_encoder"):
            shutil.copytree(runs / "text" / name, parts / name, dirs_exist_ok=True)
    else:
        recipes.denoiser(runs / "denoiser", works, read, parts=parts, hands=HANDS)


def add_style(workshop: Workshop, name: str, snapshot: Snapshot, path: Path) -> Style:
    """Stores a trained adapter and its record."""
    source, data = SOURCES[name], path.read_bytes()
    base, _ = allowed(workshop, None)
    style = Style(
        name=name, artist_id=source.artist.id, title_en=source.title_en, title_zh=source.title_zh, licence=source.licence,
        snapshot=snapshot.hash, adapter_sha256=sha256(data), base_snapshot=base.hash,
    )  # fmt: skip
    workshop.blobs.put(data)
    with workshop.database.writing() as connection:
        put_style(connection, style)
    return style


def assemble(workshop: Workshop, recipes: Any, runs: Path, output: Path) -> None:
    """The folder that ships: stock model, adapters, collection.json, works.jsonl.gz. Raises InvalidInput where a stage is missing."""
    for needed in ("text/text_encoder", "autoencoder/vae", "denoiser/unet"):
        if not (runs / needed).exists():
            raise InvalidInput(f"{runs / needed} is not there yet; train {needed.partition('/')[0]} first")
    base, _ = allowed(workshop, None)
    recipes.assemble(runs, output, base.hash)
    (output / "styles").mkdir(exist_ok=True)
    for name in STYLES:
        snapshot, _ = allowed(workshop, name)
        path = runs / f"style-{name}" / "pytorch_lora_weights.safetensors"
        if path.exists():
            add_style(workshop, name, snapshot, path)
            shutil.copyfile(path, output / "styles" / f"{name}.safetensors")
    with workshop.database.reading() as connection:
        export_collection(connection, output)
