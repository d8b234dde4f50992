"""Operator: jobs, people, prices, reports, settlement, health."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select

from tribute.ledger.book import all_balances, creator_account
from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import InvalidInput, utc_now
from tribute.records.money import format_micro, parse_minor
from tribute.store.schema import jobs, people, weeks
from tribute.studio.floor import Floor
from tribute.studio.jobs import alive
from tribute.studio.people import ROLES
from tribute.studio.web.access import At, Operator
from tribute.studio.web.create import own_job
from tribute.studio.web.render import artist_names, offered_styles, page

router = APIRouter(prefix="/operator")
Field = Annotated[str, Form()]


def health_of(floor: Floor) -> dict[str, Any]:
    """What works now, looked at now. `ok` is false where pictures cannot be drawn or stored."""
    facts: dict[str, Any] = {"database": False, "blobs": False, "workers": 0, "model": floor.easel.loaded, "jobs": {}}
    try:
        facts["jobs"] = floor.jobs.counts()
        facts["database"] = True
        facts["workers"] = len(alive(floor.workshop.database)) if hasattr(floor.dispatch, "fleet") else 1
    except Exception as error:  # whatever is wrong, it is told and not thrown
        facts["problem"] = str(error).splitlines()[0][:200]
    try:
        probe = b"tribute health"
        facts["blobs"] = floor.workshop.blobs.get(floor.workshop.blobs.put(probe)) == probe
    except Exception as error:
        facts["problem"] = str(error).splitlines()[0][:200]
    facts["ok"] = bool(facts["database"] and facts["blobs"] and facts["workers"])
    return facts


@router.get("", response_class=HTMLResponse)
def overview(request: Request, floor: At, person: Operator) -> HTMLResponse:
    database, currency = floor.workshop.database, floor.workshop.settings.currency
    with database.reading() as connection:
        closed = connection.execute(select(weeks).order_by(weeks.c.week.desc()).limit(8)).all()
        names = dict(connection.execute(select(people.c.id, people.c.name)).tuples().all())
    held = [(account, format_micro(amount, unit)) for (account, unit), amount in all_balances(database).items()]
    values = {
        "waiting": floor.jobs.waiting()[:40], "ended": floor.jobs.find(jobs.c.state.in_(("failed", "cancelled")), limit=10), "names": names,
        "people": floor.people.all(), "roles": ROLES[1:], "reports": floor.gallery.reports(), "held": held, "weeks": closed, "week": week_of(utc_now()),
        "health": health_of(floor), "workers": alive(database), "settings": floor.workshop.settings, "currency": currency,
        "styles": offered_styles(floor, "en"), "artists": artist_names(floor), "token": secrets.token_hex(8),
    }  # fmt: skip
    return page(request, "operator.html", person=person, **values)


@router.post("/topup", response_model=None)
def topup(floor: At, person: Operator, name: Field = "", amount: Field = "", key: Field = "") -> Response:
    """Prepaid money for somebody; `key` makes a form that is sent twice count once."""
    creator_account(name)
    if floor.people.named(name) is None:
        raise InvalidInput(f"nobody here is called {name[:64]!r}")
    currency = floor.workshop.settings.currency
    top_up(floor.workshop.database, name, parse_minor(amount, currency), currency, f"top-up:{name}:{(key or secrets.token_hex(8))[:64]}")
    del person
    return RedirectResponse("/operator#people", 303)


@router.post("/people", response_model=None)
def add_person(floor: At, person: Operator, name: Field = "", password: Field = "", role: Field = "creator", artist: Field = "") -> Response:
    del person
    if not password:
        raise InvalidInput("a password is needed")
    floor.people.add(name, password, role, artist or None)  # type: ignore[arg-type]
    return RedirectResponse("/operator#people", 303)


@router.post("/people/{person_id}/disable", response_model=None)
def disable(floor: At, person: Operator, person_id: str) -> Response:
    if person.id == person_id:
        raise InvalidInput("you cannot shut yourself out; let another operator do it")
    floor.people.disable(person_id)
    return RedirectResponse("/operator#people", 303)


@router.post("/jobs/{job_id}/cancel", response_model=None)
def cancel(floor: At, person: Operator, job_id: str) -> Response:
    floor.jobs.cancel(own_job(floor, person, job_id).id)
    return RedirectResponse("/operator", 303)


@router.post("/reports/{report_id}", response_model=None)
def decide(floor: At, person: Operator, report_id: str, decision: Field = "") -> Response:
    del person
    floor.gallery.decide(report_id, decision)
    return RedirectResponse("/operator#reports", 303)


@router.post("/settle", response_model=None)
def settle_week(floor: At, person: Operator, week: Field = "") -> Response:
    """Closes a week: statements for every artist, and the root that receipts lead to."""
    del person
    settle(floor.workshop.database, week)
    return RedirectResponse("/operator#settlement", 303)
