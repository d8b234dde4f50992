"""credit, credit-pending."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tribute.studio.cli.show import Json, percent, print_json, table
from tribute.studio.words import say

if TYPE_CHECKING:
    from tribute.records import Credits, Picture

Model = Annotated[str | None, typer.Option("--model", help="The folder or hub id that it was made with; the starter by default.")]


METHODS_HELP = (
    "shapley: who made it, as recorded; keywords: which words shaped it; works: which works of its styles it leans on; or an estimate to compare: "
    "uniform, catalogue-size, keyword-attention, feature-similarity, shapley-sampled, shapley-exact."
)


def show_credits(workshop: Any, picture: Picture, credits: Credits | None) -> None:
    """A table of who made it, or that this is pending."""
    from tribute.records import Artist
    from tribute.records.money import format_minor
    from tribute.store.database import documents
    from tribute.store.schema import artists

    price = format_minor(picture.price.amount_minor, picture.price.currency)
    if credits is None:
        typer.echo(f"{say('made by')}: {say('pending')} (tribute credit-pending)   {say('price')}: {price}")
        return
    with workshop.database.reading() as connection:
        names = {artist.id: artist.name for artist in documents(connection, artists, Artist)}
    rows = []
    for share in credits.shares:
        who = names.get(share.artist_id or "", "") or say({"base": "base", "unknown-base": "unknown base"}.get(share.party, share.party))
        rows.append([who, share.party if share.artist_id else "–", percent(share.share_ppm)])
    table(("made by", "style", "share"), rows, f"{say('method')}: {credits.method} ({credits.distance})   {say('price')}: {price}")
    if credits.note:
        typer.echo(f"{say('notes')}: {credits.note}")


def loaded(workshop: Any, found: Picture, model_name: str | None) -> Any:
    """The model that made a picture. Raises InvalidInput for other weights."""
    from tribute.records import InvalidInput

    model = workshop.model(model_name)
    if model.sha256 != found.recipe.model_sha256:
        raise InvalidInput(f"picture {found.id} was made with other weights than {model.name!r} has; give the ones it was made with as --model")
    return model


def credit(
    picture: Annotated[str, typer.Argument(help="A picture's id, or a file that Tribute made.")],
    method: Annotated[str, typer.Option(help=METHODS_HELP)] = "shapley",
    replay: Annotated[bool, typer.Option("--replay", help="Render every coalition again instead of reading what was recorded.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write a PNG of heat maps, one a word (with --method keywords).")] = None,
    works: Annotated[int, typer.Option(help="How many of each style's works are looked at (with --method works).")] = 60,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Who made a picture, how much, by which method. Only what was recorded is ever paid."""
    from tribute.commission import credited
    from tribute.records import InvalidInput
    from tribute.studio.wiring import open_workshop

    if heatmap is not None and method != "keywords":
        raise InvalidInput("--heatmap goes with --method keywords")
    if heatmap is not None and heatmap.suffix.lower() != ".png":
        raise InvalidInput(f"{heatmap} is not a PNG's name; end it in .png")
    workshop = open_workshop()
    found, how = workshop.picture(picture)
    found = credited(workshop.database, found)
    if method == "keywords":
        _keywords(workshop, found, heatmap, model, as_json)
        return
    if method == "works":
        _works(workshop, found, works, model, as_json)
        return
    credits = found.credits if method == "shapley" and not replay else _estimated(workshop, found, method, model)
    if as_json:
        print_json({"picture": found.id, "recognised_by": how, "credits": credits.document() if credits else None})
    else:
        typer.echo(f"{say('picture')} {found.id}: {found.recipe.prompt}")
        show_credits(workshop, found, credits)


def _estimated(workshop: Any, found: Picture, method: str, model_name: str | None) -> Credits:
    """Shares by a named method, worked out now; `shapley` is the one that was recorded."""
    from tribute.commission import owners_of, play
    from tribute.create.sample import sample
    from tribute.credit.method import Case
    from tribute.credit.registry import METHODS
    from tribute.credit.shapley import shapley_scores
    from tribute.credit.shares import to_credits
    from tribute.records import Style, Unknown
    from tribute.store.database import get
    from tribute.store.schema import styles
    from tribute.studio.catalogues import catalogues_of

    if method not in ("shapley", *METHODS):
        raise Unknown.of("method", method, ("shapley", "keywords", "works", *METHODS))
    model = loaded(workshop, found, model_name)
    with workshop.database.reading() as connection:
        worn = [get(connection, styles, Style, use.name, "style") for use in found.recipe.styles]
        owners = owners_of(connection, worn)
    (game,) = play(model, [found.recipe], owners, workshop.blobs.get)
    if method == "shapley":
        scores = shapley_scores(game)
    else:
        chosen = METHODS[method]()
        chosen.prepare(catalogues_of(workshop, [style.name for style in worn], pictures=method == "feature-similarity"))
        scores = chosen.score(Case(game.recipe, game.picture_HWC, game.render, model, lambda asked: sample(model, asked, workshop.blobs.get)))
    base_known = found.credits is None or all(share.party != "unknown-base" for share in found.credits.shares)
    return to_credits(scores, {style.name: style.artist_id for style in worn}, base_known)


