"""evaluate: every figure of a model, in one JSON and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tribute.studio.cli.show import Json, print_json, table


def evaluate(
    model: Annotated[str, typer.Argument(help="`starter`, or the folder of another model of the starter's recipe.")] = "starter",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report.json, report.html and their sheets.")] = Path("evaluation"),
    times: Annotated[bool, typer.Option("--times", help="Measure the times alone, on an idle machine, and write them into the report that is there.")] = False,
    part: Annotated[float, typer.Option(help="How much of everything to draw, above 0 and up to 1; less is quicker and coarser.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure a model: what it draws right, in both languages and every style, what it copies, and how fast it is."""
    from tribute.records import InvalidInput
    from tribute.studio.evaluation.figures import Figure
    from tribute.studio.evaluation.report import shown
    from tribute.studio.evaluation.run import Size, evaluate, time_again
    from tribute.studio.wiring import open_workshop

    if not 0 < part <= 1:
        raise InvalidInput(f"--part {part:g} is not above 0 and up to 1")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder; give one for the report")
    workshop = open_workshop()
    measured = workshop.model(model)
    report = time_again(measured, output) if times else evaluate(workshop, measured, output, Size().less(part))
    if as_json:
        print_json(report)
        return
    rows = []
    for figure in map(Figure.of, report["figures"]):
        mark = {None: "", True: "✓", False: "✗"}[figure.met]
        rows.append((figure.name, shown(figure.value, figure.unit), shown(figure.target, figure.unit), shown(figure.ceiling, figure.unit), mark))
    table(("figure", "value", "target", "ceiling", "met"), rows, str(output / "report.html"))
