"""Draws docs/starter-*.png: eight prompts × the base and every style, in English and in Chinese.

python examples/sheet.py docs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tribute.create.sample import sample
from tribute.diffusion.sheets import save_sheet
from tribute.records import Recipe, Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.wiring import STARTER, Settings, open_workshop

PROMPTS = (
    ("blue heart", "蓝色的心"), ("red apple", "红色的苹果"), ("cat face", "猫脸"), ("grinning face", "嘿嘿"), ("sunflower", "向日葵"),
    ("house", "房子"), ("portrait of a person, brown hair, glasses", "人物头像，棕色头发，戴眼镜"),
    ("portrait of a person, black hair, happy", "人物头像，黑色头发，开心"),
)  # fmt: skip
FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


def main(folder: Path) -> None:
    workshop = open_workshop(Settings(home=Path(tempfile.mkdtemp()), database="sqlite://"), STARTER)
    model = workshop.model("starter")
    with workshop.database.reading() as connection:
        found = documents(connection, styles, Style)
    font = FONT if Path(FONT).exists() else None
    for language, at in (("en", 0), ("zh", 1)):
        rows, names = [], []
        for style in (None, *found):
            uses = (StyleUse(name=style.name, adapter_sha256=style.adapter_sha256),) if style else ()
            row = []
            for said in PROMPTS:
                recipe = Recipe(
                    prompt=said[at], styles=uses, seed=5, steps=24, guidance=4.0, width=128, height=128, scheduler="DDIMScheduler",
                    model="starter", model_sha256=model.sha256, snapshot=model.snapshot, dtype=str(model.dtype).removeprefix("torch."),
                )  # fmt: skip
                row.append(sample(model, [recipe], workshop.blobs.get)[0])
            rows.append(row)
            names.append(style.name if style else "base")
            print(names[-1], flush=True)
        columns = [said[at][:18] for said in PROMPTS] if at == 0 or font else [said[0][:18] for said in PROMPTS]
        save_sheet(folder / f"starter-{language}.png", rows, names, columns, font)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
