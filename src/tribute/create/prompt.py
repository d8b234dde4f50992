"""Reading a prompt: its length, and the styles that tags such as `<style:micah:0.8>` name in it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tribute.records import InvalidPrompt, StyleUse

PROMPT_MAX = 1000  # characters
WEIGHT_MAX = 2.0
STYLES_MAX = 8  # beyond five, credit is sampled and follows later
TAG = re.compile(r"<(?:style|lora):([^<>]*)>")  # `lora` as A1111 and its kin write it


def style_use(text: str) -> StyleUse:
    """`NAME` or `NAME:WEIGHT` to a StyleUse. Raises InvalidPrompt for a bad name or a weight outside 0 to 2."""
    name, _, weight_text = text.strip().partition(":")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
        raise InvalidPrompt(f"{name[:80]!r} cannot be a style's name; write NAME or NAME:WEIGHT, such as micah:0.8")
    try:
        weight = float(weight_text) if weight_text else 1.0
    except ValueError:
        weight = math.nan
    if not 0.0 <= weight <= WEIGHT_MAX:
        raise InvalidPrompt(f"style {name!r} has the weight {weight_text[:20]!r}; give a number from 0 to {WEIGHT_MAX:g}")
    return StyleUse(name=name, weight=weight)


def read_prompt(prompt: str, named: Sequence[str] = ()) -> tuple[str, tuple[StyleUse, ...]]:
    """(the prompt without its tags, styles from `named` and then from tags). Raises InvalidPrompt."""
    if len(prompt) > PROMPT_MAX:
        raise InvalidPrompt(f"the prompt has {len(prompt):,} characters; at most {PROMPT_MAX:,} are read")
    styles = [style_use(text) for text in (*named, *TAG.findall(prompt))]
    words = re.sub(r"\s+", " ", TAG.sub(" ", prompt)).strip()
    if not words:
        raise InvalidPrompt("the prompt is empty; say what the picture should show")
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in words):
        raise InvalidPrompt("the prompt holds control characters; write it in plain text")
    names = [style.name for style in styles]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidPrompt(f"style {twice!r} is named twice; name it once with the weight that you want")
    if len(styles) > STYLES_MAX:
        raise InvalidPrompt(f"{len(styles)} styles are named; at most {STYLES_MAX} can be mixed")
    return words, tuple(styles)
