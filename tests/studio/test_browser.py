"""The pages as people use them, in a real Chromium: in both languages, with no console error and no serious accessibility fault."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser import QUIET, chromium, install
from tests.studio.conftest import PASSWORD, drawn, served

pytestmark = pytest.mark.slow
PAGES = ("/", "/history", "/explore", "/artists", "/artists/ada-artist", "/am-i-in-it", "/check", "/account", "/operator")
WORDS = {
    "en": {"draw": "Draw", "vary": "Vary a little", "download": re.compile("^Download"), "in": "Sign in", "kept": "You keep it."},
    "zh": {"draw": "开始绘制", "vary": "小幅变化", "download": re.compile("^下载"), "in": "登录", "kept": "你已保留。"},
}  # fmt: skip


@pytest.fixture(scope="session")
def chrome():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium() or install(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def site(house):
    yield from served(house)


@pytest.fixture
def told():
    return []


@pytest.fixture
def page(chrome, told):
    context = chrome.new_context(viewport={"width": 1100, "height": 900}, locale="en-GB")
    opened = context.new_page()
    opened.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: told.append(str(error)))
    yield opened
    context.close()


def sign_in(page, site, name, lang="en", password=PASSWORD):
    page.goto(f"{site}/sign-in?lang={lang}")
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name=WORDS[lang]["in"], exact=True).click()


def faults(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_create_vary_download_and_the_artist_earns(page, site, house, told, lang):
    said = WORDS[lang]
    sign_in(page, site, "mei", lang)
    page.wait_for_url(f"{site}/")
    page.locator("#prompt").fill("a blue fox --seed 3")
    page.locator("input[name=style][value=ada]").check()
    page.get_by_role("button", name=said["draw"], exact=True).click()
    expect(page.locator(".tile a")).to_have_count(4, timeout=60_000)
    assert "/jobs/" in page.url
    page.locator(".tile a").first.click()
    page.wait_for_url("**/pictures/*")
    first = page.url
    parts = [float(cell.rstrip("%")) for cell in page.locator(".parties tbody td:last-child").all_inner_texts()]
    assert abs(sum(parts) - 100) < 0.02
    page.locator("#words-of").click()
    page.locator(".word").nth(1).hover()
    expect(page.locator("#shown")).to_have_attribute("src", re.compile("/heat/1.webp"))
    page.get_by_role("button", name=said["vary"]).click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".tile a")).to_have_count(4, timeout=60_000)
    page.goto(first)
    page.get_by_role("button", name=said["download"]).click()
    expect(page.get_by_text(said["kept"])).to_be_visible()
    with page.expect_download() as file:
        page.locator(".kept a.button").click()
    assert file.value.path().read_bytes().startswith(b"\x89PNG")
    page.context.clear_cookies()
    sign_in(page, site, "ada", lang)
    page.goto(f"{site}/artists/ada-artist")
    credits = house.gallery.see(house.people.named("mei"), first.rpartition("/")[2]).picture.credits
    assert next(share.share_ppm for share in credits.shares if share.party == "ada") > 0
    expect(page.locator("#live dd").first).to_contain_text(re.compile(r"0\.[0-9]*[1-9]"))
    assert told == []


def test_a_wrong_password_a_cancelled_job_and_a_reload(page, site, house, told):
    sign_in(page, site, "mei", password="wrong password")
    expect(page.get_by_role("alert")).to_contain_text("do not fit")
    told.clear()  # the browser logs the 401 itself
    sign_in(page, site, "mei")
    page.goto(f"{site}/")
    page.locator("#prompt").fill("a slow fox")
    page.get_by_text("More", exact=True).click()
    page.locator("input[name=steps]").fill("150")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("progress")).to_be_visible(timeout=30_000)
    page.reload()
    expect(page.locator("progress")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge")).to_have_text("cancelled", timeout=30_000)
    assert [job.state for job in house.jobs.find()] == ["cancelled"]
    page.locator("#main a").last.click()
    page.locator("#prompt").fill("a fox --zoom 2")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("--zoom is not a parameter")
    assert [line for line in told if "400" not in line] == []


@pytest.mark.parametrize(("lang", "scheme", "width"), [("en", "light", 1280), ("zh", "dark", 1280), ("zh", "light", 390), ("en", "dark", 390)])
def test_every_page_is_clean_for_everybody(chrome, site, house, lang, scheme, width):
    op = house.people.named("op")
    made = drawn(house, op, "a fox <style:ada> <style:bo:0.5>", count=1, width=64, height=64, steps=1, guidance=1.0)
    house.gallery.publish(op, made[0].id, True)
    context = chrome.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.add_cookies([{"name": "tribute_session", "value": house.people.open_session(op), "url": site}])
    page, told, wrong = context.new_page(), [], {}
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    for path in (*PAGES, f"/pictures/{made[0].id}", f"/jobs/{house.gallery.see(op, made[0].id).job_id}"):
        page.goto(f"{site}{path}?lang={lang}")
        page.wait_for_timeout(150)
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found = faults(page) + ([("wider than the screen", wide)] if wide > 1 else [])
        if found:
            wrong[path] = found
    context.close()
    assert wrong == {}
    assert told == []


def test_the_first_page_is_light_and_everything_is_reached_by_keyboard(chrome, site, house):
    context = chrome.new_context()
    context.add_cookies([{"name": "tribute_session", "value": house.people.open_session(house.people.named("mei")), "url": site}])
    page, sizes = context.new_page(), []
    page.on("response", lambda answer: sizes.append(len(answer.body())) if answer.status == 200 else None)
    page.goto(site)
    page.wait_for_load_state("networkidle")
    assert sum(sizes) < 200_000, sizes
    page.keyboard.type("a fox")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert {"style", "Draw", "More"} <= reached
    context.close()
