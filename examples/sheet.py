"""Draws docs/starter-en.png and docs/starter-zh.png: twelve prompts × the base and every style, as `tribute create` draws them where no seed is
given: each the best of four.

python examples/sheet.py docs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tribute.commission import TRIES, Ask, away_from_copies, recipes_of
from tribute.create.sample import enlarged
from tribute.diffusion.sheets import save_sheet
from tribute.records import Style, StyleUse
from tribute.store.database import documents
from tribute.store.schema import styles
from tribute.studio.wiring import STARTER, Settings, open_workshop

PROMPTS = (
    ("blue heart", "蓝色的心"), ("red apple", "红苹果"), ("cat face", "猫脸"), ("grinning face", "嘿嘿"), ("sunflower", "向日葵"), ("house", "房子"),
    ("rocket", "火箭"), ("fish", "鱼"), ("umbrella", "雨伞"), ("guitar", "吉他"),
    ("portrait of a person, brown hair, glasses", "人物头像，棕色头发，戴眼镜"), ("portrait of a person, black hair, happy", "人物头像，黑色头发，开心"),
)  # fmt: skip
FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
SHOWN = 128  # pixels a side on the sheet


def main(folder: Path) -> None:
    workshop = open_workshop(Settings(home=Path(tempfile.mkdtemp()), database="sqlite://"), STARTER)
    model = workshop.model("starter")
    with workshop.database.reading() as connection:
        found = documents(connection, styles, Style)
    font = FONT if Path(FONT).exists() else None
    for language, at in (("en", 0), ("zh", 1)):
        rows, names = [], []
        for style in (None, *found):
            uses = (StyleUse(name=style.name),) if style else ()
            asked = [recipes_of(Ask(prompt=said[at], styles=uses, seed=5), model, [style] if style else [])[0] for said in PROMPTS]
            kept, drawn = away_from_copies(model, asked, TRIES, workshop.blobs.get)
            pictures = [enlarged(model, recipe, drawn_HWC) for recipe, drawn_HWC in zip(kept, drawn, strict=True)]
            rows.append([Image.fromarray(picture).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS) for picture in pictures])
            names.append(style.name if style else "base")
            print(language, names[-1], flush=True)
        columns = [said[at] for said in PROMPTS] if at == 0 or font else [said[0] for said in PROMPTS]
        save_sheet(folder / f"starter-{language}.png", rows, names, columns, font)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
