"""Create: the prompt and its grid, jobs as they go, history as a tree."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from sqlalchemy import or_, select

from tribute.create.edit import as_source
from tribute.create.prompt import style_use
from tribute.records import InvalidInput, Unknown
from tribute.store.schema import gallery
from tribute.studio.floor import Floor
from tribute.studio.gallery import Hung
from tribute.studio.jobs import Job
from tribute.studio.likeness import check_source
from tribute.studio.people import Person
from tribute.studio.web.access import At, Drawer, Guest, Visitor, set_session
from tribute.studio.web.render import fragment, lang_of, offered_styles, page

router = APIRouter()
GRID = 4
SIDE_MAX = 2048  # pixels
TICK_S = 0.12


def tiles_of(floor: Floor, job: Job) -> list[dict[str, Any]]:
    """What each place of a job's grid shows: a picture, a view of it as it is drawn, or nothing yet."""
    views = {} if job.ended else floor.jobs.previewed(job.id)
    with floor.workshop.database.reading() as connection:
        made = dict(connection.execute(select(gallery.c.number, gallery.c.picture_id).where(gallery.c.job_id == job.id)).tuples().all())
    return [{"number": at, "picture": made.get(at), "step": views.get(at)} for at in range(job.ask.count)]


def own_job(floor: Floor, person: Person, job_id: str) -> Job:
    """A job that is this person's; to anybody else it is not there. Raises Unknown."""
    job = floor.jobs.get(job_id)
    if job.person_id != person.id and not person.is_operator:
        raise Unknown.of("job", job_id)
    return job


def show_job(request: Request, floor: Floor, job: Job) -> str:
    return fragment(request, "_job.html", job=job, tiles=tiles_of(floor, job))


def tree_of(found: list[Hung]) -> list[tuple[int, Hung]]:
    """(depth, picture): roots newest first, each followed by what was made from it."""
    ids = {one.picture.id for one in found}
    children: dict[str | None, list[Hung]] = {}
    for one in found:
        children.setdefault(one.parent_id if one.parent_id in ids else None, []).append(one)
    placed: list[tuple[int, Hung]] = []

    def place(parent: str | None, depth: int) -> None:
        for one in children.get(parent, ()):
            placed.append((depth, one))
            place(one.picture.id, depth + 1)

    place(None, 0)
    return placed


@router.get("/", response_class=HTMLResponse)
def home(request: Request, floor: At, person: Visitor, prompt: str = "", style: str = "") -> HTMLResponse:
    recent = floor.gallery.page(person, gallery.c.person_id == person.id, limit=12)[0] if person else []
    waits = floor.jobs.waiting(person.id) if person else []
    shown = [(job, tiles_of(floor, job)) for job in waits[:4]]
    values: dict[str, Any] = {"styles": offered_styles(floor, lang_of(request)), "recent": recent, "jobs": shown, "models": floor.workshop.settings.offered}
    return page(request, "create.html", person=person, prompt=prompt[:1000], chosen=style, **values)


async def source_of(source: UploadFile | None) -> bytes:
    return await source.read() if source is not None and source.filename else b""


@router.post("/create", response_model=None)
async def create(
    request: Request, floor: At, person: Drawer,
    prompt: Annotated[str, Form()] = "", style: Annotated[list[str] | None, Form()] = None, weight: Annotated[str, Form()] = "1",
    negative: Annotated[str, Form()] = "", seed: Annotated[str, Form()] = "", steps: Annotated[str, Form()] = "",
    guidance: Annotated[str, Form()] = "", size: Annotated[str, Form()] = "", count: Annotated[int, Form()] = GRID,
    strength: Annotated[str, Form()] = "0.6", tries: Annotated[str, Form()] = "", model: Annotated[str, Form()] = "",
    source: Annotated[UploadFile | None, File()] = None,
) -> Response:  # fmt: skip
    from starlette.concurrency import run_in_threadpool

    if count not in (1, GRID, 9):
        raise InvalidInput(f"{count} pictures cannot be asked for; give 1, {GRID} or 9")
    numbers = {"seed": seed, "steps": steps, "guidance": guidance, "tries": tries}
    fields: dict[str, Any] = {name: number(name, text) for name, text in numbers.items() if text.strip()}
    fields |= {"negative_prompt": negative, "count": count, "model": model}
    fields["styles"] = tuple(style_use(f"{name}:{weight}") for name in style or [] if name)
    uploaded = await source_of(source)

    def accept() -> Job:
        if size:
            fields.update(size_of(floor, size, model))
        if uploaded:
            fields.update(over(floor, uploaded, str(source.filename if source else ""), fields, float(number("strength", strength))))
        return floor.submit(person, floor.wish(prompt, **fields))

    return answered(request, floor, await run_in_threadpool(accept))