def credit_pending(model: Model = None, as_json: Json = False) -> None:
    """Work off the pictures whose credit is pending, oldest first; stopped at any point, it goes on where it was.

    One that cannot be drawn again (its artist has left) is told and left pending. Exit code 1 where there was one.
    """
    from rich.console import Console
    from rich.progress import track

    from tribute.commission import pending_pictures, work_off
    from tribute.records import TributeError
    from tribute.studio.wiring import open_workshop

    workshop = open_workshop()
    waiting = pending_pictures(workshop.database)
    done: list[Picture] = []
    failed: dict[str, str] = {}
    if waiting:
        loaded_model = workshop.model(model)
        mine = [picture for picture in waiting if picture.recipe.model_sha256 == loaded_model.sha256]
        for picture in track(mine, say("crediting"), console=Console(stderr=True), transient=True, disable=as_json):
            try:
                done.append(work_off(workshop.database, workshop.blobs, loaded_model, picture))
            except TributeError as error:
                failed[picture.id] = str(error)
    if as_json:
        told = [{"picture": one.id, "credits": one.credits and one.credits.document()} for one in done]
        print_json([*told, *({"picture": picture_id, "error": why} for picture_id, why in failed.items())])
        raise typer.Exit(1 if failed else 0)
    for one in done:
        typer.echo(f"{say('picture')} {one.id}: {one.recipe.prompt}")
        show_credits(workshop, one, one.credits)
    for picture_id, why in failed.items():
        typer.echo(f"{say('picture')} {picture_id}: {why}")
    typer.echo(f"{len(done)} {say('credited')}, {len(waiting) - len(done)} {say('pending')}")
    raise typer.Exit(1 if failed else 0)


def _keywords(workshop: Any, found: Picture, heatmap: Path | None, model_name: str | None, as_json: bool) -> None:
    from tribute.create.sample import sample
    from tribute.credit.attention import METHOD, heat_maps, keyword_shares

    model = loaded(workshop, found, model_name)
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


def _works(workshop: Any, found: Picture, count: int, model_name: str | None, as_json: bool) -> None:
    """The ten works of each style that the picture leans on most, of an even sample of `count`."""
    import numpy as np

    from tribute.create.sample import as_drawn, sample
    from tribute.credit.influence import METHOD, works_within
    from tribute.credit.shares import to_credits
    from tribute.diffusion.features import resized
    from tribute.records import InvalidInput
    from tribute.studio.catalogues import works_of

    if not 2 <= count <= 5000:
        raise InvalidInput(f"--works {count} is out of range; give 2 to 5000")
    model = loaded(workshop, found, model_name)
    drawn = as_drawn(found.recipe)
    picture_HWC = sample(model, [drawn], workshop.blobs.get)[0]
    told = []
    for use in (use for use in found.recipe.styles if use.weight > 0):
        held, load = works_of(workshop, use.name, count)
        pictures_NHWC = np.stack([resized(one_HWC, model.native) for one_HWC in load()])
        captions = [(work.captions_en or work.captions_zh or (work.title,))[0] for work in held]
        scores = works_within(model, use, workshop.blobs.get, drawn, resized(picture_HWC, model.native), pictures_NHWC, captions, [work.hash for work in held])
        by_hash = {work.hash: work for work in held}
        shares = [share for share in to_credits(scores, {}, True).shares if share.party in by_hash][:10]
        told.append((use.name, len(held), [(by_hash[share.party], share.share_ppm) for share in shares]))
    if as_json:
        parts = [{"style": style, "looked_at": number, "works": [{"work": work.document(), "share_ppm": share} for work, share in rows]}
                 for style, number, rows in told]  # fmt: skip
        print_json({"picture": found.id, "method": METHOD, "styles": parts})
        return
    for style, number, rows in told:
        lines = [(work.title, ", ".join(work.authors) or work.artist_id, work.licence.spdx, percent(share)) for work, share in rows]
        table(("works", "artist", "licence", "share"), lines, f"{say('style')} {style}: {number} {say('works')}   {say('method')}: {METHOD}")
