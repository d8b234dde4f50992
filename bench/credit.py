"""What exact credit measures with, and what it costs.

python bench/credit.py calibrate    mean distance between unrelated pictures of the starter: UNRELATED in credit/shapley.py
python bench/credit.py cost         seconds for a picture, and for its credit with one and two styles (idle machine)
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tribute.commission import STUDENT_STEPS
from tribute.create.sample import sample
from tribute.credit.shapley import distance, shapley_scores
from tribute.records import Recipe, Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.wiring import STARTER, Settings, open_workshop

PROMPTS = ("blue heart", "red apple", "cat face", "grinning face", "house", "sailboat", "tree", "pizza", "猫脸", "汽车", "portrait of a person", "rocket")


def main(what: str) -> None:
    workshop = open_workshop(Settings(home=Path(tempfile.mkdtemp()), database="sqlite://"), STARTER)
    model = workshop.model("starter")
    with workshop.database.reading() as connection:
        found = documents(connection, styles, Style)

    def recipe(prompt: str, *uses: StyleUse, seed: int = 1) -> Recipe:
        return Recipe(
            prompt=prompt, styles=uses, seed=seed, steps=STUDENT_STEPS, guidance=1.0, width=model.native, height=model.native, student=True,
            scheduler="DDIMScheduler", model="starter", model_sha256=model.sha256, snapshot=model.snapshot,
            dtype=str(model.dtype).removeprefix("torch."), engine=model.engine_name,
        )  # fmt: skip

    def render(asked: Sequence[Recipe]) -> list[np.ndarray]:
        return sample(model, asked, workshop.blobs.get)

    uses = [StyleUse(name=style.name, adapter_sha256=style.adapter_sha256) for style in found]
    if what == "calibrate":
        # Unrelated: another prompt, another seed, and another style or none.
        hands = [(), *((use,) for use in uses)]
        drawn = [render([recipe(prompt, *hands[at % len(hands)], seed=at)])[0] for at, prompt in enumerate(PROMPTS * 2)]
        gaps = [distance(one, other) for one, other in itertools.combinations(drawn, 2)]
        print(f"{len(gaps)} pairs of {len(drawn)} pictures: mean {statistics.mean(gaps):.3f}, deviation {statistics.stdev(gaps):.3f}")
    elif what == "cost":
        render([recipe("warm up", *uses[:2])])
        for count in (0, 1, 2):
            asked = recipe("portrait of a person", *uses[:count])
            began = time.monotonic()
            picture = render([asked])[0]
            drawn_s = time.monotonic() - began
            began = time.monotonic()
            shapley_scores(asked, picture, render)
            print(f"{count} styles: picture {drawn_s:.2f} s, credit {time.monotonic() - began:.2f} s")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
