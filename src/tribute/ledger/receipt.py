"""Receipts: what was kept, who made it, who was paid, in one JSON document that `tribute.ledger.verifier` checks with no database.

The receipt is stored with the download that it is for, in one database transaction, and its hash is in that transaction's leaf. While
the week is open the studio's signature vouches for it; once the week is closed, a path to the week's published Merkle root does.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from tribute.ledger.book import in_order
from tribute.ledger.settlement import leaves_between
from tribute.ledger.verifier import VERSION
from tribute.records import Picture, Transaction, Unknown, canonical, sha256
from tribute.records.merkle import merkle_path
from tribute.store.database import moment
from tribute.store.schema import receipts, transactions, weeks


def receipt_of(picture: Picture, transaction: Transaction, snapshots: tuple[str, ...]) -> dict[str, Any]:
    """A receipt without its signature or proof. `snapshots` name the base's and the styles' manifests."""
    assert picture.credits is not None
    lines = [line.document() for line in in_order(transaction)]
    sections = {
        "picture": {"id": picture.id, "file_sha256": picture.file_sha256, "pixel_sha256": picture.pixel_sha256},
        "recipe": picture.recipe.document(),
        "snapshots": list(snapshots),
        "consents": list(picture.consents),
        "credits": picture.credits.document(),
        "price": picture.price.document(),
        "transaction": transaction.document() | {"postings": lines, "created": moment(transaction.created)},
    }
    hashes = {name: sha256(canonical(section)) for name, section in sections.items()}
    return {"version": VERSION, "sections": sections, "hashes": hashes, "proof": None}


def stored_receipt(connection: Connection, key: str) -> dict[str, Any]:
    """The receipt of a download, with its path to the root once its week is closed. Raises Unknown."""
    document = connection.execute(select(receipts.c.document).where(receipts.c.key == key)).scalar_one_or_none()
    if document is None:
        raise Unknown(f"there is no receipt for {key[:80]!r}; give a picture and the creator who kept it")
    found: dict[str, Any] = json.loads(document)
    found["proof"] = proof_of(connection, key)
    return found


def proof_of(connection: Connection, key: str) -> dict[str, Any] | None:
    """The way from a transaction's leaf to the root of its week, or None while that is open."""
    seq = connection.execute(select(transactions.c.seq).where(transactions.c.key == key)).scalar_one()
    week = connection.execute(select(weeks).where(weeks.c.last_seq >= seq).order_by(weeks.c.week).limit(1)).one_or_none()
    if week is None:
        return None
    before = select(weeks.c.last_seq).where(weeks.c.week < week.week).order_by(weeks.c.week.desc()).limit(1)
    after = connection.execute(before).scalar_one_or_none() or 0
    index = connection.execute(select(transactions.c.seq).where(transactions.c.seq > after, transactions.c.seq < seq)).all()
    path = merkle_path(leaves_between(connection, after, week.last_seq), len(index))
    return {"week": week.week, "entries": week.entries, "path": path, "root": week.root}


def published_root(connection: Connection, week: str) -> dict[str, Any]:
    """What a studio publishes of a closed week. Raises Unknown for one that is open."""
    found = connection.execute(select(weeks).where(weeks.c.week == week)).one_or_none()
    if found is None:
        raise Unknown.of("closed week", week, connection.execute(select(weeks.c.week).order_by(weeks.c.week.desc()).limit(20)).scalars())
    chain = connection.execute(select(transactions.c.chain).where(transactions.c.seq == found.last_seq)).scalar_one_or_none()
    return {"week": found.week, "entries": found.entries, "root": found.root, "chain": chain or "0" * 64}