def answered(request: Request, floor: Floor, job: Job) -> Response:
    """To htmx the job's grid, to a plain form the job's page."""
    answer: Response = RedirectResponse(f"/jobs/{job.id}", 303)
    if request.headers.get("hx-request"):
        answer = HTMLResponse(show_job(request, floor, job), headers={"HX-Push-Url": f"/jobs/{job.id}"})
    session = getattr(request.state, "new_session", None)
    if session:
        set_session(answer, session, request.url.scheme == "https")
    return answer


def number(name: str, text: str) -> float | int:
    """Raises InvalidInput for what is no number."""
    try:
        value = float(text)
        return int(value) if value == int(value) else value
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} {text[:20]!r} is not a number") from error


def size_of(floor: Floor, size: str, model_name: str = "") -> dict[str, int]:
    """A size such as 512x512: drawn smaller and enlarged where the model's own size divides it."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
    if not found:
        raise InvalidInput(f"size {size[:20]!r} is not WIDTHxHEIGHT; write it like 256x256")
    wide, high = int(found[1]), int(found[2])
    if not (8 <= wide <= SIDE_MAX and 8 <= high <= SIDE_MAX):
        raise InvalidInput(f"size {size} is out of range; give 8 to {SIDE_MAX} pixels a side")
    model = floor.easel.model(model_name)
    times = next((times for times in (8, 4, 2) if model.upscaler is not None and min(wide, high) >= times * model.native), 1)
    return {"width": wide, "height": high, "enlarge": times}


def over(floor: Floor, data: bytes, name: str, fields: dict[str, Any], strength: float) -> dict[str, Any]:
    """The fields of an ask that draws over an uploaded picture."""
    check_source(floor.workshop, data)
    model = floor.easel.model(fields.get("model", ""))
    width, height = (int(fields.get(side, model.native * model.enlarges)) for side in ("width", "height"))
    return {"source_sha256": floor.workshop.blobs.put(as_source(data, name, width, height)), "strength": strength}


@router.get("/jobs/{job_id}", response_class=HTMLResponse)
def job_page(request: Request, floor: At, person: Guest, job_id: str) -> HTMLResponse:
    job = own_job(floor, person, job_id)
    return page(request, "job.html", person=person, job=job, tiles=tiles_of(floor, job))


@router.get("/jobs/{job_id}/events")
async def job_events(request: Request, floor: At, person: Guest, job_id: str) -> StreamingResponse:
    from starlette.concurrency import run_in_threadpool

    await run_in_threadpool(own_job, floor, person, job_id)

    def look() -> tuple[Job, str]:
        job = floor.jobs.get(job_id)
        return job, fragment(request, "_job_inner.html", job=job, tiles=tiles_of(floor, job))

    async def events() -> AsyncIterator[str]:
        last = ""
        while not await request.is_disconnected():
            job, text = await run_in_threadpool(look)
            if text != last:
                lines = "\n".join(f"data: {line}" for line in text.splitlines())
                yield f"event: job\n{lines}\n\n"
                last = text
            if job.ended:
                yield "event: over\ndata: over\n\n"
                return
            await asyncio.sleep(TICK_S)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get("/jobs/{job_id}/previews/{number}.png")
def preview(floor: At, person: Guest, job_id: str, number: int) -> Response:
    """How a picture looks while it is drawn; the picture itself once it is there, for whoever asks a moment late."""
    job = own_job(floor, person, job_id)
    png = floor.jobs.preview(job_id, min(abs(number), 99))
    if png is None:
        made = next((tile["picture"] for tile in tiles_of(floor, job) if tile["number"] == number), None)
        return RedirectResponse(f"/pictures/{made}/view.webp", 303) if made else Response(status_code=204)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=60"})


@router.post("/jobs/{job_id}/cancel", response_model=None)
def cancel(request: Request, floor: At, person: Guest, job_id: str) -> Response:
    own_job(floor, person, job_id)
    return answered(request, floor, floor.jobs.cancel(job_id))


@router.get("/history", response_class=HTMLResponse)
def history(request: Request, floor: At, person: Guest, before: str = "") -> HTMLResponse:
    mine = gallery.c.person_id == person.id
    found, after = floor.gallery.page(person, or_(mine, gallery.c.person_id.is_(None)) if person.is_operator else mine, before=before, limit=60)
    return page(request, "history.html", person=person, tree=tree_of(found), after=after)
