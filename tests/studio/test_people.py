"""Accounts: what is kept of passwords and keys opens nothing; who may do what, route by route."""

import base64
import re
import time
from contextlib import ExitStack

import pytest

from tests.conftest import flat_art
from tests.create.test_edit import png
from tests.studio.conftest import PASSWORD, drawn
from tribute.ledger.topup import top_up
from tribute.records import Busy, Conflict, InvalidInput, Unknown
from tribute.store.schema import api_keys, people, sessions
from tribute.studio.floor import WAITERS_EACH
from tribute.studio.gallery import kept_by
from tribute.studio.people import Denied, People
from tribute.studio.web import build_app


def test_passwords_sessions_and_keys_are_kept_as_hashes(database):
    kept = People(database)
    mei = kept.add("mei", PASSWORD)
    token, (_, key) = kept.open_session(mei), kept.new_key(mei, "laptop")
    with database.reading() as connection:
        everything = str([connection.execute(table.select()).all() for table in (people, sessions, api_keys)])
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in everything  # RFC 9106, section 4, second recommended option
    for secret in (PASSWORD, token, key):
        assert secret not in everything
    assert kept.check("mei", PASSWORD) == kept.of_session(token) == kept.of_key(key) == mei
    for name, password in (("mei", "wrong"), ("nobody", PASSWORD), ("mei", ""), ("mei", PASSWORD + "x" * 10_000)):
        with pytest.raises(Denied):
            kept.check(name, password)


def test_a_revoked_key_a_new_password_and_a_disabled_account_open_nothing(database):
    kept = People(database)
    mei = kept.add("mei", PASSWORD)
    key_id, key = kept.new_key(mei, "laptop")
    kept.revoke_key(mei, key_id)
    with pytest.raises(Denied):
        kept.of_key(key)
    token, (_, second) = kept.open_session(mei), kept.new_key(mei, "phone")
    kept.set_password(mei, PASSWORD + "2")
    assert kept.of_session(token) is None
    with pytest.raises(Denied):
        kept.of_key(second)
    with pytest.raises(Denied):
        kept.check("mei", PASSWORD)
    token = kept.open_session(mei)
    kept.disable(mei.id)
    assert kept.of_session(token) is None
    with pytest.raises(Denied):
        kept.check("mei", PASSWORD + "2")


@pytest.mark.parametrize(
    ("given", "error"),
    [(("mei", PASSWORD), Conflict), (("a b", PASSWORD), InvalidInput), (("lu", "short"), InvalidInput), (("lu", PASSWORD, "boss"), Unknown),
     (("lu", PASSWORD, "artist"), InvalidInput), (("lu", PASSWORD, "artist", "nobody"), Unknown), (("../x", PASSWORD), InvalidInput)],
)  # fmt: skip
def test_what_cannot_be_an_account_is_refused(memory, given, error):
    kept = People(memory)
    kept.add("mei", PASSWORD)
    with pytest.raises(error):
        kept.add(*given)


