"""The main path: ask → make → credit → price → seal → store; then keep → pay → receipt.

Credit comes before the seal because the seal carries it; where it is slow (more than five artists) the seal says `pending`, nothing can be
kept yet, and `work_off` follows. Each picture is stored in one database transaction after its file is
whole on disk, so a kill at any point leaves a picture made, sealed and credited, or no picture.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from sqlalchemy import Connection, select

from tribute.collection.consent import allows, in_force, terms_in_force
from tribute.create.sample import Progress, Watch, as_drawn, check_size, enlarged, pixel_hash, sample
from tribute.create.trace import trace
from tribute.credit.game import Game, coalitions, styles_by_owner, wearing
from tribute.credit.shapley import PLAYERS_MAX, shapley_scores
from tribute.credit.shares import to_credits
from tribute.diffusion.loading import Model
from tribute.ledger.book import transaction_on
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.payouts import payees_of
from tribute.ledger.receipt import receipt_of, stored_receipt
from tribute.ledger.refund import refund_key
from tribute.provenance import credentials, label, watermark
from tribute.provenance.certificate import Studio
from tribute.records import (
    Artist,
    Conflict,
    Consent,
    Credits,
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
from tribute.store.database import Database, documents, get, insert_new, moment, put
from tribute.store.schema import artists, pictures, snapshots, styles
from tribute.store.schema import credits as credits_table

STUDENT_STEPS = 8
FULL_STEPS, FULL_GUIDANCE = 24, 7.0
PENDING: dict[str, Any] = {"method": "pending", "shares": []}  # what a seal says of a picture whose credit follows


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


def price_of(desk: Desk, connection: Connection, relied: Sequence[Consent]) -> Price:
    """The highest price among the artists leaned on, or the studio's own where that is higher or nobody is; and what each agreed to give up."""
    least, artists_bp = [desk.price.amount_minor], {}
    for consent in relied:
        agreed = terms_in_force(connection, consent.artist_id, consent.use)
        amount, currency = (agreed.price_minor, agreed.currency) if agreed else (consent.price_minor, consent.currency)
        if currency != desk.price.currency:
            raise InvalidInput(f"{consent.artist_id} asks for {currency}, this studio sells in {desk.price.currency}; one picture has one currency")
        least.append(amount)
        if agreed and agreed.platform_bp != desk.price.platform_bp:
            artists_bp[consent.artist_id] = agreed.platform_bp
    return desk.price.model_copy(update={"amount_minor": max(least), "artists_bp": artists_bp})


def play(
    model: Model, recipes: Sequence[Recipe], owners: Mapping[str, str], read: Callable[[str], bytes], progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Game]:  # fmt: skip
    """Draws each recipe's picture, before it is enlarged, and sets up its game. Up to PLAYERS_MAX artists all coalitions share its batch."""

    def render(asked: Sequence[Recipe]) -> list[np.ndarray]:
        return sample(model, asked, read)

    drawn = [as_drawn(recipe) for recipe in recipes]
    if not any(recipe.styles for recipe in drawn):
        return [Game(recipe, made_HWC, render) for recipe, made_HWC in zip(drawn, sample(model, drawn, read, progress, watch), strict=True)]
    games = []
    for recipe in drawn:
        styles_of = styles_by_owner(recipe, owners)
        smaller = coalitions(styles_of)[:-1] if len(styles_of) <= PLAYERS_MAX else []
        together = [recipe, *(wearing(recipe, styles_of, some) for some in smaller)]
        made = {one.hash: made_HWC for one, made_HWC in zip(together, sample(model, together, read, progress, watch), strict=True)}

        def known(asked: Sequence[Recipe], made: dict[str, np.ndarray] = made) -> list[np.ndarray]:
            return [made[one.hash] for one in asked] if all(one.hash in made for one in asked) else render(asked)

        games.append(Game(recipe, made[recipe.hash], known, owners))
    return games


def commission(
    desk: Desk, model: Model, ask: Ask, progress: Progress | None = None, told: Callable[[str], None] = lambda _: None, watch: Watch | None = None
) -> list[Picture]:
    """Makes, credits, seals and stores the pictures that `ask` wants. Raises TributeError, with nothing stored."""
    with desk.database.reading() as connection:
        found, relied = consented_styles(connection, ask.styles, model)
        base = connection.execute(select(snapshots.c.document).where(snapshots.c.hash == (model.snapshot or ""))).scalar_one_or_none()
        names = artist_names(connection, found)
        price = price_of(desk, connection, relied)
        owners = owners_of(connection, found)
    recipes = recipes_of(ask, model, found)
    told("drawing")
    for recipe in recipes:
        check_size(model, recipe.width, recipe.height, recipe.enlarge)
    games = play(model, recipes, owners, desk.blobs.get, progress, watch)
    consents = tuple(sorted({consent.hash for consent in relied} | set(Snapshot.model_validate_json(base).consents if base else ())))
    made, artist_of = [], {style.name: style.artist_id for style in found}
    for recipe, game in zip(recipes, games, strict=True):
        told("crediting")
        credits = to_credits(shapley_scores(game), artist_of, base is not None) if len(game.players) <= PLAYERS_MAX else None
        pixels_HWC = enlarged(model, recipe, game.picture_HWC)
        picture_id = unused_id(desk.database)
        shares = credits.document() if credits else PENDING
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


