"""Writes the starter's model card from what is in the starter and in its runs.

python examples/model_card.py src/tribute/starter runs
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from tribute.collection.library import licence_counts
from tribute.collection.starter import SOURCES
from tribute.diffusion.vocabulary import VOCABULARY, load_vocabulary
from tribute.records import Artist, Work
from tribute.studio.evaluation.figures import Figure
from tribute.studio.evaluation.report import shown

CARD = """# The starter model

A small Stable Diffusion model (stock diffusers folder) for flat art, with one LoRA per artist, trained from nothing but pretrained
sentence vectors on openly licensed emoji and avatars. It draws at 128×128; Tribute's few-step student (a LoRA too) does so in four
steps, and its upscaler makes 256×256 of it, or 1024×1024.

Base snapshot `{snapshot}`.

## Data

| style | works | by | licence | use |
|---|---|---|---|---|
{rows}

{total:,} works, drawn from {packages} pinned packages (`src/tribute/collection/packages`). Every work with its artist, its authors where they
are named (OpenMoji: {authors} people), licence and the credit line it asks for is a line of `works.jsonl.gz`; consents and snapshots are
in `collection.json`. Credit lines: {credits}. OpenMoji's licence is share-alike: its adapter is offered under
CC-BY-SA-4.0. Skin-tone variants, flags, keycaps and clock faces are left out. 5% of works and 10% of (concept, style) pairs are held out.

## Training

| part | parameters | recipe | run |
|---|---|---|---|
{stages}

Text: CLIPTextModel and a 16,000-token byte-level BPE of its own, distilled from Universal Sentence Encoder multilingual v3 (Apache-2.0), so that
words outside the captions mean something, in English and Chinese; of {words:,} tags and common words of both the vocabulary says by what label they are
drawn (docs/decisions/0026 and 0027; word lists of wordfreq, CC-BY-SA-4.0). Denoiser: v-prediction, zero terminal signal, times shifted towards noise, DDIM;
Muon, after AdamW in earlier runs (docs/decisions/0022 to 0025). Towers: heads on that text encoder and on EfficientNet-Lite0's
last and early features (Apache-2.0; docs/decisions/0028). Two cores and no GPU, beside other work:
the denoiser saw {samples:,} pictures in its last run, one in six of them mirrored, after {before:,} of ten earlier ones, each begun with the
weights before it; styles, student and upscaler went on from those before. The commonest 300 concepts are drawn eight times as often as others
(docs/decisions/0034 to 0036). The styles of artists who draw portraits alone learned works of the commons beside theirs, three draws in ten
(docs/decisions/0030; of 12 ranks, where the others have 16); every style has a part on the decoder too, of rank 8, which learned for 400
steps of six to give its artist's works back with their lines (0040); twemoji, after 0037, learned for 1,200 steps (the last 500 are above, their loss
a sum of three) to leave to the base what it is not shown in twemoji's hand, and how other hands' works become its own (0038).
adventurer learned for 500 steps more than the table says, before its last 700, and twemoji for the last 600 after all of those. A quarter of the
denoiser is what it began with (docs/decisions/0025 and 0034), and half of openmoji's and of twemoji's adapters (0037, 0038, 0041).
What is decoded is smoothed, as strongly as works of the hand that is asked for say (0041; stock diffusers does not).
The decoder learned on whole pictures (docs/decisions/0021) and then half of the time on what an earlier denoiser draws. Resolved settings are in
`tribute.json`.

## Figures

By `tribute evaluate starter`; the page with plots, sheets and every part is `docs/evaluation/report.html`. The judge is a linear head on
EfficientNet-Lite0 features that learned from real works only. Its ceiling is its own accuracy on held-out real works.

| figure | value | target | ceiling | chance | |
|---|---|---|---|---|---|
{figures}

