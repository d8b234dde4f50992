"""Checks a receipt with nothing but Python's own library: no database, no Tribute, no network. This one file can be carried anywhere:

    python verifier.py RECEIPT.json --root ROOT.json      (or --root and the root's 64 hexadecimal digits)

It works out again, by its own arithmetic and not by the program's that posted the money: the hash of each part, that the shares
sum to one, that every posting is its party's exact part of the price to within a millionth of the minor unit, that the postings
sum to zero, and that the receipt leads to the root published for its week. It exits with 0 where all holds, 1 with a line for each
thing that does not, 2 where the file is no receipt.
"""

import hashlib
import json
import sys
from typing import Any

VERSION = 2
SECTIONS = ("picture", "recipe", "snapshots", "consents", "credits", "price", "transaction")
PPM, MICRO, BP = 1_000_000, 1_000_000, 10_000


class NoReceipt(ValueError):
    pass


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layout(receipt: object) -> bytes:
    """The only bytes that a receipt has as a file."""
    return (json.dumps(receipt, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def receipt_hash(hashes: dict[str, Any]) -> str:
    """Over all parts but the transaction, which itself is hashed together with this."""
    return sha(canonical({"version": VERSION, "hashes": {name: hashes[name] for name in SECTIONS if name != "transaction"}}))


def leaf(transaction: dict[str, Any], receipt: str) -> str:
    return sha(canonical(transaction | {"receipt": receipt}))


def root_of(week: str, entries: int, leaf_hex: str, path: list[str]) -> str:
    """From a leaf up its path (`<` or `>`, the neighbour's side, then its hash) to the week's root."""
    node = hashlib.sha256(b"\x00" + bytes.fromhex(leaf_hex)).digest()
    for step in path:
        other = bytes.fromhex(step[1:])
        if step[0] not in "<>" or len(other) != 32:
            raise NoReceipt("proof: its path is not one of hashes")
        node = hashlib.sha256(b"\x01" + (other + node if step[0] == "<" else node + other)).digest()
    return sha(f"{week}:{entries}:".encode() + node)


def _account(share: dict[str, Any]) -> str:
    if share["artist_id"] is not None:
        return f"artist:{share['artist_id']}"
    return {"base": "commons", "uncertain": "uncertain"}.get(share["party"], "unclaimed")


def check_money(sections: dict[str, Any]) -> list[str]:
    """Shares, price and postings held against one another in whole numbers."""
    shares, price, transaction = sections["credits"]["shares"], sections["price"], sections["transaction"]
    wrong = []
    if sum(share["share_ppm"] for share in shares) != PPM or min(share["share_ppm"] for share in shares) < 0:
        wrong.append("credits: the shares do not sum to one")
    whole, weights = price["amount_minor"] * MICRO, {"platform": 0}
    for share in shares:
        part_bp = price["artists_bp"].get(share["artist_id"], price["platform_bp"])
        weights["platform"] += share["share_ppm"] * part_bp
        weights[_account(share)] = weights.get(_account(share), 0) + share["share_ppm"] * (BP - part_bp)
    paid: dict[str, Any] = {}
    for line in transaction["postings"]:
        paid[line["account"]] = paid.get(line["account"], 0) + line["amount_micro"]
        if line["currency"] != price["currency"]:
            wrong.append("transaction: a posting is in another currency than the price")
    creator = "creator:" + str(transaction["memo"]["creator"])
    if paid.pop(creator, 0) != -whole:
        wrong.append("transaction: the creator did not pay the price")
    if sum(paid.values()) != whole:
        wrong.append("transaction: its postings do not sum to zero")
    for account in sorted({*weights, *paid}):
        if abs(paid.get(account, 0) * PPM * BP - whole * weights.get(account, 0)) >= PPM * BP:
            wrong.append(f"transaction: {account} was not paid its exact part of the price")
    if transaction["memo"]["picture"] != sections["picture"]["id"]:
        wrong.append("transaction: it is for another picture")
    return wrong


def check(receipt: object, root: object = None, picture: bytes = b"") -> list[str]:
    """All that is wrong with a receipt, a line each, beginning with the part. Raises NoReceipt for what is none.

    `root` is the published document of the receipt's week, or its hexadecimal root; `picture` the sealed file that it is for.
    """
    try:
        assert isinstance(receipt, dict)
        if receipt["version"] != VERSION:
            raise NoReceipt(f"version {receipt['version']!r} is not known; this program reads version {VERSION}")
        if set(receipt) - {"signature"} != {"version", "sections", "hashes", "proof"} or set(receipt["sections"]) != set(SECTIONS):
            raise NoReceipt("it does not have the parts of a receipt")
        sections, hashes, proof = receipt["sections"], receipt["hashes"], receipt["proof"]
        wrong = [f"{name}: it was changed, or its hash was" for name in SECTIONS if sha(canonical(sections[name])) != hashes[name]]
        wrong += [] if set(hashes) == set(SECTIONS) else ["hashes: one too many"]
        wrong += check_money(sections)
        if picture and sha(picture) != sections["picture"]["file_sha256"]:
            wrong.append("picture: the file is not the one that this receipt is for")
        if proof is not None:
            made = root_of(proof["week"], proof["entries"], leaf(sections["transaction"], receipt_hash(hashes)), proof["path"])
            if made != proof["root"] or set(proof) != {"week", "entries", "path", "root"}:
                wrong.append("proof: the receipt does not lead to the root that it names")
            if root is not None and proof["root"] != (root["root"] if isinstance(root, dict) else root):
                wrong.append("proof: its root is not the one that was published")
            if isinstance(root, dict) and (root["week"], root["entries"]) != (proof["week"], proof["entries"]):
                wrong.append("proof: its week is not the one that was published")
        elif root is not None:
            wrong.append("proof: there is none; fetch the receipt again after its week was closed")
    except NoReceipt:
        raise
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        raise NoReceipt(f"it is not a receipt ({type(error).__name__}: {str(error)[:80]})") from error
    return wrong


def read(data: bytes) -> object:
    """The receipt in a file. Raises NoReceipt for what is no JSON; a file of other bytes than its own layout is told by `check_layout`."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise NoReceipt(f"it is no JSON: {str(error)[:80]}") from error


def check_layout(data: bytes, receipt: object) -> list[str]:
    """Spaces, order and escapes are fixed too, so that no byte of the file can be another."""
    own = layout(receipt)
    if data == own:
        return []
    at = next((at for at, (had, has) in enumerate(zip(data, own, strict=False)) if had != has), min(len(data), len(own)))
    return [f"layout: byte {at} is not as receipts are written"]


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 3) or (len(arguments) == 3 and arguments[1] != "--root"):
        print(__doc__)
        return 2
    try:
        with open(arguments[0], "rb") as opened:
            data = opened.read(10_000_001)
        root: object = None
        if len(arguments) == 3:
            root = arguments[2]
            if not (len(arguments[2]) == 64 and set(arguments[2]) <= set("0123456789abcdef")):
                with open(arguments[2], "rb") as opened:
                    root = json.loads(opened.read(1_000_000))
        receipt = read(data)
        wrong = check(receipt, root) + check_layout(data, receipt)
    except (NoReceipt, OSError, ValueError) as error:
        print(f"{arguments[0]}: {error}")
        return 2
    assert isinstance(receipt, dict)
    proved = "leads to the published root" if root is not None else "not held against a published root"
    print("\n".join(wrong) if wrong else f"receipt of picture {receipt['sections']['picture']['id']}: all holds; {proved}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
