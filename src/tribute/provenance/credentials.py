"""Content Credentials (C2PA): signing a PNG with the studio's certificate, and reading what a file's manifest says.

The manifest names the model, the snapshot it was trained on, the styles with their artists, the shares' hash and the watermark;
its hard binding fails when a byte of the picture changes.
"""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

from tribute.provenance.certificate import Studio
from tribute.provenance.label import SOURCE_TYPE
from tribute.records import sha256

CREDITS_LABEL = "org.tribute.credits"
WATERMARK_ALGORITHM = "org.tribute.stdm.1"
SVG = "image/svg+xml"
STARTS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp", b"GIF8": "image/gif", b"<?xml": SVG, b"<svg": SVG}  # first bytes -> kind


def manifest(picture_id: str, title: str, recipe: dict[str, Any], credits: dict[str, Any], artists: dict[str, str], kind: str = "image/png") -> dict[str, Any]:
    """The manifest definition. `artists` maps each style used to its artist's name."""
    agent = {"name": "Tribute", "version": "0.1"}
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": agent}
    facts = {
        "picture": picture_id,
        "model": recipe["model"],
        "model_sha256": recipe["model_sha256"],
        "snapshot": recipe["snapshot"],
        "styles": [{"name": style["name"], "weight": str(style["weight"]), "artist": artists.get(style["name"], "")} for style in recipe["styles"]],
        "credits_sha256": sha256(json.dumps(credits, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()),
        "credits": [{"party": share["party"], "share_ppm": share["share_ppm"]} for share in credits["shares"]],
    }
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": kind,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": "c2pa.soft-binding", "data": {"alg": WATERMARK_ALGORITHM, "blocks": [{"scope": {}, "value": picture_id}]}},
            {"label": CREDITS_LABEL, "data": facts},
        ],
    }


def sign(data: bytes, definition: dict[str, Any], studio: Studio) -> bytes:
    """The file, of the format that the definition names, with its signed manifest."""
    import c2pa

    signed = io.BytesIO()
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=studio.chain, private_key=studio.key, ta_url=None)
    context = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        signer = c2pa.Signer.from_info(info)
        c2pa.Builder(definition, context=context).sign(signer, definition["format"], io.BytesIO(data), signed)
    return signed.getvalue()


def read_credentials(data: bytes, mime: str, root: bytes | None) -> dict[str, Any]:
    """`state`: none, Invalid, Valid (intact, signer not known here) or Trusted; then title, facts and failures."""
    import c2pa

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False}}
    if root is not None:
        settings["trust"] = {"user_anchors": root.decode()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            reader = c2pa.Reader(mime, io.BytesIO(data), context=c2pa.Context(c2pa.Settings.from_dict(settings)))
        report = json.loads(reader.json())
    except c2pa.C2paError as error:
        missing = "ManifestNotFound" in type(error).__name__ or "JumbfNotFound" in str(error) or "no JUMBF" in str(error)
        return {"state": "none"} if missing else {"state": "Invalid", "failures": [str(error)[:200]]}
    active = report.get("manifests", {}).get(report.get("active_manifest", ""), {})
    facts = next((item["data"] for item in active.get("assertions", []) if item.get("label") == CREDITS_LABEL), None)
    failed = report.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    return {
        "state": report.get("validation_state", "Invalid"),
        "title": active.get("title", ""),
        "issuer": active.get("signature_info", {}).get("common_name", ""),
        "facts": facts,
        "failures": sorted({item.get("code", "") for item in failed}),
    }
