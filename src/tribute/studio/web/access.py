"""Who is asking, and what stands between the network and the studio: sessions, keys, roles, rates, sizes, origins, headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from tribute.records import Busy, NotAllowed, TributeError
from tribute.studio.floor import Floor
from tribute.studio.people import KEY_PREFIX, Denied, Person

COOKIE = "tribute_session"
UPLOAD_MAX = 20_000_000  # bytes of a request's body
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; object-src 'none'; manifest-src 'self'"
)
SAFE = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}  # fmt: skip
# A minute, per address or person. Drawing is bounded by the queue instead.
RATES = {"sign-in": parse("10/minute"), "sign-up": parse("10/minute"), "upload": parse("60/minute"), "any": parse("1200/minute")}
ORDER = {"guest": 0, "creator": 1, "artist": 1, "operator": 2}


class SignIn(TributeError):
    """Nobody is signed in, and somebody has to be."""


class Rates:
    def __init__(self) -> None:
        self.limiter = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, what: str, who: str) -> None:
        """Raises Busy where `who` did this too often."""
        if not self.limiter.hit(RATES[what], what, who):
            raise Busy("that is too often; wait a minute and say it again")


def floor_of(request: Request) -> Floor:
    floor: Floor = request.app.state.floor
    return floor


def address_of(request: Request) -> str:
    return request.client.host if request.client else "?"


def _by_header(floor: Floor, header: str) -> Person:
    """Of an Authorization header: a key as Bearer, or name and password, or name and key, as Basic. Raises Denied."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer":
        return floor.people.of_key(value.strip())
    if kind.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Denied("the Authorization header cannot be read") from error
        return floor.people.of_key(secret) if secret.startswith(KEY_PREFIX) else floor.people.check(name, secret)
    raise Denied("give an API key as a Bearer token, or name and password as Basic")


def visitor(request: Request) -> Person | None:
    """Whoever asks, where they said so. Without accounts it is the owner."""
    floor = floor_of(request)
    if not floor.accounts:
        return floor.people.owner()
    header = request.headers.get("authorization", "")
    if header:
        try:
            return _by_header(floor, header)
        except Denied:
            request.app.state.rates.hit("sign-in", address_of(request))  # guessing is slowed down, programs that know are not
            raise
    token = request.cookies.get(COOKIE)
    return floor.people.of_session(token) if token else None


def needs(role: str) -> Callable[[Request], Person]:
    """A dependency: somebody signed in, of at least that role. Raises SignIn or NotAllowed."""

    def check(request: Request) -> Person:
        person = visitor(request)
        if person is None:
            raise SignIn("sign in first")
        if ORDER[person.role] < ORDER[role]:
            raise NotAllowed(f"this is for {role}s" if role != "creator" else "this needs an account; sign up first")
        return person

    return check


def drawer(request: Request) -> Person:
    """Whoever may have pictures drawn: somebody signed in, or a guest, who is made one now where the studio has guests."""
    person = visitor(request)
    if person is not None:
        return person
    floor = floor_of(request)
    if floor.workshop.settings.guest_pictures == 0:
        raise SignIn("sign in first; this studio has no guests")
    request.app.state.rates.hit("sign-up", address_of(request))
    person = floor.people.guest()
    request.state.new_session = floor.people.open_session(person)
    return person


At = Annotated[Floor, Depends(floor_of)]
Visitor = Annotated[Person | None, Depends(visitor)]
Drawer = Annotated[Person, Depends(drawer)]
Guest = Annotated[Person, Depends(needs("guest"))]
Creator = Annotated[Person, Depends(needs("creator"))]
Operator = Annotated[Person, Depends(needs("operator"))]


def artist_or_operator(person: Person, artist_id: str) -> None:
    """Raises NotAllowed for anybody but the artist themself and the operator."""
    if not person.is_operator and person.artist_id != artist_id:
        raise NotAllowed("this is for the artist and the studio's operator")


def set_session(answer: Response, token: str, secure: bool) -> None:
    answer.set_cookie(COOKIE, token, max_age=30 * 86_400, httponly=True, samesite="lax", secure=secure)


def same_origin(request: Request) -> bool:
    """False for a change asked for by another site's page: by Sec-Fetch-Site, and by Origin where a browser is older. Programs send neither."""
    site = request.headers.get("sec-fetch-site")
    if site not in (None, "same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


class BodyLimit:
    """Refuses a body of more than UPLOAD_MAX bytes, said beforehand or counted as it comes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > UPLOAD_MAX:
            await self._refuse(send)
            return
        seen, over = 0, False

        async def counted() -> Any:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            over = over or seen > UPLOAD_MAX
            return {"type": "http.disconnect"} if over else message

        async def noted(message: Any) -> None:
            if not over:  # whatever the application makes of a body that ended early is not told
                await send(message)

        await self.app(scope, counted, noted)
        if over:
            await self._refuse(send)

    @staticmethod
    async def _refuse(send: Any) -> None:
        body = b'{"detail":"the request is larger than 20,000,000 bytes","status":413,"title":"Content Too Large","type":"about:blank"}'
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
