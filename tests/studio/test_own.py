"""The studio's own interface: pages with cursors, ETags, idempotency keys, problem documents; and Schemathesis over its description."""

import pytest

from tests.studio.conftest import drawn, served
from tribute.ledger.verifier import check
from tribute.store.schema import transactions


def test_a_program_draws_keeps_and_checks_a_picture(visits, house):
    mei = visits["mei"]
    wanted = {"prompt": "a fox <style:ada>", "count": 2, "width": 64, "height": 64, "steps": 1, "guidance": 1}
    asked, again = (mei.post("/api/v1/jobs", json=wanted, headers={"Idempotency-Key": "one"}) for _ in range(2))
    assert asked.json()["id"] == again.json()["id"]
    job = mei.get(f"/api/v1/jobs/{asked.json()['id']}", params={"wait_s": 30}).json()
    while job["state"] != "done":
        job = mei.get(f"/api/v1/jobs/{job['id']}", params={"wait_s": 30}).json()
    picture = job["pictures"][0]
    assert sum(share["share_ppm"] for share in mei.get(f"/api/v1/pictures/{picture}/credits").json()["shares"]) == 1_000_000
    unpaid = mei.get(f"/api/v1/pictures/{picture}/file")
    assert (unpaid.status_code, unpaid.headers["content-type"]) == (402, "application/problem+json")
    assert mei.post(f"/api/v1/pictures/{picture}/downloads").status_code == 422
    paid = [mei.post(f"/api/v1/pictures/{picture}/downloads", headers={"Idempotency-Key": "k"}).json() for _ in range(3)]
    assert [one["moved"] for one in paid] == [True, False, False]
    assert check(paid[0]["receipt"]) == []
    with house.workshop.database.reading() as connection:
        assert len(connection.execute(transactions.select().where(transactions.c.kind == "download")).all()) == 1
    file = mei.get(f"/api/v1/pictures/{picture}/file")
    assert file.content.startswith(b"\x89PNG")
    assert mei.get(f"/api/v1/pictures/{picture}/file", headers={"If-None-Match": file.headers["etag"]}).status_code == 304
    assert mei.get("/api/v1/receipts").json()["items"][0]["picture"] == picture
    assert mei.get(f"/api/v1/receipts/{picture}").json()["hashes"] == paid[0]["receipt"]["hashes"]
    assert mei.get("/api/v1/account").json()["balance_micro"] == (1000 - 50) * 10**6
    found = mei.post("/api/v1/verify", files={"file": ("x.png", file.content)}).json()
    assert (found["verdict"], found["picture_id"]) == ("intact", picture)
    assert visits["lu"].get(f"/api/v1/pictures/{picture}").json()["status"] == 404


def test_lists_come_in_pages(visits, house):
    for _ in range(3):
        drawn(house, house.people.named("mei"), "a fox", count=2, width=64, height=64, steps=1, guidance=1.0)
    seen, cursor = [], ""
    while True:
        page = visits["mei"].get("/api/v1/pictures", params={"limit": 2, "before": cursor}).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 6
    works, cursor = [], ""
    while True:
        page = visits["none"].get("/api/v1/works", params={"limit": 2, "after": cursor}).json()
        works += [one["hash"] for one in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert works == sorted(set(works))
    assert len(works) == 7
    assert visits["mei"].get("/api/v1/pictures", params={"before": "x" * 30}).status_code == 400


def test_consent_by_the_artist_holds_from_the_next_picture(visits):
    said = visits["ada"].post("/api/v1/artists/ada-artist/consents", json={"use": "style", "allowed": False})
    assert said.status_code == 201
    refused = visits["mei"].post("/api/v1/jobs", json={"prompt": "a fox <style:ada>"})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:tribute:NotAllowed")
    assert "does not consent" in refused.json()["detail"]


def test_metrics_count_routes_and_not_paths(visits):
    visits["op"].get("/pictures/12345678")
    text = visits["op"].get("/metrics").text
    assert 'route="/pictures/{picture_id}"' in text
    assert "12345678" not in text
    assert "tribute_jobs" in text


@pytest.mark.slow
def test_schemathesis_finds_no_server_error(house):
    """Its own way of guessing at what breaks a service, over the description that the studio gives of itself."""
    import schemathesis

    key = house.people.new_key(house.people.named("op"), "fuzz")[1]
    for address in served(house):
        schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json", headers={"Authorization": f"Bearer {key}"})

        tried = 0
        for operation in schema.get_all_operations():
            _fuzz(operation.ok(), key)
            tried += 1
        assert tried >= 19


def _fuzz(operation, key):
    from hypothesis import HealthCheck, given, settings

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def run(case):
        answer = case.call(headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert answer.status_code < 500, f"{case.method} {case.path}: {answer.status_code} {answer.text[:300]}"

    run()
