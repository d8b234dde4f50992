"""The report as one page: a bar a figure from chance to ceiling with its target, its parts, and the sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from tribute.studio.evaluation.figures import Figure


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if math.isnan(value):
        return "no data"
    if unit == "":
        return f"{value:.1%}" if abs(value) <= 1.5 else f"{value:,.1f}"
    return f"{value:,.2f} {unit}" if unit != "pictures" else f"{value:,.0f} {unit}"


def bar(figure: Figure) -> dict[str, Any] | None:
    """Positions in percent for the plot, or None where the figure has no scale."""
    ends = [value for value in (figure.value, figure.target, figure.ceiling) if value is not None and math.isfinite(value)]
    top = max(ends, default=0.0)
    if top <= 0 or math.isnan(figure.value):
        return None
    marks = {"target": figure.target, "ceiling": figure.ceiling, "chance": figure.chance}
    return {"value": 100 * figure.value / top, **{name: None if mark is None else 100 * mark / top for name, mark in marks.items()}}


def html(report: dict[str, Any], found: Sequence[Figure], sheets: dict[str, str], prompts: dict[str, list[str]]) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("tribute.studio") / "templates" / "evaluation.html").read_text(encoding="utf-8"))
    rows = [{"figure": figure, "bar": bar(figure), "shown": {key: shown(getattr(figure, key), figure.unit) for key in ("value", "target", "ceiling", "chance")},
             "parts": [(name, shown(value, "")) for name, value in figure.parts.items()]} for figure in found]  # fmt: skip
    return template.render(report=report, rows=rows, sheets=sheets, prompts=prompts)
