"""Artists: their works, their terms in plain words, what they earned, statements, and leaving with a proof."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import Connection, func, select

from tribute.collection.consent import in_force, record_consent, record_terms, terms_in_force
from tribute.ledger.settlement import week_of
from tribute.records import Artist, Consent, InvalidInput, Statement, Style, Terms, Unknown, Use, Work, canonical, utc_now
from tribute.records.money import parse_minor
from tribute.store.database import documents, get
from tribute.store.schema import artists, balances, postings, statements, styles, transactions, works
from tribute.studio.floor import Floor
from tribute.studio.leaving import leave
from tribute.studio.statements import as_csv, as_html
from tribute.studio.web.access import At, Creator, Visitor, artist_or_operator
from tribute.studio.web.render import lang_of, page, weekly_plot

router = APIRouter(prefix="/artists")
WORKS, WEEKS = 24, 12
EXPLAINED: dict[str, str] = {
    "train_base": "Works may teach the base model.",
    "style": "A style may be learned from the works and worn in pictures; it is paid.",
    "image_to_image": "People may draw over the works.",
}  # fmt: skip


@router.get("", response_class=HTMLResponse)
def everybody(request: Request, floor: At, person: Visitor) -> HTMLResponse:
    with floor.workshop.database.reading() as connection:
        counts = dict(connection.execute(select(works.c.artist_id, func.count()).group_by(works.c.artist_id)).tuples().all())
        rows = [(artist, counts.get(artist.id, 0), in_force(connection, artist.id)) for artist in documents(connection, artists, Artist)]
    return page(request, "artists.html", person=person, rows=rows)


def earnings(connection: Connection, artist_id: str, currency: str) -> dict[str, Any]:
    """Balances now, and what was earned by week, in micro units."""
    accounts = {kind: f"{kind}:{artist_id}" for kind in ("artist", "payable")}
    held = dict(connection.execute(select(balances.c.account, balances.c.amount_micro).where(balances.c.account.in_(accounts.values()))).tuples().all())
    kinds = transactions.c.kind.in_(("download", "refund"))
    joined = select(transactions.c.created, postings.c.amount_micro).join_from(postings, transactions, postings.c.key == transactions.c.key)
    by_week: dict[str, int] = {}
    for row in connection.execute(joined.where(postings.c.account == accounts["artist"], postings.c.currency == currency, kinds)):
        week = week_of(datetime.fromisoformat(row.created))
        by_week[week] = by_week.get(week, 0) + row.amount_micro
    return {"open": held.get(accounts["artist"], 0), "payable": held.get(accounts["payable"], 0), "weeks": sorted(by_week.items())[-WEEKS:]}


def statements_of(connection: Connection, artist_id: str) -> list[Statement]:
    found = connection.execute(select(statements.c.document).where(statements.c.artist_id == artist_id).order_by(statements.c.week.desc()).limit(60))
    return [Statement.model_validate_json(document) for document in found.scalars()]


@router.get("/{artist_id}", response_class=HTMLResponse)
def one(request: Request, floor: At, person: Visitor, artist_id: str, after: str = "") -> HTMLResponse:
    mine = person is not None and (person.is_operator or person.artist_id == artist_id)
    currency = floor.workshop.settings.currency
    with floor.workshop.database.reading() as connection:
        artist = get(connection, artists, Artist, artist_id, "artist")
        said = in_force(connection, artist_id)
        agreed = {use: terms_in_force(connection, artist_id, use) for use in get_args(Use)}
        page_of = (works.c.artist_id == artist_id, works.c.hash > after[:64])
        found = [Work.model_validate_json(document) for document in connection.execute(
            select(works.c.document).where(*page_of).order_by(works.c.hash).limit(WORKS)).scalars()]  # fmt: skip
        taught = list(documents(connection, styles, Style, styles.c.artist_id == artist_id))
        withdrawn = {row.name for row in connection.execute(select(styles.c.name).where(styles.c.artist_id == artist_id, styles.c.withdrawn.is_not(None)))}
        earned = earnings(connection, artist_id, currency) if mine else None
        told = statements_of(connection, artist_id) if mine else []
    shown = [(work, floor.workshop.blobs.path(work.picture_sha256).exists()) for work in found]
    values: dict[str, Any] = {
        "artist": artist, "said": said, "agreed": agreed, "explained": EXPLAINED, "works": shown, "styles": taught, "withdrawn": withdrawn, "mine": mine,
        "earned": earned, "statements": told, "currency": currency, "settings": floor.workshop.settings,
        "plot": weekly_plot(earned["weeks"], currency) if earned and earned["weeks"] else "", "after": found[-1].hash if len(found) == WORKS else "",
    }  # fmt: skip
    return page(request, "artist.html", person=person, **values)


@router.get("/{artist_id}/live", response_class=HTMLResponse)
def live(request: Request, floor: At, person: Creator, artist_id: str) -> HTMLResponse:
    """The earnings as they are now: a fragment that the page asks for again and again."""
    artist_or_operator(person, artist_id)
    currency = floor.workshop.settings.currency
    with floor.workshop.database.reading() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        earned = earnings(connection, artist_id, currency)
    return page(request, "_earnings.html", person=person, earned=earned, currency=currency, plot=weekly_plot(earned["weeks"], currency))


def set_consent(floor: Floor, artist_id: str, use: str, allowed: bool, basis: str) -> Consent:
    """An artist's word on a use from now on; the price stays. Raises Unknown."""
    if use not in get_args(Use):
        raise Unknown.of("use", use, get_args(Use))
    settings = floor.workshop.settings
    with floor.workshop.database.writing() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        before = in_force(connection, artist_id).get(use)  # type: ignore[call-overload]
        price = before.price_minor if before else settings.price_minor
        said = Consent(artist_id=artist_id, use=use, allowed=allowed, price_minor=price, currency=settings.currency, since=utc_now(), basis=basis)  # type: ignore[arg-type]
        record_consent(connection, said)
    return said


