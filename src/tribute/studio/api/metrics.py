"""Prometheus' `/metrics`: requests, jobs, money and memory. For operators: it tells how much is drawn and paid."""

from __future__ import annotations

import resource
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select

from tribute.ledger.book import all_balances
from tribute.store.schema import pictures, transactions
from tribute.studio.web.access import At, Operator

router = APIRouter()
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS")
registry = CollectorRegistry()
REQUESTS = Counter("tribute_requests", "Requests answered.", ("method", "route", "status"), registry=registry)
SECONDS = Histogram("tribute_request_seconds", "Seconds until a request was answered.", ("route",), registry=registry)


def seen(request: Request, status: int, seconds: float) -> None:
    """Counts a request under its route, never under its path, which has ids in it."""
    route: Any = request.scope.get("route")
    name = getattr(route, "path", "none")
    method = request.method if request.method in METHODS else "other"  # a label is kept for ever
    REQUESTS.labels(method, name, str(status)).inc()
    SECONDS.labels(name).observe(seconds)


@router.get("/metrics")
def metrics(floor: At, person: Operator) -> Response:
    del person
    now = CollectorRegistry()
    jobs = Gauge("tribute_jobs", "Jobs by state.", ("state",), registry=now)
    for state, count in floor.jobs.counts().items():
        jobs.labels(state).set(count)
    with floor.workshop.database.reading() as connection:
        made = connection.execute(select(func.count()).select_from(pictures)).scalar_one()
        kinds = connection.execute(select(transactions.c.kind, func.count()).group_by(transactions.c.kind)).tuples().all()
    Gauge("tribute_pictures", "Pictures stored.", registry=now).set(made)
    entries = Gauge("tribute_ledger_transactions", "Transactions by kind.", ("kind",), registry=now)
    for kind, count in kinds:
        entries.labels(kind).set(count)
    money = Gauge("tribute_balance_minor", "Balances of the studio's own accounts, in minor units.", ("account", "currency"), registry=now)
    for (account, currency), amount in all_balances(floor.workshop.database).items():
        if ":" not in account:
            money.labels(account, currency).set(amount / 1e6)
    Gauge("tribute_memory_peak_bytes", "Most memory held so far.", registry=now).set(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return Response(generate_latest(registry) + generate_latest(now), media_type=CONTENT_TYPE_LATEST)
