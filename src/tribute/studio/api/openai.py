"""OpenAI's Images API: any client of it draws here by changing its base URL.

`/v1/models`, `/v1/images/generations` (b64_json or url, one to ten pictures, streamed where asked), `/v1/images/edits` (a picture, with or without
a mask) and `/v1/images/variations`. What a program is handed it keeps: with accounts, each picture's price is paid from the key's balance.
Errors have the four keys that clients read.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tribute.create.edit import as_mask, as_source
from tribute.records import Busy, InvalidInput, Picture, TributeError, Unknown
from tribute.studio.api.problems import NotYet
from tribute.studio.floor import PATIENCE_S, Floor
from tribute.studio.jobs import Job
from tribute.studio.likeness import check_source
from tribute.studio.people import Person
from tribute.studio.web.access import At, Creator
from tribute.studio.web.create import size_of

router = APIRouter(prefix="/v1")
ABOUT = {"background": "opaque", "output_format": "png", "quality": "auto"}
USAGE = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}}
SIDES = ("256x256", "512x512", "1024x1024")
EDIT_STRENGTH, VARIATION_STRENGTH = 0.75, 0.5
KINDS = {401: ("authentication_error", "invalid_api_key"), 402: ("insufficient_quota", "insufficient_quota"), 403: ("permission_error", "consent_missing"),
         404: ("invalid_request_error", "not_found"), 409: ("conflict_error", "conflict"), 429: ("rate_limit_error", "rate_limit_exceeded"),
         500: ("server_error", "server_error"), 501: ("not_implemented_error", "not_implemented")}  # fmt: skip
Format = Literal["url", "b64_json"]


class Generate(BaseModel):
    """The fields that are read; `background`, `moderation`, `quality`, `style` and `user` are taken as hints, as the reference allows."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = None
    n: int | None = Field(default=1, ge=1, le=10)
    size: str | None = "auto"
    response_format: Format | None = None
    output_format: Literal["png"] | None = "png"
    stream: bool | None = False
    partial_images: int | None = Field(default=None, ge=0, le=3)
    background: Literal["auto", "opaque"] | None = None
    output_compression: Literal[100] | None = None
    moderation: str | None = None
    quality: str | None = None
    style: str | None = None
    user: str | None = None
    input_fidelity: Literal["high", "low"] | None = None


def told(status: int, message: str, found: Exception | None) -> JSONResponse:
    """An error object with all four keys."""
    kind, code = KINDS.get(status, ("invalid_request_error", "invalid_value"))
    param = None
    if isinstance(found, ValidationError) or hasattr(found, "errors"):
        param = ".".join(str(part) for part in found.errors()[0]["loc"] if part != "body") or None  # type: ignore[union-attr]
    headers = {"x-should-retry": "false"} if status == 409 else None  # a client would have it drawn again, and again
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, 400 if status == 422 else status, headers=headers)


def side_of(picture: Picture) -> str:
    return f"{picture.recipe.width}x{picture.recipe.height}"


def model_of(floor: Floor, name: str | None) -> str:
    """Clients name OpenAI's models; those mean the studio's own. Raises Unknown for any other name that is not offered."""
    offered = floor.workshop.settings.offered
    if name is None or name.startswith(("dall-e-", "gpt-image-")):
        return ""
    if name not in offered:
        raise Unknown.of("model", name, offered)
    return name


def sizes_of(floor: Floor, given: Generate) -> dict[str, int]:
    size = given.size or "auto"
    if size == "auto":
        return {}
    if size not in SIDES:
        raise InvalidInput(f"size {size[:40]!r} is not drawn here; give auto, {', '.join(SIDES)}")
    return size_of(floor, size, model_of(floor, given.model))


@router.get("/models")
def models(floor: At, person: Creator) -> dict[str, Any]:
    del person
    return {"object": "list", "data": [card(name) for name in floor.workshop.settings.offered]}


def card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_763_769_600, "owned_by": "tribute"}


@router.get("/models/{name:path}")
def one_model(floor: At, person: Creator, name: str) -> dict[str, Any]:
    del person
    if name not in floor.workshop.settings.offered:
        raise Unknown.of("model", name, floor.workshop.settings.offered)
    return card(name)


def events(floor: Floor, person: Person, job: Job, partials: int, kind: str) -> Iterator[str]:
    """Server-sent events: up to `partials` views of the first picture as it is drawn, then each finished picture, or one error."""
    sent, step, until = 0, -1, time.monotonic() + PATIENCE_S

    def event(name: str, body: dict[str, Any]) -> str:
        return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n"

    while not job.ended and time.monotonic() < until:
        view = floor.jobs.previewed(job.id).get(0)
        png = floor.jobs.preview(job.id, 0) if sent < partials and view is not None and view > step else None
        if png is not None and view is not None:
            step = view
            body = {"b64_json": base64.b64encode(png).decode(), "partial_image_index": sent, "created_at": int(time.time()), "size": "auto", **ABOUT}
            yield event(f"{kind}.partial_image", body)
            sent += 1
        floor.jobs.changed(0.1)
        job = floor.jobs.get(job.id)
    try:
        pictures = floor.drawn(job, 0)
        for one, file in zip(pictures, floor.files_for(person, pictures), strict=True):
            body = {"b64_json": base64.b64encode(file).decode(), "created_at": int(one.created.timestamp()), "size": side_of(one)}
            yield event(f"{kind}.completed", {**body, **ABOUT, "usage": USAGE})
    except TributeError as error:
        from tribute.studio.web import status_of

        yield event("error", json.loads(bytes(told(status_of(error), str(error), error).body)))


