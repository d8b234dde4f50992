"""OpenAI's Images API: any client of it draws here by changing its base URL.

`/v1/models`, `/v1/images/generations` (b64_json or url, one to ten pictures, streamed where asked). Editing and variations answer with an
error that says they are not here yet. Errors have the four keys that clients read.
"""

from __future__ import annotations

import base64
import io
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tribute.records import InvalidInput, NotAllowed, Picture, TributeError, Unknown
from tribute.studio.easel import Busy, Easel

ABOUT = {"background": "opaque", "output_format": "png", "quality": "auto"}
USAGE = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"text_tokens": 0, "image_tokens": 0}}
SIDES = {"256x256": 256, "512x512": 512, "1024x1024": 1024}


class Generate(BaseModel):
    """The fields that are read; `background`, `moderation`, `quality`, `style` and `user` are taken as hints, as the reference allows."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = None
    n: int = Field(default=1, ge=1, le=10)
    size: str | None = "auto"
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png"] = "png"
    stream: bool | None = False
    partial_images: int | None = Field(default=None, ge=0, le=3)
    background: Literal["auto", "opaque"] | None = None
    output_compression: Literal[100] | None = None
    moderation: str | None = None
    quality: str | None = None
    style: str | None = None
    user: str | None = None


def error(status: int, message: str, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def told(found: Exception) -> JSONResponse:
    """An exception as the reference's error object."""
    if isinstance(found, ValidationError):
        first = found.errors()[0]
        where = ".".join(map(str, first["loc"])) or None
        return error(400, f"{where}: {first['msg']}", param=where, code="invalid_value")
    if isinstance(found, Busy):
        return error(429, str(found), "rate_limit_error", code="rate_limit_exceeded")
    if isinstance(found, NotAllowed):
        return error(403, str(found), "permission_error", code="consent_missing")
    if isinstance(found, Unknown):
        return error(404, str(found), code="not_found")
    return error(400, str(found), code="invalid_value")


def side_of(picture: Picture) -> str:
    return f"{picture.recipe.width}x{picture.recipe.height}"


def events(easel: Easel, ask: Any, partials: int) -> Iterator[str]:
    """Server-sent events: up to `partials` views of the first picture as it is drawn, then each finished picture, or one error."""
    ready: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue()
    sent = 0

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    def watch(done: int, total: int, look: Callable[[], Any]) -> None:
        nonlocal sent
        if sent < partials and done < total and done >= total * (sent + 1) / (partials + 1):
            buffer = io.BytesIO()
            Image.fromarray(look()).save(buffer, "PNG")
            body = {"b64_json": encoded(buffer.getvalue()), "partial_image_index": sent, "created_at": int(time.time()), "size": "auto", **ABOUT}
            ready.put(("image_generation.partial_image", body))
            sent += 1

    def draw() -> None:
        try:
            for one in easel.draw(ask, secrets.token_hex(8), watch):
                body = {"b64_json": encoded(easel.workshop.blobs.get(one.file_sha256)), "created_at": int(one.created.timestamp()), "size": side_of(one)}
                ready.put(("image_generation.completed", {**body, **ABOUT, "usage": USAGE}))
        except (TributeError, ValidationError) as found:
            ready.put(("error", json.loads(bytes(told(found).body))))
        finally:
            ready.put(None)

    threading.Thread(target=draw, daemon=True).start()
    while (event := ready.get()) is not None:
        yield f"event: {event[0]}\ndata: {json.dumps({'type': event[0], **event[1]})}\n\n"


def router(easel: Easel) -> APIRouter:
    api = APIRouter(prefix="/v1")

    def model_card() -> dict[str, Any]:
        return {"id": easel.workshop.settings.model, "object": "model", "created": 1_763_769_600, "owned_by": "tribute"}

    @api.get("/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card()]}

    @api.get("/models/{name:path}")
    def one_model(name: str) -> Any:
        if name != easel.workshop.settings.model:
            return error(404, f"no model named {name[:80]!r}; there is {easel.workshop.settings.model}", param="model", code="model_not_found")
        return model_card()

    def ask_of(given: Generate) -> Any:
        from tribute.commission import Ask
        from tribute.create.prompt import read_prompt

        size = given.size or "auto"
        if size not in ("auto", *SIDES):
            raise InvalidInput(f"size {size[:40]!r} is not drawn here; give auto, {', '.join(SIDES)}")
        if given.model not in (None, easel.workshop.settings.model):
            raise Unknown.of("model", given.model, [easel.workshop.settings.model])
        words, styles = read_prompt(given.prompt)
        sizes: dict[str, Any] = {}
        if size in SIDES:
            side, native = SIDES[size], easel.model().native
            sizes = {"width": side, "height": side, "enlarge": side // native if side // native in (1, 2, 4, 8) else 1}
        return Ask(prompt=words, styles=styles, seed=secrets.randbelow(2**32), count=given.n, **sizes)

    def shown(request: Request, picture: Picture, as_url: bool) -> dict[str, Any]:
        if as_url:
            return {"url": f"{request.base_url}pictures/{picture.id}.png"}
        return {"b64_json": base64.b64encode(easel.workshop.blobs.get(picture.file_sha256)).decode()}

    @api.post("/images/generations")
    async def generations(request: Request) -> Any:
        from starlette.concurrency import run_in_threadpool

        try:
            given = Generate.model_validate(await request.json())
        except ValueError as found:
            return told(found) if isinstance(found, ValidationError) else error(400, "the body is not JSON")
        try:
            ask = await run_in_threadpool(ask_of, given)
            if given.stream:
                return StreamingResponse(events(easel, ask, given.partial_images or 0), media_type="text/event-stream")
            pictures = await run_in_threadpool(easel.draw, ask, secrets.token_hex(8))
        except (TributeError, ValidationError) as found:
            return told(found)
        data = [shown(request, one, given.response_format == "url") for one in pictures]
        return {"created": int(pictures[0].created.timestamp()), "data": data, "size": side_of(pictures[0]), **ABOUT}

    @api.post("/images/{what}")
    def not_yet(what: str) -> JSONResponse:
        return error(501, f"/v1/images/{what[:40]} is not here yet; /v1/images/generations is", "not_implemented_error", code="not_implemented")

    return api