def set_terms(floor: Floor, artist_id: str, price: str, use: str = "style") -> Terms:
    """What one kept picture costs at the least, for pictures made from now on; the studio's part stays as agreed."""
    settings = floor.workshop.settings
    with floor.workshop.database.writing() as connection:
        get(connection, artists, Artist, artist_id, "artist")
        before = terms_in_force(connection, artist_id, use)  # type: ignore[arg-type]
        agreed = Terms(
            artist_id=artist_id, use=use, price_minor=parse_minor(price, settings.currency), currency=settings.currency,  # type: ignore[arg-type]
            platform_bp=before.platform_bp if before else settings.platform_bp, since=utc_now(),
        )  # fmt: skip
        record_terms(connection, agreed)
    return agreed


@router.post("/{artist_id}/consent", response_model=None)
def consent(
    floor: At, person: Creator, artist_id: str, use: Annotated[str, Form()] = "", allowed: Annotated[bool, Form()] = False
) -> Response:  # fmt: skip
    artist_or_operator(person, artist_id)
    set_consent(floor, artist_id, use, allowed, f"said on the artist's page by {person.name}")
    return RedirectResponse(f"/artists/{artist_id}#terms", 303)


@router.post("/{artist_id}/terms", response_model=None)
def terms(floor: At, person: Creator, artist_id: str, price: Annotated[str, Form()] = "") -> Response:
    artist_or_operator(person, artist_id)
    set_terms(floor, artist_id, price)
    return RedirectResponse(f"/artists/{artist_id}#terms", 303)


@router.post("/{artist_id}/withdraw", response_model=None)
def withdraw(request: Request, floor: At, person: Creator, artist_id: str, sure: Annotated[str, Form()] = "") -> Response:
    """Ends consent to every use, deletes the adapters; hands over the proof."""
    artist_or_operator(person, artist_id)
    if sure.strip() != artist_id:
        raise InvalidInput(f"to leave, write {artist_id} in the field; nothing was changed")
    proof = leave(floor.workshop, artist_id, f"withdrawn on the artist's page by {person.name}")
    headers = {"Content-Disposition": f'attachment; filename="withdrawal-{artist_id}.json"'}
    return Response(canonical(proof), media_type="application/json", headers=headers)


@router.get("/{artist_id}/statements/{week}.{ending}")
def statement(request: Request, floor: At, person: Creator, artist_id: str, week: str, ending: str) -> Response:
    artist_or_operator(person, artist_id)
    with floor.workshop.database.reading() as connection:
        artist = get(connection, artists, Artist, artist_id, "artist")
        found = next((one for one in statements_of(connection, artist_id) if one.week == week), None)
    if found is None:
        raise Unknown.of("statement", f"{artist_id} {week}")
    makers: dict[str, tuple[str, Any]] = {
        "html": ("text/html", lambda: as_html(found, artist, floor.workshop.settings.producer, lang_of(request))),
        "csv": ("text/csv; charset=utf-8", lambda: as_csv(found)),
        "json": ("application/json", found.model_dump_json),
    }
    if ending not in makers:
        raise Unknown.of("kind of statement", ending, makers)
    kind, make = makers[ending]
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"} if ending == "html" else {}
    return Response(make(), media_type=kind, headers=headers)