# Who may do what: the status that each visitor gets, in the order none, guest, mei (a creator), lu (another creator), ada (an artist), op (an operator).
# P is mei's unpublished picture, J mei's job, K mei's key. 303 from /sign-in's side is "sign in first"; a picture or job of somebody else is a 404.
ORDER = ("none", "guest", "mei", "lu", "ada", "op")
SIGN = "303s"
MATRIX = {
    "GET /": "200 200 200 200 200 200",
    "POST /create": "303 303 303 303 303 303",
    "GET /jobs/{job_id}": f"{SIGN} 404 200 404 404 200",
    "GET /jobs/{job_id}/events": f"{SIGN} 404 200 404 404 200",
    "GET /jobs/{job_id}/previews/{number}.png": f"{SIGN} 404 303 404 404 303",
    "POST /jobs/{job_id}/cancel": "401 404 303 404 404 303",
    "GET /history": f"{SIGN} 200 200 200 200 200",
    "GET /pictures/{picture_id}": "404 404 200 404 404 200",
    "GET /pictures/{picture_id}.png": "404 404 402 404 404 200",
    "GET /pictures/{picture_id}/leans": "404 404 200 404 404 200",
    "GET /pictures/{picture_id}/view.webp": "404 404 200 404 404 200",
    "GET /pictures/{picture_id}/words": f"{SIGN} 404 200 404 404 200",
    "GET /pictures/{picture_id}/heat/{number}.webp": f"{SIGN} 404 200 404 404 200",
    "GET /pictures/{picture_id}/receipt.json": f"{SIGN} 404 404 404 404 404",
    "POST /pictures/{picture_id}/upscale": "404 404 400 404 404 400",
    "POST /pictures/{picture_id}/vary": "404 404 303 404 404 303",
    "POST /pictures/{picture_id}/remix": "404 404 303 404 404 303",
    "POST /pictures/{picture_id}/download": "401 403 303 404 404 402",
    "POST /pictures/{picture_id}/refund": "401 403 303 404 404 400",
    "POST /pictures/{picture_id}/publish": "401 403 303 404 404 303",
    "POST /pictures/{picture_id}/like": "401 403 400 404 404 400",
    "POST /pictures/{picture_id}/report": "401 403 400 404 404 400",
    "GET /explore": "200 200 200 200 200 200",
    "POST /explore": "400 400 400 400 400 400",
    "GET /am-i-in-it": "200 200 200 200 200 200",
    "POST /am-i-in-it": "400 400 400 400 400 400",
    "GET /check": "200 200 200 200 200 200",
    "POST /check": "400 400 400 400 400 400",
    "GET /works/{digest}.png": "404 404 404 404 404 404",
    "GET /artists": "200 200 200 200 200 200",
    "GET /artists/{artist_id}": "200 200 200 200 200 200",
    "GET /artists/{artist_id}/live": f"{SIGN} 403 403 403 200 200",
    "POST /artists/{artist_id}/consent": "401 403 403 403 303 303",
    "POST /artists/{artist_id}/terms": "401 403 403 403 303 303",
    "POST /artists/{artist_id}/withdraw": "401 403 403 403 400 400",
    "GET /artists/{artist_id}/statements/{week}.{ending}": f"{SIGN} 403 403 403 404 404",
    "GET /operator": f"{SIGN} 403 403 403 403 200",
    "POST /operator/topup": "401 403 403 403 403 303",
    "POST /operator/people": "401 403 403 403 403 303",
    "POST /operator/people/{person_id}/disable": "401 403 403 403 403 404",
    "POST /operator/jobs/{job_id}/cancel": "401 403 403 403 403 303",
    "POST /operator/reports/{report_id}": "401 403 403 403 403 404",
    "POST /operator/settle": "401 403 403 403 403 400",
    "GET /sign-in": "200 200 200 200 200 200",
    "POST /sign-in": "401 401 401 401 401 401",
    "GET /sign-up": "200 200 200 200 200 200",
    "POST /sign-up": "400 400 400 400 400 400",
    "GET /account": f"{SIGN} 403 200 200 200 200",
    "POST /account/keys": "401 403 200 200 200 200",
    "POST /account/keys/{key_id}/revoke": "401 403 303 404 404 404",
    "POST /account/password": "401 403 401 401 401 401",
    "GET /api/v1/styles": "200 200 200 200 200 200",
    "GET /api/v1/works": "200 200 200 200 200 200",
    "GET /api/v1/artists": "200 200 200 200 200 200",
    "GET /api/v1/artists/{artist_id}/consents": "200 200 200 200 200 200",
    "POST /api/v1/artists/{artist_id}/consents": "401 403 403 403 201 201",
    "GET /api/v1/artists/{artist_id}/statements": "401 403 403 403 200 200",
    "POST /api/v1/jobs": "401 202 202 202 202 202",
    "GET /api/v1/jobs": "401 200 200 200 200 200",
    "GET /api/v1/jobs/{job_id}": "401 404 200 404 404 200",
    "DELETE /api/v1/jobs/{job_id}": "401 404 200 404 404 200",
    "GET /api/v1/pictures": "401 200 200 200 200 200",
    "GET /api/v1/pictures/{picture_id}": "404 404 200 404 404 200",
    "GET /api/v1/pictures/{picture_id}/credits": "404 404 200 404 404 200",
    "POST /api/v1/pictures/{picture_id}/downloads": "401 403 201 404 404 402",
    "GET /api/v1/pictures/{picture_id}/file": "401 403 200 404 404 200",
    "GET /api/v1/receipts": "401 403 200 200 200 200",
    "GET /api/v1/receipts/{picture_id}": "401 403 200 404 404 404",
    "GET /api/v1/account": "401 403 200 200 200 200",
    "POST /api/v1/verify": "400 400 400 400 400 400",
    "GET /v1/models": "401 403 200 200 200 200",
    "GET /v1/models/{name:path}": "401 403 404 404 404 404",
    "POST /v1/images/generations": "401 403 400 400 400 400",
    "POST /v1/images/edits": "401 403 400 400 400 400",
    "POST /v1/images/variations": "401 403 400 400 400 400",
    "POST /v1/{what:path}": "401 403 501 501 501 501",
    "POST /sdapi/v1/txt2img": "401 403 400 400 400 400",
    "POST /sdapi/v1/img2img": "401 403 422 422 422 422",
    "GET /sdapi/v1/progress": "401 403 200 200 200 200",
    "POST /sdapi/v1/interrupt": "401 403 200 200 200 200",
    "POST /sdapi/v1/png-info": "401 403 400 400 400 400",
    "GET /sdapi/v1/samplers": "401 403 200 200 200 200",
    "GET /sdapi/v1/schedulers": "401 403 200 200 200 200",
    "GET /sdapi/v1/upscalers": "401 403 200 200 200 200",
    "GET /sdapi/v1/sd-models": "401 403 200 200 200 200",
    "GET /sdapi/v1/loras": "401 403 200 200 200 200",
    "GET /sdapi/v1/options": "401 403 200 200 200 200",
    "POST /sdapi/v1/options": "401 403 400 400 400 400",
    "POST /sdapi/v1/{what:path}": "401 403 501 501 501 501",
    "GET /metrics": "401 403 403 403 403 200",
    "GET /healthz": "200 200 200 200 200 200",
    "GET /favicon.ico": "301 301 301 301 301 301",
    "POST /sign-out": "401 303 303 303 303 303",  # last: it ends the sessions
}
JSON = {
    "POST /api/v1/artists/{artist_id}/consents": {"use": "style", "allowed": True}, "POST /api/v1/jobs": {"prompt": "a fox", "steps": 1, "guidance": 1.0},
    "POST /v1/images/generations": {"prompt": ""}, "POST /sdapi/v1/txt2img": {"prompt": ""}, "POST /sdapi/v1/img2img": {"prompt": "a"},
    "POST /sdapi/v1/png-info": {"image": 3},
}  # fmt: skip
FORMS = {
    "POST /create": {"prompt": "a fox", "count": "1", "steps": "1", "guidance": "1"}, "POST /operator/topup": {"name": "lu", "amount": "1.00"},
    "POST /artists/{artist_id}/terms": {"price": "0.50"}, "POST /artists/{artist_id}/consent": {"use": "style", "allowed": "true"},
    "POST /account/keys": {"label": "x"}, "POST /operator/settle": {"week": "2999-W01"}, "POST /operator/reports/{report_id}": {"decision": "keep"},
    "POST /sign-in": {"name": "mei", "password": "wrong"}, "POST /pictures/{picture_id}/remix": {"prompt": "a cat", "strength": "1"},
    "POST /pictures/{picture_id}/publish": {"shown": "false"}, "POST /pictures/{picture_id}/report": {"reason": "rude"},
    "POST /operator/people": {"name": "new", "password": PASSWORD},
}  # fmt: skip
FILES = {"POST /api/v1/verify": "file", "POST /v1/images/edits": "image", "POST /v1/images/variations": "image"}


