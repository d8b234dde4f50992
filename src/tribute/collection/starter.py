"""The starter collection: openly licensed emoji and avatars from pinned npm packages, with their artists, licences and captions.

What asks for no payment (Apache-2.0, MIT, CC0) is the commons and may train the base. Each attributed set is one artist's
style. Skin-tone variants, flags, keycaps and clock faces are left out: they would swamp the concepts.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tribute.collection.avatars import describe
from tribute.collection.picture import open_picture, png_bytes
from tribute.records import Artist, InvalidInput, Licence, Work, sha256

SIDE = 256  # pixels that works are drawn at
AVATARS = 700  # drawn per avatar style
COMMONS_AVATARS = 300  # fewer for the base, so that faces do not drown foxes

CC_BY = "https://creativecommons.org/licenses/by/4.0/"
CC_BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"
CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
MIT = "https://opensource.org/license/mit"


@dataclass(frozen=True)
class Source:
    """One set of works: `hand_*` say how it is drawn, in words that captions carry."""

    style: str
    package: str
    artist: Artist
    licence: Licence
    title_en: str
    title_zh: str
    hand_en: str
    hand_zh: str
    commons: bool


def _source(style: str, package: str, artist: tuple[str, str, str], spdx: str, url: str, titles: tuple[str, str], hands: tuple[str, str]) -> Source:
    slug, name, home = artist
    credit = f"{titles[0]} by {name}, {spdx}, {url}"
    licence = Licence(spdx=spdx, url=url, credit_line=credit)
    commons = spdx in ("Apache-2.0", "MIT", "CC0-1.0")
    return Source(style, package, Artist(id=slug, name=name, url=home), licence, *titles, *hands, commons)


GOOGLE = ("google", "Google", "https://github.com/googlefonts/noto-emoji")
MICROSOFT = ("microsoft", "Microsoft", "https://github.com/microsoft/fluentui-emoji")
MOZILLA = ("mozilla", "Mozilla", "https://github.com/mozilla/fxemoji")
WISCHOFSKY = ("lisa-wischofsky", "Lisa Wischofsky", "https://www.instagram.com/lischi_art/")

EMOJI_SETS = (
    _source("noto", "@iconify-json/noto", GOOGLE, "Apache-2.0", APACHE, ("Noto Emoji", "Noto 表情"), ("shaded emoji", "渐变表情")),
    _source("noto-blob", "@iconify-json/noto-v1", GOOGLE, "Apache-2.0", APACHE, ("Noto Blob", "Noto 团子"), ("blob emoji", "团子表情")),
    _source("fluent", "@iconify-json/fluent-emoji", MICROSOFT, "MIT", MIT, ("Fluent Emoji 3D", "Fluent 立体表情"), ("glossy 3D", "光亮立体")),
    _source("fluent-flat", "@iconify-json/fluent-emoji-flat", MICROSOFT, "MIT", MIT, ("Fluent Emoji Flat", "Fluent 扁平表情"), ("flat", "扁平")),
    _source("fxemoji", "@iconify-json/fxemoji", MOZILLA, "Apache-2.0", APACHE, ("Firefox OS Emoji", "Firefox 表情"), ("simple flat", "简洁扁平")),
    _source("twemoji", "@iconify-json/twemoji", ("twitter", "Twitter", "https://github.com/jdecked/twemoji"), "CC-BY-4.0", CC_BY,
            ("Twemoji", "推特表情"), ("twemoji style", "推特风格")),
    _source("openmoji", "@iconify-json/openmoji", ("openmoji", "OpenMoji", "https://openmoji.org"), "CC-BY-SA-4.0", CC_BY_SA,
            ("OpenMoji", "OpenMoji 表情"), ("outlined drawing", "描边")),
)  # fmt: skip
AVATAR_SETS = (
    _source("lorelei", "@dicebear/lorelei", WISCHOFSKY, "CC0-1.0", CC0, ("Lorelei", "罗蕾莱"), ("ink portrait", "墨线头像")),
    _source("notionists", "@dicebear/notionists", ("zoish", "Zoish", "https://bio.link/heyzoish"), "CC0-1.0", CC0,
            ("Notionists", "Notion 人物"), ("black and white portrait", "黑白人物")),
    _source("open-peeps", "@dicebear/open-peeps", ("pablo-stanley", "Pablo Stanley", "https://www.openpeeps.com/"), "CC0-1.0", CC0,
            ("Open Peeps", "开放小人"), ("hand-drawn portrait", "手绘人物")),
    _source("adventurer", "@dicebear/adventurer", WISCHOFSKY, "CC-BY-4.0", CC_BY, ("Adventurer", "冒险家"), ("portrait", "头像")),
    _source("micah", "@dicebear/micah", ("micah-lanier", "Micah Lanier", "https://dribbble.com/micahlanier"), "CC-BY-4.0", CC_BY,
            ("Micah", "米卡"), ("portrait", "头像")),
    _source("croodles", "@dicebear/croodles", ("vijay-verma", "vijay verma", "https://vjy.me/"), "CC-BY-4.0", CC_BY,
            ("Croodles", "涂鸦"), ("portrait", "头像")),
    _source("big-smile", "@dicebear/big-smile", ("ashley-seo", "Ashley Seo", "http://www.ashleyseo.com/"), "CC-BY-4.0", CC_BY,
            ("Big Smile", "大笑脸"), ("portrait", "头像")),
    _source("toon-head", "@dicebear/toon-head", ("johan-melin", "Johan Melin", "https://www.johanmelin.com"), "CC-BY-4.0", CC_BY,
            ("Toon Head", "卡通头"), ("portrait", "头像")),
    _source("fun-emoji", "@dicebear/fun-emoji", ("davis-uche", "Davis Uche", "https://www.instagram.com/davedirect3/"), "CC-BY-4.0", CC_BY,
            ("Fun Emoji", "趣味表情"), ("square face", "方形表情")),
)  # fmt: skip
SOURCES: dict[str, Source] = {source.style: source for source in EMOJI_SETS + AVATAR_SETS}
STYLES = tuple(source.style for source in SOURCES.values() if not source.commons)

SKIPPED_GROUPS = (2, 9)  # emojibase: components, flags
SKIPPED_LABELS = re.compile(r"keycap|o’clock|-thirty|skin tone|: (light|medium|dark)")


def install_packages(folder: Path) -> Path:
    """`npm ci` of the pinned packages into `folder`; returns its node_modules. Raises InvalidInput where npm is missing or fails."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise InvalidInput("rebuilding the starter collection needs node and npm on the PATH; install Node.js 20 or newer")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "avatars.mjs"):
        (folder / name).write_bytes((files("tribute.collection") / "packages" / name).read_bytes())
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvalidInput(f"npm ci failed in {folder}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}")
    return folder / "node_modules"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("’", "").replace("“", "").replace("”", "")).strip("-")