These times are of a processor with bfloat16 that others share: it multiplied at 2,310 GFLOP/s as the session began; a slower one of the same kind, at 730 to
1,860, took 0.27 s a picture, 1.48 a grid and 7.5 to 10.5 for a cold command (docs/decisions/0043). One with neither bfloat16 nor AVX-512 took some 1.4 s
a picture and 3 a grid (docs/decisions/0040). What is timed are eight things that the model knows, most of them by heart: where a seed's picture looks like a
work, four others are drawn in its place and, where all of those do too or what is left is much less like the words, four more, up to three times, seventeen
in all for the slowest. A picture that looks like none takes less (0.14 s with AVX-512's bfloat16, by `python -m bench.credit cost`, docs/credit.md).

## Targets missed

{missed}

## Limits

- It gives the colour that was asked for and, of everyday things, the shape: hearts, apples, sunflowers, buses, guitars, rockets, fish, umbrellas, faces.
  Most of its 1,500 concepts cannot be told. The judge names over half of the commonest right in a hand that was asked for, and
  40% of their bare names by a seed (57% where none is given); of pairs that it has not seen one in six.
- It has learned by heart: half of the pictures of a concept in a hand that it knows, both named, by a seed, are near copies of a work (of
  Fluent's, six in seven); their pages say so. Where the words name no such work others stand for near copies, by a seed or without one, by the works'
  fingerprints (`fingerprints.safetensors`, docs/decisions/0028 to 0045): of 150 pairs that it has not seen none is a near copy, by the evaluation's seed
  or without one, of bare names 2 and 2 in 100. What works of three artists or more are alike to, as a full moon is, counts as nobody's own (0043), and so
  does a plain shape of one colour, as a blue heart is (0045). But what it draws instead is right less often (of bare names 40% by a
  seed, where 60% were; by another seed 50%, 0044), for what it knows best it knows by heart. Whoever wears an artist's style
  and names what they drew may get a near copy of a work of theirs, and of nobody else's: of portraits so asked for 32 in 60 are by a seed, and 31
  without. Do not sell copies as new.
- The artists of six styles draw portraits alone: in their styles a thing keeps its shape and takes little of their manner, and is right less often than
  without; of their portraits hair and mouths are often smudged. Where twemoji is worn on a thing that it has not learned, the thing is the base's, in
  part of its manner (its adapter learned by the commons' works of those very things, those of held-out pairs too, that they are the base's to draw);
  where openmoji is, what is drawn can hardly be told (docs/decisions/0038).
- Pictures go through 64 components a 16×16 patch: thin lines and letters lose their edges, which the decoder guesses, as the worn style's artist draws
  them (docs/decisions/0040) or else as the commons are drawn, and the upscaler again.
- The student takes four steps for twenty-four guided ones (it learned to take eight; in four it is judged as well, docs/decisions/0031) and loses
  shapes; `--full` draws with the model itself.
- It has seen no photograph and nobody's face. Emoji carry their makers' choices about skin, gender and culture.

## Must not be used for

Passing its pictures off as the work of the artists it credits; taking the labels or the credit out; marks, logos or official signs.
"""


WOULD_REACH = {  # what would reach a target, by the figure's name
    "concept right, held-out pairs": "Nothing that was tried here: not a choice among tries (of 16 one is right in 36%, right and no near copy in 27%), not "
    "the sampler, not what styles and the student are taught (docs/decisions/0037 to 0039, 0045), not more works in these hours: 1,903 of two more hands, of "
    "nearly every one of those things, brought raw tries in the base's hands from 22.8 to 23.6%, 10,778 in black and as clip art to 20.3% (0045). A larger "
    "model that learns far longer from far more works, likely; this one is as large as 90 MB hold, and remembers some five works of each thing one by one.",
    "a cold command": "A processor to itself: 7.5 and 10.5 s on one within six minutes (0043), 5.3 s with AMX at 1,600 GFLOP/s (0036), 6.0 s at 2,070 (0044), "
    "6.4 and 9.5 s at 2,310 (0045); some four seconds are importing, by `python -X importtime`.",
    "style told right": "No model by this judge, which tells the hands of 91.6% of real works; twemoji, told in 79%, would bring it "
    "nearest (of its own works 79% are told that went through the decoder; croodles is told in nine of ten, openmoji in 95%, the others always; 0041). "
    "Guidance towards the hand gets there by the judge, not by eye (0042).",
}


# Pictures of the runs before: docs/decisions/0005 to 0035.
BEFORE = 120_000 + 1900 * 64 + (1620 + 4400 + 2950 + 1000 + 1800 + 2200 + 2600 + 1200) * 96


def figure_row(figure: Figure) -> str:
    """A line of the card's table; a test compares it with the report."""
    value, target, ceiling, chance = (shown(getattr(figure, key), figure.unit) for key in ("value", "target", "ceiling", "chance"))
    bound = ("≤ " if figure.at_most else "≥ ") if figure.target is not None else ""
    return f"| {figure.name} | {value} | {bound}{target} | {ceiling} | {chance} | {({None: '', True: 'met', False: 'missed'})[figure.met]} |"


def missed_row(figure: Figure) -> str:
    """A target that is not reached, by how much, and what would reach it. Raises KeyError where nobody has said."""
    bound = "at most" if figure.at_most else "at least"
    return f"- {figure.name}: {shown(figure.value, figure.unit)}, {bound} {shown(figure.target, figure.unit)} wanted. {WOULD_REACH[figure.name]}"


def last_line(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text().splitlines()[-1]) if path.is_file() else {}


def stages_told(card: Path) -> dict[str, str]:
    """What the card that is there says of each stage's last run."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.read_text(encoding="utf-8").splitlines() if "last loss" in line]
    return {row[0]: row[-1] for row in cells}


def run_of(run: Path, earlier: str | None) -> str:
    """The last line of a run's log in words, or what was told of it earlier where this machine has not the run."""
    line = last_line(run / "log.jsonl")
    return f"{line['step']:,} steps, last loss {line['loss']}" if line else earlier or "its log is not here"


def parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                count = 1
                for side in opened.get_slice(name).get_shape():
                    count *= side
                total += count
    return total


def main(starter: Path, runs: Path) -> None:
    works = [Work.model_validate_json(line) for line in gzip.decompress((starter / "works.jsonl.gz").read_bytes()).splitlines()]
    collection = json.loads((starter / "collection.json").read_text())
    artists = {document["id"]: Artist.model_validate(document).name for document in collection["artists"]}
    cited = json.loads((starter / "tribute.json").read_text())
    rows = [
        f"| {style} | {count:,} | {artists[artist]} | {spdx} | {'base' if SOURCES[style].commons else 'style'} |"
        for (style, artist, spdx), count in licence_counts(works).items()
    ]
    logs = {
        "autoencoder": "autoencoder/decoder",
        "decoder, further": "decoder",
        "upscaler": "upscaler",
        "text": "text",
        "towers": "towers",
        "denoiser": "denoiser",
        "student": "student",
    }
    folders = {"autoencoder": "vae", "decoder, further": "vae", "text": "text_encoder", "denoiser": "unet"}
    earlier = stages_told(starter / "README.md")
    stages = []
    for name, run in logs.items():
        about = f"| {name} | {parameters(starter / folders.get(name, name)):,} | `diffusion/recipes.py` |"
        stages.append(f"{about} {run_of(runs / run, earlier.get(name))} |")
    for path in sorted((starter / "styles").glob("*.safetensors")):
        about = f"| style {path.stem} | {path.stat().st_size:,} bytes | `diffusion/adapters.py` |"
        stages.append(f"{about} {run_of(runs / f'style-{path.stem}', earlier.get(f'style {path.stem}'))} |")
    schedule = cited["recipe"]["denoiser"]["schedule"]
    report = json.loads((Path("docs") / "evaluation" / "report.json").read_text())
    measured = [Figure.of(document) for document in report["figures"]]
    text = CARD.format(
        snapshot=cited["snapshot"],
        rows="\n".join(rows),
        total=len(works),
        packages=len({work.source.rpartition("/")[0] for work in works}),
        authors=len({author for work in works for author in work.authors}),
        credits="; ".join(sorted({source.licence.credit_line for source in SOURCES.values()})),
        stages="\n".join(stages),
        words=len(load_vocabulary(starter / VOCABULARY)),
        before=BEFORE,
        samples=schedule["steps"] * schedule["batch"],
        figures="\n".join(figure_row(figure) for figure in measured),
        missed="\n".join(missed_row(figure) for figure in measured if figure.met is False) or "None.",
    )
    (starter / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
