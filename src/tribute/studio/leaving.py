"""An artist leaves: consent ended, adapters deleted, works out of the next snapshot, what is owed kept; and the proof of it."""

from __future__ import annotations

from typing import Any

from tribute.collection.library import withdraw_artist
from tribute.collection.snapshot import take_snapshot
from tribute.ledger.book import all_balances
from tribute.records import InvalidInput, canonical
from tribute.studio.wiring import Workshop


def leave(workshop: Workshop, artist_id: str, reason: str) -> dict[str, Any]:
    """Withdraws and returns the signed proof: `body`, `signature`, `chain`. Said twice, it is another proof of the same. Raises Unknown."""
    facts = withdraw_artist(workshop.database, workshop.blobs, artist_id, reason[:300])
    after: dict[str, str | None] = {}
    with workshop.database.writing() as connection:
        for name, use, style in [*((style["name"], "style", style["name"]) for style in facts["styles"]), ("base", "train_base", None)]:
            try:
                after[name] = take_snapshot(connection, use, style).hash  # type: ignore[arg-type]
            except InvalidInput:  # nothing is left of it
                after[name] = None
    facts["snapshots_after"] = after
    theirs = (f"artist:{artist_id}", f"payable:{artist_id}")
    held = all_balances(workshop.database).items()
    facts["still_owed_micro"] = {f"{account} {currency}": amount for (account, currency), amount in held if account in theirs}
    facts["adapter_files_left"] = [digest for style in facts["styles"] for digest in style["adapters_sha256"] if workshop.blobs.path(digest).exists()]
    studio = workshop.studio()
    return {"body": facts, "signature": studio.sign(canonical(facts)), "chain": studio.chain.decode()}
