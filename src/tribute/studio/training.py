"""Joins recipes with the store: which works each stage may see, which snapshot its weights cite, and the shipped folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tribute.collection.consent import allows, in_force
from tribute.collection.library import export_collection, put_style
from tribute.collection.snapshot import snapshot_works, take_snapshot
from tribute.collection.starter import SOURCES, STYLES
from tribute.diffusion.told import read_smoothing, write_smoothing
from tribute.provenance.copies import descriptor
from tribute.provenance.fingerprints import FINGERPRINTS, build_fingerprints
from tribute.records import InvalidInput, Snapshot, Style, Unknown, Work, sha256
from tribute.store.database import documents, get
from tribute.store.schema import snapshots
from tribute.store.schema import works as works_table
from tribute.studio.wiring import STARTER, Workshop

HANDS = {name: (source.hand_en, source.hand_zh) for name, source in SOURCES.items()}


def allowed(workshop: Workshop, style: str | None) -> tuple[Snapshot, list[Work]]:
    """What the base or a style may be trained on now."""
    with workshop.database.writing() as connection:
        snapshot = take_snapshot(connection, "style" if style else "train_base", style)
        return snapshot, snapshot_works(connection, snapshot)


def still_allowed(workshop: Workshop, snapshot_hash: str) -> list[Work]:
    """The works of the base's snapshot that it may still learn from: what a style, which cites that snapshot beside its own, may learn again."""
    with workshop.database.reading() as connection:
        snapshot = get(connection, snapshots, Snapshot, snapshot_hash, "snapshot")
    wanted = set(snapshot.works)
    return [work for work in allowed(workshop, None)[1] if work.hash in wanted]


def pin(run: Path, snapshot: Snapshot) -> None:
    """Writes into a run which snapshot it is trained on. Raises InvalidInput where it was begun on another one."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "snapshot.txt"
    if not path.exists():
        path.write_text(snapshot.hash + "\n")
    elif pinned(run) != snapshot.hash:
        raise InvalidInput(f"{run} was begun on snapshot {pinned(run)[:12]}…, consent now allows {snapshot.hash[:12]}…; start in a new runs folder")


def pinned(run: Path) -> str:
    """The hash of the snapshot that a run was trained on. Raises InvalidInput where it does not say."""
    try:
        return (run / "snapshot.txt").read_text().strip()
    except OSError as error:
        raise InvalidInput(f"{run} does not say what it was trained on; train it again") from error


def run_style(workshop: Workshop, recipes: Any, name: str, runs: Path, start: Path | None, changes: Mapping[str, int] | None) -> None:
    """Trains a style on its artist's works, beside those of the base in `runs`, and adds it to the workshop. `start`: an adapter to go on from."""
    if name not in HANDS:
        raise Unknown.of("style", name, STYLES)
    base, run = runs / "denoiser", runs / f"style-{name}"
    commons = still_allowed(workshop, pinned(base))
    snapshot, works = allowed(workshop, name)
    pin(run, snapshot)
    path = recipes.style(
        run, works, workshop.blobs.get, parts=runs / "parts", base=base, vae=recipes.finished_vae(runs), hands=HANDS, commons=commons, start=start,
        changes=changes,
    )  # fmt: skip
    strength = _measured(workshop, recipes, runs, works, "", path)
    write_smoothing(run, {"": strength})
    add_style(workshop, name, snapshot.hash, pinned(base), path.read_bytes(), strength)


