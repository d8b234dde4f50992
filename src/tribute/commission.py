"""The main path: ask → make → credit → price → seal → store; then keep → pay → receipt.

Credit comes before the seal because the seal carries it. Each picture is stored in one database transaction after its file is
whole on disk, so a kill at any point leaves a picture made, sealed and credited, or no picture.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from sqlalchemy import Connection, select

from tribute.collection.consent import allows, in_force
from tribute.create.sample import Progress, as_drawn, check_size, enlarged, pixel_hash, sample
from tribute.create.trace import trace
from tribute.credit.shapley import shapley_scores
from tribute.credit.shares import to_credits
from tribute.diffusion.loading import Model
from tribute.ledger.book import post, read_transaction
from tribute.ledger.download import download_transaction
from tribute.ledger.receipt import receipt_body
from tribute.provenance import credentials, label, watermark
from tribute.provenance.certificate import Studio
from tribute.records import (
    Artist,
    Conflict,
    Consent,
    InvalidInput,
    NotAllowed,
    Picture,
    Price,
    Recipe,
    Record,
    Snapshot,
    Style,
    StyleUse,
    canonical,
    sha256,
    utc_now,
)  # fmt: skip
from tribute.store.blobs import Blobs
from tribute.store.database import Database, get, moment, put
from tribute.store.schema import artists, pictures, snapshots, styles

STUDENT_STEPS = 8
FULL_STEPS, FULL_GUIDANCE = 24, 7.0


class Ask(Record):
    """What somebody wants: `count` pictures with seeds `seed`, `seed` + 1, ...

    The few-step student draws where the model has one, unless `full`, steps, guidance or a negative prompt (which needs guidance)
    are given. What is left out is the model's own.
    """

    prompt: str
    negative_prompt: str = ""
    styles: tuple[StyleUse, ...] = ()
    seed: int = Field(ge=0, le=2**32 - 1)
    count: int = Field(default=1, ge=1, le=16)
    full: bool = False
    steps: int | None = Field(default=None, ge=1, le=150)
    guidance: float | None = Field(default=None, ge=1.0, le=30.0)
    enlarge: Literal[1, 2, 4, 8] | None = None
    width: int | None = Field(default=None, ge=8, le=2048)
    height: int | None = Field(default=None, ge=8, le=2048)


@dataclass(frozen=True)
class Desk:
    """What a commission is done with."""

    database: Database
    blobs: Blobs
    studio: Studio
    price: Price
    producer: str = "Tribute"


def consented_styles(connection: Connection, wanted: Sequence[StyleUse], model: Model) -> tuple[list[Style], list[Consent]]:
    """The styles' records and the consents that allow them now. Raises Unknown, NotAllowed or InvalidInput."""
    found, relied = [], []
    for use in wanted:
        style = get(connection, styles, Style, use.name, "style")
        artist = get(connection, artists, Artist, style.artist_id, "artist")
        withdrawn = connection.execute(select(styles.c.withdrawn).where(styles.c.name == use.name)).scalar_one()
        consent = allows(in_force(connection, style.artist_id), "style")
        if withdrawn or consent is None:
            raise NotAllowed(f"{artist.name} does not consent to the style {use.name!r}{f' since {withdrawn[:10]}' if withdrawn else ''}; choose another style")
        if style.base_snapshot != model.snapshot:
            raise InvalidInput(f"style {use.name!r} was trained for another base than model {model.name!r}; use it with its own, the starter")
        found.append(style)
        relied.append(consent)
    return found, relied


def recipes_of(ask: Ask, model: Model, found: Sequence[Style]) -> list[Recipe]:
    """One recipe a picture. Sizes left out are the model's own."""
    adapters = {style.name: style.adapter_sha256 for style in found}
    uses = tuple(use.model_copy(update={"adapter_sha256": adapters[use.name]}) for use in ask.styles)
    fast = model.student is not None and not (ask.full or ask.steps or ask.guidance or ask.negative_prompt)
    steps, guidance = (STUDENT_STEPS, 1.0) if fast else (ask.steps or FULL_STEPS, ask.guidance or FULL_GUIDANCE)
    enlarge: Literal[1, 2, 4, 8] = ask.enlarge or model.enlarges
    width, height = ask.width or model.native * enlarge, ask.height or model.native * enlarge
    return [
        Recipe(
            prompt=ask.prompt, negative_prompt=ask.negative_prompt, styles=uses, seed=(ask.seed + at) % 2**32, steps=steps, guidance=guidance,
            width=width, height=height, enlarge=enlarge, student=fast, scheduler=type(model.pipeline.scheduler).__name__,
            model=model.name, model_sha256=model.sha256, snapshot=model.snapshot, dtype=str(model.dtype).removeprefix("torch."),
            engine=model.engine_name,
        )
        for at in range(ask.count)
    ]  # fmt: skip


def artist_names(connection: Connection, found: Sequence[Style]) -> dict[str, str]:
    """Style → its artist's name, as manifests cite them."""
    return {style.name: get(connection, artists, Artist, style.artist_id, "artist").name for style in found}


def unused_id(database: Database) -> str:
    """A random id that no stored picture has."""
    while True:
        picture_id = secrets.token_hex(4)
        with database.reading() as connection:
            if connection.execute(select(pictures.c.id).where(pictures.c.id == picture_id)).first() is None:
                return picture_id