def routes_of(app):
    return {f"{method} {route.path}" for route in app.routes if hasattr(route, "methods") for method in route.methods if method not in ("HEAD",)}


def test_every_route_is_in_the_table(house):
    assert routes_of(build_app(house)) - set(MATRIX) - {"GET /api/v1/openapi.json"} == set()


@pytest.mark.slow
def test_every_route_for_every_role(house, visits, monkeypatch):
    monkeypatch.setattr("tribute.studio.web.access.Rates.hit", lambda *_: None)
    monkeypatch.setattr("tribute.studio.jobs.WAITING_EACH", 1000)
    monkeypatch.setattr("tribute.studio.floor.WAITING_GUEST", 1000)
    monkeypatch.setattr("tribute.studio.floor.WAITING_EACH", 1000)
    mei = house.people.named("mei")
    (picture,) = drawn(house, mei, "a fox <style:ada>", width=64, height=64, steps=1, guidance=1.0)
    job = house.gallery.see(mei, picture.id).job_id
    key = house.people.new_key(mei, "k")[0]
    values = {"picture_id": picture.id, "job_id": job, "key_id": key, "artist_id": "ada-artist", "number": "0", "week": "2026-W01", "ending": "csv",
              "digest": "0" * 64, "person_id": "0" * 16, "report_id": "0" * 16, "name:path": "zed", "what:path": "nothing"}  # fmt: skip
    wrong = []
    for route, expected in MATRIX.items():
        method, path = route.split(" ", 1)
        address = re.sub(r"\{([^}]+)\}", lambda found: values[found[1]], path)
        for who, status in zip(ORDER, expected.split(), strict=True):
            given = {"json": JSON[route]} if route in JSON else {"data": FORMS.get(route)} if method == "POST" and route not in FILES else {}
            if route in FILES:
                given = {"files": {FILES[route]: ("x.png", b"")}, "data": {"prompt": "a"}}
            if path.endswith("downloads"):
                given = {"headers": {"Idempotency-Key": "k"}}
            answer = visits[who].request(method, address, **given)
            got = str(answer.status_code)
            if got == "303" and answer.headers.get("location", "").startswith("/sign-in?"):
                got = SIGN
            if got != status:
                wrong.append(f"{who}: {route} is {got}, not {status}: {answer.text[:160] if answer.status_code >= 500 else ''}")
            if who == "none":
                visits["none"].cookies.clear()
    assert wrong == []


