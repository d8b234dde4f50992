"""What a model's folder tells of itself in tribute.json, beside its weights; a model that was not made with Tribute tells nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tribute.records import SMOOTHING_MAX

TOLD = "tribute.json"
SMOOTHING = "smoothing.json"  # of a training run, what `Told.smoothing` is made of
STUDENT_STEPS = 8  # that a student takes where its model does not say
MOST = 64  # words for hands that are read


@dataclass(frozen=True)
class Told:
    """`snapshot` is what the base was trained on, `student_steps` how many its student takes, and `smoothing` how strongly a picture is smoothed where the
    words ask for a hand, by its words in lower case, and by "" where they ask for none."""

    snapshot: str | None = None
    student_steps: int = STUDENT_STEPS
    smoothing: dict[str, float] = field(default_factory=dict)


def told_of(folder: Path) -> Told:
    """As far as it can be read: a file that cannot be says nothing, and what does not fit is passed over."""
    try:
        said = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        snapshot, steps, smoothing = said.get("snapshot"), said.get("student_steps"), said.get("smoothing", {})
    except (OSError, ValueError, AttributeError):
        return Told()
    taken = steps if type(steps) is int and 1 <= steps <= 150 else STUDENT_STEPS
    strengths = smoothing.items() if isinstance(smoothing, dict) else ()
    kept = {words.casefold(): float(strength) for words, strength in strengths if _words(words) and _strength(strength)}
    return Told(snapshot if isinstance(snapshot, str) else None, taken, dict(list(kept.items())[:MOST]))


def _words(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= 80 and text.isprintable()


def _strength(number: Any) -> bool:
    return type(number) in (int, float) and 0 <= number <= SMOOTHING_MAX


def write_smoothing(run: Path, strengths: Mapping[str, float]) -> None:
    """Into a run, how strongly pictures are smoothed, by the words for the hand that they are asked for in."""
    run.mkdir(parents=True, exist_ok=True)
    (run / SMOOTHING).write_text(json.dumps(strengths, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_smoothing(run: Path) -> dict[str, float]:
    """What `write_smoothing` wrote there, or nothing."""
    path = run / SMOOTHING
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
