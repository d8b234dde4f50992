"""create, upscale, svg, verify."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tribute.records import InvalidInput
from tribute.studio.cli.credit import loaded, show_credits
from tribute.studio.cli.show import Json, print_json, table
from tribute.studio.words import say

Model = Annotated[str | None, typer.Option("--model", help="A Stable Diffusion 1.x, 2.x or XL folder or hub id; the starter by default.")]


@contextmanager
def loading() -> Iterator[None]:
    """Libraries and models are loaded in it: nothing of them is rubbish, and to look all through them for some again and again takes a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _ask(prompt: str, style: list[str], given: dict[str, Any]) -> Any:
    from tribute.commission import Ask
    from tribute.create.prompt import read_prompt

    words, styles = read_prompt(prompt, style)
    return Ask(prompt=words, styles=styles, **given)


def _given(given: dict[str, Any], seed: int | None, tries: int | None, size: str | None) -> dict[str, Any]:
    """What an Ask is told, of what `create` was told. Raises InvalidInput for a size that is none."""
    import re

    from tribute.commission import unseeded

    wide = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size or "256x256")
    if not wide:
        raise InvalidInput(f"size {size!r} is not WIDTHxHEIGHT; write it like 256x256")
    given = given if tries is None else {**given, "tries": tries}
    given |= unseeded(given) if seed is None else {"seed": seed}
    return given | ({"width": int(wide[1]), "height": int(wide[2])} if size else {})