def test_a_guest_has_a_small_quota_and_a_session_of_their_own(house, visits):
    nobody = visits["none"]
    for _ in range(2):
        assert nobody.post("/create", data={"prompt": "a fox", "count": "4", "steps": "1", "guidance": "1"}).status_code == 303
        for job in house.jobs.waiting():
            house.jobs.wait(job.id, 60)
    assert nobody.cookies["tribute_session"]
    refused = nobody.post("/create", data={"prompt": "a fox", "count": "4"})
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    assert "9 pictures a day" in refused.text


def test_signing_in_sends_nobody_elsewhere_and_is_slowed_down(visits):
    client = visits["none"]
    assert client.get("/operator").headers["location"] == "/sign-in?to=/operator"
    for to, lands in (("/account", "/account"), ("https://evil.example/", "/"), ("//evil.example", "/"), ("/\\evil.example", "/"), ("javascript:1", "/")):
        answer = client.post("/sign-in", data={"name": "mei", "password": PASSWORD, "to": to})
        assert (answer.status_code, answer.headers["location"]) == (303, lands)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
    statuses = [client.post("/sign-in", data={"name": "mei", "password": "wrong"}).status_code for _ in range(12)]
    assert statuses[-1] == 429


def test_forms_of_other_sites_change_nothing(visits, house):
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "null"}):
        assert visits["op"].post("/operator/topup", data={"name": "lu", "amount": "1.00"}, headers=headers).status_code == 403
    assert house.balance_micro(house.people.named("lu")) == 0
    same = {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}
    assert visits["op"].post("/operator/topup", data={"name": "lu", "amount": "1.00"}, headers=same).status_code == 303


