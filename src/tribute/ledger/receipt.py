"""Receipts: what was kept, who made it, who was paid, in one JSON document that needs no database to check."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tribute.ledger.download import cut
from tribute.records import MICRO, Credits, InvalidInput, Picture, Price, Recipe, Transaction, sha256

VERSION = 1


def receipt_body(picture: Picture, transaction: Transaction, snapshots: tuple[str, ...]) -> dict[str, Any]:
    """The part of a receipt that is signed. `snapshots` name the base's and the styles' manifests."""
    return {
        "version": VERSION,
        "picture": {"id": picture.id, "file_sha256": picture.file_sha256, "pixel_sha256": picture.pixel_sha256},
        "recipe": picture.recipe.document(),
        "snapshots": list(snapshots),
        "consents": list(picture.consents),
        "credits": picture.credits.document(),
        "price": picture.price.document(),
        "transaction": transaction.document(),
    }


def check_receipt(body: dict[str, Any], file: bytes | None = None) -> list[str]:
    """What is wrong with a receipt's body, by its own arithmetic: empty where postings follow from price and shares.

    With `file`, also whether it is the picture that the receipt is for. Raises InvalidInput for what is no receipt.
    """
    try:
        if body["version"] != VERSION:
            raise InvalidInput(f"receipt version {body['version']!r} is not known; this program reads version {VERSION}")
        price, credits = Price.model_validate(body["price"]), Credits.model_validate(body["credits"])
        transaction = Transaction.model_validate(body["transaction"])
        Recipe.model_validate(body["recipe"])
        picture = body["picture"]
        wrong = []
        if file is not None and sha256(file) != picture["file_sha256"]:
            wrong.append("picture: the file is not the one that this receipt is for")
        if transaction.memo.get("picture") != picture["id"]:
            wrong.append("transaction: is for another picture")
    except ValidationError as error:
        first = error.errors()[0]
        return [f"{'.'.join(map(str, first['loc'])) or 'receipt'}: {first['msg']}"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"that is not a receipt: {error} is missing or of the wrong kind") from error
    expected = {account: amount for account, amount in cut(price, credits).items() if amount}
    posted = {posting.account: posting.amount_micro for posting in transaction.postings if not posting.account.startswith("creator:")}
    if posted != expected:
        off = sorted(account for account in {*posted, *expected} if posted.get(account) != expected.get(account))
        wrong.append(f"postings: do not follow from price and shares at {', '.join(off)}")
    paid = sum(posting.amount_micro for posting in transaction.postings if posting.account.startswith("creator:"))
    if paid != -price.amount_minor * MICRO:
        wrong.append("postings: the creator did not pay the price")
    return wrong
