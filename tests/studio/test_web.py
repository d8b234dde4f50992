import pytest
from fastapi.testclient import TestClient

from tests.studio.test_cli import home  # noqa: F401
from tribute.studio.web import build_app
from tribute.studio.wiring import open_workshop


@pytest.fixture
def client(home):  # noqa: F811
    return TestClient(build_app(open_workshop()), base_url="http://127.0.0.1:7860")


def test_the_page_offers_styles_with_their_artists_in_both_languages(client):
    english, chinese = client.get("/?lang=en").text, client.get("/?lang=zh").text
    assert "Ada · 0.50 CNY" in english
    assert "Create a picture" in english
    assert "创作一张图片" in chinese
    assert 'lang="zh-CN"' in chinese


def test_a_picture_is_made_and_shown_with_its_makers(client):
    made = client.post("/create", data={"prompt": "a <b>fox</b>", "style": "ada", "weight": "0.5"})
    assert made.status_code == 200
    assert "Ada" in made.text
    assert "&lt;b&gt;fox" in made.text
    assert "<b>fox" not in made.text
    assert client.get(made.url.path + ".png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("form", "says"),
    [({"prompt": ""}, "empty"), ({"prompt": "a", "style": "zed"}, "no style"), ({"prompt": "a", "style": "ada", "weight": "x"}, "from 0 to 2")],
)
def test_bad_forms_say_what_is_wrong(client, form, says):
    answer = client.post("/create", data=form)
    assert answer.status_code in (400, 404)
    assert says in answer.text


@pytest.mark.parametrize("path", ["/pictures/00000000", "/pictures/..%2f..%2fetc%2fpasswd.png", "/pictures/%2e%2e.png", "/nothing"])
def test_what_is_not_there_is_a_404(client, path):
    assert client.get(path).status_code == 404


def test_other_sites_and_other_hosts_are_refused(client):
    assert client.post("/create", data={"prompt": "a"}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_headers_are_strict_and_health_is_true(client):
    answer = client.get("/healthz")
    assert answer.json() == {"ok": True, "model_loaded": False}
    assert "default-src 'none'" in answer.headers["content-security-policy"]
