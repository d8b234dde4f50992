"""What a file says of itself, in its metadata and in its pixels."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from tribute.collection.picture import open_picture
from tribute.provenance import watermark
from tribute.provenance.credentials import STARTS, SVG, read_credentials
from tribute.provenance.label import SOURCE_TYPE, read_labels
from tribute.records import InvalidPicture


@dataclass(frozen=True)
class Findings:
    """`verdict`: intact (signed by this studio, unchanged), signed (unchanged, by another), changed, marked (only the watermark
    is left), labelled (only unsigned labels), or nothing."""

    verdict: str
    picture_id: str | None
    signature: dict[str, Any]
    watermark: str | None
    labels: dict[str, Any]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return asdict(self)


def claimed_id(facts: object) -> str | None:
    """The picture that a manifest's facts name, where they are of our shape."""
    claimed = facts.get("picture") if isinstance(facts, dict) else None
    return claimed if isinstance(claimed, str) and re.fullmatch(r"[0-9a-f]{8}", claimed) else None


def verify(data: bytes, name: str, root: bytes | None) -> Findings:
    """Reads signature, watermark and labels of a picture file. Raises InvalidPicture for what is no picture."""
    mime = next((kind for start, kind in STARTS.items() if data.startswith(start)), "")
    signature: dict[str, Any] = read_credentials(data, mime, root) if mime else {"state": "none"}
    try:
        marked = None if mime == SVG else watermark.read(open_picture(data, name))  # outlines carry no watermark
    except InvalidPicture as error:
        if signature["state"] == "none":
            raise
        return Findings("changed", None, signature, None, {}, (str(error),))  # it was signed once, and is damaged now
    labels = read_labels(data)
    notes = []
    if signature["state"] == "Trusted":
        verdict = "intact"
    elif signature["state"] == "Valid":
        verdict = "signed"
        notes.append("the signature is intact, but its certificate is not this studio's")
    elif signature["state"] != "none":
        verdict = "changed"
        notes.append("the file was changed after it was signed: " + ", ".join(signature.get("failures", [])))
    else:
        verdict = "marked" if marked else "labelled" if labels else "nothing"
    # Only this studio's own certificate is believed; anybody can sign anything with another.
    signed_id = claimed_id(signature.get("facts")) if verdict == "intact" else None
    if signed_id and marked and signed_id != marked:
        notes.append(f"the watermark names {marked}, the signed manifest {signed_id}: pixels from another picture")
        verdict, signed_id = "changed", None
    if labels and labels.get("digital_source_type") not in (None, SOURCE_TYPE):
        notes.append("the label names another source type than machine-made")
    return Findings(verdict, signed_id or marked, signature, marked, labels, tuple(notes))
