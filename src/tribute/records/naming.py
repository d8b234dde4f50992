"""What a prompt says of the styles that are worn, which the model has never read, taken out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

HAN = r"[\u3400-\u9fff]"  # a Chinese character, in a pattern


def without_names(words: str, styles: Iterable[str]) -> str:
    """`words` without the names of `styles` and what says that they are styles ("by", "in the style of", 风格); "" where nothing else is said."""
    names = "|".join(name.replace("-", "[- ]") for name in styles)
    if not names:
        return words
    named = rf"(?:(?<![\w-])|(?<={HAN}))(?:(?:in the style of|drawn by|by|in) )?(?:{names})(?:['’]s)?(?:[ -]*(?:style|风格)的?)?(?:(?![\w-])|(?={HAN}))"
    left = " ".join(words.split())
    while re.search(named, left, re.IGNORECASE):  # what stood around a name may be one itself
        left = " ".join(re.sub(named, " ", left, flags=re.IGNORECASE).split())
        left = re.sub(rf"(?<={HAN}) (?={HAN})", "", left)
        left = re.sub(r"( ?[,，、;])+", lambda commas: commas[0][-1], left)
    return left.strip(" ,，、;")
