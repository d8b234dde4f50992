"""Money for a picture that somebody keeps: price × share to each party, less the studio's part."""

from __future__ import annotations

from tribute.ledger.book import creator_account
from tribute.records import MICRO, Credits, Pending, Picture, Posting, Price, Share, Transaction, utc_now
from tribute.records.money import split

BP = 10_000  # basis points in one


def party_account(share: Share) -> str:
    """Where a share is owed: to its artist, to the commons, to the pool of what is uncertain, or to nobody that we know."""
    if share.artist_id is not None:
        return f"artist:{share.artist_id}"
    return {"base": "commons", "uncertain": "uncertain"}.get(share.party, "unclaimed")


def cut(price: Price, credits: Credits) -> dict[str, int]:
    """Account → micro units, which sum to the price: one split by share × (1 − the studio's part of that party), the rest the studio's."""
    weights = {"platform": 0}
    for share in credits.shares:
        account, part_bp = party_account(share), price.artists_bp.get(share.artist_id or "", price.platform_bp)
        weights["platform"] += share.share_ppm * part_bp
        weights[account] = weights.get(account, 0) + share.share_ppm * (BP - part_bp)
    return split(price.amount_minor * MICRO, weights)


def download_transaction(picture: Picture, creator: str, key: str) -> Transaction:
    """What keeping `picture` posts, on the terms fixed when it was made. Raises Pending where its credit is not worked off yet."""
    price = picture.price
    if picture.credits is None:
        raise Pending(f"the credit of picture {picture.id} is pending; work it off with `tribute credit-pending`, then say this again")
    parts = {account: amount for account, amount in cut(price, picture.credits).items() if amount}
    lines = [Posting(account=creator_account(creator), amount_micro=-price.amount_minor * MICRO, currency=price.currency)]
    lines += [Posting(account=account, amount_micro=amount, currency=price.currency) for account, amount in sorted(parts.items())]
    shares_ppm: dict[str, int] = {}
    for share in picture.credits.shares:
        if share.artist_id:
            shares_ppm[share.artist_id] = shares_ppm.get(share.artist_id, 0) + share.share_ppm
    memo = {
        "picture": picture.id,
        "creator": creator,
        "price_minor": price.amount_minor,
        "platform_bp": price.platform_bp,
        "shares_ppm": shares_ppm,
    }
    return Transaction(key=key, kind="download", postings=tuple(lines), memo=memo, created=utc_now())
