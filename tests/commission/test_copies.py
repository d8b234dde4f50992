"""Which prompts name a work, and what a commission does with near copies of the others: a tiny model and its real fingerprints."""

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import flat_art, make_work
from tests.provenance.test_copies import drawn
from tests.tiny import make_adapter
from tribute.collection.starter import SOURCES
from tribute.commission import Ask, commission, recipes_of
from tribute.commission.copies import WORKS, _told, away_from_copies, names_a_work, near_copy, said
from tribute.create.choose import ROUNDS
from tribute.create.sample import as_drawn, sample
from tribute.diffusion.loading import load_model
from tribute.diffusion.towers import Towers
from tribute.diffusion.wording import held_out
from tribute.provenance.copies import descriptor
from tribute.provenance.fingerprints import ALIKE, FINGERPRINTS, build_fingerprints, fingerprints_of
from tribute.records import StyleUse, Unreadable, Work, canonical
from tribute.studio.wiring import STARTER


@pytest.fixture
def studio(bench, tmp_path):
    """The bench with a model of its own, which a student draws for in two steps."""
    folder = tmp_path / "own"
    shutil.copytree(bench.folder, folder)
    bench.model = load_model(str(folder), engine="torch")
    bench.model.student, bench.model.student_steps = tmp_path / "student.safetensors", 2
    bench.model.student.write_bytes(make_adapter(bench.folder, 9))
    return bench


def known_by_heart(studio, recipe):
    """Makes what a recipe draws a work, without telling what it is called."""
    (picture,) = sample(studio.model, [as_drawn(recipe)], studio.desk.blobs.get)
    works = [picture, *(flat_art(seed=seed, side=128) for seed in range(200))]
    build_fingerprints(np.stack([descriptor(work) for work in works])).save(studio.model.folder / FINGERPRINTS)
    fingerprints_of.cache_clear()


def tell(folder, works):
    (folder / WORKS).write_bytes(gzip.compress(b"".join(canonical(work.document()) + b"\n" for work in works)))
    _told.cache_clear()


def test_whoever_gives_a_seed_gets_a_near_copy_only_of_a_work_that_the_words_name(studio):
    trained, held = (next(work for work in (make_work("ada-artist", "ada", seed) for seed in range(99)) if held_out(work) == out) for out in (False, True))

    def made(**more):
        asked = {"prompt": trained.captions_en[0], "seed": 7, "width": 64, "height": 64, "styles": (StyleUse(name="ada", weight=1.0),)}
        return commission(studio.desk, studio.model, Ask(**asked | more))[0].recipe

    own = made()
    assert (own.seed, own.student) == (7, True)
    known_by_heart(studio, own)
    led = made()
    assert led.seed != 7
    assert made() == led  # by the same seed the same picture
    assert made(told="") == own  # one that is drawn once more stays what it is
    tell(studio.model.folder, [trained, held])
    assert made() == own
    assert made(styles=(StyleUse(name="ada", weight=0.0),)).seed != 7
    tell(studio.model.folder, [trained.model_copy(update={"style": "noto"}), trained])
    assert made() == led  # what it looks like is another's
    tell(studio.model.folder, [held, held])
    assert made() == led


def test_a_plain_shape_that_a_work_is_too_is_no_near_copy(studio):
    disc = drawn("ellipse", (20, 20, 108, 108))
    works = [disc, *(flat_art(seed=seed, side=128) for seed in range(200))]
    build_fingerprints(np.stack([descriptor(work) for work in works])).save(studio.model.folder / FINGERPRINTS)
    fingerprints_of.cache_clear()
    assert fingerprints_of(studio.model.folder).similarities(disc).max() >= ALIKE
    assert [near_copy(studio.model)(picture) for picture in works[:3]] == [False, True, True]


def test_what_several_artists_drew_alike_is_drawn_as_it_is(studio):
    """A plain heart, say, that three artists drew alike, or fewer. (Where it is a fifth of all works its components are within what four bits hold.)"""
    recipe = recipes_of(Ask(prompt="fox", seed=7, width=64, height=64), studio.model, [])[0]
    (drawn,) = sample(studio.model, [as_drawn(recipe)], None)
    works = [*[drawn] * 39, *(flat_art(seed=seed, side=128) for seed in range(160))]
    build_fingerprints(np.stack([descriptor(work) for work in works])).save(studio.model.folder / FINGERPRINTS)
    fingerprints_of.cache_clear()
    for artists, kept in (("ada", "bo", "cy"), True), (("ada", "bo", "bo"), False), ((), False):
        tell(studio.model.folder, [make_work(name, name, at) for at, name in enumerate(artists * 13)])
        assert near_copy(studio.model)(drawn) is not kept
        ((made,), _) = away_from_copies(studio.model, [recipe], 1, None)
        assert (made.seed == 7) is kept