def price_of(desk: Desk, relied: Sequence[Consent]) -> Price:
    """The highest price among the artists leaned on, or the studio's own where that is higher or nobody is."""
    for consent in relied:
        if consent.currency != desk.price.currency:
            raise InvalidInput(f"{consent.artist_id} asks for {consent.currency}, this studio sells in {desk.price.currency}; one picture has one currency")
    return desk.price.model_copy(update={"amount_minor": max([desk.price.amount_minor, *(consent.price_minor for consent in relied)])})


def commission(desk: Desk, model: Model, ask: Ask, progress: Progress | None = None, told: Callable[[str], None] = lambda _: None) -> list[Picture]:
    """Makes, credits, seals and stores the pictures that `ask` wants. Raises TributeError, with nothing stored."""
    with desk.database.reading() as connection:
        found, relied = consented_styles(connection, ask.styles, model)
        base = connection.execute(select(snapshots.c.document).where(snapshots.c.hash == (model.snapshot or ""))).scalar_one_or_none()
        names = artist_names(connection, found)
    price = price_of(desk, relied)
    recipes = recipes_of(ask, model, found)
    told("drawing")
    for recipe in recipes:
        check_size(model, recipe.width, recipe.height, recipe.enlarge)
    drawn = sample(model, [as_drawn(recipe) for recipe in recipes], desk.blobs.get, progress)

    def render(recipes: Sequence[Recipe]) -> list[np.ndarray]:
        return sample(model, recipes, desk.blobs.get)

    consents = tuple(sorted({consent.hash for consent in relied} | set(Snapshot.model_validate_json(base).consents if base else ())))
    made = []
    for recipe, drawn_HWC in zip(recipes, drawn, strict=True):
        told("crediting")
        scores = shapley_scores(as_drawn(recipe), drawn_HWC, render)
        pixels_HWC = enlarged(model, recipe, drawn_HWC)
        credits = to_credits(scores, {style.name: style.artist_id for style in found}, base_known=base is not None)
        picture_id = unused_id(desk.database)
        shares = credits.document()
        told("sealing")
        png = label.labelled_png(watermark.embed(pixels_HWC, picture_id), picture_id, recipe, shares, desk.producer)
        sealed = credentials.sign(png, credentials.manifest(picture_id, recipe.prompt[:80], recipe.document(), shares, names), desk.studio)
        picture = Picture(
            id=picture_id, file_sha256=sha256(sealed), pixel_sha256=pixel_hash(pixels_HWC), recipe=recipe, credits=credits, price=price,
            consents=consents, created=utc_now(),
        )  # fmt: skip
        desk.blobs.put(sealed)
        with desk.database.writing() as connection:
            consented_styles(connection, ask.styles, model)  # whoever left while it was drawn is not in it
            columns = {"id": picture.id, "file_sha256": picture.file_sha256, "pixel_sha256": picture.pixel_sha256, "created": moment(picture.created)}
            put(connection, pictures, picture, **columns)
        made.append(picture)
    return made


def larger(picture: Picture, times: int) -> Ask:
    """The ask for the same picture, drawn alike and enlarged `times` (2, 4 or 8) more. Raises InvalidInput beyond eight times in all."""
    recipe = picture.recipe
    if times not in (2, 4, 8) or recipe.enlarge * times not in (2, 4, 8):
        raise InvalidInput(f"a picture enlarged {recipe.enlarge} times cannot be enlarged {times} times more; give 2, 4 or 8, eight in all")
    exact: dict[str, Any] = {} if recipe.student else {"full": True, "steps": recipe.steps, "guidance": recipe.guidance}
    kept = {name: getattr(recipe, name) for name in ("prompt", "negative_prompt", "styles", "seed")}
    size = {"width": recipe.width * times, "height": recipe.height * times, "enlarge": recipe.enlarge * times}
    return Ask.model_validate({**kept, **exact, **size})


def as_svg(desk: Desk, picture: Picture, pixels_HWC: np.ndarray, detail: str = "some") -> bytes:
    """A picture's pixels traced to outlines: an SVG labelled and signed as the picture is, under the same id."""
    with desk.database.reading() as connection:
        names = artist_names(connection, [get(connection, styles, Style, use.name, "style") for use in picture.recipe.styles])
    shares = picture.credits.document()
    svg = label.labelled_svg(trace(pixels_HWC, detail), picture.id, picture.recipe, shares, desk.producer)
    definition = credentials.manifest(picture.id, picture.recipe.prompt[:80], picture.recipe.document(), shares, names, credentials.SVG)
    return credentials.sign(svg, definition, desk.studio)


def keep(desk: Desk, picture: Picture, creator: str, key: str | None = None) -> tuple[bytes, dict[str, Any], bool]:
    """Pays for a picture and hands it over: (the sealed PNG, its signed receipt, whether money moved now).

    Without `key`, one creator pays for one picture once, however often it is fetched. Raises InsufficientFunds or Conflict.
    """
    sealed = desk.blobs.get(picture.file_sha256)
    wanted = download_transaction(picture, creator, key or f"download:{creator}:{picture.id}")
    moved = post(desk.database, wanted)
    posted = read_transaction(desk.database, wanted.key)
    if posted is None:
        raise Conflict(f"the transaction {wanted.key!r} is gone")
    with desk.database.reading() as connection:
        manifests = [get(connection, styles, Style, use.name, "style").snapshot for use in picture.recipe.styles]
    body = receipt_body(picture, posted, tuple(filter(None, [picture.recipe.snapshot, *manifests])))
    receipt = {"body": body, "signature": desk.studio.sign(canonical(body)), "chain": desk.studio.chain.decode()}
    return sealed, receipt, moved
