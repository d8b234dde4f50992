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
from tribute.studio.wiring import STARTER, Settings, open_workshop


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

        def draw(**more: Any) -> Any:
            return commission(desk, model, Ask(prompt="red apple", seed=1, **more))

        picture = draw(styles=mixed)[0]
        one = median_s(draw, repeats)
        four = median_s(lambda: draw(count=4), repeats)
        best = median_s(lambda: draw(tries=TRIES), repeats)
        four_best = median_s(lambda: draw(count=4, tries=TRIES), repeats)
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
    return [
        Figure("a picture, warm, sealed and stored", one, "s", 1.0, True, note=f"{recipe.steps} steps{' of the student' if recipe.student else ''}, {size}"),
        Figure("a grid of four", four, "s", 2.5, True, note=size),
        Figure(f"a picture, the best of {TRIES} tries", best, "s", 1.0, True, note=f"as drawn where no seed is given; {size}"),
        Figure(f"a grid of four, each the best of {TRIES} tries", four_best, "s", 2.5, True, note=f"as drawn where no seed is given; {size}"),
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
