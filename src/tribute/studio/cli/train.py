"""train: picks a recipe; what a recipe does is in `diffusion/recipes.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STAGES = ("basis", "autoencoder", "upscaler", "text", "vocabulary", "towers", "denoiser", "decoder", "style", "smoothing", "student", "likeness", "assemble")
UNPACK = "unpack"  # lays a model's parts out as runs
CHANGED = ("denoiser", "style", "student")  # stages that take --steps and --seed
NEEDS = {"autoencoder": "basis.safetensors", "upscaler": "basis.safetensors"} | dict.fromkeys(
    ("towers", "denoiser", "decoder", "style", "smoothing", "student"), "text_encoder"
)  # in runs/parts


def train(
    recipe: Annotated[str, typer.Argument(help=f"{', '.join(STAGES)}, in this order for a model from nothing; or {UNPACK}, to go on from a model.")],
    runs: Annotated[Path, typer.Option(help="Folder for the runs; said again, a recipe goes on where it stopped.")] = Path("runs"),
    style: Annotated[list[str] | None, typer.Option("--style", help="Which styles, for `style`; all of the starter's by default.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Earlier runs whose weights `basis`, `autoencoder`, `upscaler`, `denoiser`, `style` and `student` begin with; "
            "`denoiser` takes a quarter of them back in, `assemble` the last two halfway back to them. For `unpack` the model's folder, the starter by default."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of `denoiser`, `style` or `student`, in place of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31, help="Of the same: a round that goes on from the last should see other noise.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where `assemble` writes the model.")] = Path("runs/starter"),
) -> None:
    """Train one stage of the starter model on the works that consent allows."""
    from tribute.diffusion import recipes
    from tribute.records import InvalidInput, Unknown
    from tribute.studio.training import run_stage
    from tribute.studio.wiring import open_workshop

    if recipe not in (*STAGES, UNPACK):
        raise Unknown.of("recipe", recipe, (*STAGES, UNPACK))
    changes = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    if changes and recipe not in CHANGED:
        raise InvalidInput(f"{recipe} takes no --{next(iter(changes))}; {', '.join(CHANGED)} do")
    needs = NEEDS.get(recipe)
    if needs and not (runs / "parts" / needs).exists():
        raise InvalidInput(f"{recipe} needs {runs / 'parts' / needs}; train {'basis' if needs.endswith('s') else 'text'} first")
    run_stage(open_workshop(starter=None), recipes, recipe, runs, tuple(style or ()), output, start, changes)
