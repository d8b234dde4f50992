"""What all faces share: keeping and giving back, models that come and go, works that nobody may draw over."""

import gc
import io
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import flat_art, make_work
from tests.studio.conftest import drawn
from tests.tiny import make_model
from tribute.collection.library import put_works
from tribute.diffusion.likeness import build_likeness
from tribute.ledger.refund import refund
from tribute.provenance.copies import descriptor
from tribute.provenance.fingerprints import build_fingerprints
from tribute.records import InsufficientFunds, NotAllowed, Unknown, sha256
from tribute.studio.floor import open_floor
from tribute.studio.gallery import kept_key
from tribute.studio.likeness import check_source, closest_works, pixels_of
from tribute.studio.wiring import open_workshop


def test_a_picture_given_back_can_be_kept_again_and_is_paid_once_each_time(house):
    mei = house.people.named("mei")
    (picture,) = drawn(house, mei, width=64, height=64, steps=1, guidance=1.0)
    before = house.balance_micro(mei)
    for times in (1, 2):
        assert [house.keep(mei, picture)[2] for _ in range(3)] == [True, False, False]
        with house.workshop.database.reading() as connection:
            key = kept_key(connection, mei, picture.id)
        assert before - house.balance_micro(mei) == 50 * 10**6
        refund(house.workshop.database, key, "test", 7)
        assert before == house.balance_micro(mei), times
    with pytest.raises(InsufficientFunds):
        house.keep(house.people.named("lu"), picture)


def test_slow_credit_is_worked_off_when_nobody_waits(house, monkeypatch):
    monkeypatch.setattr("tribute.commission.PLAYERS_MAX", 1)
    mei = house.people.named("mei")
    (picture,) = drawn(house, mei, "a fox <style:ada> <style:bo>", width=64, height=64, steps=1, guidance=1.0)
    assert picture.credits is None or picture.credits.method
    for _ in range(200):
        credits = house.gallery.see(mei, picture.id).picture.credits
        if credits is not None:
            break
        time.sleep(0.1)
    assert sum(share.share_ppm for share in credits.shares) == 1_000_000


def test_another_models_memory_is_given_back(home, tmp_path, monkeypatch):
    other = make_model(tmp_path / "other", "sd2")
    monkeypatch.setenv("TRIBUTE_MODELS", str(other))
    floor = open_floor(open_workshop())
    first = weakref.ref(floor.easel.model().pipeline.unet)
    assert floor.easel.model(str(other)).folder == other
    gc.collect()
    assert first() is None
    with pytest.raises(Unknown, match="no model named"):
        floor.easel.model("elsewhere")


def png(picture_HWC):
    written = io.BytesIO()
    Image.fromarray(picture_HWC).save(written, "PNG")
    return written.getvalue()


def test_a_work_is_found_and_cannot_be_drawn_over_without_its_artists_word(client, floor, workshop, monkeypatch):
    """Vectors by a stand-in for the network that looks at eight by eight colours; the rest is real."""
    from tribute.records import Work
    from tribute.store.database import documents
    from tribute.store.schema import works

    def features(pictures_NHWC):
        small = [np.asarray(Image.fromarray(one).resize((8, 8)), np.float32).ravel() / 255 for one in pictures_NHWC]
        return SimpleNamespace(pooled_NF=torch.from_numpy(np.stack(small)))

    rng = np.random.default_rng(1)
    with workshop.database.reading() as connection:
        hashes = sorted(work.hash for work in documents(connection, works, Work))
    pictures = rng.integers(0, 255, (len(hashes), 128, 128, 3), dtype=np.uint8)
    pictures = np.stack([np.asarray(Image.fromarray(one).resize((6, 6)).resize((128, 128), Image.Resampling.NEAREST)) for one in pictures])
    likeness = build_likeness(features(pictures).pooled_NF, components=5)
    monkeypatch.setattr("tribute.diffusion.likeness.features", features)
    known = build_fingerprints(np.stack([descriptor(picture) for picture in pictures]))
    monkeypatch.setattr("tribute.studio.likeness.shipped", lambda: (likeness, known, hashes))
    found = closest_works(workshop, png(pictures[3]), 3)
    assert found[0]["work"].hash == hashes[3]
    assert found[0]["sure"]
    assert found[0]["similarity"] > found[1]["similarity"]
    page = client.post("/am-i-in-it", files={"picture": ("x.png", png(pictures[3]))}).text
    assert "Yes: this very picture" in page
    assert f"<b>{found[0]['work'].title}</b>" in page
    page = client.post("/am-i-in-it", files={"picture": ("x.png", png(pictures[3]))}, headers={"Accept-Language": "zh"}).text
    assert f"<b>{found[0]['work'].captions_zh[0].split('，')[0]} · {found[0]['work'].title}</b>" in page
    shipped = workshop.home / "starter"
    shipped.mkdir()
    for name in ("likeness.safetensors", "fingerprints.safetensors"):
        (shipped / name).write_bytes(b"there")
    monkeypatch.setattr("tribute.studio.likeness.STARTER", shipped)
    refused = client.post("/create", data={"prompt": "a fox", "count": "1"}, files={"source": ("x.png", png(pictures[3]))})
    assert refused.status_code == 403
    assert "do not allow drawing over" in refused.text
    with pytest.raises(NotAllowed):
        check_source(workshop, png(pictures[3]))
    check_source(workshop, png(255 - pictures[3]))


