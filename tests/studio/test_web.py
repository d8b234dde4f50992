"""Pages open to their owner, without a browser."""

import pytest

from tests.studio.conftest import drawn


def test_the_page_offers_styles_with_their_artists_in_both_languages(client):
    english, chinese = client.get("/?lang=en").text, client.get("/?lang=zh").text
    assert "Ada · 0.50 CNY" in english
    assert "Create a picture" in english
    assert "创作一张图片" in chinese
    assert 'lang="zh-CN"' in chinese


def test_a_picture_is_made_and_shown_with_its_makers(client, floor):
    asked = client.post("/create", data={"prompt": "a <b>fox</b>", "style": "ada", "weight": "0.5", "count": "1"})
    assert asked.status_code == 200
    (picture,) = floor.drawn(floor.jobs.get(asked.url.path.rpartition("/")[2]), 120)
    shown = client.get(f"/pictures/{picture.id}")
    assert "Ada" in shown.text
    assert "&lt;b&gt;fox" in shown.text
    assert "<b>fox" not in shown.text
    assert client.get(f"/pictures/{picture.id}.png").headers["content-type"] == "image/png"
    assert client.get(f"/pictures/{picture.id}/view.webp").headers["content-type"] == "image/webp"
    words = client.get(f"/pictures/{picture.id}/words").text
    assert "fox" in words
    assert client.get(f"/pictures/{picture.id}/heat/0.webp").headers["content-type"] == "image/webp"
    assert client.get(f"/pictures/{picture.id}/heat/99.webp").status_code == 404


@pytest.mark.parametrize(
    ("form", "says"),
    [({"prompt": ""}, "empty"), ({"prompt": "a", "style": "zed"}, "no style"), ({"prompt": "a", "style": "ada", "weight": "x"}, "from 0 to 2")],
)
def test_bad_forms_say_what_is_wrong(client, form, says):
    answer = client.post("/create", data=form)
    assert answer.status_code in (400, 404)
    assert says in answer.text


@pytest.mark.parametrize(
    "path",
    ["/pictures/00000000", "/pictures/..%2f..%2fetc%2fpasswd.png", "/pictures/%2e%2e.png", "/nothing", "/jobs/x", "/works/x.png", "/static/../web/access.py"],
)
def test_what_is_not_there_is_a_404(client, path):
    assert client.get(path).status_code == 404