def bounded(floor: Floor, person: Person, lines: Iterator[str]) -> Iterator[str]:
    """A stream keeps a request waiting as any other does."""
    try:
        with floor.waiting(f"stream:{person.id}"):
            yield from lines
    except Busy as error:
        yield f"event: error\ndata: {bytes(told(429, str(error), error).body).decode()}\n\n"


def answer(request: Request, floor: Floor, person: Person, job: Job, as_url: bool) -> dict[str, Any]:
    """Waits for the pictures and tells them."""
    pictures = floor.drawn(job)
    data: list[dict[str, Any]] = []
    for one, file in zip(pictures, floor.files_for(person, pictures), strict=True):
        data.append({"url": f"{request.base_url}pictures/{one.id}.png"} if as_url else {"b64_json": base64.b64encode(file).decode()})
    return {"created": int(pictures[0].created.timestamp()), "data": data, "size": side_of(pictures[0]), **ABOUT}


def submit(floor: Floor, person: Person, given: Generate, **more: Any) -> Job:
    fields = {"count": given.n or 1, "model": model_of(floor, given.model), **sizes_of(floor, given), **more}
    ask = floor.wish(given.prompt, **fields)
    floor.check_program(person, ask)
    return floor.submit(person, ask)


def reply(request: Request, floor: Floor, person: Person, given: Generate, job: Job, kind: str) -> Any:
    if given.stream:
        return StreamingResponse(bounded(floor, person, events(floor, person, job, given.partial_images or 0, kind)), media_type="text/event-stream")
    return answer(request, floor, person, job, given.response_format == "url")


@router.post("/images/generations")
def generations(request: Request, floor: At, person: Creator, given: Generate) -> Any:
    return reply(request, floor, person, given, submit(floor, person, given), "image_generation")


def over(floor: Floor, given: Generate, image: bytes, mask: bytes | None, strength: float) -> dict[str, Any]:
    """The fields of an ask that draws over `image`, where `mask` is transparent or the picture itself is."""
    check_source(floor.workshop, image)
    model = floor.easel.model(model_of(floor, given.model))
    side = model.native * model.enlarges
    sizes = sizes_of(floor, given) or {"width": side, "height": side}
    width, height = sizes["width"], sizes["height"]
    put = floor.workshop.blobs.put
    fields: dict[str, Any] = {"source_sha256": put(as_source(image, "image", width, height)), "strength": strength, **sizes}
    if mask is not None:
        fields |= {"mask_sha256": put(as_mask(mask, "mask", width, height, transparent=True)), "strength": 1.0}
    return fields


async def read_all(files: list[UploadFile]) -> list[bytes]:
    return [await file.read() for file in files]


@router.post("/images/edits")
async def edits(request: Request, floor: At, person: Creator) -> Any:
    """A multipart form; of several pictures the first is drawn over, and more than one is refused rather than left out."""
    from starlette.concurrency import run_in_threadpool

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise NotYet("edits by file_id or image_url are not here; send the picture as a multipart form")
    form = await request.form()
    files = [value for name, value in form.multi_items() if name in ("image", "image[]") and not isinstance(value, str)]
    masks = [value for name, value in form.multi_items() if name == "mask" and not isinstance(value, str)]
    if len(files) != 1 or len(masks) > 1:
        raise InvalidInput(f"{len(files)} pictures and {len(masks)} masks were sent; one picture can be edited at a time, with one mask at most")
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    given = Generate.model_validate({"prompt": "", **fields})
    data = await read_all([*files, *masks])  # type: ignore[list-item]

    def go() -> Any:
        more = over(floor, given, data[0], data[1] if masks else None, EDIT_STRENGTH)
        return reply(request, floor, person, given, submit(floor, person, given, **more), "image_edit")

    return await run_in_threadpool(go)


@router.post("/images/variations")
async def variations(
    request: Request, floor: At, person: Creator, image: Annotated[UploadFile, File()], n: Annotated[int, Form(ge=1, le=10)] = 1,
    model: Annotated[str | None, Form()] = None, size: Annotated[str | None, Form()] = None,
    response_format: Annotated[Format | None, Form()] = None, user: Annotated[str | None, Form()] = None,
) -> Any:  # fmt: skip
    """Drawn over the picture without words."""
    from starlette.concurrency import run_in_threadpool

    del user
    data = await image.read()
    given = Generate(prompt="a picture", model=model, n=n, size=size, response_format=response_format)

    def go() -> Any:
        more = over(floor, given, data, None, VARIATION_STRENGTH) | {"seed": secrets.randbelow(2**32)}
        return answer(request, floor, person, submit(floor, person, given, **more), response_format == "url")

    return await run_in_threadpool(go)


@router.post("/{what:path}")
def not_yet(what: str, person: Creator) -> None:
    del person
    raise NotYet(f"/v1/{what[:60]} is not here; /v1/images/generations, /v1/images/edits and /v1/images/variations are")
