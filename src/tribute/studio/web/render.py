"""Pages from templates: the reader's language, what every page shows, and how amounts and shares are written."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from tribute.collection.consent import in_force, terms_in_force
from tribute.records import PPM, Artist, Style, Work
from tribute.records.money import format_micro, format_minor
from tribute.store.database import documents
from tribute.store.schema import artists, styles
from tribute.studio.cli.show import percent
from tribute.studio.floor import Floor
from tribute.studio.people import Person
from tribute.studio.web.access import floor_of, visitor
from tribute.studio.words import say_page

YEAR_S = 31_536_000


@cache
def environment() -> Environment:
    made = Environment(loader=PackageLoader("tribute.studio"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    made.globals.update(has_face=has_face, called=called, percent=percent, money=format_minor, micro=format_micro, PPM=PPM)
    return made


def lang_of(request: Request) -> str:
    """The language asked for in the address, in the cookie, or by the browser."""
    asked = request.query_params.get("lang") or request.cookies.get("lang") or request.headers.get("accept-language", "en")
    return "zh" if asked.lower().startswith("zh") else "en"


def fragment(request: Request, template: str, **values: Any) -> str:
    """A part of a page."""
    lang = lang_of(request)
    return environment().get_template(template).render(lang=lang, say=lambda text: say_page(text, lang), **values)


def page(request: Request, template: str, status: int = 200, *, person: Person | None = None, **values: Any) -> HTMLResponse:
    """A whole page; sets the language that was asked for, and the session of a guest who was made one."""
    floor, lang = floor_of(request), lang_of(request)
    if person is None:
        try:
            person = visitor(request)
        except Exception:  # a page that tells of a bad key must not fail on it again
            person = None
    balance = format_micro(floor.balance_micro(person), floor.workshop.settings.currency) if person and person.role != "guest" else ""
    text = fragment(request, template, person=person, accounts=floor.accounts, balance=balance, path=request.url.path, **values)
    answer = HTMLResponse(text, status)
    if "lang" in request.query_params:
        answer.set_cookie("lang", lang, max_age=YEAR_S, samesite="lax", httponly=True)
    answer.headers["Vary"] = "Cookie, Accept-Language"
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def called(work: Work, lang: str) -> str:
    """A work's title as its artist gives it; for readers of Chinese with what it shows in front."""
    shows = work.captions_zh[0].split("，")[0] if work.captions_zh else ""
    return f"{shows} · {work.title}" if lang == "zh" and shows not in ("", work.title) else work.title


@cache
def has_face(style: str) -> bool:
    """Whether a work of the style is shipped to choose it by."""
    return (files("tribute.studio") / "static" / "faces" / f"{style}.webp").is_file()


def offered_styles(floor: Floor, lang: str) -> list[dict[str, Any]]:
    """The styles that consent allows now, with their artists and prices."""
    own = floor.workshop.settings.price_minor
    with floor.workshop.database.reading() as connection:
        names = {artist.id: artist for artist in documents(connection, artists, Artist)}
        found = []
        for style in documents(connection, styles, Style, styles.c.withdrawn.is_(None)):
            consent = in_force(connection, style.artist_id).get("style")
            if consent is None or not consent.allowed:
                continue
            agreed = terms_in_force(connection, style.artist_id, "style")
            price = max(own, agreed.price_minor if agreed else consent.price_minor)
            found.append({
                "name": style.name, "title": style.title_zh if lang == "zh" else style.title_en, "artist": names[style.artist_id],
                "licence": style.licence, "price": format_minor(price, consent.currency), "face": has_face(style.name),
            })  # fmt: skip
    return found


def artist_names(floor: Floor) -> dict[str, str]:
    with floor.workshop.database.reading() as connection:
        return {artist.id: artist.name for artist in documents(connection, artists, Artist)}


def weekly_plot(weeks: list[tuple[str, int]], currency: str) -> str:
    """An SVG column a week; amounts are micro units. Drawn here, so that it needs no script."""
    width, height, foot = 40 * max(4, len(weeks)) + 20, 140, 24
    most = max((amount for _, amount in weeks), default=0) or 1
    bars = []
    for at, (week, amount) in enumerate(weeks):
        tall = round(max(0, amount) / most * (height - foot - 20))
        left, top = 20 + 40 * at, height - foot - tall
        bars.append(f'<g><title>{week}: {format_micro(amount, currency)}</title><rect class="bar" x="{left}" y="{top}" width="26" height="{tall}" rx="3"/>'
                    f'<text x="{left + 13}" y="{height - 6}" text-anchor="middle">{week[-3:]}</text></g>')  # fmt: skip
    return f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{currency}">{"".join(bars)}</svg>'
