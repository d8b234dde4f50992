"""`tribute evaluate`: draws what the trials ask for, measures, and writes report.json, report.html and their sheets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tribute.collection.starter import SOURCES
from tribute.commission import TRIES, Ask, away_from_copies, recipes_of, smoothing_of
from tribute.create.choose import can_choose
from tribute.create.sample import enlarged, sample
from tribute.diffusion.autoencoder import PatchBasis, decode_pictures, psnr_db, to_pixels
from tribute.diffusion.examples import RECOLOUR_SEED
from tribute.diffusion.features import resized
from tribute.diffusion.loading import Model
from tribute.diffusion.sheets import save_sheet
from tribute.diffusion.smoothing import smoothed
from tribute.diffusion.text import end_states, tokens_of
from tribute.diffusion.towers import Towers, top_accuracy
from tribute.diffusion.upscaler import enlarge
from tribute.records import InvalidInput, Recipe, Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.evaluation import figures as measure
from tribute.studio.evaluation import trials as ask_for
from tribute.studio.evaluation.figures import Drawn, Figure
from tribute.studio.evaluation.material import Judges, Material, gather, train_judges
from tribute.studio.evaluation.report import read, write
from tribute.studio.evaluation.speed import busy, speed_figures
from tribute.studio.evaluation.trials import Trial
from tribute.studio.wiring import Workshop

SEED = 11
SHOWN = 96  # pixels a side on the sheets


@dataclass(frozen=True)
class Size:
    """How much is drawn: `concepts` of the commonest, and so many of the rest."""

    concepts: int = 300
    held_pairs: int = 150
    colours: int = 100
    portraits: int = 10
    full: int = 60  # of the trained pairs, drawn again in full without the student
    plain: int = 100  # of the commonest concepts, asked for by their bare names
    things: int = 60  # of them too, each in a style whose artist draws portraits alone

    def less(self, part: float) -> Size:
        return Size(**{name: max(2, round(value * part)) for name, value in asdict(self).items()})


class Artist:
    """Draws trials as anybody's picture is drawn and enlarged, many prompts and styles to a batch."""

    def __init__(self, workshop: Workshop, model: Model) -> None:
        self.workshop, self.model = workshop, model
        self.led_away = Counter[str]()  # pictures that were led away from near copies, by what they were
        with workshop.database.reading() as connection:
            self.styles = {style.name: style for style in documents(connection, styles, Style) if style.base_snapshot == model.snapshot}

    def decode_as(self, hand: str) -> float:
        """What is decoded next is decoded as a picture that wears this style, or, of a hand of the base's own, as one that wears none; returns how
        strongly such a picture is smoothed."""
        found = [self.styles[hand]] if hand in self.styles else []
        worn = [StyleUse(name=hand, adapter_sha256=style.adapter_sha256) for style in found]
        self.model.wear([worn], self.workshop.blobs.get)
        return smoothing_of(f"thing, {SOURCES[hand].hand_en}" if hand else "thing", worn, self.model, found)

    def recipe(self, trial: Trial, full: bool) -> Recipe:
        uses = (StyleUse(name=trial.adapter),) if trial.adapter else ()
        found = [self.styles[trial.adapter]] if trial.adapter else []
        asked = Ask(prompt=trial.prompt, styles=uses, seed=trial.seed, full=full)
        return recipes_of(asked, self.model, found)[0]

    def draw(self, trials: Sequence[Trial], what: str, full: bool = False, tries: int = 1, batch: int = 24) -> Drawn:
        from tqdm import tqdm

        known = sorted((trial for trial in trials if not trial.adapter or trial.adapter in self.styles), key=lambda trial: trial.adapter)
        drawn: list[tuple[Trial, np.ndarray]] = []
        for at in tqdm(range(0, len(known), batch), desc=what, mininterval=2.0):
            some = known[at : at + batch]
            recipes = [self.recipe(trial, full) for trial in some]
            if not full:
                recipes, small = away_from_copies(self.model, recipes, tries, self.workshop.blobs.get)
                self.led_away[what] += sum(not trial.seed <= recipe.seed < trial.seed + tries or bool(recipe.prompt_noise or recipe.beside)
                                           for trial, recipe in zip(some, recipes, strict=True))  # fmt: skip
                made = [enlarged(self.model, recipe, small_HWC) for recipe, small_HWC in zip(recipes, small, strict=True)]
            else:
                made = sample(self.model, recipes, self.workshop.blobs.get)
            drawn += zip(some, made, strict=True)
        return drawn


