"""What estimates of credit are prepared on: each party's number of works, the words for its hand, and a sample of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, select

from tribute.collection.starter import SOURCES
from tribute.credit.method import Catalogue
from tribute.credit.shares import BASE
from tribute.records import NotInstalled, Style, Unknown, Work
from tribute.store.database import documents, get
from tribute.store.schema import styles, works

if TYPE_CHECKING:
    from tribute.studio.wiring import Workshop

SAMPLE = 200  # pictures of each party


def catalogues_of(workshop: Workshop, names: Sequence[str], pictures: bool = False) -> dict[str, Catalogue]:
    """Catalogues of the styles and of the base. With `pictures`, raises NotInstalled where the collection's pictures were not built."""
    commons = [name for name, source in SOURCES.items() if source.commons]
    found: dict[str, Catalogue] = {}
    with workshop.database.reading() as connection:
        for name in (BASE, *names):
            mine = works.c.style.in_(commons) if name == BASE else works.c.style == name
            count = connection.execute(select(func.count()).select_from(works).where(mine)).scalar_one()
            owner = BASE if name == BASE else get(connection, styles, Style, name, "style").artist_id
            hand = (SOURCES[name].hand_en, SOURCES[name].hand_zh) if name in SOURCES else (name,)
            held = documents(connection, works, Work, mine) if pictures else []
            found[name] = Catalogue(name, owner, count, () if name == BASE else hand, _sample(workshop, held) if pictures else None)
    return found


def works_of(workshop: Workshop, style: str, count: int) -> tuple[list[Work], Callable[[], np.ndarray]]:
    """An even sample of a style's works, and a function that reads their pictures. Raises Unknown where there is none."""
    with workshop.database.reading() as connection:
        held = documents(connection, works, Work, works.c.style == style)
    if not held:
        raise Unknown(f"no work of style {style!r} is in the collection")
    chosen = held[:: max(1, len(held) // count)][:count]
    return chosen, _reader(workshop, chosen)


def _sample(workshop: Workshop, held: list[Work]) -> Callable[[], np.ndarray]:
    return _reader(workshop, held[:: max(1, len(held) // SAMPLE)][:SAMPLE])


def _reader(workshop: Workshop, chosen: list[Work]) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        from tribute.diffusion.examples import load_pictures

        try:
            return load_pictures(chosen, workshop.blobs.get)
        except Unknown as error:
            raise NotInstalled("the collection's pictures are not here; draw them with tribute collection build starter") from error

    return load
