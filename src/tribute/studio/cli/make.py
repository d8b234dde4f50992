"""create, upscale, svg, verify, credit."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tribute.studio.cli.show import Json, percent, print_json, table
from tribute.studio.words import say

if TYPE_CHECKING:
    from tribute.records import Credits, Picture

Model = Annotated[str | None, typer.Option("--model", help="A Stable Diffusion 1.x, 2.x or XL folder or hub id; the starter by default.")]


def _ask(prompt: str, style: list[str], given: dict[str, Any]) -> Any:
    from tribute.commission import Ask
    from tribute.create.prompt import read_prompt

    words, styles = read_prompt(prompt, style)
    return Ask(prompt=words, styles=styles, **given)


def create(
    prompt: Annotated[str, typer.Argument(help="What the picture should show, in English or Chinese; <style:NAME:WEIGHT> names styles.")],
    style: Annotated[list[str] | None, typer.Option("--style", help="NAME or NAME:WEIGHT (0 to 2); repeat it to mix.")] = None,
    seed: Annotated[int | None, typer.Option(help="0 to 4294967295; drawn at random if not given.")] = None,
    count: Annotated[int, typer.Option(help="How many pictures, with seeds one apart.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="Draw in all guided steps, not with the model's few-step student.")] = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 150; 24 by default. Draws in full.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt, 1 to 30; 7 by default. Draws in full.")] = None,
    negative: Annotated[str, typer.Option("--negative", help="What the picture should not show.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; the model's own by default.")] = None,
    enlarge: Annotated[int | None, typer.Option(help="How many times smaller it is drawn, then enlarged: 1, 2, 4 or 8; 2 where the model can.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path(),
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Make pictures: sealed, credited, and stored."""
    import re

    from tribute.records import InvalidInput
    from tribute.store.blobs import write_file
    from tribute.studio.wiring import open_workshop

    wide = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size or "256x256")
    if not wide:
        raise InvalidInput(f"size {size!r} is not WIDTHxHEIGHT; write it like 256x256")
    given = {"negative_prompt": negative, "seed": secrets.randbelow(2**32) if seed is None else seed, "count": count}
    given |= {"full": full, "steps": steps, "guidance": guidance, "enlarge": enlarge}
    given |= {"width": int(wide[1]), "height": int(wide[2])} if size else {}
    ask = _ask(prompt, style or [], given)
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"{output} is not a folder; give one for the pictures to go to")
    workshop = open_workshop()
    made = _with_progress(workshop, ask, workshop.model(model), quiet=as_json)
    output.mkdir(parents=True, exist_ok=True)
    shown = []
    for picture in made:
        path = output / f"tribute-{picture.id}.png"
        write_file(path, workshop.blobs.get(picture.file_sha256))
        shown.append({**picture.document(), "path": str(path)})
        if not as_json:
            typer.echo(f"{say('picture')}: {path}   {say('id')} {picture.id}   {say('seed')} {picture.recipe.seed}")
            show_credits(workshop, picture, picture.credits)
    if as_json:
        print_json(shown)


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


def show_credits(workshop: Any, picture: Picture, credits: Credits) -> None:
    """A table of who made it."""
    from tribute.records import Artist
    from tribute.records.money import format_minor
    from tribute.store.database import documents
    from tribute.store.schema import artists

    with workshop.database.reading() as connection:
        names = {artist.id: artist.name for artist in documents(connection, artists, Artist)}
    rows = []
    for share in credits.shares:
        who = names.get(share.artist_id or "", "") or say({"base": "base", "unknown-base": "unknown base"}.get(share.party, share.party))
        rows.append([who, share.party if share.artist_id else "–", percent(share.share_ppm)])
    price = format_minor(picture.price.amount_minor, picture.price.currency)
    table(("made by", "style", "share"), rows, f"{say('method')}: {credits.method} ({credits.distance})   {say('price')}: {price}")
    if credits.note:
        typer.echo(f"{say('notes')}: {credits.note}")


