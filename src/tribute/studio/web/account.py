"""Sign-up, sign-in, the account: balance, receipts, API keys, password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from tribute.records import InvalidInput
from tribute.studio.gallery import kept_by
from tribute.studio.people import Denied
from tribute.studio.web.access import COOKIE, At, Creator, Guest, Visitor, address_of, set_session, visitor
from tribute.studio.web.render import page

router = APIRouter()
Field = Annotated[str, Form()]


def inside(path: str) -> str:
    """A path of this studio to go on to; anything else is the first page, so nobody is sent elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path and "\r" not in path else "/"


@router.get("/sign-in", response_class=HTMLResponse)
def sign_in_page(request: Request, person: Visitor, to: str = "/") -> HTMLResponse:
    return page(request, "sign-in.html", person=person, to=inside(to), error="")


@router.post("/sign-in", response_model=None)
def sign_in(request: Request, floor: At, name: Field = "", password: Field = "", to: Field = "/") -> Response:
    rates = request.app.state.rates
    rates.hit("sign-in", address_of(request))
    rates.hit("sign-in", f"name:{name[:64].lower()}")
    try:
        person = floor.people.check(name[:64], password)
    except Denied as error:
        return page(request, "sign-in.html", 401, to=inside(to), error=str(error))
    answer = RedirectResponse(inside(to), 303)
    set_session(answer, floor.people.open_session(person), request.url.scheme == "https")
    return answer


@router.get("/sign-up", response_class=HTMLResponse)
def sign_up_page(request: Request, person: Visitor) -> HTMLResponse:
    return page(request, "sign-up.html", person=person, error="")


@router.post("/sign-up", response_model=None)
def sign_up(request: Request, floor: At, name: Field = "", password: Field = "") -> Response:
    request.app.state.rates.hit("sign-up", address_of(request))
    if not password:
        raise InvalidInput("a password is needed")
    if name.lower().startswith(("guest-", "owner")):
        raise InvalidInput(f"the name {name[:64]!r} is kept for the studio; choose another")
    before = visitor(request)
    if before is not None and before.role == "guest":
        person = floor.people.grow(before, name, password)  # what they made as a guest stays theirs
    else:
        person = floor.people.add(name, password, "creator", public=True)
    answer = RedirectResponse("/", 303)
    set_session(answer, floor.people.open_session(person), request.url.scheme == "https")
    return answer


@router.post("/sign-out", response_model=None)
def sign_out(request: Request, floor: At, person: Guest) -> Response:
    del person
    token = request.cookies.get(COOKIE)
    if token:
        floor.people.close_session(token)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/account", response_class=HTMLResponse)
def account(request: Request, floor: At, person: Creator) -> HTMLResponse:
    return _account(request, floor, person)


def _account(request: Request, floor: At, person: Creator, new_key: str = "") -> HTMLResponse:
    with floor.workshop.database.reading() as connection:
        kept = kept_by(connection, person, limit=60)
    return page(request, "account.html", person=person, keys=floor.people.keys_of(person), kept=kept, new_key=new_key)


@router.post("/account/keys", response_class=HTMLResponse)
def new_key(request: Request, floor: At, person: Creator, label: Field = "") -> HTMLResponse:
    return _account(request, floor, person, floor.people.new_key(person, label)[1])


@router.post("/account/keys/{key_id}/revoke", response_model=None)
def revoke(floor: At, person: Creator, key_id: str) -> Response:
    floor.people.revoke_key(person, key_id)
    return RedirectResponse("/account", 303)


@router.post("/account/password", response_model=None)
def password(request: Request, floor: At, person: Creator, old: Field = "", new: Field = "") -> Response:
    request.app.state.rates.hit("sign-in", f"name:{person.name.lower()}")
    floor.people.check(person.name, old)
    floor.people.set_password(person, new)
    return RedirectResponse("/sign-in", 303)
