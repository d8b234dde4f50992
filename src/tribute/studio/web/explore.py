"""Explore: what people published, found by words, by picture, by style. Am I in it: works like a picture. Check: any file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import HTMLResponse

from tribute.provenance.verify import verify
from tribute.records import InvalidInput, Unknown
from tribute.store.schema import gallery, pictures, works
from tribute.studio.gallery import PAGE
from tribute.studio.likeness import Published, closest_works
from tribute.studio.web.access import At, Visitor, address_of
from tribute.studio.web.create import source_of
from tribute.studio.web.render import artist_names, lang_of, offered_styles, page

router = APIRouter()
File1 = Annotated[UploadFile | None, File()]


def found_by(q: str, style: str) -> list[Any]:
    """Conditions for published pictures whose prompt has all these words, and that wear this style."""
    where: list[Any] = [gallery.c.published.is_not(None)]
    where += [pictures.c.document.icontains(word, autoescape=True) for word in q.split()[:8]]
    if style:
        where.append(pictures.c.document.contains(f'"name":"{style}"', autoescape=True))
    return where


@router.get("/explore", response_class=HTMLResponse)
def explore(request: Request, floor: At, person: Visitor, q: str = "", style: str = "", order: str = "newest", before: str = "") -> HTMLResponse:
    found, after = floor.gallery.page(person, *found_by(q[:200], style[:64]), before=before, order="liked" if order == "liked" else "newest")
    template = "_pictures.html" if request.headers.get("hx-request") else "explore.html"
    values: dict[str, Any] = {"q": q[:200], "style": style, "order": order, "styles": offered_styles(floor, lang_of(request))}
    return page(request, template, person=person, found=found, after=after, **values)


@router.post("/explore", response_class=HTMLResponse)
async def explore_like(request: Request, floor: At, person: Visitor, picture: File1 = None) -> HTMLResponse:
    """Published pictures like one that is given."""
    from starlette.concurrency import run_in_threadpool

    request.app.state.rates.hit("upload", address_of(request))
    data = await wanted(picture)

    def look() -> HTMLResponse:
        shown, _ = floor.gallery.page(person, gallery.c.published.is_not(None), limit=500)
        published: Published = request.app.state.published
        nearest = published.nearest(data, [(one.picture.id, one.picture.file_sha256) for one in shown], PAGE)
        found = floor.gallery.of_ids(person, nearest)
        values: dict[str, Any] = {"q": "", "style": "", "order": "newest", "styles": offered_styles(floor, lang_of(request)), "by_picture": True}
        return page(request, "explore.html", person=person, found=found, after="", **values)

    return await run_in_threadpool(look)


async def wanted(picture: UploadFile | None) -> bytes:
    data = await source_of(picture)
    if not data:
        raise InvalidInput("no file was given; choose a picture")
    return data


@router.get("/am-i-in-it", response_class=HTMLResponse)
def am_i_in_it(request: Request, person: Visitor) -> HTMLResponse:
    return page(request, "am-i-in-it.html", person=person, works=None)


@router.post("/am-i-in-it", response_class=HTMLResponse)
async def look_for_me(request: Request, floor: At, person: Visitor, picture: File1 = None) -> HTMLResponse:
    from starlette.concurrency import run_in_threadpool

    request.app.state.rates.hit("upload", address_of(request))
    data = await wanted(picture)
    found = await run_in_threadpool(closest_works, floor.workshop, data, 12)
    return page(request, "am-i-in-it.html", person=person, works=found, names=artist_names(floor))


@router.get("/check", response_class=HTMLResponse)
def check(request: Request, person: Visitor) -> HTMLResponse:
    return page(request, "check.html", person=person, findings=None)


@router.post("/check", response_class=HTMLResponse)
async def check_file(request: Request, floor: At, person: Visitor, picture: File1 = None) -> HTMLResponse:
    """Signature, watermark, label and credits of any file."""
    from starlette.concurrency import run_in_threadpool

    request.app.state.rates.hit("upload", address_of(request))
    data = await wanted(picture)
    name = ((picture.filename if picture else None) or "the picture")[:100]
    findings = await run_in_threadpool(verify, data, name, floor.workshop.studio().root)
    facts = findings.signature.get("facts") or {}
    credits = facts.get("credits") if isinstance(facts, dict) else None
    values: dict[str, Any] = {"findings": findings, "name": name, "credits": credits, "labels": findings.labels}
    return page(request, "check.html", person=person, **values)


@router.get("/works/{digest}.png")
def work_picture(floor: At, digest: str) -> Response:
    """A work of the collection, where its pictures were drawn here."""
    from sqlalchemy import select

    with floor.workshop.database.reading() as connection:
        row = connection.execute(select(works.c.picture_sha256).where(works.c.hash == digest)).scalar_one_or_none()
    if row is None:
        raise Unknown.of("work", digest)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(floor.workshop.blobs.get(row), media_type="image/png", headers=headers)
