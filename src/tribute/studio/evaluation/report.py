"""The report as one page: a bar a figure from chance to ceiling with its target, its parts, and the sheets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from tribute.records import InvalidInput
from tribute.store.blobs import write_file
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


def html(report: Mapping[str, Any]) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("tribute.studio") / "templates" / "evaluation.html").read_text(encoding="utf-8"))
    rows = [{"figure": figure, "bar": bar(figure), "shown": {key: shown(getattr(figure, key), figure.unit) for key in ("value", "target", "ceiling", "chance")},
             "parts": [(name, shown(value, "")) for name, value in figure.parts.items()]} for figure in map(Figure.of, report["figures"])]  # fmt: skip
    return template.render(report=report, rows=rows)


def write(output: Path, report: Mapping[str, Any]) -> None:
    """report.json, and the page of it."""
    output.mkdir(parents=True, exist_ok=True)
    page = html(report)
    write_file(output / "report.json", (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode())
    write_file(output / "report.html", page.encode())


def read(output: Path) -> dict[str, Any]:
    """The report in a folder. Raises InvalidInput."""
    from jinja2 import TemplateError

    try:
        report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
        html(report)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, TemplateError) as error:
        raise InvalidInput(f"{output / 'report.json'} is no report of `tribute evaluate`; measure everything first") from error
    return report
