"""What `tribute train assemble` ships, of the starter's own parts laid out as the runs that made them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tribute.collection.consent import record_consent
from tribute.collection.starter import SOURCES, STYLES
from tribute.diffusion import recipes
from tribute.provenance.fingerprints import FINGERPRINTS
from tribute.records import Consent, InvalidInput, Snapshot, Unknown, canonical, sha256, utc_now
from tribute.store.database import get, insert_new
from tribute.store.schema import snapshots
from tribute.studio.training import run_stage
from tribute.studio.wiring import STARTER, Settings, open_workshop


@pytest.fixture
def laid_out(tmp_path):
    """A workshop that holds the starter's collection, and runs of all that is assembled."""
    workshop, runs = open_workshop(Settings(home=tmp_path / "home")), tmp_path / "runs"
    run_stage(workshop, recipes, "unpack", runs, (), tmp_path / "out")
    return workshop, runs


def test_a_model_that_is_unpacked_and_assembled_is_the_same_one(laid_out, tmp_path):
    """All that training made of it, and what it says of how."""
    workshop, runs = laid_out
    out = tmp_path / "out"
    run_stage(workshop, recipes, "assemble", runs, (), out)
    made, shipped = ({path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()} for folder in (out, STARTER))
    assert made.keys() == shipped.keys() - {Path("README.md")}
    told = {name for name in made if name.name == "config.json"}  # of diffusers' parts: they say where they were loaded from
    assert [name for name in made.keys() - told if made[name].read_bytes() != shipped[name].read_bytes()] == []


def test_a_model_is_unpacked_into_a_new_folder_or_not_at_all(tmp_path):
    workshop, runs, model = open_workshop(Settings(home=tmp_path / "home"), starter=None), tmp_path / "runs", tmp_path / "model"
    runs.mkdir()
    (runs / "log.jsonl").touch()
    with pytest.raises(InvalidInput, match="a new folder"):
        run_stage(workshop, recipes, "unpack", runs, (), tmp_path / "out")
    (runs / "log.jsonl").unlink()
    shutil.copytree(STARTER, model)
    collection = json.loads((model / "collection.json").read_text())
    collection["styles"].pop()
    for broken, text in (("collection.json", json.dumps(collection)), ("tribute.json", "[]"), ("tribute.json", "{")):
        (model / broken).write_text(text)
        with pytest.raises(InvalidInput, match="no model that `tribute train assemble` wrote"):
            run_stage(workshop, recipes, "unpack", runs, (), tmp_path / "out", model)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "model", "runs"]
        assert not any(runs.iterdir())


def test_a_model_with_fingerprints_and_no_likeness_is_unpacked_too(tmp_path):
    """Both are of one stage, but either may be taken out of a model."""
    workshop, runs, model = open_workshop(Settings(home=tmp_path / "home"), starter=None), tmp_path / "runs", tmp_path / "model"
    shutil.copytree(STARTER, model)
    (model / recipes.LIKENESS).unlink()
    run_stage(workshop, recipes, "unpack", runs, (), tmp_path / "out", model)
    assert [path.name for path in (runs / "likeness").iterdir()] == [FINGERPRINTS]


def test_what_is_assembled_holds_the_adapters_that_its_collection_cites(laid_out, tmp_path):
    """Micah's is halfway to another one here, so it is none that the store held already."""
    workshop, runs = laid_out
    start, out = tmp_path / "start", tmp_path / "out"
    shutil.copytree(runs / "style-fun-emoji", start / "style-micah")
    before = (runs / "style-micah" / recipes.ADAPTER).read_bytes()
    run_stage(workshop, recipes, "assemble", runs, (), out, start)
    assert (out / "styles" / "micah.safetensors").read_bytes() != before
    cited = {style["name"]: style["adapter_sha256"] for style in json.loads((out / "collection.json").read_text())["styles"]}
    assert cited.keys() == set(STYLES)
    assert cited == {path.stem: sha256(path.read_bytes()) for path in (out / "styles").iterdir()}


def test_an_adapter_whose_artist_no_longer_consents_is_not_assembled(laid_out, tmp_path):
    workshop, runs = laid_out
    with workshop.database.writing() as connection:
        record_consent(connection, Consent(artist_id=SOURCES["micah"].artist.id, use="style", allowed=False, since=utc_now(), basis="asked"))
    run_stage(workshop, recipes, "assemble", runs, (), tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "styles").iterdir()} == set(STYLES) - {"micah"}


def test_earlier_runs_without_adapters_are_told_before_anything_is_written(laid_out, tmp_path):
    workshop, runs = laid_out
    with pytest.raises(InvalidInput, match="--start is the runs folder"):
        run_stage(workshop, recipes, "assemble", runs, (), tmp_path / "out", tmp_path / "nothing")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_style_learns_again_only_what_the_base_learned_and_may_still_learn(laid_out, tmp_path):
    """Of the works beside an artist's own: the base's snapshot, which a style cites, but for one whose artist withdrew."""
    workshop, runs = laid_out
    given = []

    def style(run, works, read, *, commons, **_):
        given.append((works, commons))
        (run / recipes.ADAPTER).write_bytes(b"adapter")
        return run / recipes.ADAPTER

    stand_in = SimpleNamespace(ADAPTER=recipes.ADAPTER, style=style, finished_vae=recipes.finished_vae)
    run_stage(workshop, stand_in, "style", runs, ("micah",), tmp_path / "out")
    (works, before) = given[0]
    base = (runs / "denoiser" / "snapshot.txt").read_text().strip()
    with workshop.database.writing() as connection:
        listed = get(connection, snapshots, Snapshot, base, "snapshot").works
        record_consent(connection, Consent(artist_id=SOURCES["noto"].artist.id, use="train_base", allowed=False, since=utc_now(), basis="asked"))
    assert {work.style for work in works} == {"micah"}
    assert {work.hash for work in before} == set(listed)
    run_stage(workshop, stand_in, "style", runs, ("micah",), tmp_path / "out")
    after = {work.hash for work in given[1][1]}
    assert after == {work.hash for work in before if work.artist_id != SOURCES["noto"].artist.id}
    fewer = Snapshot(use="train_base", style=None, works=listed[:5000], consents=(), artists=())  # a base of before the other works came
    with workshop.database.writing() as connection:
        insert_new(connection, snapshots, [{"hash": fewer.hash, "document": canonical(fewer.document()).decode()}])
    (runs / "denoiser" / "snapshot.txt").write_text(fewer.hash)
    run_stage(workshop, stand_in, "style", runs, ("micah",), tmp_path / "out")
    assert {work.hash for work in given[2][1]} == after & set(listed[:5000])
    (runs / "denoiser" / "snapshot.txt").write_text("0" * 64)
    with pytest.raises(Unknown, match="snapshot"):
        run_stage(workshop, stand_in, "style", runs, ("micah",), tmp_path / "out")