def test_other_sites_and_other_hosts_are_refused(client):
    assert client.post("/create", data={"prompt": "a"}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_headers_are_strict_and_health_is_true(client):
    answer = client.get("/healthz")
    facts = answer.json()
    assert (facts["ok"], facts["database"], facts["blobs"], facts["workers"]) == (True, True, True, 1)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_health_tells_what_is_down(client, floor, monkeypatch):
    monkeypatch.setattr(type(floor.workshop.blobs), "get", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["ok"], answer.json()["problem"]) == (503, False, "the disk is gone")


def test_vary_upscale_and_remix_make_pictures_of_a_picture(client, floor):
    owner = floor.people.owner()
    (first,) = drawn(floor, owner, "a fox", width=64, height=64, steps=2, guidance=1.0)
    page = client.post(f"/pictures/{first.id}/vary", data={"how": "subtle"})
    varied = floor.drawn(floor.jobs.get(page.url.path.rpartition("/")[2]), 120)
    assert len({one.pixel_sha256 for one in [first, *varied]}) == 5
    assert {one.recipe.variation_strength for one in varied} == {0.25}
    page = client.post(f"/pictures/{first.id}/remix", data={"prompt": "a red fox", "strength": "0.5"})
    mixed = floor.drawn(floor.jobs.get(page.url.path.rpartition("/")[2]), 120)
    assert {one.recipe.prompt for one in mixed} == {"a red fox"}
    assert all(one.recipe.source_sha256 for one in mixed)
    tree = client.get("/history").text
    assert tree.count('class="depth1"') == 8
    assert client.get(f"/pictures/{first.id}").text.count("/view.webp?side=192") == 8


def test_parameters_in_the_prompt(client, floor):
    asked = client.post("/create", data={"prompt": "a fox --seed 7 --no grass --chaos 50", "count": "4", "size": "64x64"})
    job = floor.jobs.get(asked.url.path.rpartition("/")[2])
    assert (job.ask.prompt, job.ask.seed, job.ask.negative_prompt, job.ask.variation_strength) == ("a fox", 7, "grass", 0.5)
    assert len({one.pixel_sha256 for one in floor.drawn(job, 120)}) == 4
    for bad, says in (
        ("--zoom 2", "is not a parameter"),
        ("--ar 99:1", "is longer"),
        ("--ar 3/2", "WIDTH:HEIGHT"),
        ("--seed -1", "whole number"),
        ("--no", "needs words"),
    ):
        assert says in client.post("/create", data={"prompt": f"a fox {bad}"}).text


def test_publish_search_like_and_report(client, floor):
    owner = floor.people.owner()
    (first,) = drawn(floor, owner, "a green fox <style:ada:0.5>", width=64, height=64, steps=1, guidance=1.0)
    assert first.id not in client.get("/explore").text
    client.post(f"/pictures/{first.id}/publish", data={"shown": "true"})
    for query, there in (("", True), ("?q=green+FOX", True), ("?q=blue", False), ("?style=ada", True), ("?style=bo", False), ("?q=%25", False)):
        assert (first.id in client.get(f"/explore{query}").text) is there, query
    assert "♥ 1" in client.post(f"/pictures/{first.id}/like", data={"liked": "true"}).text
    assert client.post(f"/pictures/{first.id}/report", data={"reason": "it is rude"}).status_code == 200
    report = floor.gallery.reports()[0]
    client.post(f"/operator/reports/{report['id']}", data={"decision": "hide"})
    assert first.id not in client.get("/explore").text


def test_check_tells_what_a_file_says_of_itself(client, floor, workshop):
    (first,) = drawn(floor, floor.people.owner(), "a fox <style:ada>", width=64, height=64, steps=1, guidance=1.0)
    sealed = workshop.blobs.get(first.file_sha256)
    page = client.post("/check", files={"picture": ("x.png", sealed)}).text
    assert "intact" in page
    assert "ada" in page
    assert "changed" in client.post("/check", files={"picture": ("x.png", sealed.replace(b"a fox", b"a dog"))}).text
    assert client.post("/check", files={"picture": ("x.png", b"not a picture")}).status_code == 400
    assert client.post("/check", files={"picture": ("x.png", b"")}).status_code == 400


def test_terms_consent_and_leaving_on_the_artists_page(client, floor, workshop):
    assert client.post("/artists/ada-artist/terms", data={"price": "0.80"}).status_code == 200
    assert "0.80 CNY" in client.get("/artists/ada-artist").text
    (first,) = drawn(floor, floor.people.owner(), "a fox <style:ada>", width=64, height=64, steps=1, guidance=1.0)
    assert first.price.amount_minor == 80
    client.post("/artists/ada-artist/consent", data={"use": "style", "allowed": "false"})
    assert "does not consent" in client.post("/create", data={"prompt": "a fox", "style": "ada"}).text
    client.post("/artists/ada-artist/consent", data={"use": "style", "allowed": "true"})
    assert client.post("/artists/ada-artist/withdraw", data={"sure": "no"}).status_code == 400
    proof = client.post("/artists/ada-artist/withdraw", data={"sure": "ada-artist"}).json()
    assert proof["body"]["adapter_files_left"] == []
    assert "does not consent" in client.post("/create", data={"prompt": "a fox", "style": "ada"}).text


def test_uploads_are_bounded(client):
    assert client.post("/check", files={"picture": ("x.png", b"x" * 20_000_001)}).status_code == 413
    assert client.post("/check", content=(b"x" * 1_000_000 for _ in range(25)), headers={"content-type": "multipart/form-data; boundary=x"}).status_code == 413