def fingerprints(*pictures):
    """Of these works, among strangers."""
    strangers = [flat_art(128, seed) for seed in range(500, 700)]
    return build_fingerprints(np.stack([descriptor(picture) for picture in (*pictures, *strangers)])), [*"x" * len(strangers)]


def test_a_changed_copy_of_a_work_is_known_by_its_fingerprint_without_its_picture(workshop, monkeypatch):
    """The vectors find every work to be a little like the upload; what tells is the fingerprint."""
    works = [make_work("ada-artist", "ada", seed).model_copy(update={"picture_sha256": sha256(png(flat_art(128, seed)))}) for seed in (71, 72)]
    with workshop.database.writing() as connection:
        put_works(connection, works)
    known, strangers = fingerprints(flat_art(128, 71), flat_art(128, 72))
    vectors = SimpleNamespace(similarities=lambda _: torch.tensor([[0.5, 0.4] + [0.0] * len(strangers)]))
    monkeypatch.setattr("tribute.studio.likeness.shipped", lambda: (vectors, known, [*(work.hash for work in works), *strangers]))
    shipped = workshop.home / "starter"
    shipped.mkdir()
    for name in ("likeness.safetensors", "fingerprints.safetensors"):
        (shipped / name).write_bytes(b"there")
    monkeypatch.setattr("tribute.studio.likeness.STARTER", shipped)
    saved = io.BytesIO()
    Image.fromarray(flat_art(128, 72)).crop((2, 2, 126, 126)).resize((200, 200)).save(saved, "JPEG", quality=60)
    first, second = closest_works(workshop, saved.getvalue(), 2)
    assert first["work"].hash == works[1].hash  # though the vectors had it second
    assert first["sure"]
    assert not first["shown"]
    assert not second["sure"]
    middle = png(flat_art(128, 72)[10:-10, 10:-10])
    for changed in (saved.getvalue(), middle, png(np.ascontiguousarray(flat_art(128, 72)[:, ::-1]))):
        with pytest.raises(NotAllowed, match="ada 72"):
            check_source(workshop, changed)
    check_source(workshop, png(flat_art(128, 73)))
    monkeypatch.setattr("tribute.studio.likeness.COPY", 2.0)  # never sure by the fingerprint alone
    check_source(workshop, middle)
    workshop.blobs.put(png(flat_art(128, 72)))
    assert [one["sure"] for one in closest_works(workshop, middle, 2)] == [True, False]
    with pytest.raises(NotAllowed, match="ada 72"):
        check_source(workshop, middle)
    (shipped / "fingerprints.safetensors").unlink()
    check_source(workshop, saved.getvalue())  # works cannot be looked for


def test_a_picture_that_is_a_near_copy_of_a_work_says_so_on_its_page(visits, house, monkeypatch):
    (picture,) = drawn(house, house.people.named("mei"), width=64, height=64, steps=1, guidance=1.0)
    mei, leans = visits["mei"], f"/pictures/{picture.id}/leans"
    for seed, looked in ((81, flat_art(128, 81)), (82, pixels_of(house.workshop.blobs.get(picture.file_sha256)))):
        work = make_work("ada-artist", "noto", seed)
        with house.workshop.database.writing() as connection:
            put_works(connection, [work])
        known, strangers = fingerprints(*[looked] * 20)
        vectors = SimpleNamespace(similarities=lambda _, count=len(strangers): torch.tensor([[0.5] + [0.0] * (19 + count)]))
        hashes = [work.hash, *"x" * 19, *strangers]
        monkeypatch.setattr("tribute.studio.likeness.shipped", lambda given=(vectors, known, hashes): given)
        page = mei.get(leans).text
        assert work.title in page
        assert ("near copy" in page) == (seed == 82)
    assert "几乎相同" in mei.get(leans, headers={"accept-language": "zh"}).text


def test_a_picture_that_was_led_away_from_a_near_copy_says_so_on_its_page(visits, house):
    size, mei = {"width": 64, "height": 64, "steps": 1, "guidance": 1.0}, visits["mei"]
    for led, told in (
        ({}, ""), ({"prompt_noise": 0.6}, "noise on the words: 0.6<"), ({"beside": "a <fox>, flat"}, "half told as “a &lt;fox&gt;, flat”"),
        ({"prompt_noise": 1.2, "led_until": 0.25}, "noise on the words: 1.2, in the first part of the steps: 25%<"),
    ):  # fmt: skip
        (picture,) = drawn(house, house.people.named("mei"), **size, **led)
        page = mei.get(f"/pictures/{picture.id}").text
        assert ("Led away from a near copy" in page) == bool(led)
        assert told in page
        chinese = mei.get(f"/pictures/{picture.id}", headers={"accept-language": "zh"}).text
        assert ("避开了近似的副本" in chinese) == bool(led)
        assert ("一半当作" in chinese) == ("beside" in led)


def test_a_wish_without_a_seed_is_the_best_of_several_tries(house):
    assert house.wish("a fox").tries == 4
    assert house.wish("a fox", tries=2).tries == 2
    for once in ("a fox --seed 7", "a fox --no grass"):
        assert house.wish(once).tries == 1
    near = house.wish("a fox --chaos 20", count=4)
    assert (near.tries, near.variation_seed) == (1, (near.seed + 1) % 2**32)
    assert house.wish("a fox", seed=3).tries == 1
