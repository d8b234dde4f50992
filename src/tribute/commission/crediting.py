"""Who made a picture: drawn with its coalitions, credited at once or, where that is slow, worked off later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select

from tribute.commission.asking import owners_of
from tribute.create.sample import Progress, Watch, as_drawn, sample
from tribute.credit.game import Game, coalitions, styles_by_owner, wearing
from tribute.credit.shapley import PLAYERS_MAX, shapley_scores
from tribute.credit.shares import to_credits
from tribute.diffusion.loading import Model
from tribute.records import Credits, Picture, Recipe, Style, canonical
from tribute.store.blobs import Blobs
from tribute.store.database import Database, documents, get, insert_new
from tribute.store.schema import credits as credits_table
from tribute.store.schema import pictures, snapshots, styles

PENDING: dict[str, Any] = {"method": "pending", "shares": []}  # what a seal says of a picture whose credit follows


Views = Callable[[int, int, int, Callable[[], np.ndarray]], None]  # (first picture's place, steps done, steps in all, what shows pictures_NHWC from there on)


def play(
    model: Model, recipes: Sequence[Recipe], owners: Mapping[str, str], read: Callable[[str], bytes], progress: Progress | None = None,
    watch: Views | None = None, drawn: Sequence[np.ndarray] | None = None,
) -> list[Game]:  # fmt: skip
    """Draws each recipe's picture, before it is enlarged, and sets up its game. Up to PLAYERS_MAX artists all coalitions share its batch.

    `drawn`: those pictures, where they are there already.
    """

    def render(asked: Sequence[Recipe]) -> list[np.ndarray]:
        return sample(model, asked, read)

    def part(at: int, rows: int) -> tuple[Progress | None, Watch | None]:
        """Progress over all pictures, and views of the `rows` pictures from place `at` on."""
        several = len(recipes) if rows == 1 else 1
        steps = (lambda done, total: progress(at * total + done, several * total)) if progress else None
        return steps, (lambda done, total, look: watch(at, at * total + done, several * total, lambda: look()[:rows])) if watch else None

    small = [as_drawn(recipe) for recipe in recipes]
    if not any(recipe.styles for recipe in small):
        made_NHWC = sample(model, small, read, *part(0, len(small))) if drawn is None else drawn
        return [Game(recipe, made_HWC, render) for recipe, made_HWC in zip(small, made_NHWC, strict=True)]
    games = []
    for at, recipe in enumerate(small):
        styles_of = styles_by_owner(recipe, owners)
        smaller = coalitions(styles_of)[:-1] if len(styles_of) <= PLAYERS_MAX else []
        together = [*([recipe] if drawn is None else []), *(wearing(recipe, styles_of, some) for some in smaller)]
        made = {one.hash: made_HWC for one, made_HWC in zip(together, sample(model, together, read, *part(at, 1)) if together else [], strict=True)}
        if drawn is not None:
            made[recipe.hash] = drawn[at]

        def known(asked: Sequence[Recipe], made: dict[str, np.ndarray] = made) -> list[np.ndarray]:
            return [made[one.hash] for one in asked] if all(one.hash in made for one in asked) else render(asked)

        games.append(Game(recipe, made[recipe.hash], known, owners))
    return games


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


def work_off(database: Database, blobs: Blobs, model: Model, picture: Picture) -> Picture:
    """Credits a pending picture that `model` made: draws it and its coalitions again and stores the shares. Said twice, the first stays."""
    with database.reading() as connection:
        found = [get(connection, styles, Style, use.name, "style") for use in picture.recipe.styles]
        owners = owners_of(connection, found)
        known = connection.execute(select(snapshots.c.hash).where(snapshots.c.hash == (picture.recipe.snapshot or ""))).first() is not None
    (game,) = play(model, [picture.recipe], owners, blobs.get)
    credits = to_credits(shapley_scores(game), {style.name: style.artist_id for style in found}, known)
    with database.writing() as connection:
        insert_new(connection, credits_table, [{"picture_id": picture.id, "document": canonical(credits.document()).decode()}])
    return credited(database, picture)