def create(
    prompt: Annotated[str, typer.Argument(help="What the picture should show, in English or Chinese; <style:NAME:WEIGHT> names styles.")],
    style: Annotated[list[str] | None, typer.Option("--style", help="NAME or NAME:WEIGHT (0 to 2); repeat it to mix.")] = None,
    seed: Annotated[int | None, typer.Option(help="0 to 4294967295; drawn at random if not given.")] = None,
    count: Annotated[int, typer.Option(help="How many pictures, with seeds one apart, or as many as there are tries.")] = 1,
    tries: Annotated[int | None, typer.Option(help="Draw so many of each, 1 to 8, and keep the one most like the words; 4 where no seed is given.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Draw in all guided steps, not with the model's few-step student.")] = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 150; 24 by default. Draws in full.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt, 1 to 30; 4 by default. Draws in full.")] = None,
    negative: Annotated[str, typer.Option("--negative", help="What the picture should not show.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; the model's own by default.")] = None,
    enlarge: Annotated[int | None, typer.Option(help="How many times smaller it is drawn, then enlarged: 1, 2, 4 or 8; 2 where the model can.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path(),
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Make pictures: sealed, credited, and stored."""
    with loading():
        from tribute.commission import near_copy
        from tribute.store.blobs import write_file
        from tribute.studio.likeness import pixels_of
        from tribute.studio.wiring import open_workshop

        if output.exists() and not output.is_dir():
            raise InvalidInput(f"{output} is not a folder; give one for the pictures to go to")
        given = {"negative_prompt": negative, "count": count, "full": full, "steps": steps, "guidance": guidance, "enlarge": enlarge}
        ask = _ask(prompt, style or [], _given(given, seed, tries, size))
        workshop = open_workshop()
        ready = workshop.model(model)
    made = _with_progress(workshop, ask, ready, quiet=as_json)
    output.mkdir(parents=True, exist_ok=True)
    shown, is_copy = [], near_copy(ready)
    for at, picture in enumerate(made):
        path, data = output / f"tribute-{picture.id}.png", workshop.blobs.get(picture.file_sha256)
        write_file(path, data)
        copy = is_copy(pixels_of(data))
        shown.append({**picture.document(), "path": str(path), "near_copy": copy})
        if not as_json:
            typer.echo(f"{say('picture')}: {path}   {say('id')} {picture.id}   {say('seed')} {picture.recipe.seed}")
            if picture.recipe.told:
                typer.echo(f"{say('Drawn as')}: {picture.recipe.told}")
            led = _led_away(picture.recipe, (ask.seed + at) % 2**32 if ask.tries == 1 and not ask.variation_strength else picture.recipe.seed)
            if led:
                typer.echo(f"{say('Led away from a near copy')}: {', '.join(led)}")
            if copy:
                typer.echo(say("This may be a near copy of a work that the model knows by heart."))
            show_credits(workshop, picture, picture.credits)
    if as_json:
        print_json(shown)


def _led_away(recipe: Any, asked_seed: int) -> list[str]:
    """How a picture was led away from a near copy; nothing where it was not."""
    told = [f"{say('in place of seed')} {asked_seed}"] if recipe.seed != asked_seed else []
    half = [f"{say('half told as')} {recipe.beside!r}"] if recipe.beside else []
    noise = [f"{say('noise on the words:')} {recipe.prompt_noise}"] if recipe.prompt_noise else []
    return told + half + noise + ([f"{say('in the first part of the steps:')} {recipe.led_until:.0%}"] if recipe.led_until < 1 else [])


def _with_progress(workshop: Any, ask: Any, model: Any, quiet: bool) -> Any:
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from tribute.commission import commission

    console = Console(stderr=True)
    hidden = quiet or not sys.stderr.isatty()
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(say("drawing"), total=None)
        return commission(
            workshop.desk(),
            model,
            ask,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            told=lambda stage: bar.update(task, description=say(stage)),
        )


def upscale(
    picture: Annotated[str, typer.Argument(help="A picture's id, its file, or any other picture file.")],
    times: Annotated[int, typer.Option(help="How many times the side: 2, 4 or 8.")] = 2,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the larger picture.")] = Path(),
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Enlarge a picture. One made here is drawn again and sealed anew; any other file is enlarged as it is, without a seal."""
    from tribute.commission import larger
    from tribute.records import Unknown
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    if times not in (2, 4, 8):
        raise InvalidInput(f"--times {times} is not 2, 4 or 8")
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder; give one for the picture to go to")
    workshop = open_workshop()
    try:
        found, _ = workshop.picture(picture)
    except Unknown:
        if not Path(picture).is_file():
            raise
        _enlarge_file(workshop, Path(picture), times, output, model, as_json)
        return
    (made,) = _with_progress(workshop, larger(found, times), loaded(workshop, found, model), quiet=as_json)
    path = output / f"tribute-{made.id}.png"
    output.mkdir(parents=True, exist_ok=True)
    write_file(path, workshop.blobs.get(made.file_sha256))
    if as_json:
        print_json({**made.document(), "path": str(path)})
    else:
        typer.echo(f"{say('picture')}: {path}   {say('id')} {made.id}   {made.recipe.width}×{made.recipe.height}")


def _enlarge_file(workshop: Any, path: Path, times: int, output: Path, model_name: str | None, as_json: bool) -> None:
    import numpy as np

    from tribute.collection.picture import open_picture, png_bytes, read_limited
    from tribute.diffusion.upscaler import enlarge
    from tribute.store.blobs import write_file

    picture = open_picture(read_limited(path), path.name)
    if max(picture.size) * times > 4096:
        raise InvalidInput(f"{path.name} is {picture.width}×{picture.height}; {times} times that is more than 4096 a side")
    upscaler = workshop.model(model_name).upscaler
    if upscaler is None:
        raise InvalidInput("this model has no upscaler; use the starter's")
    from PIL import Image

    made = Image.fromarray(enlarge(upscaler, np.asarray(picture.convert("RGB")), times))
    output.mkdir(parents=True, exist_ok=True)
    to = output / f"{path.stem}-{made.width}x{made.height}.png"
    write_file(to, png_bytes(made))
    if as_json:
        print_json({"path": str(to), "width": made.width, "height": made.height, "sealed": False})
    else:
        typer.echo(f"{say('picture')}: {to}   {made.width}×{made.height}   {say('not made here, so not sealed')}")


def svg(
    picture: Annotated[str, typer.Argument(help="A picture's id or its file.")],
    detail: Annotated[str, typer.Option(help="How much is kept: few, some or much.")] = "some",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The SVG file; named after the id by default.")] = None,
    as_json: Json = False,
) -> None:
    """A picture made here as SVG, traced to outlines, labelled and signed as the picture is."""
    import io

    import numpy as np
    from PIL import Image

    from tribute.commission import as_svg
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    found, _ = workshop.picture(picture)
    pixels_HWC = np.asarray(Image.open(io.BytesIO(workshop.blobs.get(found.file_sha256))).convert("RGB"))
    made = as_svg(workshop.desk(), found, pixels_HWC, detail)
    to = output or Path(f"tribute-{found.id}.svg")
    write_file(to, made)
    if as_json:
        print_json({"id": found.id, "path": str(to), "bytes": len(made)})
    else:
        typer.echo(f"{say('picture')}: {to}   {len(made):,} bytes")


def verify(
    file: Annotated[Path, typer.Argument(help="Any picture file.")],
    root: Annotated[Path | None, typer.Option(help="Another studio's root certificate to trust (PEM).")] = None,
    as_json: Json = False,
) -> None:
    """Check a picture: signature, watermark, labels. Exit code 0 where it is intact, 1 where not."""
    from tribute.collection.picture import read_limited
    from tribute.provenance.certificate import read_root
    from tribute.provenance.verify import verify as look
    from tribute.studio.wiring import open_workshop

    anchor = read_root(root) if root else open_workshop(starter=None).studio().root
    found = look(read_limited(file), file.name, anchor)
    if as_json:
        print_json(found.document())
    else:
        labels = ", ".join(sorted(found.labels)) or "–"
        rows = [
            (say("verdict"), found.verdict), (say("id"), found.picture_id or "–"), (say("signature"), found.signature["state"]),
            (say("watermark"), found.watermark or "–"), (say("label"), labels), *((say("notes"), note) for note in found.notes),
        ]  # fmt: skip
        table(("", ""), rows, str(file))
    raise typer.Exit(0 if found.verdict == "intact" else 1)
