"""What `tribute train assemble` ships, of the starter's own parts laid out as the runs that made them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tribute.collection.consent import record_consent
from tribute.collection.starter import SOURCES, STYLES
from tribute.diffusion import recipes
from tribute.diffusion.told import read_smoothing
from tribute.provenance.fingerprints import FINGERPRINTS
from tribute.records import Consent, InvalidInput, Snapshot, Style, Unknown, canonical, sha256, utc_now
from tribute.store.database import get, insert_new
from tribute.store.schema import snapshots, styles
from tribute.studio.training import run_stage
from tribute.studio.wiring import STARTER, Settings, open_workshop


@pytest.fixture
def laid_out(tmp_path):
    """A workshop that holds the starter's collection, and runs of all that is assembled."""
    workshop, runs = open_workshop(Settings(home=tmp_path / "home")), tmp_path / "runs"
    run_stage(workshop, recipes, "unpack", runs, (), tmp_path / "out")
    return workshop, runs


def measuring(measured, **more):
    """The recipes, but for the drawing: what is measured is kept, as (the works' hand, what is said after the caption, the adapter worn)."""

    def smoothing(works, said, read, *, adapter, **_):
        (after,) = {text.removeprefix(work.captions_en[0]).removeprefix(", ") for work, text in zip(works, said, strict=True)}
        measured.append((" ".join(sorted({work.style for work in works})), after, adapter))
        return len(measured) / 1000

    kept = {name: getattr(recipes, name) for name in ("ADAPTER", "SMOOTHED", "common_concepts", "finished_vae", "load_pictures", "split")}
    return SimpleNamespace(**kept, smoothing=smoothing, **more)


def test_each_hand_is_measured_by_its_own_works_and_what_it_needs_is_shipped(laid_out, tmp_path):
    workshop, runs = laid_out
    measured, out = [], tmp_path / "out"
    run_stage(workshop, measuring(measured), "smoothing", runs, (), out)
    (mixed, words, _), hands, worn = measured[0], [row for row in measured[1:] if row[2] is None], [row for row in measured if row[2] is not None]
    assert words == ""
    assert len(mixed.split()) > 3
    assert {style: words for style, words, _ in hands} == {name: source.hand_en for name, source in SOURCES.items() if source.commons}
    assert [(style, words, path) for style, words, path in worn] == [(name, "", runs / f"style-{name}" / recipes.ADAPTER) for name in STYLES]
    run_stage(workshop, recipes, "assemble", runs, (), out)
    told = json.loads((out / "tribute.json").read_text())["smoothing"]
    assert set(told) == {""} | {words.casefold() for source in SOURCES.values() if source.commons for words in (source.hand_en, source.hand_zh)}
    at = {row: place / 1000 for place, row in enumerate(measured, 1)}
    assert told[""] == 0.001
    assert told["glossy 3d"] == told["光亮立体"] == at["fluent", "glossy 3D", None]
    assert {style["name"]: style["smoothing"] for style in json.loads((out / "collection.json").read_text())["styles"]} == {
        name: at[name, "", runs / f"style-{name}" / recipes.ADAPTER] for name in STYLES
    }


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


def test_an_adapter_whose_artist_no_longer_consents_is_neither_measured_nor_assembled(laid_out, tmp_path):
    workshop, runs = laid_out
    measured = []
    with workshop.database.writing() as connection:
        record_consent(connection, Consent(artist_id=SOURCES["micah"].artist.id, use="style", allowed=False, since=utc_now(), basis="asked"))
    run_stage(workshop, recipes, "assemble", runs, (), tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "styles").iterdir()} == set(STYLES) - {"micah"}
    run_stage(workshop, measuring(measured), "smoothing", runs, (), tmp_path / "out")
    assert {style for style, _, adapter in measured if adapter} == set(STYLES) - {"micah"}


def test_hands_are_measured_by_a_base_or_not_at_all(laid_out, tmp_path):
    workshop, runs = laid_out
    shutil.rmtree(runs / "denoiser")
    with pytest.raises(InvalidInput, match="train it again"):
        run_stage(workshop, recipes, "smoothing", runs, (), tmp_path / "out")


def test_earlier_runs_without_adapters_are_told_before_anything_is_written(laid_out, tmp_path):
    workshop, runs = laid_out
    with pytest.raises(InvalidInput, match="--start is the runs folder"):
        run_stage(workshop, recipes, "assemble", runs, (), tmp_path / "out", tmp_path / "nothing")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_style_learns_again_only_what_the_base_learned_and_may_still_learn(laid_out, tmp_path):
    """Of the works beside an artist's own: the base's snapshot, which a style cites, but for one whose artist withdrew."""
    workshop, runs = laid_out
    given, measured = [], []

    def style(run, works, read, *, commons, **_):
        given.append((works, commons))
        (run / recipes.ADAPTER).write_bytes(b"adapter")
        return run / recipes.ADAPTER

    stand_in = measuring(measured, style=style)
    run_stage(workshop, stand_in, "style", runs, ("micah",), tmp_path / "out")
    (works, before) = given[0]
    base = (runs / "denoiser" / "snapshot.txt").read_text().strip()
    with workshop.database.writing() as connection:
        listed = get(connection, snapshots, Snapshot, base, "snapshot").works
        record_consent(connection, Consent(artist_id=SOURCES["noto"].artist.id, use="train_base", allowed=False, since=utc_now(), basis="asked"))
    assert {work.style for work in works} == {"micah"}
    assert measured == [("micah", "", runs / "style-micah" / recipes.ADAPTER)]
    assert read_smoothing(runs / "style-micah") == {"": 0.001}
    with workshop.database.reading() as connection:
        assert get(connection, styles, Style, "micah", "style").smoothing == 0.001
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
