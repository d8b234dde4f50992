"""Every page of the studio in both languages, light and dark, as WebP files.

python -m examples.screenshots docs/studio [--home HOME]      HOME: a data folder with the works' pictures, which are then shown too

Needs a font with Chinese (Debian: fonts-noto-cjk). Starts the studio with accounts on a fresh data folder, draws, keeps, publishes and settles with the
starter model, and looks at each page in Chromium.
"""

from __future__ import annotations

import argparse
import io
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tests.browser import QUIET, install

from tribute.ledger.settlement import settle, week_of
from tribute.ledger.topup import top_up
from tribute.records import utc_now
from tribute.studio.floor import Floor, open_floor
from tribute.studio.web import build_app
from tribute.studio.wiring import Settings, open_workshop

PASSWORD = secrets.token_hex(8)
PROMPTS = (
    ("an umbrella <style:openmoji:0.7> <style:twemoji:0.5>", 11), ("a guitar <style:twemoji:0.7>", 3), ("向日葵 <style:twemoji:0.7>", 5),
    ("a red umbrella", 8), ("portrait of a person with brown hair <style:micah:0.9>", 4), ("a yellow star <style:openmoji:0.5>", 6),
)  # fmt: skip


def settled(floor: Floor) -> dict[str, str]:
    """A studio that was used for a while; returns the paths of pages that have ids in them."""
    people = {}
    for name, role, artist in (("op", "operator", None), ("mei", "creator", None), ("micah", "artist", "micah-lanier")):
        people[name] = floor.people.add(name, PASSWORD, role, artist)
    mei = people["mei"]
    top_up(floor.workshop.database, "mei", 20_00, "CNY", "shots")
    made = [floor.drawn(floor.submit(mei, floor.wish(prompt, count=4, seed=seed)), 600) for prompt, seed in PROMPTS]
    first = made[0][0]
    floor.keep(mei, first)
    floor.keep(mei, made[4][0])
    for pictures in made:
        floor.gallery.publish(mei, pictures[1].id, True)
    floor.gallery.like(people["op"], made[1][1].id, True)
    floor.gallery.report(people["micah"], made[2][1].id, "the label is missing on my screen")
    settle(floor.workshop.database, week_of(utc_now()))
    floor.keep(mei, made[1][0])
    from tribute.commission import Ask

    recipe = first.recipe
    near = Ask(prompt=recipe.prompt, styles=recipe.styles, seed=recipe.seed, count=4, variation_seed=1, variation_strength=0.25)
    floor.drawn(floor.submit(mei, near, parent_id=first.id), 600)
    job = floor.gallery.see(mei, first.id).job_id
    return {"picture": f"/pictures/{first.id}", "job": f"/jobs/{job}", "file": first.file_sha256}


def look(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(250)
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shot.crop((0, 0, shot.width, min(shot.height, 1800))).save(path, "WEBP", quality=78, method=6)


def pages_of(floor: Floor, site: str, there: dict[str, str], page: Page, who: str) -> list[tuple[str, str, Any]]:
    """(name, path, what is done on the page before it is looked at)"""
    data = floor.workshop.blobs.get(there["file"])

    def drop() -> None:
        page.locator("input[type=file]").set_input_files({"name": "picture.png", "mimeType": "image/png", "buffer": data})
        page.locator(".drop button").click()

    def words() -> None:
        page.locator("#words-of").click()
        page.wait_for_selector(".word", timeout=60_000)
        page.locator(".word").nth(1).hover()
        page.wait_for_timeout(400)

    if who == "mei":
        return [("create", "/", None), ("job", there["job"], None), ("history", "/history", None), ("picture", there["picture"], None),
                ("words", there["picture"], words), ("explore", "/explore", None), ("artists", "/artists", None), ("am-i-in-it", "/am-i-in-it", drop),
                ("check", "/check", drop), ("account", "/account", None)]  # fmt: skip
    if who == "micah":
        return [("artist", "/artists/micah-lanier", None)]
    if who == "op":
        return [("operator", "/operator", None)]
    return [("sign-in", "/sign-in", None), ("sign-up", "/sign-up", None)]


def main(out: Path, home: Path | None) -> None:
    fonts = shutil.which("fc-list")
    if fonts and not subprocess.run([fonts, ":lang=zh"], capture_output=True, check=True).stdout:
        raise SystemExit("no font here has Chinese, whose pages would show boxes; install one (Debian: fonts-noto-cjk)")
    folder = Path(tempfile.mkdtemp(prefix="shots-"))
    if home is not None:
        (folder / "blobs").mkdir(parents=True)
        shutil.copytree(home / "blobs", folder / "blobs", dirs_exist_ok=True)
    floor = open_floor(open_workshop(Settings(home=folder)), accounts=True)
    floor.dispatch.open(floor.easel.work, floor.easel.rest)
    there = settled(floor)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build_app(floor), host="127.0.0.1", port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    site = f"http://127.0.0.1:{port}"
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=QUIET)
        for lang, scheme, width in (("en", "light", 1280), ("en", "dark", 1280), ("zh", "light", 1280), ("zh", "dark", 1280), ("zh", "light", 390)):
            for who in ("mei", "micah", "op", "nobody"):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                if who != "nobody":
                    person = floor.people.named(who)
                    assert person is not None
                    context.add_cookies([{"name": "tribute_session", "value": floor.people.open_session(person), "url": site}])
                page = context.new_page()
                for name, path, act in pages_of(floor, site, there, page, who):
                    if width < 500 and name not in ("create", "picture", "artist"):
                        continue
                    page.goto(f"{site}{path}?lang={lang}")
                    if act:
                        act()
                    look(page, out / f"{name}-{lang}-{scheme}{'-phone' if width < 500 else ''}.webp")
                context.close()
        browser.close()
    server.should_exit = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    main(given.out, given.home)