@dataclass(frozen=True)
class _Concept:
    label_en: str
    label_zh: str
    tags_en: tuple[str, ...]
    tags_zh: tuple[str, ...]
    hexcode: str


def _concepts(modules: Path) -> dict[str, _Concept]:
    """CLDR slug (and a form without hyphens, and shortcodes) -> concept, for the emoji worth drawing."""
    chinese = {entry["hexcode"]: entry for entry in _json(modules / "emojibase-data/zh/data.json")}
    shortcodes = _json(modules / "emojibase-data/en/shortcodes/iamcal.json")
    found: dict[str, _Concept] = {}
    for entry in _json(modules / "emojibase-data/en/data.json"):
        label = entry["label"]
        local = chinese.get(entry["hexcode"])
        if entry.get("group", 2) in SKIPPED_GROUPS or SKIPPED_LABELS.search(label) or not local:
            continue
        concept = _Concept(label, local["label"], tuple(entry.get("tags", ())), tuple(local.get("tags", ())), entry["hexcode"])
        codes = shortcodes.get(entry["hexcode"], [])
        for name in (_slug(label), *([codes] if isinstance(codes, str) else codes)):
            found.setdefault(name, concept)
            found.setdefault(re.sub(r"[^a-z0-9]", "", name.lower()), concept)
    return found