def upscale(
    picture: Annotated[str, typer.Argument(help="A picture's id, its file, or any other picture file.")],
    times: Annotated[int, typer.Option(help="How many times the side: 2, 4 or 8.")] = 2,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the larger picture.")] = Path(),
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Enlarge a picture. One made here is drawn again and sealed anew; any other file is enlarged as it is, without a seal."""
    from tribute.commission import larger
    from tribute.records import InvalidInput, Unknown
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
    (made,) = _with_progress(workshop, larger(found, times), _loaded(workshop, found, model), quiet=as_json)
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
    from tribute.records import InvalidInput
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


def credit(
    picture: Annotated[str, typer.Argument(help="A picture's id, or a file that Tribute made.")],
    method: Annotated[str, typer.Option(help="shapley: who made it, as recorded; keywords: which words shaped it, by attention.")] = "shapley",
    replay: Annotated[bool, typer.Option("--replay", help="Render every coalition again instead of reading what was recorded.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write a PNG of heat maps, one a word (with --method keywords).")] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Who made a picture, how much, by which method."""
    from tribute.records import InvalidInput, Unknown
    from tribute.studio.wiring import open_workshop

    if method not in ("shapley", "keywords"):
        raise Unknown.of("method", method, ("shapley", "keywords"))
    if heatmap is not None and method != "keywords":
        raise InvalidInput("--heatmap goes with --method keywords")
    if heatmap is not None and heatmap.suffix.lower() != ".png":
        raise InvalidInput(f"{heatmap} is not a PNG's name; end it in .png")
    workshop = open_workshop()
    found, how = workshop.picture(picture)
    if method == "keywords":
        _keywords(workshop, found, heatmap, model, as_json)
        return
    credits = _replayed(workshop, found, model) if replay else found.credits
    if as_json:
        print_json({"picture": found.id, "recognised_by": how, "credits": credits.document()})
    else:
        typer.echo(f"{say('picture')} {found.id}: {found.recipe.prompt}")
        show_credits(workshop, found, credits)


def _loaded(workshop: Any, found: Picture, model_name: str | None) -> Any:
    from tribute.records import InvalidInput

    model = workshop.model(model_name)
    if model.sha256 != found.recipe.model_sha256:
        raise InvalidInput(f"picture {found.id} was made with other weights than {model.name!r} has; give the ones it was made with as --model")
    return model


def _replayed(workshop: Any, found: Picture, model_name: str | None) -> Credits:
    from tribute.create.sample import as_drawn, sample
    from tribute.credit.shapley import shapley_scores
    from tribute.credit.shares import to_credits

    model = _loaded(workshop, found, model_name)

    def render(recipes: Any) -> Any:
        return sample(model, recipes, workshop.blobs.get)

    drawn = as_drawn(found.recipe)
    scores = shapley_scores(drawn, render([drawn])[0], render)
    base_known = any(share.party == "base" for share in found.credits.shares)
    return to_credits(scores, {share.party: share.artist_id for share in found.credits.shares if share.artist_id}, base_known)


def _keywords(workshop: Any, found: Picture, heatmap: Path | None, model_name: str | None, as_json: bool) -> None:
    from tribute.create.sample import sample
    from tribute.credit.attention import METHOD, heat_maps, keyword_shares

    model = _loaded(workshop, found, model_name)
    drawn: list[Any] = []

    def render(recipe: Any) -> Any:
        drawn.append(sample(model, [recipe], workshop.blobs.get)[0])
        return drawn[-1]

    words = keyword_shares(model, found.recipe, render)
    if heatmap is not None and words:
        from tribute.diffusion.sheets import save_sheet

        save_sheet(heatmap, [[drawn[0], *heat_maps(drawn[0], words)]])
    if as_json:
        keys = ("text", "share", "area", "strength", "by_step", "by_layer")
        print_json({"picture": found.id, "method": METHOD, "words": [{key: getattr(word, key) for key in keys} for word in words]})
    else:
        rows = [(word.text, f"{word.share:.1%}", f"{word.area:.1%}", f"{word.strength:.4f}") for word in words]
        table(("word", "share", "area", "strength"), rows, f"{say('method')}: {METHOD}")
        if heatmap is not None:
            typer.echo(str(heatmap))
