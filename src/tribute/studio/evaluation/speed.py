"""How long a picture takes: warm, in a grid, credited, cold; and the seal alone. Says so where the machine was busy.

Times are medians of repeated runs in seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tribute.commission import TRIES, Ask, commission, play
from tribute.create.sample import as_drawn, sample
from tribute.credit.shapley import shapley_scores
from tribute.provenance import credentials, label, watermark
from tribute.records import Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.evaluation.figures import Figure
from tribute.studio.evaluation.trials import OBJECTS
from tribute.studio.wiring import STARTER, Settings, open_workshop

THINGS = OBJECTS[::2]


def median_s(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the median run, after one that does not count."""
    work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def busy() -> str:
    """What to say of other load, from the load average of the last minute before an evaluation's own work."""
    others = os.getloadavg()[0]
    return "idle machine" if others < 0.7 else f"beside other work (load average {others:.1f})"


def speed_figures(before: str, repeats: int = 5) -> list[Figure]:
    """Of the shipped starter at its own size, in a fresh data folder; drawn by the student where there is one. `before`: what `busy` said at the start."""
    with tempfile.TemporaryDirectory() as home:
        workshop = open_workshop(Settings(home=Path(home)), STARTER)
        model, desk = workshop.model("starter"), workshop.desk()
        with workshop.database.reading() as connection:
            mixed = tuple(StyleUse(name=style.name, weight=0.8) for style in documents(connection, styles, Style)[:2])

        def draw(prompt: str = "red apple", seed: int = 1, **more: Any) -> Any:
            return commission(desk, model, Ask(prompt=prompt, seed=seed, **more))

        picture = draw(styles=mixed)[0]
        asked = {"one": {}, "four": {"count": 4}, "best": {"tries": TRIES}, "four, best": {"count": 4, "tries": TRIES}}
        took = {what: [median_s(partial(draw, names[seed % 2], seed, **more), 1) for seed, names in enumerate(THINGS)] for what, more in asked.items()}
        full = median_s(lambda: draw(full=True), repeats)
        recipe, read = picture.recipe, desk.blobs.get
        pixels = sample(model, [recipe], read)[0]
        alone = median_s(lambda: sample(model, [as_drawn(recipe)], read), repeats)
        credit = median_s(lambda: shapley_scores(play(model, [recipe], {}, read)[0]), repeats) - alone
        shares = picture.credits.document()

        def seal() -> bytes:
            png = label.labelled_png(watermark.embed(pixels, picture.id), picture.id, recipe, shares, "Tribute")
            return credentials.sign(png, credentials.manifest(picture.id, recipe.prompt, recipe.document(), shares, {}), desk.studio)

        sealed = median_s(seal, repeats)
    size = f"{recipe.width}×{recipe.height}, {recipe.dtype}, {before}"
    of = f"the median of {len(THINGS)} things, English and Chinese in turn"
    notes = {what: f"{of}; the slowest {max(some):.2f} s; {size}" for what, some in took.items()}
    one, four, best, four_best = (statistics.median(some) for some in took.values())
    return [
        Figure("a picture, warm, sealed and stored", one, "s", 1.0, True, note=f"by a seed, {recipe.steps} steps, {notes['one']}"),
        Figure("the slowest of those pictures", max(took["one"]), "s", None, True, note=f"of {len(THINGS)} things by a seed; {size}"),
        Figure("a grid of four", four, "s", 2.5, True, note=f"by seeds, {notes['four']}"),
        Figure(f"a picture, the best of {TRIES} tries", best, "s", 1.0, True, note=f"as drawn where no seed is given; {notes['best']}"),
        Figure(f"a grid of four, each the best of {TRIES} tries", four_best, "s", 2.5, True, note=f"as drawn where no seed is given; {notes['four, best']}"),
        Figure("a picture in full, 24 guided steps", full, "s", None, True, note=size),
        Figure("exact credit with two styles adds", credit, "s", 1.0, True, note=size),
        Figure("the seal alone", sealed, "s", 0.3, True, note=size),
        Figure(
            "a cold command",
            statistics.median(cold_s() for _ in range(3)),
            "s",
            8.0,
            True,
            note=f"`tribute create`, a fresh process and data folder, no seed given, the median of three, {before}",
        ),
    ]


def cold_s() -> float:
    """Seconds of one `tribute create` in a process and a data folder of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "TRIBUTE_HOME": home}
        command = [sys.executable, "-c", "from tribute.studio.cli import main; main()", "create", "red apple", "--output", home]
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - began