def render_svg(svg: str, side: int = SIDE) -> bytes:
    """An SVG as a square RGB PNG on white."""
    import resvg_py

    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side)
    picture = open_picture(bytes(drawn), "svg")
    if picture.size != (side, side):
        from PIL import Image

        square = Image.new("RGB", (side, side), "white")
        picture.thumbnail((side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return png_bytes(picture)


def _emoji_works(source: Source, modules: Path, concepts: dict[str, _Concept]) -> Iterator[tuple[Work, bytes]]:
    package = modules / source.package
    icons = _json(package / "icons.json")
    version = _json(package / "package.json")["version"]
    authors: dict[str, str] = {}
    if source.style == "openmoji":
        authors = {entry["hexcode"]: entry["openmoji_author"] for entry in _json(modules / "openmoji/data/openmoji.json")}
    width, height = icons.get("width", 16), icons.get("height", 16)
    for name, icon in icons["icons"].items():
        concept = concepts.get(name) or concepts.get(name.replace("-", ""))
        if concept is None:
            continue
        box = f"0 0 {icon.get('width', width)} {icon.get('height', height)}"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{icon["body"]}</svg>'
        picture = render_svg(svg)
        by = authors.get(concept.hexcode) or authors.get(concept.hexcode.replace("-FE0F", ""))
        credit = source.licence.credit_line if not by else f"“{concept.label_en}” by {by}, " + source.licence.credit_line
        yield (
            Work(
                picture_sha256=sha256(picture),
                title=concept.label_en,
                captions_en=(concept.label_en, *concept.tags_en[:8]),
                captions_zh=(concept.label_zh, *concept.tags_zh[:8]),
                artist_id=source.artist.id,
                authors=(by,) if by else (),
                licence=source.licence.model_copy(update={"credit_line": credit}),
                source=f"{source.package}/{name}",
                source_version=version,
                concept=_slug(concept.label_en),
                style=source.style,
                width=SIDE,
                height=SIDE,
            ),
            picture,
        )


def _avatar_works(sources: tuple[Source, ...], folder: Path) -> Iterator[tuple[Work, bytes]]:
    by_style = {source.style: source for source in sources}
    count = {True: COMMONS_AVATARS, False: AVATARS}
    for commons in (True, False):
        styles = [source.style for source in sources if source.commons is commons]
        drawn = subprocess.run(["node", "avatars.mjs", str(count[commons]), *styles], cwd=folder, capture_output=True, text=True, check=True)
        for line in drawn.stdout.splitlines():
            avatar = json.loads(line)
            source = by_style[avatar["style"]]
            english, chinese = describe(avatar["attributes"])
            picture = render_svg(avatar["svg"])
            yield (
                Work(
                    picture_sha256=sha256(picture),
                    title=f"{source.title_en} {avatar['seed']}",
                    captions_en=(f"portrait of a person, {english}" if english else "portrait of a person",),
                    captions_zh=(f"人物头像，{chinese}" if chinese else "人物头像",),
                    artist_id=source.artist.id,
                    licence=source.licence,
                    source=f"{source.package}/{source.style}-{avatar['seed']}",
                    source_version=_json(folder / "node_modules" / source.package / "package.json")["version"],
                    concept="portrait",
                    style=source.style,
                    width=SIDE,
                    height=SIDE,
                ),
                picture,
            )


def starter_works(folder: Path) -> Iterator[tuple[Work, bytes]]:
    """Every work with its PNG, duplicates within a set left out. `folder` holds the installed packages."""
    modules = folder / "node_modules"
    concepts = _concepts(modules)
    seen: set[tuple[str, str]] = set()
    for source in EMOJI_SETS:
        for work, picture in _emoji_works(source, modules, concepts):
            if (source.style, work.picture_sha256) not in seen:
                seen.add((source.style, work.picture_sha256))
                yield work, picture
    for work, picture in _avatar_works(AVATAR_SETS, folder):
        if (work.style, work.picture_sha256) not in seen:
            seen.add((work.style, work.picture_sha256))
            yield work, picture
