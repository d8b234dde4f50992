"""One picture: large, who made it, what it leans on, its words, recipe, seal, price and receipt; and what can be made of it."""

from __future__ import annotations

import io
import secrets
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from PIL import Image

from tribute.commission import SAME, Ask, larger, steps_of
from tribute.ledger.receipt import stored_receipt
from tribute.ledger.refund import refund
from tribute.ledger.verifier import layout
from tribute.records import InsufficientFunds, InvalidInput, NotInstalled, Picture, Style, Unknown
from tribute.store.database import get
from tribute.store.schema import gallery, styles
from tribute.studio.floor import Floor
from tribute.studio.gallery import Hung, kept_key
from tribute.studio.likeness import closest_works
from tribute.studio.people import Person
from tribute.studio.web.access import At, Creator, Drawer, Guest, Visitor
from tribute.studio.web.create import answered, size_of
from tribute.studio.web.render import artist_names, page

router = APIRouter(prefix="/pictures")
VARIATIONS = {"subtle": 0.25, "strong": 0.6}
FOREVER = "private, max-age=31536000, immutable"


def kept_by(floor: Floor, person: Person | None, picture_id: str) -> str | None:
    if person is None:
        return None
    with floor.workshop.database.reading() as connection:
        return kept_key(connection, person, picture_id)


def shares_of(floor: Floor, picture: Picture) -> list[dict[str, Any]]:
    """Each party's part with its name, licence and its place on the bar."""
    names = artist_names(floor)
    rows, left = [], 0
    with floor.workshop.database.reading() as connection:
        for share in picture.credits.shares if picture.credits else ():
            licence = get(connection, styles, Style, share.party, "style").licence if share.artist_id else None
            rows.append({"party": share.party, "artist_id": share.artist_id, "name": names.get(share.artist_id or "", ""), "ppm": share.share_ppm,
                         "left": left, "licence": licence})  # fmt: skip
            left += share.share_ppm
    return rows


@router.get("/{picture_id}.png")
def sealed(request: Request, floor: At, person: Visitor, picture_id: str) -> Response:
    """The sealed file, for whoever keeps the picture and for the operator."""
    mine = floor.gallery.kept(person, picture_id) if person else None  # what was paid for is handed over whoever may see it now
    picture = mine or floor.gallery.see(person, picture_id).picture
    if mine is None and not (person and person.is_operator):
        raise InsufficientFunds("the sealed file is handed over when the picture is kept; download it on its page")
    tag = f'"{picture.file_sha256}"'
    headers = {"ETag": tag, "Cache-Control": FOREVER, "Content-Disposition": f'attachment; filename="tribute-{picture.id}.png"'}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(floor.workshop.blobs.get(picture.file_sha256), media_type="image/png", headers=headers)


@router.get("/{picture_id}", response_class=HTMLResponse)
def show(request: Request, floor: At, person: Visitor, picture_id: str) -> HTMLResponse:
    hung = floor.gallery.see(person, picture_id)
    mine = person is not None and (hung.person_id == person.id or person.is_operator)
    children = floor.gallery.page(person, gallery.c.parent_id == picture_id, limit=12)[0]
    values: dict[str, Any] = {
        "hung": hung, "picture": hung.picture, "shares": shares_of(floor, hung.picture), "mine": mine, "kept": kept_by(floor, person, picture_id),
        "children": children, "liked": floor.gallery.likes_it(person, picture_id),
    }  # fmt: skip
    return page(request, "picture.html", person=person, **values)


@router.get("/{picture_id}/leans", response_class=HTMLResponse)
def leans(request: Request, floor: At, person: Visitor, picture_id: str) -> HTMLResponse:
    """The works that look most like it among those of its styles and the base: a fragment, as it takes a moment."""
    picture = floor.gallery.see(person, picture_id).picture
    data, worn = floor.workshop.blobs.get(picture.file_sha256), tuple(use.name for use in picture.recipe.styles)
    try:
        found = closest_works(floor.workshop, data, 8, worn)
    except NotInstalled as error:
        return page(request, "_works.html", works=[], names={}, missing=str(error))
    return page(request, "_works.html", works=found, names=artist_names(floor))


@router.get("/{picture_id}/view.webp")
def view(request: Request, floor: At, person: Visitor, picture_id: str, side: int = 0) -> Response:
    """What pages show: the pixels with their watermark, without the seal that comes with keeping it."""
    picture = floor.gallery.see(person, picture_id).picture
    tag = f'"{picture.file_sha256[:20]}-{side}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": FOREVER})
    opened = Image.open(io.BytesIO(floor.workshop.blobs.get(picture.file_sha256))).convert("RGB")
    if side in (128, 192, 256):
        opened.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    opened.save(written, "WEBP", quality=92)
    return Response(written.getvalue(), media_type="image/webp", headers={"ETag": tag, "Cache-Control": FOREVER})


@router.get("/{picture_id}/words", response_class=HTMLResponse)
def words(request: Request, floor: At, person: Guest, picture_id: str) -> HTMLResponse:
    """The prompt's words with what each was looked at for: a fragment; hovering a word shows its map."""
    from tribute.studio.heat import heat_of

    picture = floor.gallery.own(person, picture_id).picture
    return page(request, "_words.html", picture=picture, words=heat_of(floor, picture)[0])


@router.get("/{picture_id}/heat/{number}.webp")
def heat(floor: At, person: Guest, picture_id: str, number: int) -> Response:
    from tribute.studio.heat import heat_of

    maps = heat_of(floor, floor.gallery.own(person, picture_id).picture)[1]
    if not 0 <= number < len(maps):
        raise Unknown.of("word", number)
    return Response(maps[number], media_type="image/webp", headers={"Cache-Control": FOREVER})


