"""The main path: ask → make → credit → price → seal → store; then keep → pay → receipt.

Credit comes before the seal because the seal carries it; where it is slow (more than five artists) the seal says `pending`, nothing can be
kept yet, and `work_off` follows. Each picture is stored in one database transaction after its file is whole on disk, so a kill at any
point leaves a picture made, sealed and credited, or no picture.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from tribute.commission.asking import (
    SAME,
    TRIES,
    Ask,
    artist_names,
    check_ask,
    consented_styles,
    larger,
    led_away,
    owners_of,
    price_of,
    recipes_of,
    smoothing_of,
    steps_of,
    unseeded,
)
from tribute.commission.copies import away_from_copies, near_copy
from tribute.commission.crediting import PENDING, Views, credited, pending_pictures, play, work_off
from tribute.create.choose import can_choose
from tribute.create.edit import outside_kept
from tribute.create.sample import Progress, enlarged, pixel_hash
from tribute.create.trace import trace
from tribute.credit.shapley import PLAYERS_MAX, shapley_scores
from tribute.credit.shares import to_credits
from tribute.diffusion.loading import Model
from tribute.ledger.book import post_all_on, transaction_on
from tribute.ledger.download import download_transaction
from tribute.ledger.group import post
from tribute.ledger.receipt import receipt_of, stored_receipt
from tribute.ledger.refund import refund_key
from tribute.provenance import credentials, label, watermark
from tribute.provenance.certificate import Studio
from tribute.records import Conflict, Picture, Price, Snapshot, Style, Transaction, canonical, sha256, utc_now
from tribute.store.blobs import Blobs
from tribute.store.database import Database, get, moment, put
from tribute.store.schema import pictures, snapshots, styles

__all__ = [
    "PLAYERS_MAX", "SAME", "TRIES", "Ask", "Desk", "as_svg", "away_from_copies", "check_ask", "commission", "credited", "keep", "keep_all", "larger",
    "near_copy", "owners_of", "pending_pictures", "play", "recipes_of", "smoothing_of", "steps_of", "unseeded", "vouched", "work_off",
]  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """What a commission is done with."""

    database: Database
    blobs: Blobs
    studio: Studio
    price: Price
    producer: str = "Tribute"


def commission(
    desk: Desk, model: Model, ask: Ask, progress: Progress | None = None, told: Callable[[str], None] = lambda _: None, watch: Views | None = None,
    also: Callable[[Connection, int, Picture], None] = lambda *_: None,
) -> list[Picture]:  # fmt: skip
    """Makes, credits, seals and stores the pictures that `ask` wants. Raises TributeError, with nothing more stored.

    `also(connection, number, picture)` is said in the database transaction that stores a picture, so that both happen or neither.
    """
    with desk.database.reading() as connection:
        check_ask(connection, ask, model)
        found, relied = consented_styles(connection, ask.styles, model)
        base = connection.execute(select(snapshots.c.document).where(snapshots.c.hash == (model.snapshot or ""))).scalar_one_or_none()
        names = artist_names(connection, found)
        price = price_of(desk.price, connection, relied)
        owners = owners_of(connection, found)
    recipes, drawn = recipes_of(ask, model, found), None
    told("drawing")
    if led_away(ask, model) or (ask.tries > 1 and can_choose(model)):
        recipes, drawn = away_from_copies(model, recipes, ask.tries, desk.blobs.get, progress, partial(watch, 0) if watch else None)
        watch = None  # what is left to draw are the coalitions
        told("crediting")
    games = play(model, recipes, owners, desk.blobs.get, progress, watch, drawn)
    consents = tuple(sorted({consent.hash for consent in relied} | set(Snapshot.model_validate_json(base).consents if base else ())))
    made, artist_of = [], {style.name: style.artist_id for style in found}
    for number, recipe, game in zip((at for at in range(ask.count) if at not in ask.skip), recipes, games, strict=True):
        told("crediting")
        credits = to_credits(shapley_scores(game), artist_of, base is not None) if len(game.players) <= PLAYERS_MAX else None
        pixels_HWC = outside_kept(recipe, enlarged(model, recipe, game.picture_HWC), desk.blobs.get)
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
            also(connection, number, picture)
        made.append(picture)
    return made


def unused_id(database: Database) -> str:
    """A random id that no stored picture has."""
    while True:
        picture_id = secrets.token_hex(4)
        with database.reading() as connection:
            if connection.execute(select(pictures.c.id).where(pictures.c.id == picture_id)).first() is None:
                return picture_id


def _bought(desk: Desk, picture: Picture, creator: str, key: str) -> tuple[Transaction, dict[str, Any]]:
    """What keeping a picture posts, and its receipt."""
    wanted = download_transaction(credited(desk.database, picture), creator, key)
    with desk.database.reading() as connection:
        manifests = [get(connection, styles, Style, use.name, "style").snapshot for use in picture.recipe.styles]
    return wanted, receipt_of(credited(desk.database, picture), wanted, tuple(filter(None, [picture.recipe.snapshot, *manifests])))


def keep(desk: Desk, picture: Picture, creator: str, key: str | None = None) -> tuple[bytes, dict[str, Any], bool]:
    """Pays for a picture and hands it over: (the sealed PNG, its signed receipt, whether money moved now).

    Without `key`, one creator pays for one picture once, however often it is fetched. Raises InsufficientFunds or Conflict.
    """
    sealed = desk.blobs.get(picture.file_sha256)
    wanted, told = _bought(desk, picture, creator, key or f"download:{creator}:{picture.id}")
    moved = post(desk.database, wanted, told)
    with desk.database.reading() as connection:
        if not moved and transaction_on(connection, refund_key(wanted.key)) is not None:
            raise Conflict(f"picture {picture.id} was refunded to {creator}; give a new key to keep it again")
        receipt = stored_receipt(connection, wanted.key)
    return sealed, vouched(desk, receipt), moved


def keep_all(desk: Desk, wanted: Sequence[Picture], creator: str, keys: Sequence[str]) -> None:
    """Pays for several pictures in one database transaction: for all, or for none. Raises InsufficientFunds or Conflict."""
    bought = [_bought(desk, picture, creator, key) for picture, key in zip(wanted, keys, strict=True)]
    if bought:
        with desk.database.writing() as connection:
            post_all_on(connection, [one for one, _ in bought], [receipt for _, receipt in bought])


def vouched(desk: Desk, receipt: dict[str, Any]) -> dict[str, Any]:
    """A receipt whose week is open, with the studio's signature over its hashes; one with a path to a published root needs none."""
    if receipt["proof"] is not None:
        return receipt
    signed = canonical({"version": receipt["version"], "hashes": receipt["hashes"]})
    return receipt | {"signature": {"value": desk.studio.sign(signed), "chain": desk.studio.chain.decode()}}


def as_svg(desk: Desk, picture: Picture, pixels_HWC: np.ndarray, detail: str = "some") -> bytes:
    """A picture's pixels traced to outlines: an SVG labelled and signed as the picture is, under the same id."""
    with desk.database.reading() as connection:
        names = artist_names(connection, [get(connection, styles, Style, use.name, "style") for use in picture.recipe.styles])
    found = credited(desk.database, picture).credits
    shares = found.document() if found else PENDING
    svg = label.labelled_svg(trace(pixels_HWC, detail), picture.id, picture.recipe, shares, desk.producer)
    definition = credentials.manifest(picture.id, picture.recipe.prompt[:80], picture.recipe.document(), shares, names, credentials.SVG)
    return credentials.sign(svg, definition, desk.studio)