def _measured(workshop: Workshop, recipes: Any, runs: Path, works: Sequence[Work], hand: str, adapter: Path | None = None) -> float:
    """How strongly pictures in the hand of these works are smoothed, which is asked for in these words or by wearing the adapter."""
    trained = recipes.split(works)[0]
    everyday = set(recipes.common_concepts(trained))
    shown = [work for work in trained if work.concept in everyday] or trained
    shown = shown[:: max(1, len(shown) // recipes.SMOOTHED)][: recipes.SMOOTHED]
    said = [f"{work.captions_en[0]}, {hand}" if hand else work.captions_en[0] for work in shown]
    strength: float = recipes.smoothing(
        shown, said, workshop.blobs.get, parts=runs / "parts", base=runs / "denoiser", vae=recipes.finished_vae(runs), adapter=adapter
    )
    return strength


def trained_styles(workshop: Workshop, recipes: Any, runs: Path) -> dict[str, Path]:
    """The runs that hold a style's adapter, by its name, where its artist consents now."""
    with workshop.database.reading() as connection:
        consenting = [name for name in STYLES if allows(in_force(connection, SOURCES[name].artist.id), "style")]
    return {name: runs / f"style-{name}" for name in consenting if (runs / f"style-{name}" / recipes.ADAPTER).exists()}


def measure_smoothing(workshop: Workshop, recipes: Any, runs: Path) -> None:
    """Writes into the runs how strongly pictures are smoothed in each hand of the base's and in each style that is trained there."""
    from tqdm import tqdm

    works = still_allowed(workshop, pinned(runs / "denoiser"))
    found: dict[str, float] = {}
    for style in tqdm(["", *(style for style in SOURCES if any(work.style == style for work in works))], desc="hands"):
        said = HANDS.get(style, ("",))
        strength = _measured(workshop, recipes, runs, [work for work in works if style in ("", work.style)], said[0])
        found |= {words.casefold(): strength for words in said}
    write_smoothing(runs / "smoothing", found)
    for name, run in tqdm(trained_styles(workshop, recipes, runs).items(), desc="styles"):
        write_smoothing(run, {"": _measured(workshop, recipes, runs, allowed(workshop, name)[1], "", run / recipes.ADAPTER)})


def run_stage(
    workshop: Workshop, recipes: Any, stage: str, runs: Path, styles: tuple[str, ...], output: Path, start: Path | None = None,
    changes: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Runs a recipe; for `assemble` writes the model with its adapters, collection and terms to `output`; for `unpack` lays such a model out in `runs`.

    `changes`: of the schedule of the denoiser, a style or the student.
    """

    def earlier(run: str) -> Path | None:
        return start / run / recipes.ADAPTER if start else None

    if stage == "unpack":
        unpack(start or STARTER, runs)
        return
    parts = runs / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    if stage == "assemble":
        assemble(workshop, recipes, runs, output, start)
        return
    if stage == "style":
        for name in styles or STYLES:
            run_style(workshop, recipes, name, runs, earlier(f"style-{name}"), changes)
        return
    if stage == "smoothing":
        measure_smoothing(workshop, recipes, runs)
        return
    if stage == "likeness":
        with workshop.database.reading() as connection:
            everything = documents(connection, works_table, Work)
        recipes.likeness(runs / "likeness", everything, workshop.blobs.get)
        take_fingerprints(runs / "likeness" / FINGERPRINTS, recipes, everything, workshop.blobs.get)
        return
    snapshot, works = allowed(workshop, None)
    read = workshop.blobs.get
    pin(parts if stage == "basis" else runs / stage, snapshot)
    if stage == "basis":
        recipes.basis(parts, works, read, start=start)
    elif stage == "autoencoder":
        recipes.autoencoder(runs / "autoencoder", works, read, parts=parts, start=start)
    elif stage == "upscaler":
        recipes.upscaler(runs / "upscaler", works, read, parts=parts, vae=recipes.finished_vae(runs), start=start)
    elif stage == "decoder":
        recipes.decoder(runs / "decoder", works, read, parts=parts, vae=runs / "autoencoder" / "vae", base=runs / "denoiser")
    elif stage == "towers":
        recipes.towers(runs / "towers", works, read, parts=parts, hands=HANDS)
    elif stage == "student":
        base = runs / "denoiser"
        adapters = {name: runs / f"style-{name}" / recipes.ADAPTER for name in STYLES}
        there = {name: path for name, path in adapters.items() if path.exists()}
        recipes.student(runs / "student", works, read, parts=parts, base=base, styles=there, hands=HANDS, start=earlier("student"), changes=changes)
    elif stage == "vocabulary":
        recipes.vocabulary(runs / "vocabulary", works, read)
    elif stage == "text":
        recipes.text(runs / "text", works, read)
        for name in ("tokenizer", "text_encoder"):
            shutil.copytree(runs / "text" / name, parts / name, dirs_exist_ok=True)
    else:
        recipes.denoiser(runs / "denoiser", works, read, parts=parts, hands=HANDS, start=start, changes=changes)


def take_fingerprints(path: Path, recipes: Any, works: Sequence[Work], read: Callable[[str], bytes]) -> None:
    """Writes what near copies of the works are told by, in the order of their hashes."""
    from tqdm import tqdm

    pictures_NHWC = recipes.load_pictures(sorted(works, key=lambda work: work.hash), read)
    build_fingerprints(np.stack([descriptor(one) for one in tqdm(pictures_NHWC, desc="fingerprints", mininterval=2.0)])).save(path)


def add_style(workshop: Workshop, name: str, snapshot: str, base_snapshot: str, data: bytes, smoothing: float = 0.0) -> Style:
    """Stores a trained adapter and its record; `smoothing` is of pictures that wear it."""
    source = SOURCES[name]
    style = Style(
        name=name, artist_id=source.artist.id, title_en=source.title_en, title_zh=source.title_zh, licence=source.licence,
        snapshot=snapshot, adapter_sha256=sha256(data), base_snapshot=base_snapshot, smoothing=smoothing,
    )  # fmt: skip
    workshop.blobs.put(data)
    with workshop.database.writing() as connection:
        put_style(connection, style)
    return style


def unpack(model: Path, runs: Path) -> None:
    """Lays out a model that `assemble` wrote as the runs of a round that goes on from it, in a new folder. Raises InvalidInput."""
    from tribute.diffusion.assembly import unpack_model

    if runs.exists() and (not runs.is_dir() or any(runs.iterdir())):
        raise InvalidInput(f"{runs} is there already; unpack into a new folder")
    runs.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=runs.parent, prefix=f".{runs.name}.") as beside:
        laid_out = Path(beside) / runs.name
        try:
            unpack_model(model, laid_out)
            collection = json.loads((model / "collection.json").read_text(encoding="utf-8"))
            trained_on = {f"style-{style['name']}": style["snapshot"] for style in collection["styles"]}
            trained_on["denoiser"] = json.loads((model / "tribute.json").read_text(encoding="utf-8"))["snapshot"]
            for style in collection["styles"]:
                write_smoothing(laid_out / f"style-{style['name']}", {"": style.get("smoothing", 0.0)})
            for run in laid_out.iterdir():
                if run.name.startswith("style-") or run.name == "denoiser":
                    (run / "snapshot.txt").write_text(trained_on[run.name] + "\n")
            if (model / FINGERPRINTS).exists():
                (laid_out / "likeness").mkdir(exist_ok=True)
                shutil.copyfile(model / FINGERPRINTS, laid_out / "likeness" / FINGERPRINTS)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{model} is no model that `tribute train assemble` wrote ({error}); --start is the folder of one") from error
        if runs.exists():
            runs.rmdir()
        laid_out.rename(runs)


def assemble(workshop: Workshop, recipes: Any, runs: Path, output: Path, start: Path | None) -> None:
    """The folder that ships: stock model, adapters, collection.json, works.jsonl.gz. Raises InvalidInput where a stage is missing."""
    from tribute.diffusion.assembly import adapter, assemble_model

    for needed in ("text/text_encoder", "autoencoder/vae", "denoiser/unet"):
        if not (runs / needed).exists():
            raise InvalidInput(f"{runs / needed} is not there yet; train {needed.partition('/')[0]} first")
    if start and not any(start.glob(f"*/{recipes.ADAPTER}")):
        raise InvalidInput(f"{start} holds no adapters; --start is the runs folder that {runs} began with, or leave it out")
    base = pinned(runs / "denoiser")
    trained = trained_styles(workshop, recipes, runs)
    adapters = {name: adapter(run, start) for name, run in trained.items()}
    assemble_model(runs, output, base, start)
    if (runs / "likeness" / FINGERPRINTS).exists():
        shutil.copyfile(runs / "likeness" / FINGERPRINTS, output / FINGERPRINTS)
    shutil.rmtree(output / "styles", ignore_errors=True)
    (output / "styles").mkdir()
    for name, data in adapters.items():
        add_style(workshop, name, pinned(trained[name]), base, data, read_smoothing(trained[name]).get("", 0.0))
        (output / "styles" / f"{name}.safetensors").write_bytes(data)
    with workshop.database.reading() as connection:
        export_collection(connection, output)