def test_keys_and_passwords_open_the_interfaces(house, visits):
    key = house.people.new_key(house.people.named("mei"), "k")[1]
    nobody = visits["none"]
    for headers in ({"authorization": f"Bearer {key}"},):
        assert nobody.get("/v1/models", headers=headers).status_code == 200
    assert nobody.get("/sdapi/v1/options", auth=("mei", PASSWORD)).status_code == 200
    assert nobody.get("/sdapi/v1/options", auth=("mei", key)).status_code == 200
    for headers in ({"authorization": "Bearer tk_no"}, {"authorization": "Basic !"}, {"authorization": "Digest x"}):
        answer = nobody.get("/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_program_pays_for_what_it_is_handed(house, visits):
    before = house.balance_micro(house.people.named("mei"))
    made = visits["mei"].post("/v1/images/generations", json={"prompt": "a fox <style:ada>", "n": 2})
    assert len(made.json()["data"]) == 2
    assert before - house.balance_micro(house.people.named("mei")) == 2 * 50 * 10**6
    poor = visits["lu"].post("/v1/images/generations", json={"prompt": "a fox"})
    assert (poor.status_code, poor.json()["error"]["code"]) == (402, "insufficient_quota")


def test_a_name_in_other_letters_is_nobody_else(house, visits):
    mei = house.people.named("mei")
    with pytest.raises(Conflict):
        house.people.add("Mei", PASSWORD)
    (picture,) = drawn(house, mei, "a fox", width=64, height=64, steps=1, guidance=1.0)
    house.keep(mei, picture)
    like = house.people.add("m_i", PASSWORD)  # a name that a careless search would take for a pattern
    with house.workshop.database.reading() as connection:
        assert kept_by(connection, like) == []
        assert [row.picture_id for row in kept_by(connection, mei)] == [picture.id]


def test_an_account_with_money_is_not_taken_by_signing_up(house, visits):
    top_up(house.workshop.database, "zoe", 500, "CNY", "z")
    answer = visits["none"].post("/sign-up", data={"name": "zoe", "password": PASSWORD})
    assert answer.status_code == 409
    assert house.people.add("zoe", PASSWORD).name == "zoe"  # the operator knows whose it is


def test_a_guest_who_signs_up_keeps_what_they_made(house, visits):
    guest = visits["guest"]
    asked = guest.post("/create", data={"prompt": "a fox", "count": "1", "steps": "1", "guidance": "1"})
    (made,) = house.drawn(house.jobs.get(asked.headers["location"].rpartition("/")[2]), 60)
    answer = guest.post("/sign-up", data={"name": "nora", "password": PASSWORD})
    assert answer.status_code == 303
    assert guest.get(f"/pictures/{made.id}").status_code == 200
    assert house.people.named("nora").role == "creator"


def test_what_was_paid_for_is_not_taken_away_and_what_was_hidden_stays_so(house, visits):
    mei, lu = house.people.named("mei"), house.people.named("lu")
    top_up(house.workshop.database, "lu", 100, "CNY", "l")
    (picture,) = drawn(house, mei, "a fox", width=64, height=64, steps=1, guidance=1.0)
    house.gallery.publish(mei, picture.id, True)
    assert visits["lu"].post(f"/pictures/{picture.id}/download").status_code == 303
    report = house.gallery.report(lu, picture.id, "it is rude")
    house.gallery.decide(report, "hide")
    assert visits["lu"].get(f"/pictures/{picture.id}").status_code == 404
    assert visits["lu"].get(f"/pictures/{picture.id}.png").status_code == 200
    assert visits["lu"].get(f"/pictures/{picture.id}/receipt.json").status_code == 200
    assert visits["mei"].post(f"/pictures/{picture.id}/publish", data={"shown": "true"}).status_code == 403
    assert visits["lu"].post(f"/pictures/{picture.id}/refund").status_code == 303
    assert house.balance_micro(lu) == 100 * 10**6


def test_a_program_is_handed_all_or_pays_nothing(house, visits):
    top_up(house.workshop.database, "lu", 75, "CNY", "l")
    lu = house.people.named("lu")
    assert visits["lu"].post("/v1/images/generations", json={"prompt": "a fox", "n": 2}).status_code == 402
    assert house.balance_micro(lu) == 75 * 10**6
    body = {"prompt": "a fox", "steps": 1, "width": 64, "height": 64, "send_images": False}
    assert visits["lu"].post("/sdapi/v1/txt2img", json=body).json()["images"] == []
    assert house.balance_micro(lu) == 75 * 10**6


PIXEL = png(flat_art(64, 1))
HOSTILE = {
    "size=99999x99999": {"prompt": "a", "size": "99999x99999"}, "size=²x²": {"prompt": "a", "size": "²x²"}, "size=0x0": {"prompt": "a", "size": "0x0"},
    "negative": {"prompt": "a", "negative": "x" * 100_000}, "no": {"prompt": "a --no " + "x" * 100_000}, "steps": {"prompt": "a", "steps": "1e999"},
    "zero": {"prompt": "a\0b"}, "count": {"prompt": "a", "count": "10000"}, "seed": {"prompt": "a", "seed": "-1"},
    "weight": {"prompt": "a", "style": "ada", "weight": "nan"},
}  # fmt: skip


@pytest.mark.parametrize("given", HOSTILE.values(), ids=HOSTILE)
def test_hostile_forms_are_refused_at_once(visits, given):
    answer = visits["mei"].post("/create", data=given, files={"source": ("x.png", PIXEL)})
    assert answer.status_code in (400, 422), answer.text[:200]


def test_a_file_made_to_keep_the_reader_busy_does_not(visits):
    began = time.perf_counter()
    visits["none"].post("/check", files={"picture": ("x.svg", b"<svg>" + b"<x:xmpmeta" * 400_000)})
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0\0\0\0"
    assert visits["none"].post("/check", files={"picture": ("x.png", bomb)}).status_code in (200, 400)  # damaged, whatever it says of its size
    assert visits["mei"].post("/sdapi/v1/png-info", json={"image": base64.b64encode(bomb).decode()}).status_code == 200
    assert visits["mei"].post("/sdapi/v1/txt2img", content=b"[" * 100_000, headers={"content-type": "application/json"}).status_code == 400
    assert time.perf_counter() - began < 20


def test_many_who_wait_do_not_stop_the_studio(house):
    mei = house.people.named("mei")
    with ExitStack() as held:
        for _ in range(WAITERS_EACH):
            held.enter_context(house.waiting(mei.id))
        with pytest.raises(Busy), house.waiting(mei.id):
            pass
        with house.waiting("lu"):
            pass
    with house.waiting(mei.id):
        pass
    assert house.waiters == {}