def test_a_prompt_names_a_work_by_its_label_and_how_it_is_drawn(studio):
    noto, adas = SOURCES["noto"], next(work for work in (make_work("ada-artist", "ada", seed) for seed in range(99)) if not held_out(work))
    fox = adas.model_copy(update={"captions_en": ("Fox", "animal"), "captions_zh": ("狐狸", "动物"), "style": "noto"})
    face = adas.model_copy(update={"captions_en": ("portrait of a person, red hair",), "captions_zh": ("人物头像，红头发",), "style": "ada"})
    tell(studio.model.folder, [fox, face])
    ada = StyleUse(name="ada", weight=0.5)

    def named(recipe):
        return names_a_work(studio.model.folder, recipe, said(recipe) | {use.name for use in recipe.styles})

    def names(prompt, *styles):
        return named(recipes_of(Ask(prompt=prompt, seed=1, width=64, height=64, styles=styles), studio.model, [])[0])

    studio.model.vocabulary = {"vixen": "fox"}
    recipes = recipes_of(Ask(prompt="a vixen, shaded emoji", seed=1, width=64, height=64), studio.model, [])
    assert named(recipes[0])
    uses = {"styles": (ada.model_copy(update={"adapter_sha256": ""}),)}
    assert named(recipes[0].model_copy(update={"told": "portrait of a person, blue hair", **uses}))
    for prompt in (f"fox, {noto.hand_en}", f"A fox, {noto.hand_en.upper()}", f"一个狐狸，{noto.hand_zh}", "the fox; animal, shaded emoji"):
        assert names(prompt), prompt
    for prompt in (
        "fox",
        "fox shaded emoji",
        "fox, flat",
        "a red fox, shaded emoji",
        "animal, shaded emoji",
        "portrait of a person, shaded emoji",
        ", shaded emoji",
    ):
        assert not names(prompt), prompt


def test_the_starters_works_are_named():
    works = [Work.model_validate_json(line) for line in gzip.decompress((STARTER / WORKS).read_bytes()).splitlines()]
    pairs = {(work.captions_en[0].casefold().partition(",")[0], work.style) for work in works if not held_out(work)}
    assert pairs <= _told(STARTER).trained
    assert ("portrait of a person", "micah") in pairs


@pytest.mark.parametrize("lines", [None, b"{}", b"[1]\n", json.dumps({"concept": []}).encode(), b"[" * 99_999], ids=["cut", "empty", "list", "half", "deep"])
def test_damaged_works_are_told(studio, lines):
    recipe = recipes_of(Ask(prompt="fox, shaded emoji", seed=1, width=64, height=64), studio.model, [])[0]
    data = b"cut" if lines is None else gzip.compress(lines)
    (studio.model.folder / WORKS).write_bytes(data)
    _told.cache_clear()
    with pytest.raises(Unreadable, match=WORKS):
        names_a_work(studio.model.folder, recipe, {"noto"})


@pytest.mark.slow
def test_where_no_seed_is_given_only_whoever_wears_the_artists_style_may_have_what_they_drew(studio, tmp_path, monkeypatch):
    """Everything looks like a work here: like one of ada's, then like others'."""
    torch.manual_seed(5)
    Towers(text_width=32, hidden=16, shared=8).save_pretrained(tmp_path / "own" / "towers")
    model = studio.model = load_model(str(tmp_path / "own"), engine="torch")
    seen = []
    monkeypatch.setattr("tribute.commission.copies.too_alike", lambda _: lambda picture: seen.append(1) or 1.0 / len(seen))  # later ones less
    trained = next(work for work in (make_work("ada-artist", "ada", seed) for seed in range(99)) if not held_out(work))
    ones, notos = [trained] * 201, [trained.model_copy(update={"style": "noto"})] * 201

    def led(recipe):
        return recipe.prompt_noise, recipe.led_until

    def kept(tries, prompt, *styles):
        found = [studio.styles[use.name] for use in styles]
        recipes = recipes_of(Ask(prompt=prompt, seed=7, steps=2, width=64, height=64, styles=styles), model, found)
        if not (model.folder / FINGERPRINTS).exists():
            known_by_heart(studio, recipes[0])
        (recipe,), _ = away_from_copies(model, recipes, tries, studio.desk.blobs.get)
        return recipe

    label, ada = trained.captions_en[0], StyleUse(name="ada", weight=1.0)
    tell(model.folder, [*ones, notos[0]])
    assert (kept(2, label, ada).prompt_noise, kept(2, label, ada).seed in (7, 8)) == (0.0, True)
    assert kept(1, f"{label}, shaded emoji").seed == kept(1, label, ada).seed == 7
    assert kept(1, label).seed not in (7, 8)
    assert led(kept(2, f"{label}, shaded emoji")) == ROUNDS[-1]
    tell(model.folder, [*notos, trained])
    assert led(kept(2, label, ada)) == ROUNDS[-1]
    assert kept(1, label, ada).seed not in (7, 8)
    known = fingerprints_of(model.folder)
    replace(known, codes_NP=known.codes_NP[::-1].copy()).save(model.folder / FINGERPRINTS)  # what is drawn looks like the last of them now
    fingerprints_of.cache_clear()
    tell(model.folder, [*notos[:200], trained])
    assert kept(1, label, ada).seed == 7
    tell(model.folder, ones[:1])  # whose the last is, is not told
    assert kept(1, label, ada).seed not in (7, 8)
