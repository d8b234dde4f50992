"""What is written into a picture's metadata: the recipe for people and programs, and the labels that laws ask for.

PNG text chunks: `parameters` (AUTOMATIC1111's infotext), `tribute` (our JSON). XMP: IPTC's DigitalSourceType, and the `AIGC`
property of GB 45438-2025, Annex E.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from xml.sax.saxutils import escape, quoteattr, unescape

import numpy as np
from PIL import Image, PngImagePlugin

from tribute.records import Recipe

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
VERSION = "tribute"
NAMESPACE = "https://tribute.example/ns/1"


def infotext(recipe: Recipe) -> str:
    """The recipe as A1111 and its kin write and read it; styles stand as `<lora:NAME:WEIGHT>` would there."""
    prompt = recipe.prompt + "".join(f" <lora:{style.name}:{style.weight:g}>" for style in recipe.styles)
    lines = [prompt] + ([f"Negative prompt: {recipe.negative_prompt}"] if recipe.negative_prompt else [])
    sampler = recipe.scheduler.removesuffix("Scheduler")
    settings = {
        "Steps": recipe.steps,
        "Sampler": sampler,
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_sha256[:10],
        "Model": recipe.model.replace(",", " "),
        **({"Student": "true"} if recipe.student else {}),
        **({"Hires upscale": recipe.enlarge, "Hires upscaler": "tribute"} if recipe.enlarge > 1 else {}),
        "Version": VERSION,
    }
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in settings.items())])


def xmp(picture_id: str, producer: str) -> str:
    """The XMP packet. `producer` names the studio."""
    aigc = json.dumps(
        {
            "Label": "1",
            "ContentProducer": producer,
            "ProduceID": picture_id,
            "ReservedCode1": "",
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        },
        separators=(",", ":"),
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f" xmp:CreatorTool={quoteattr(VERSION)}>"
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"<TC260:AIGC>{escape(aigc)}</TC260:AIGC>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def labelled_png(picture_HWC: np.ndarray, picture_id: str, recipe: Recipe, credits: dict[str, object], producer: str) -> bytes:
    """PNG bytes with the recipe, the credits and the labels in it, not yet signed."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", infotext(recipe))
    chunks.add_itxt("tribute", json.dumps({"id": picture_id, "recipe": recipe.document(), "credits": credits}, ensure_ascii=False))
    chunks.add_itxt("XML:com.adobe.xmp", xmp(picture_id, producer))
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, "PNG", pnginfo=chunks, compress_level=6)
    return buffer.getvalue()


def labelled_svg(svg: str, picture_id: str, recipe: Recipe, credits: dict[str, object], producer: str) -> bytes:
    """The SVG with the same in its metadata element, not yet signed."""
    packet = re.sub(r"<\?xpacket[^>]*\?>", "", xmp(picture_id, producer))
    told = json.dumps({"id": picture_id, "recipe": recipe.document(), "credits": credits}, ensure_ascii=False)
    metadata = f"<metadata>{packet}<tribute xmlns={quoteattr(NAMESPACE)}>{escape(told)}</tribute></metadata>"
    head, opening, rest = svg.partition("<svg")
    tag, end, body = rest.partition(">")
    return f"{head}{opening}{tag}{end}{metadata}{body}".encode()


def _svg_texts(data: bytes) -> tuple[dict[str, str], str]:
    """(our JSON by name, the XMP packet) of an SVG; plain text search, since an XML parser would follow what a stranger wrote."""
    text = data[:4_000_000].decode("utf-8", "replace")
    _, opened, told = _between(text, "<tribute xmlns=", "</tribute>", 1_000_200).partition(">")
    return ({"tribute": unescape(told)} if opened and "<" not in told else {}), _between(text, "<x:xmpmeta", "</x:xmpmeta>", 20_000)


def _between(text: str, start: str, end: str, most: int) -> str:
    """What lies after the first `start`, up to the `end` that follows within `most` characters; nothing where there is none. Never looks twice."""
    at = text.find(start)
    until = text.find(end, at, at + most) if at >= 0 else -1
    return text[at + len(start) : until] if until >= 0 else ""


def read_labels(data: bytes) -> dict[str, object]:
    """What a file's metadata says: `parameters`, `tribute`, `digital_source_type`, `aigc`; absent where it says nothing."""
    found: dict[str, object] = {}
    try:
        if data.lstrip().startswith((b"<?xml", b"<svg")):
            info, packet = _svg_texts(data)
            return _told(info, packet)
        with Image.open(io.BytesIO(data)) as picture:
            info = {str(key): str(value) for key, value in picture.info.items() if isinstance(value, str)}
            packet = info.get("XML:com.adobe.xmp") or str(picture.info.get("xmp", b""), "utf-8", "replace")  # type: ignore[arg-type]
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        return found
    return _told(info, packet)


def _told(info: dict[str, str], packet: str) -> dict[str, object]:
    found: dict[str, object] = {}
    if "parameters" in info:
        found["parameters"] = info["parameters"][:20_000]
    with contextlib.suppress(KeyError, ValueError, RecursionError):
        found["tribute"] = json.loads(info["tribute"][:1_000_000])
    source = re.search(r"DigitalSourceType>\s*([^<\s]{1,200})\s*<", packet)
    label = re.search(r"TC260:AIGC>([^<]{1,5000})<", packet)
    if source:
        found["digital_source_type"] = source[1]
    if label:
        found["aigc"] = label[1].replace("&quot;", '"').replace("&amp;", "&")
    return found
