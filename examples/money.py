"""docs/money: how the money of one kept picture is counted, for artists, in English and Chinese, with a real picture and its receipt.

python examples/money.py     (half a minute; draws with the starter, so run it again after new weights)
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tribute.commission import Ask, commission, keep
from tribute.create.sample import as_drawn, sample
from tribute.ledger.receipt import published_root, stored_receipt
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.ledger.verifier import check, layout
from tribute.records import Artist, Picture, StyleUse, utc_now
from tribute.records.money import format_micro, format_minor
from tribute.store.database import get
from tribute.store.schema import artists
from tribute.studio.statements import as_html
from tribute.studio.wiring import STARTER, Settings, Workshop, open_workshop

OUT = Path(__file__).parents[1] / "docs" / "money"
PROMPT, STYLES = "an umbrella", (StyleUse(name="micah", weight=0.8), StyleUse(name="openmoji", weight=0.6))


def coalitions(workshop: Workshop, picture: Picture) -> list[tuple[str, float]]:
    """Draws the picture with each set of its artists, side by side in coalitions.png; returns (who, v) in that order."""
    drawn, rows = as_drawn(picture.recipe), []
    some = [(), *((use,) for use in drawn.styles), drawn.styles]
    recipes = [drawn.model_copy(update={"styles": tuple(uses)}) for uses in some]
    pictures = sample(workshop.model(), recipes, workshop.blobs.get)
    Image.fromarray(np.concatenate([np.pad(one, ((0, 0), (0, 8), (0, 0)), constant_values=255) for one in pictures], 1)).save(OUT / "coalitions.png")
    assert picture.credits is not None
    for uses in some:
        names = "+".join(sorted(use.name for use in uses))
        rows.append((names, picture.credits.values[f"v({names})"]))
    return rows


def page(picture: Picture, receipt: dict, names: dict[str, str], values: list[tuple[str, float]], due: dict[str, int], carried: dict[str, int]) -> str:
    """The page, both languages, from the template beside this file."""
    assert picture.credits is not None
    text = (Path(__file__).parent / "money.md").read_text(encoding="utf-8")
    price, currency = picture.price, picture.price.currency
    posted = {line["account"]: line["amount_micro"] for line in receipt["sections"]["transaction"]["postings"]}
    rows = []
    for share in picture.credits.shares:
        account = f"artist:{share.artist_id}" if share.artist_id else "commons"
        who = names.get(share.artist_id or "", "the commons · 公共作品")
        amount = format_micro(posted.get(account, 0), currency)
        rows.append(
            f"| {who} | {share.share_ppm / 10_000:.4f}% | {format_minor(price.amount_minor, currency)} × {share.share_ppm / 10_000:.4f}% × 70% | {amount} |"
        )
    rows.append(f"| the studio · 工作室 | | {format_minor(price.amount_minor, currency)} × 30% | {format_micro(posted['platform'], currency)} |")
    seen = [f"| {who.replace('+', ' + ') or 'nobody · 无人'} | {value:.3f} |" for who, value in values]
    weeks = [f"| {names[artist]} | {format_minor(due[artist], currency)} | {format_micro(carried[artist], currency)} |" for artist in due]
    filled = {
        "PROMPT": picture.recipe.prompt, "PRICE": format_minor(price.amount_minor, currency), "VALUES": "\n".join(seen), "PARTS": "\n".join(rows),
        "WEEK": "\n".join(weeks), "NAME": receipt["proof"]["week"], "ROOT": receipt["proof"]["root"], "ID": picture.id,
    }  # fmt: skip
    for name, value in filled.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    workshop = open_workshop(Settings(home=Path(tempfile.mkdtemp(prefix="tribute-money-")), price_minor=50), STARTER)
    desk = workshop.desk()
    (picture,) = commission(desk, workshop.model(), Ask(prompt=PROMPT, styles=STYLES, seed=7))
    top_up(workshop.database, "mei", 2000, "CNY", "top-up")
    sealed, _, _ = keep(desk, picture, "mei")
    statements = settle(workshop.database, week_of(utc_now()))
    with workshop.database.reading() as connection:
        receipt = stored_receipt(connection, f"download:mei:{picture.id}")
        root = published_root(connection, statements[0].week)
        people = {one.artist_id: get(connection, artists, Artist, one.artist_id, "artist") for one in statements}
    assert check(receipt, root, sealed) == []
    (OUT / "picture.png").write_bytes(sealed)
    (OUT / "receipt.json").write_bytes(layout(receipt))
    (OUT / "root.json").write_bytes(layout(root))
    for lang in ("en", "zh"):
        (OUT / f"statement.{lang}.html").write_text(as_html(statements[0], people[statements[0].artist_id], "Tribute", lang), encoding="utf-8")
    due, carried = {one.artist_id: one.due_minor for one in statements}, {one.artist_id: one.carried_forward_micro for one in statements}
    names = {artist: one.name for artist, one in people.items()}
    (OUT / "README.md").write_text(page(picture, receipt, names, coalitions(workshop, picture), due, carried), encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
