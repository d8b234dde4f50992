"""Words that no caption holds, drawn with the model's vocabulary and without it, side by side.

python bench/vocabulary.py --home HOME

HOME is a data folder with the starter collection built (`tribute collection build starter`). The words, their plain ones and the judge are those of
`tribute evaluate`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tribute.diffusion.examples import RECOLOUR_SEED
from tribute.studio.evaluation.figures import concepts_right
from tribute.studio.evaluation.material import gather, train_judges
from tribute.studio.evaluation.run import SEED, Artist
from tribute.studio.evaluation.trials import synonym_trials, trained_texts
from tribute.studio.wiring import Settings, open_workshop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    given = parser.parse_args()
    workshop = open_workshop(Settings(home=given.home))
    material = gather(workshop)
    judges, model = train_judges(material), workshop.model(given.model)
    rows = [at for at in material.rows(trained=True) if at < material.commons]
    known = trained_texts([material.works[at] for at in rows], material.pictures_NHWC[rows], RECOLOUR_SEED)
    told: dict[str, dict[str, float]] = {}
    for name, one in (("without", replace(model, vocabulary={})), ("with", model)):
        artist = Artist(workshop, one)
        right = [
            sum(concepts_right(judges, artist.draw(trials, f"{what}, {name}")))
            for what, trials in zip(("said", "plain"), synonym_trials(known, SEED), strict=True)
        ]
        told[name] = {
            "pictures": len(synonym_trials(known, SEED)[0]),
            "synonyms right": right[0],
            "plain words right": right[1],
            "ratio": round(right[0] / right[1], 3),
        }
    print(json.dumps({"words in the vocabulary": len(model.vocabulary), "dtype": str(model.dtype), **told}, indent=1))


if __name__ == "__main__":
    main()
