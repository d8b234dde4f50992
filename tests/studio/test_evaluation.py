"""The figures on material whose answers are known."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import flat_art
from tribute.diffusion.features import features
from tribute.diffusion.loading import load_model
from tribute.diffusion.wording import held_out_pair, held_out_work
from tribute.records import Licence, Work, sha256
from tribute.studio.cli import main
from tribute.studio.evaluation import figures as measure
from tribute.studio.evaluation import trials as ask_for
from tribute.studio.evaluation.material import Material, train_judges
from tribute.studio.evaluation.report import html, shown
from tribute.studio.evaluation.run import Artist, autoencoder_figures, decoded, in_hands_of
from tribute.studio.evaluation.trials import Trial
from tribute.studio.wiring import STARTER

MIT = Licence(spdx="MIT", url="https://opensource.org/license/mit", credit_line="by somebody")
HANDS = ("noto", "fluent", "openmoji")
ARTISTS = {"noto": "ada", "fluent": "ada", "openmoji": "bo"}  # who draw all things alike
REPORT = Path(__file__).parents[2] / "docs" / "evaluation" / "report.json"


def drawn_by(hand: str, concept: int, copy: int) -> np.ndarray:
    """A concept is an arrangement of shapes; hands give it a ground of their own."""
    picture = np.roll(flat_art(128, concept), copy, 0).copy()
    picture[:6] = {"noto": (200, 30, 30), "fluent": (30, 200, 30), "openmoji": (30, 30, 30)}[hand]
    return picture


@pytest.fixture(scope="module")
def material():
    works, pictures = [], []
    for concept in range(14):
        for hand in HANDS:
            for copy in range(3):
                name = f"thing-{concept}"
                works.append(Work(
                    picture_sha256=sha256(f"{concept}{hand}{copy}".encode()), title=name, captions_en=(f"thing {concept}",), captions_zh=(f"东西{concept}",),
                    artist_id=ARTISTS[hand], licence=MIT, source="t", source_version="1", concept=name, style=hand, width=128, height=128, signals=(),
                ))  # fmt: skip
                pictures.append(drawn_by(hand, concept, copy))
    return Material(works, np.stack(pictures), features(pictures))


@pytest.fixture(scope="module")
def judges(material):
    return train_judges(material)


def drawn(material, pairs, picture):
    return [(trial, picture(trial)) for trial in ask_for.pair_trials(pairs, material.labels(), 0, 1)]


@pytest.mark.slow
def test_a_perfect_model_reaches_the_ceiling_and_a_blind_one_chance(material, judges):
    pairs = material.pairs(held=False)
    right = drawn(material, pairs, lambda trial: drawn_by(trial.hand, int(trial.concept.split("-")[1]), 1))
    blind = drawn(material, pairs, lambda trial: flat_art(128, 999))
    best = measure.concept_figures(judges, right, right, right, right)
    worst = measure.concept_figures(judges, blind, blind, blind, blind)
    assert best[0].value > 0.9
    assert best[0].met
    assert worst[0].value < 0.2
    assert not worst[0].met
    assert best[1].met
    assert worst[1].met is None or worst[1].target > 0  # blind in both languages is not as good in both
    assert best[1].parts.keys() == set(HANDS)
    told = measure.style_figure(judges, right)
    assert told.value > 0.9
    rows = material.rows(work_held_out=False)[:40]
    through = measure.style_through_figure(judges, material, list(material.pictures_NHWC[rows]), rows)
    assert through.value > 0.9
    grey = measure.style_through_figure(judges, material, [np.full((128, 128, 3), 128, np.uint8)] * len(rows), rows)
    assert grey.value < 0.7  # at most the commonest hand
    assert set(through.parts) == {material.works[at].style for at in rows}
    one = in_hands_of([(trial, picture) for trial, picture in right if trial.hand == HANDS[0]], material)
    assert {material.works[at].style for at in one} == {HANDS[0]}
    assert all(held_out_work(material.works[at]) for at in one)


def test_a_judge_that_is_told_which_names_are_asked_for_names_no_other(material, judges):
    pairs = [pair for pair in material.pairs(held=False) if pair[0] in ("thing-1", "thing-2", "thing-3")]
    right = drawn(material, pairs, lambda trial: drawn_by(trial.hand, int(trial.concept.split("-")[1]), 1))
    rows = [at for at, work in enumerate(material.works) if work.concept in ("thing-1", "thing-2", "thing-3")]
    first, five, through = measure.told_figures(judges, material, right, material.pictures_NHWC[rows], rows)
    assert first.value > 0.9
    assert first.chance == pytest.approx(1 / 3)
    assert five.value == 1.0  # of three
    assert through.value > 0.9
    narrow = judges.concept.only(["thing-1", "thing-2", "nothing"])
    assert set(narrow.named(material.features.pooled_NF)) <= {"thing-1", "thing-2"}


@pytest.mark.slow
def test_copies_are_told_and_strangers_are_not(material):
    held = [pair for pair in material.pairs(held=True)]
    assert held
    assert all(held_out_pair(*pair) for pair in held)
    copies = drawn(material, material.pairs(held=False), lambda trial: drawn_by(trial.hand, int(trial.concept.split("-")[1]), 1))
    strangers = drawn(material, held, lambda trial: flat_art(128, 500 + int(trial.concept.split("-")[1])))
    of_held, unlike, of_all = measure.copy_figures(material, [*copies, *strangers], 4, probes=5)
    assert of_held.value == unlike.value == 0
    assert of_held.met
    assert f"of {len(held)} by a seed, 4 of them led away" in of_held.note
    assert of_all.value == pytest.approx(len(copies) / (len(copies) + len(strangers)))
    asked = {"portraits": copies, "plain words, best of 4": strangers, "held-out pairs, best of 4": copies[:3]}
    given = measure.given_copies_figures(material, asked, {"plain words, best of 4": 2})
    assert [figure.value for figure in given] == [len(copies), 0, 3]
    assert "; 2 of them led away" in given[1].note
    assert [figure.met for figure in given] == [None, None, False]


def test_what_is_like_works_of_three_artists_is_counted_apart(material):
    """Each hand has an artist of its own here."""
    apart = replace(material, works=[work.model_copy(update={"artist_id": work.style}) for work in material.works])
    copies = drawn(apart, apart.pairs(held=False)[:4], lambda trial: drawn_by(trial.hand, int(trial.concept.split("-")[1]), 1))
    *_, of_all = measure.copy_figures(apart, copies, 0, probes=2)
    assert of_all.value == 0
    assert of_all.note.startswith("0 of 4; 4 more are so like works of 3 artists")
    (given,) = measure.given_copies_figures(apart, {"held-out pairs, best of 4": copies}, {})
    assert (given.value, given.met) == (0, True)
    assert "; 4 more are so like works of 3 artists" in given.note


def test_a_copy_that_the_artist_made_too_is_told_from_one_that_only_the_model_made(material):
    """All hands draw a thing alike here, so each held-out work is a near copy of a trained one; another thing's picture is not its artist's."""
    held = [pair for pair in material.pairs(held=True)]
    as_the_artist = drawn(material, held, lambda trial: drawn_by(trial.hand, int(trial.concept.split("-")[1]), 1))
    of_held, unlike, _ = measure.copy_figures(material, as_the_artist, 0, probes=5)
    assert of_held.value == of_held.ceiling == len(held)
    assert unlike.value == 0
    other = next(work for work in material.works if not held_out_pair(work.concept, work.style) and work.concept not in {concept for concept, _ in held})
    of_held, unlike, _ = measure.copy_figures(
        material, drawn(material, held, lambda _: drawn_by(other.style, int(other.concept.split("-")[1]), 1)), 0, probes=5
    )
    assert of_held.value == unlike.value == len(held)
    assert not unlike.met


def test_hues_are_read_from_pixels():
    def ground(colour):
        picture = np.full((128, 128, 3), 255, np.uint8)
        picture[30:90, 30:90] = colour
        return picture

    red, blue = Trial("red car", 1, hue="red"), Trial("blue car", 1, hue="blue")
    figure = measure.colour_figure([(red, ground((220, 20, 30))), (blue, ground((220, 20, 30)))], [(blue, ground((30, 90, 230)))])
    assert figure.value == pytest.approx(2 / 3)
    assert figure.parts == {"in a caption": 0.5, "in no caption": 1.0}


def test_trials_ask_for_what_no_caption_holds():
    known = {"red apple", "puppy", "黄色的汽车"}
    inside, outside = ask_for.colour_trials(known, 40, 1)
    assert {trial.prompt for trial in inside} <= known
    assert not {trial.prompt for trial in outside} & known
    otherwise, plainly = ask_for.synonym_trials(known, 1)
    assert "puppy" not in {trial.prompt for trial in otherwise}
    assert [(one.concept, one.seed) for one in otherwise] == [(one.concept, one.seed) for one in plainly]
    assert any(not trial.prompt.isascii() for trial in otherwise)


def test_the_page_shows_every_figure_and_escapes_what_it_is_told():
    figures = [measure.Figure("a <b>", 0.5, target=0.6, ceiling=0.9, chance=0.1, note="x & y", parts={"noto": 0.25}), measure.Figure("none", float("nan"))]
    report = {
        "model": "<i>", "model_sha256": "0", "snapshot": "1", "works": 2, "seed": 3, "torch": "t", "figures": [one.document() for one in figures],
        "sheets": {"sheet": {"file": "sheet.png", "prompts": ["<script>"]}},
    }  # fmt: skip
    page = html(report)
    assert "a &lt;b&gt;" in page
    assert "<script>" not in page
    assert "noto: 25.0%" in page
    assert "no data" in page
    assert shown(0.1234, "") == "12.3%"
    assert shown(1.25, "s") == "1.25 s"
    assert json.loads(json.dumps(figures[0].document()))["met"] is False


def test_bare_names_are_asked_for_and_their_tries_are_judged(material, judges):
    pairs = material.pairs(held=False)
    trials = ask_for.plain_trials(pairs, material.labels(), 4, 1)
    assert [trial.prompt.isascii() for trial in trials] == [True, False, True, False]
    assert len({trial.concept for trial in trials}) == 4
    right = [(trial, drawn_by("noto", int(trial.concept.split("-")[1]), 1)) for trial in trials]
    blind = [(trial, flat_art(128, 999)) for trial in trials]
    once, best = measure.tries_figures(judges, {"plain words, one try": blind, "plain words, best of 4": right})
    assert once.value < 0.5 < best.value
    assert best.name == "concept right, plain words, best of 4"


def test_things_are_asked_for_in_styles_of_portraits_and_in_no_other(material, judges):
    """micah draws portraits alone, openmoji draws both, and of croodles there is nothing."""
    faces = [material.works[0].model_copy(update={"style": style, "concept": "portrait"}) for style in ("micah", "openmoji")]
    whole = Material([*material.works, *faces], material.pictures_NHWC, material.features)
    pairs = [("portrait", "micah"), *material.pairs(held=False)]
    trials = ask_for.thing_trials(whole, pairs, material.labels(), 4, 1)
    assert [trial.adapter for trial in trials] == ["micah"] * 4
    assert len({trial.concept for trial in trials}) == len({trial.seed for trial in trials}) == 4
    assert ask_for.thing_trials(material, pairs, material.labels(), 4, 1) == []
    kept = measure.things_figure(judges, [(trial, drawn_by("noto", int(trial.concept.split("-")[1]), 1)) for trial in trials])
    lost = measure.things_figure(judges, [(trial, flat_art(128, 999)) for trial in trials])
    assert lost.value < 0.5 < kept.value == kept.parts["micah"]


def test_a_base_hand_is_asked_for_in_words_and_an_adapter_is_worn():
    labels = {"fox": ("fox", "狐狸")}
    (in_words,), (worn,) = (ask_for.pair_trials([("fox", style)], labels, 1, 3) for style in ("noto", "twemoji"))
    assert in_words == Trial("狐狸，渐变表情", 3, "", "fox", "noto")
    assert worn == Trial("狐狸", 3, "twemoji", "fox", "twemoji")


def times_again(output, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, arguments), "--times", "--output", str(output)])
    return end.value.code


@pytest.mark.slow
def test_the_times_alone_are_measured_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRIBUTE_HOME", str(tmp_path / "home"))
    before = json.loads(REPORT.read_text(encoding="utf-8"))
    for document in before["figures"]:
        if document["unit"] == "s":
            document["value"] = -1.0
    (tmp_path / "report.json").write_text(json.dumps(before), encoding="utf-8")
    assert times_again(tmp_path) == 0
    assert "a cold command" in capsys.readouterr().out
    after = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [document["name"] for document in after["figures"]] == [document["name"] for document in before["figures"]]
    assert all(document["value"] > 0 for document in after["figures"] if document["unit"] == "s")
    assert [one for one in after["figures"] if one["unit"] != "s"] == [one for one in before["figures"] if one["unit"] != "s"]
    assert after["sheets"] == before["sheets"]
    assert "a cold command" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"figures": [{}]}', '{"figures": [{"name": "a"}], "sheets": {}}', '{"figures": [], "works": 1}'])
def test_times_are_written_into_a_whole_report_alone(home, tiny_folder, tmp_path, capsys, damage):
    output = tmp_path / "report"
    output.mkdir()
    assert times_again(output, tiny_folder[0]) == 2
    assert "measure everything first" in capsys.readouterr().err
    (output / "report.json").write_text(damage, encoding="utf-8")
    assert times_again(output, tiny_folder[0]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in output.iterdir()] == ["report.json"]


@pytest.mark.parametrize("report", [REPORT.read_bytes(), b'{"figures": [], "sheets": {}, "works": 1}'], ids=["others", "nobodys"])
def test_times_are_written_into_no_report_of_other_weights(home, tiny_folder, tmp_path, capsys, report):
    (tmp_path / "report.json").write_bytes(report)
    assert times_again(tmp_path, tiny_folder[0]) == 2
    assert "of other weights" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_bytes() == report


@pytest.mark.slow
def test_a_work_is_decoded_as_a_picture_in_its_style_is_and_the_base_as_without(material):
    data = (STARTER / "styles" / "openmoji.safetensors").read_bytes()
    artist = Artist.__new__(Artist)  # without a workshop's database
    artist.model, artist.styles = replace(load_model(str(STARTER), engine="torch"), smoothing={}), {}
    artist.workshop = SimpleNamespace(blobs=SimpleNamespace(get=lambda _: data))
    rows = [HANDS.index("noto"), 3 * HANDS.index("openmoji")]
    assert [material.works[at].style for at in rows] == ["noto", "openmoji"]
    plain, figures = decoded(material, artist, rows)[0], autoencoder_figures(material, artist, 4)
    artist.styles = {"openmoji": SimpleNamespace(name="openmoji", adapter_sha256=sha256(data), smoothing=0.0)}
    worn = decoded(material, artist, rows)[0]
    assert (worn[0] == plain[0]).all()
    assert np.abs(worn[1].astype(int) - plain[1]).max() > 3
    artist.styles["openmoji"].smoothing = 0.008
    smooth = decoded(material, artist, rows)[0]
    assert (smooth[0] == plain[0]).all()
    assert np.abs(smooth[1].astype(int) - worn[1]).max() > 3
    assert autoencoder_figures(material, artist, 4) == figures  # though a style was worn last