@router.get("/{picture_id}/receipt.json")
def receipt(floor: At, person: Guest, picture_id: str) -> Response:
    key = kept_by(floor, person, picture_id)
    if key is None:
        floor.gallery.see(person, picture_id)
        raise Unknown(f"you do not keep picture {picture_id[:8]}, so there is no receipt of yours for it")
    with floor.workshop.database.reading() as connection:
        found = stored_receipt(connection, key)
    from tribute.commission import vouched

    headers = {"Content-Disposition": f'attachment; filename="tribute-{picture_id}.receipt.json"'}
    return Response(layout(vouched(floor.workshop.desk(), found)), media_type="application/json", headers=headers)


@router.post("/{picture_id}/upscale", response_model=None)
def upscale(request: Request, floor: At, person: Drawer, picture_id: str) -> Response:
    hung = floor.gallery.own(person, picture_id)
    ask = larger(hung.picture, 2).model_copy(update={"model": model_of(floor, hung.picture)})
    return answered(request, floor, floor.submit(person, ask, parent_id=picture_id))


@router.post("/{picture_id}/vary", response_model=None)
def vary(request: Request, floor: At, person: Drawer, picture_id: str, how: Annotated[str, Form()] = "subtle") -> Response:
    """Four pictures that begin near this one's noise."""
    if how not in VARIATIONS:
        raise Unknown.of("variation", how, VARIATIONS)
    hung = floor.gallery.own(person, picture_id)
    recipe = hung.picture.recipe
    if recipe.source_sha256 or recipe.variation_strength:  # it does not begin from one seed's noise, so it is drawn over
        return remix(request, floor, person, picture_id, recipe.prompt, VARIATIONS[how] + 0.1)
    near = {"count": 4, "variation_seed": secrets.randbelow(2**32), "variation_strength": VARIATIONS[how]}
    return answered(request, floor, floor.submit(person, again(floor, hung).model_copy(update=near), parent_id=picture_id))


@router.post("/{picture_id}/remix", response_model=None)
def remix(
    request: Request, floor: At, person: Drawer, picture_id: str, prompt: Annotated[str, Form()] = "", strength: Annotated[float, Form()] = 0.6
) -> Response:  # fmt: skip
    """Drawn over this picture by other words."""
    from tribute.create.edit import as_source

    hung = floor.gallery.own(person, picture_id)
    recipe = hung.picture.recipe
    data = as_source(floor.workshop.blobs.get(hung.picture.file_sha256), picture_id, recipe.width, recipe.height)
    fields: dict[str, Any] = {
        "count": 4,
        "model": model_of(floor, hung.picture),
        "strength": min(1.0, strength),
        "styles": recipe.styles,
        "source_sha256": floor.workshop.blobs.put(data),
        **size_of(floor, f"{recipe.width}x{recipe.height}", model_of(floor, hung.picture)),
    }
    return answered(request, floor, floor.submit(person, floor.wish(prompt, **fields), parent_id=picture_id))


def model_of(floor: Floor, picture: Picture) -> str:
    """Which of the studio's models drew a picture, by the name it is offered under. Raises InvalidInput where it is not offered any more."""
    names = {Path(name).name: name for name in floor.workshop.settings.offered}
    found = picture.recipe.model if picture.recipe.model in floor.workshop.settings.offered else names.get(picture.recipe.model)
    if found is None:
        raise InvalidInput(f"this picture was drawn by {picture.recipe.model!r}, which the studio does not offer any more")
    return found


def again(floor: Floor, hung: Hung) -> Ask:
    """The ask for the same picture."""
    recipe = hung.picture.recipe
    same = {name: getattr(recipe, name) for name in (*SAME, "width", "height", "enlarge")}
    return Ask.model_validate({**steps_of(recipe), **same, "model": model_of(floor, hung.picture)})


@router.post("/{picture_id}/download", response_model=None)
def download(floor: At, person: Creator, picture_id: str) -> Response:
    """Keeps the picture: pays its artists, once however often it is said."""
    floor.keep(person, floor.gallery.see(person, picture_id).picture)
    return back(picture_id)


@router.post("/{picture_id}/refund", response_model=None)
def give_back(floor: At, person: Creator, picture_id: str) -> Response:
    key = kept_by(floor, person, picture_id)
    if key is None:
        floor.gallery.see(person, picture_id)
        raise InvalidInput("you do not keep this picture")
    refund(floor.workshop.database, key, "asked for by the creator", floor.workshop.settings.refund_days)
    return back(picture_id)


@router.post("/{picture_id}/publish", response_model=None)
def publish(floor: At, person: Creator, picture_id: str, shown: Annotated[bool, Form()] = True) -> Response:
    floor.gallery.publish(person, picture_id, shown)
    return back(picture_id)


@router.post("/{picture_id}/like", response_model=None)
def like(floor: At, person: Creator, picture_id: str, liked: Annotated[bool, Form()] = True) -> Response:
    floor.gallery.like(person, picture_id, liked)
    return back(picture_id)


@router.post("/{picture_id}/report", response_model=None)
def report(request: Request, floor: At, person: Creator, picture_id: str, reason: Annotated[str, Form()] = "") -> Response:
    floor.gallery.report(person, picture_id, reason)
    return page(request, "message.html", person=person, title="Thank you", text="The operator will look at it.", link=f"/pictures/{picture_id}")


def back(picture_id: str) -> Response:
    return RedirectResponse(f"/pictures/{picture_id}", 303)