def credited(database: Database, picture: Picture) -> Picture:
    """The picture with its credit, where that was worked off since it was made; `credits` stays None where it is pending still."""
    if picture.credits is not None:
        return picture
    with database.reading() as connection:
        document = connection.execute(select(credits_table.c.document).where(credits_table.c.picture_id == picture.id)).scalar_one_or_none()
    return picture if document is None else picture.model_copy(update={"credits": Credits.model_validate_json(document)})


def pending_pictures(database: Database) -> list[Picture]:
    """Pictures whose credit waits to be worked off, oldest first."""
    with database.reading() as connection:
        waits = pictures.c.document.contains('"credits":null') & pictures.c.id.not_in(select(credits_table.c.picture_id))
        return sorted(documents(connection, pictures, Picture, waits), key=lambda picture: picture.created)


def work_off(desk: Desk, model: Model, picture: Picture) -> Picture:
    """Credits a pending picture that `model` made: draws it and its coalitions again and stores the shares. Said twice, the first stays."""
    with desk.database.reading() as connection:
        found = [get(connection, styles, Style, use.name, "style") for use in picture.recipe.styles]
        owners = owners_of(connection, found)
        known = connection.execute(select(snapshots.c.hash).where(snapshots.c.hash == (picture.recipe.snapshot or ""))).first() is not None
    (game,) = play(model, [picture.recipe], owners, desk.blobs.get)
    credits = to_credits(shapley_scores(game), {style.name: style.artist_id for style in found}, known)
    with desk.database.writing() as connection:
        insert_new(connection, credits_table, [{"picture_id": picture.id, "document": canonical(credits.document()).decode()}])
    return credited(desk.database, picture)


def owners_of(connection: Connection, found: Sequence[Style]) -> dict[str, str]:
    """Style → who is paid for it. Artists whose money goes to one account are one player of the game, under however many names."""
    accounts = payees_of(connection, (style.artist_id for style in found))
    return {style.name: accounts[style.artist_id].iban if style.artist_id in accounts else style.artist_id for style in found}


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
    found = credited(desk.database, picture).credits
    shares = found.document() if found else PENDING
    svg = label.labelled_svg(trace(pixels_HWC, detail), picture.id, picture.recipe, shares, desk.producer)
    definition = credentials.manifest(picture.id, picture.recipe.prompt[:80], picture.recipe.document(), shares, names, credentials.SVG)
    return credentials.sign(svg, definition, desk.studio)


def keep(desk: Desk, picture: Picture, creator: str, key: str | None = None) -> tuple[bytes, dict[str, Any], bool]:
    """Pays for a picture and hands it over: (the sealed PNG, its signed receipt, whether money moved now).

    Without `key`, one creator pays for one picture once, however often it is fetched. Raises InsufficientFunds or Conflict.
    """
    sealed = desk.blobs.get(picture.file_sha256)
    picture = credited(desk.database, picture)
    wanted = download_transaction(picture, creator, key or f"download:{creator}:{picture.id}")
    with desk.database.reading() as connection:
        manifests = [get(connection, styles, Style, use.name, "style").snapshot for use in picture.recipe.styles]
    moved = post(desk.database, wanted, receipt_of(picture, wanted, tuple(filter(None, [picture.recipe.snapshot, *manifests]))))
    with desk.database.reading() as connection:
        if not moved and transaction_on(connection, refund_key(wanted.key)) is not None:
            raise Conflict(f"picture {picture.id} was refunded to {creator}; give a new key to keep it again")
        receipt = stored_receipt(connection, wanted.key)
    return sealed, vouched(desk, receipt), moved


def vouched(desk: Desk, receipt: dict[str, Any]) -> dict[str, Any]:
    """A receipt whose week is open, with the studio's signature over its hashes; one with a path to a published root needs none."""
    if receipt["proof"] is not None:
        return receipt
    signed = canonical({"version": receipt["version"], "hashes": receipt["hashes"]})
    return receipt | {"signature": {"value": desk.studio.sign(signed), "chain": desk.studio.chain.decode()}}
