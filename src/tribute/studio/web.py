"""The studio for its owner, on loopback: a page (a prompt, a picture, who made it), and the HTTP interfaces of OpenAI's Images and A1111.

Open to whoever reaches the port, so it binds to 127.0.0.1 only and answers only requests for that host. Accounts and durable
jobs are not here yet.
"""

from __future__ import annotations

import secrets
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tribute.collection.consent import in_force
from tribute.records import Artist, Picture, Style, TributeError, Unknown
from tribute.records.money import format_minor
from tribute.store.database import documents, get
from tribute.store.schema import artists, pictures, styles
from tribute.studio import a1111_api, openai_api
from tribute.studio.cli.show import percent
from tribute.studio.easel import Busy, Easel
from tribute.studio.wiring import Workshop
from tribute.studio.words import say

POLICY = "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
SAFE = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


def build_app(workshop: Workshop) -> FastAPI:
    """The page's application. The model is loaded at the first picture and stays."""
    app = FastAPI(title="Tribute", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "testserver"])
    templates = Environment(loader=PackageLoader("tribute.studio"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    easel = Easel(workshop)
    app.include_router(openai_api.router(easel))
    app.include_router(a1111_api.router(easel))

    def lang_of(request: Request) -> str:
        asked = request.query_params.get("lang") or request.cookies.get("lang") or request.headers.get("accept-language", "en")
        return "zh" if asked.lower().startswith("zh") else "en"

    def page(request: Request, status: int = 200, **values: Any) -> HTMLResponse:
        lang = lang_of(request)
        with workshop.database.reading() as connection:
            names = {artist.id: artist.name for artist in documents(connection, artists, Artist)}
            offered = [
                {"name": style.name, "title": style.title_zh if lang == "zh" else style.title_en, "artist": names[style.artist_id],
                 "price": format_minor(consent.price_minor, consent.currency)}
                for style in documents(connection, styles, Style, styles.c.withdrawn.is_(None))
                if (consent := in_force(connection, style.artist_id).get("style")) and consent.allowed
            ]  # fmt: skip
        text = templates.get_template("create.html").render(
            lang=lang, say=lambda text: say(text, lang), styles=offered, names=names, percent=percent, money=format_minor, **values
        )
        answer = HTMLResponse(text, status)
        answer.set_cookie("lang", lang, max_age=31_536_000, samesite="strict", httponly=True)
        return answer

    @app.middleware("http")
    async def safe_headers(request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        for name, value in SAFE.items():
            answer.headers.setdefault(name, value)
        return answer

    @app.middleware("http")
    async def same_origin(request: Request, call_next: Any) -> Response:
        """A form on another site cannot post here."""
        origin = request.headers.get("origin")
        if request.method == "POST" and origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return JSONResponse({"detail": "posted from another site"}, 403)
        answer: Response = await call_next(request)
        return answer

    @app.exception_handler(TributeError)
    def refused(request: Request, error: TributeError) -> HTMLResponse:
        status = 404 if isinstance(error, Unknown) else 429 if isinstance(error, Busy) else 400
        return page(request, status, error=str(error))

    @app.exception_handler(ValidationError)
    def invalid(request: Request, error: ValidationError) -> HTMLResponse:
        first = error.errors()[0]
        return page(request, 400, error=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.get("/", response_class=HTMLResponse)
    def home(request: Request) -> HTMLResponse:
        return page(request)

    @app.post("/create")
    def create(prompt: str = Form(""), style: str = Form(""), weight: str = Form("1")) -> RedirectResponse:
        from tribute.commission import Ask
        from tribute.create.prompt import read_prompt

        words, uses = read_prompt(prompt, [f"{style}:{weight}"] if style else [])
        made = easel.draw(Ask(prompt=words, styles=uses, seed=secrets.randbelow(2**32)), secrets.token_hex(8))
        return RedirectResponse(f"/pictures/{made[0].id}", 303)

    @app.get("/pictures/{picture_id}.png")
    def pixels(picture_id: str) -> Response:
        data = workshop.blobs.get(workshop.picture(checked(picture_id))[0].file_sha256)
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=31536000, immutable"})

    @app.get("/pictures/{picture_id}", response_class=HTMLResponse)
    def picture(request: Request, picture_id: str) -> HTMLResponse:
        return page(request, picture=workshop.picture(checked(picture_id))[0])

    @app.get("/style.css")
    def css() -> Response:
        return Response((files("tribute.studio") / "templates" / "style.css").read_bytes(), media_type="text/css")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        with workshop.database.reading() as connection:
            connection.execute(pictures.select().limit(1)).first()
        return {"ok": True, "model_loaded": easel.loaded}

    def checked(picture_id: str) -> str:
        """An id, never a path: what is no id is not looked for on disk."""
        with workshop.database.reading() as connection:
            return get(connection, pictures, Picture, picture_id, "picture").id

    return app
