"""Reading a prompt: its length, the styles that tags such as `<style:micah:0.8>` name in it, and Midjourney's parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tribute.records import InvalidPrompt, StyleUse

PROMPT_MAX = 1000  # characters
WEIGHT_MAX = 2.0
STYLES_MAX = 8  # beyond five, credit is sampled and follows later
APART = re.compile(r"[,;\uff0c\uff1b\u3001]")  # what stands between a thing and how it is drawn
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


def said_after(prompt: str) -> set[str]:
    """What a prompt says of how its thing is drawn: its parts after the first comma, in lower case."""
    return {part.strip() for part in APART.split(prompt.casefold())[1:]}


WORD = re.compile(r".*的|\s+")  # what the next word of a thing begins after
AROUND = re.compile(r"(?<!\s)\s+(?:and|with|in|on|at|under|near|beside|behind)\s+|和|与", re.IGNORECASE)  # what stands between one thing and another


def in_own_words(prompt: str, vocabulary: Mapping[str, str]) -> str:
    """The prompt with its things by the names that the model knows them by: `a happy red puppy, flat` is `a happy red dog face, flat` to a model that has
    seen dog faces.

    Things are what stands before the first comma, each without an article and colours. Of one in several words as many of its last ones are taken as the
    vocabulary knows, in Chinese what follows the last 的; where those are a name that the model has, or no word of the vocabulary, it stays as it is.
    """
    if not vocabulary:
        return prompt
    things, rest = re.fullmatch(r"([^,\uff0c\u3001;\uff1b.\u3002]*)(.*)", prompt, re.DOTALL).groups()  # type: ignore[union-attr]
    names = {name.lower() for name in set(vocabulary.values())}  # thousands of words, but few names
    whole = things.strip().lower()
    between = [] if whole in names or whole in vocabulary else [match.group() for match in AROUND.finditer(things)]
    own = [_own_name(thing, vocabulary, names) for thing in (AROUND.split(things) if between else [things])]
    return "".join(part for both in zip(own, [*between, ""], strict=True) for part in both) + rest


def _own_name(thing: str, vocabulary: Mapping[str, str], names: Collection[str]) -> str:
    from tribute.diffusion.text import COLOURS

    english, chinese = ("|".join(colours) for colours in zip(*COLOURS, strict=True))
    before = rf"\s*(?:(?:an?|the|one)\s+)?(?:(?:{english})\s+)*(?:一[个只条朵辆匹头座张把件])?(?:(?:{chinese})的?)?"
    begin = re.match(before, thing, re.IGNORECASE).end()  # type: ignore[union-attr]
    for at in [begin, *(match.end() for match in WORD.finditer(thing, begin))]:
        said = thing[at:].strip().lower()
        if said in names:
            return thing
        if said in vocabulary:
            return thing[:at] + vocabulary[said]
    return thing


@dataclass(frozen=True)
class Wish:
    """A prompt read whole.

    `ratio` is width to height; `chaos` (0 to 100) how far apart the pictures of a grid begin; `stylize` (0 to 1000) the styles' strength in percent.
    """

    words: str
    styles: tuple[StyleUse, ...] = ()
    ratio: tuple[int, int] | None = None
    seed: int | None = None
    negative: str = ""
    chaos: int | None = None
    stylize: int = 100


PARAMETERS = {
    "ar": "ar", "aspect": "ar", "seed": "seed", "no": "no", "chaos": "chaos", "c": "chaos", "stylize": "stylize", "s": "stylize",
}  # fmt: skip
RANGES = {"seed": 2**32 - 1, "chaos": 100, "stylize": 1000}


def read_wish(prompt: str) -> Wish:
    """A prompt such as `a fox --ar 3:2 --seed 7 --no grass --chaos 20 --stylize 150`. Raises InvalidPrompt for a parameter that is unknown or out of range."""
    if len(prompt) > PROMPT_MAX:
        raise InvalidPrompt(f"the prompt has {len(prompt):,} characters; at most {PROMPT_MAX:,} are read")
    prompt = prompt.replace("\u2014", "--")  # what phones make of two hyphens
    parts = re.split(r"(?:^|\s)--(?=[A-Za-z])", prompt)
    found: dict[str, str] = {}
    for part in parts[1:]:
        name, _, value = part.strip().partition(" ")
        known = PARAMETERS.get(name.lower())
        if known is None:
            raise InvalidPrompt(f"--{name[:20]} is not a parameter here; there is --ar, --seed, --no, --chaos, --stylize")
        if known in found:
            raise InvalidPrompt(f"--{name} is given twice; give it once")
        found[known] = " ".join(value.split())
    words, styles = read_prompt(parts[0])
    numbers = {name: _whole(name, found[name]) for name in RANGES if name in found}
    if "no" in found and not found["no"]:
        raise InvalidPrompt("--no needs words; say what the picture should not show")
    ratio = _ratio(found["ar"]) if "ar" in found else None
    return Wish(words, styles, ratio, numbers.get("seed"), found.get("no", ""), numbers.get("chaos"), numbers.get("stylize", 100))


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > RANGES[name]:
        raise InvalidPrompt(f"--{name} {text[:20]!r} is not a whole number from 0 to {RANGES[name]}")
    return int(text)


def _ratio(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", text)
    if not found:
        raise InvalidPrompt(f"--ar {text[:20]!r} is not WIDTH:HEIGHT; write it like --ar 3:2")
    return int(found[1]), int(found[2])
