"""Errors as RFC 9457 problem documents: `type`, `title`, `status`, `detail`."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse

from tribute.records import TributeError

KIND = "application/problem+json"


class NotYet(TributeError):
    """An endpoint or a field that is known and not here yet."""


def told(request: Request, status: int, message: str, error: Exception | None) -> JSONResponse:
    title = HTTPStatus(status).phrase
    kind = f"urn:tribute:{type(error).__name__}" if isinstance(error, TributeError) else "about:blank"
    body = {"type": kind, "title": title, "status": status, "detail": message, "instance": request.url.path}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers=headers, media_type=KIND)
