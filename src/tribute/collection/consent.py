"""Who allowed what: the most restrictive signal wins, and silence is no.

Signals found in a work's own file (C2PA and CAWG training-mining assertions, IPTC/PLUS Data Mining, TDM reservation) can only
take consent away; only a Consent record gives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from tribute.records import USES, Consent, Terms, Use, Work, canonical, utc_now
from tribute.store.database import moment
from tribute.store.schema import consents, terms

# Licences that ask for no payment: the commons, which alone may train the base.
COMMONS_LICENCES = ("Apache-2.0", "MIT", "CC0-1.0", "LicenseRef-PublicDomain")

# Each pattern is matched against a signal's `name=value`, lower-case. Metadata says no in one of these ways.
REFUSALS = (
    re.compile(r"(c2pa|cawg)\.(ai_generative_training|ai_training|data_mining|ai_inference)=(notallowed|constrained)"),
    re.compile(r"plus:datamining=.*dmi-prohibited"),
    re.compile(r"tdm-?reservation=1"),
)


def signals_in(data: bytes) -> tuple[str, ...]:
    """Reservations found in a picture file's metadata, as `name=value`. Text search: it errs towards finding too many."""
    text = data.decode("latin-1")
    found = [f"plus:datamining={value}" for value in re.findall(r"DMI-[A-Z]+(?:-[A-Z]+)*", text)]
    found += [f"tdm-reservation={value}" for value in re.findall(r"tdm:?-?reservation[\"'>=:\s]{1,4}([01])", text, re.IGNORECASE)]
    entry = r"((?:c2pa|cawg)\.(?:ai_generative_training|ai_training|data_mining|ai_inference))(.{0,40}?)(notAllowed|constrained|allowed)"
    found += [f"{name}={value}" for name, _, value in re.findall(entry, text, re.DOTALL)]
    return tuple(dict.fromkeys(signal.lower() for signal in found))


def refused(work: Work) -> str | None:
    """The first signal on the work itself that forbids training, or None."""
    return next((signal for signal in work.signals if any(pattern.search(signal) for pattern in REFUSALS)), None)


def record_consent(connection: Connection, consent: Consent) -> None:
    """Appends a consent or a withdrawal; saying the same twice is harmless."""
    from tribute.store.database import insert_new

    row = {"hash": consent.hash, "artist_id": consent.artist_id, "use": consent.use, "document": canonical(consent.document()).decode()}
    insert_new(connection, consents, [row])


def in_force(connection: Connection, artist_id: str) -> dict[Use, Consent]:
    """The last word of an artist on each use; a use that is absent was never consented to."""
    query = select(consents.c.document).where(consents.c.artist_id == artist_id).order_by(consents.c.seq)
    last: dict[Use, Consent] = {}
    for document in connection.execute(query).scalars():
        consent = Consent.model_validate_json(document)
        last[consent.use] = consent
    return {use: last[use] for use in USES if use in last}


def record_terms(connection: Connection, agreed: Terms) -> None:
    """Appends what was agreed with an artist; it holds for pictures made from its `since` on."""
    row = {"artist_id": agreed.artist_id, "use": agreed.use, "since": moment(agreed.since), "document": canonical(agreed.document()).decode()}
    connection.execute(insert(terms).values(row))


def terms_in_force(connection: Connection, artist_id: str, use: Use, when: datetime | None = None) -> Terms | None:
    """What was agreed for a use at a moment, now by default; None where only consent and the studio's own terms hold."""
    past = (terms.c.artist_id == artist_id, terms.c.use == use, terms.c.since <= moment(when or utc_now()))
    newest = select(terms.c.document).where(*past).order_by(terms.c.since.desc(), terms.c.seq.desc()).limit(1)
    document = connection.execute(newest).scalar_one_or_none()
    return None if document is None else Terms.model_validate_json(document)


def allows(consents_in_force: dict[Use, Consent], use: Use) -> Consent | None:
    consent = consents_in_force.get(use)
    return consent if consent is not None and consent.allowed else None


def allowed_works(connection: Connection, works: Iterable[Work], use: Use) -> tuple[list[Work], list[Consent]]:
    """The works whose artist consents to `use` and whose own file does not say no, with the consents relied upon.

    The base takes works from the commons only, whatever their artist allows.
    """
    by_artist: dict[str, Consent | None] = {}
    kept: list[Work] = []
    for work in works:
        if work.artist_id not in by_artist:
            by_artist[work.artist_id] = allows(in_force(connection, work.artist_id), use)
        free = use != "train_base" or work.licence.spdx in COMMONS_LICENCES
        if by_artist[work.artist_id] is not None and free and refused(work) is None:
            kept.append(work)
    relied: Sequence[Consent] = [consent for artist, consent in sorted(by_artist.items()) if consent and any(w.artist_id == artist for w in kept)]
    return kept, list(relied)
