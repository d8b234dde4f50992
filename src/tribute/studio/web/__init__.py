"""The studio's pages and HTTP interfaces, joined to one application.

Open to its owner on loopback; with accounts, to whoever signs in. Every answer has a strict content security policy, a change is taken only from
the studio's own pages or from programs, and every error has the shape that its interface's clients read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tribute.records import Busy, Conflict, InsufficientFunds, Interrupted, InvalidInput, NotAllowed, NotInstalled, Pending, TributeError, Unknown, Unreadable
from tribute.store.database import Unavailable
from tribute.studio.api import a1111, metrics, openai, own, problems
from tribute.studio.floor import Floor
from tribute.studio.likeness import Published
from tribute.studio.people import Denied
from tribute.studio.web import account, artists, create, explore, operator, picture
from tribute.studio.web.access import SAFE, BodyLimit, Rates, SignIn, address_of, same_origin
from tribute.studio.web.render import page

log = logging.getLogger("tribute.web")
THREADS = 160
LOOPBACK = ("127.0.0.1", "localhost", "testserver")
STATUS: dict[type[Exception], int] = {
    SignIn: 401, Denied: 401, NotAllowed: 403, Unknown: 404, Conflict: 409, Pending: 409, InsufficientFunds: 402, Busy: 429,
    Interrupted: 409,
    Unavailable: 503,
    Unreadable: 500, NotInstalled: 501, InvalidInput: 400, problems.NotYet: 501,
}  # fmt: skip
TROUBLE: dict[type[Exception], str] = {  # whose own words name hosts and files
    Unavailable: "the studio's database cannot be reached; say it again in a minute",
    Unreadable: "a file of the studio's is damaged; its operator can see which",
}  # fmt: skip
SAID = {401: "sign in first", 404: "there is nothing here", 405: "that cannot be done here"}


def status_of(error: Exception) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400 if isinstance(error, TributeError) else 500)


def told(request: Request, status: int, error: Exception | None, message: str) -> Response:
    """An error as the interface that was asked tells it."""
    path = request.url.path
    if path.startswith("/v1/"):
        return openai.told(status, message, error)
    if path.startswith("/sdapi/"):
        return a1111.told(status, message, error)
    if path.startswith("/api/") or path in ("/metrics", "/healthz"):
        return problems.told(request, status, message, error)
    if status == 401 and request.method == "GET" and not request.headers.get("authorization"):
        return RedirectResponse(f"/sign-in?to={path}", 303)
    answer = page(request, "message.html", status, title="", text=message, link="/")
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def first_of(error: ValidationError | RequestValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'] if part not in ('body', 'query', 'path'))}: {first['msg']}".removeprefix(": ")


def add_handlers(app: FastAPI) -> None:
    @app.exception_handler(TributeError)
    def refused(request: Request, error: TributeError) -> Response:
        status = status_of(error)
        if status >= 500 and not isinstance(error, problems.NotYet | NotInstalled):
            log.error("%s %s: %s", request.method, request.url.path, error)
        answer = told(request, status, error, TROUBLE.get(type(error), str(error)))
        if isinstance(error, Busy):
            answer.headers["Retry-After"] = "5"
        return answer

    @app.exception_handler(ValidationError)
    def invalid(request: Request, error: ValidationError) -> Response:
        return told(request, 422 if request.url.path.startswith("/sdapi/") else 400, error, first_of(error))

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> Response:
        return told(request, 422, error, first_of(error))

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> Response:
        answer = told(request, error.status_code, error, SAID.get(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    def ours(request: Request, error: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return told(request, 500, error, "something went wrong in the studio; nothing was charged")


def add_guards(app: FastAPI) -> None:
    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        began = time.perf_counter()
        if request.method not in ("GET", "HEAD", "OPTIONS") and not same_origin(request):
            answer: Response = told(request, 403, NotAllowed("asked for by another site's page"), "asked for by another site's page")
        else:
            try:
                if app.state.floor.accounts:  # its owner needs no slowing down
                    app.state.rates.hit("any", address_of(request))
                answer = await call_next(request)
            except Busy as error:
                answer = told(request, 429, error, str(error))
                answer.headers["Retry-After"] = "60"
        for name, value in SAFE.items():
            answer.headers.setdefault(name, value)
        metrics.seen(request, answer.status_code, time.perf_counter() - began)
        return answer


def build_app(floor: Floor, hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The application over an open floor. `hosts` are the names that it answers to."""

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS  # those that wait for pictures are bounded in `Floor`
        yield
        floor.dispatch.close()

    app = FastAPI(title="Tribute", version="1", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json", lifespan=living)
    app.state.floor, app.state.rates, app.state.published = floor, Rates(), Published(floor.workshop)
    add_handlers(app)
    add_guards(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.mount("/static", StaticFiles(directory=str(files("tribute.studio") / "static")), name="static")
    for part in (create, picture, explore, artists, operator, account):
        app.include_router(part.router, include_in_schema=False)
    app.include_router(own.router)
    for part in (openai, a1111, metrics):
        app.include_router(part.router, include_in_schema=False)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return RedirectResponse("/static/icon.svg", 301)

    @app.get("/healthz", include_in_schema=False)
    def health() -> JSONResponse:
        facts = operator.health_of(floor)
        return JSONResponse(facts, 200 if facts["ok"] else 503)

    return app