def evaluate(workshop: Workshop, model: Model, output: Path, size: Size) -> dict[str, Any]:
    """Returns what report.json holds. Raises InvalidInput without the works' pictures."""
    before = busy()
    material = gather(workshop)
    if not model.snapshot:
        raise InvalidInput(f"model {model.name!r} cites no snapshot, so nothing is known to be held out from it")
    timed = speed_figures(before)
    judges = train_judges(material)
    artist = Artist(workshop, model)
    labels = material.labels()
    trained = ask_for.one_hand_each(material.pairs(held=False))[: size.concepts]
    held = material.pairs(held=True)
    held = held[:: max(1, len(held) // size.held_pairs)][: size.held_pairs]
    base_rows = [at for at in material.rows(trained=True) if at < material.commons]
    known = ask_for.trained_texts([material.works[at] for at in base_rows], material.pictures_NHWC[base_rows], RECOLOUR_SEED)
    english = artist.draw(ask_for.pair_trials(trained, labels, 0, SEED), "trained pairs, English")
    chinese = artist.draw(ask_for.pair_trials(trained, labels, 1, SEED), "trained pairs, Chinese")
    held_en = artist.draw(ask_for.pair_trials(held, labels, 0, SEED), "held-out pairs, English")
    held_zh = artist.draw(ask_for.pair_trials(held, labels, 1, SEED), "held-out pairs, Chinese")
    in_full = artist.draw(ask_for.pair_trials(trained[:: max(1, len(trained) // size.full)][: size.full], labels, 0, SEED), "in full", full=True)
    asked_portraits = ask_for.portrait_trials(material, size.portraits, SEED)
    portraits = artist.draw(asked_portraits, "portraits")
    given = unseeded(artist, {
        "plain words": ask_for.plain_trials(trained, labels, size.plain, SEED), "trained pairs": ask_for.pair_trials(trained, labels, 0, SEED),
        "held-out pairs": ask_for.pair_trials(held, labels, 0, SEED), "portraits": asked_portraits,
    })  # fmt: skip
    things = artist.draw(ask_for.thing_trials(material, trained, labels, size.things, SEED), "things")
    colours = [artist.draw(some, "colours") for some in ask_for.colour_trials(known, size.colours, SEED)]
    words = [artist.draw(some, "synonyms") for some in ask_for.synonym_trials(known, SEED)]
    concepts = {concept for concept, _ in trained}
    everyday = [at for at in material.rows(work_held_out=True) if material.works[at].concept in concepts]
    found = [
        *autoencoder_figures(material, artist),
        *tower_figures(material, model, labels),
        *measure.concept_figures(judges, english, chinese, held_en, held_zh),
        *measure.told_figures(judges, material, english, *decoded(material, artist, everyday)),
        full_figure(judges, english, in_full),
        *measure.tries_figures(judges, given),
        measure.style_figure(judges, [*english, *portraits]),
        measure.style_figure(judges, [*held_en, *held_zh], "style told right, held-out pairs", None),
        measure.things_figure(judges, things),
        measure.style_through_figure(judges, material, *decoded(material, artist, in_hands_of([*english, *portraits], material), 400)),
        measure.colour_figure(*colours),
        measure.synonym_figure(judges, *words),
        measure.frechet_figure(material, english),
        *measure.copy_figures(material, [*english, *held_en], artist.led_away["held-out pairs, English"]),
        *measure.given_copies_figures(material, {"portraits": portraits, **given}, artist.led_away),
        *timed,
    ]
    sheets = {
        "trained pairs, English": english, "trained pairs, Chinese": chinese, "held-out pairs, English": held_en, "portraits": portraits,
        "things in styles of portraits": things,
        "colours": [*colours[0], *colours[1]], "synonyms": words[0], "in full": in_full,
        **{name: drawn for name, drawn in given.items() if name.startswith("plain words")},
    }  # fmt: skip
    report = {
        "model": model.name, "model_sha256": model.sha256, "snapshot": model.snapshot, "torch": torch.__version__, "works": len(material.works),
        "seed": SEED, "figures": [figure.document() for figure in found], "sheets": save_sheets(output, sheets),
    }  # fmt: skip
    write(output, report)
    return report


def unseeded(artist: Artist, asked: Mapping[str, Sequence[Trial]]) -> dict[str, Drawn]:
    """What people get who give no seed, each the best of its tries, and "plain words" by a seed beside; nothing where the model cannot choose."""
    if not can_choose(artist.model):
        return {}
    given = {f"{what}, best of {TRIES}": artist.draw(trials, f"{what}, best of {TRIES}", tries=TRIES) for what, trials in asked.items()}
    return {"plain words, one try": artist.draw(asked["plain words"], "plain words, one try"), **given}


def in_hands_of(drawn: Drawn, material: Material) -> list[int]:
    """Rows of held-out works in the hands that these pictures were asked for in."""
    return material.rows(work_held_out=True, styles=sorted({trial.hand for trial, _ in drawn}))


def full_figure(judges: Judges, student: Drawn, full: Drawn) -> Figure:
    """What the few-step student loses: the same prompts and seeds in full."""
    asked = dict(student)
    same = [(trial, asked[trial]) for trial, _ in full]
    right, of_student = (measure.part_right(measure.concepts_right(judges, drawn)) for drawn in (full, same))
    note = f"{len(full)} of the trained pairs, English, 24 guided steps; as drawn by default: {of_student:.3f}"
    return Figure("concept right, drawn in full", right, "", None, False, judges.concept_ceiling, 1 / len(judges.concept.names), note)


@torch.inference_mode()
def autoencoder_figures(material: Material, artist: Artist, count: int = 256) -> list[Figure]:
    artist.decode_as("")
    model = artist.model
    rows = [at for at in material.rows(trained=False) if at < material.commons]
    rows = [rows[at] for at in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    real_NHWC = material.pictures_NHWC[rows]
    vae = model.pipeline.vae
    parts = [vae.encode(to_pixels(real_NHWC[at : at + 32]).to(vae.dtype)).latent_dist.mean.float() for at in range(0, len(rows), 32)]
    there_and_back = psnr_db(decode_pictures(vae, torch.cat(parts)), real_NHWC)
    note = f"encoder and decoder, {len(rows)} works that neither has seen"
    figures = [Figure("autoencoder, held-out works", there_and_back, "dB", 30.0, note=note)]
    basis = Path(str(model.folder)) / "basis.safetensors"
    if basis.is_file():
        exact = PatchBasis.load(basis).encode_pictures(real_NHWC)
        figures.append(Figure("decoder alone, held-out works", psnr_db(decode_pictures(vae, exact), real_NHWC), "dB", 30.0, note="from the exact components"))
    return figures


@torch.inference_mode()
def decoded(material: Material, artist: Artist, rows: Sequence[int], count: int = 256) -> tuple[list[np.ndarray], Sequence[int]]:
    """At most `count` of these works as the decoder, with what their style changes in it, smoothing and the upscaler give them back, and their rows;
    without a basis the encoder's part is lost too."""
    rows = [rows[at] for at in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    model = artist.model
    vae, basis = model.pipeline.vae, Path(str(model.folder)) / "basis.safetensors"
    real_NHWC = material.pictures_NHWC[rows]
    if basis.is_file():
        latents = PatchBasis.load(basis).encode_pictures(real_NHWC)
    else:
        latents = torch.cat([vae.encode(to_pixels(real_NHWC[at : at + 32]).to(vae.dtype)).latent_dist.mean.float() for at in range(0, len(rows), 32)])
    made_NHWC = np.empty_like(real_NHWC)
    for hand in sorted({material.works[at].style for at in rows}):
        own = [place for place, at in enumerate(rows) if material.works[at].style == hand]
        strength = artist.decode_as(hand)
        made_NHWC[own] = smoothed(list(decode_pictures(vae, latents[own])), [strength] * len(own))
    return [enlarge(model.upscaler, made_HWC, model.enlarges) for made_HWC in made_NHWC] if model.upscaler else list(made_NHWC), rows


@torch.inference_mode()
def tower_figures(material: Material, model: Model, labels: dict[str, tuple[str, str]]) -> list[Figure]:
    folder = model.folder / "towers"
    if not folder.is_dir():
        return []
    towers = Towers.from_pretrained(folder).float().eval()
    rows = [at for at in material.rows(work_held_out=True, portraits=False) if at < material.commons]
    vectors_NE = towers.pictures(material.features[rows].both_NS)
    names = [name for name in labels if name != "portrait"]
    wanted = [names.index(material.works[at].concept) for at in rows]
    found = []
    for place, (language, target) in enumerate((("English", 0.85), ("Chinese", 0.80))):
        ids_NT = tokens_of(model.pipeline.tokenizer, [labels[name][place] for name in names])
        states = [end_states(model.pipeline.text_encoder, ids_NT[at : at + 256]).float() for at in range(0, len(ids_NT), 256)]
        right = top_accuracy(vectors_NE, towers.texts(torch.cat(states)), wanted, 5)
        note = f"{len(rows)} works among {len(names):,} concepts"
        found.append(Figure(f"towers, zero-shot top-5, {language}", right, "", target, False, 1.0, 5 / len(names), note))
    return found


def save_sheets(output: Path, sheets: Mapping[str, Drawn]) -> dict[str, dict[str, Any]]:
    """At most sixty pictures of each as one file: what it is called, and their prompts."""
    output.mkdir(parents=True, exist_ok=True)
    saved = {}
    for title, drawn in sheets.items():
        if not drawn:
            continue
        some = drawn[:: max(1, len(drawn) // 60)][:60]
        pictures = [resized(picture, SHOWN) for _, picture in some]
        file = f"{title.replace(', ', '-').replace(' ', '-').lower()}.png"
        save_sheet(output / file, [pictures[at : at + 12] for at in range(0, len(pictures), 12)])
        saved[title] = {"file": file, "prompts": [trial.prompt for trial, _ in some]}
    return saved


def time_again(model: Model, output: Path) -> dict[str, Any]:
    """Measures the times alone once more, and writes them into the report in `output`. Raises InvalidInput where that is not of this model."""
    report = read(output)
    if report.get("model_sha256") != model.sha256:
        raise InvalidInput(f"the report in {output} is of other weights than model {model.name!r} has; measure everything")
    timed = {figure.name: figure.document() for figure in speed_figures(busy())}
    report["figures"] = [timed.get(document["name"], document) for document in report["figures"]]
    write(output, report)
    return report
