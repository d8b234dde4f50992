"""Several tries of a picture, the one most like its words kept: real towers, randomly initialised, on a tiny model."""

import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tribute.commission import TRIES, Ask, commission, recipes_of, unseeded
from tribute.create.choose import best_of, can_choose, likeness_to_words
from tribute.create.sample import as_drawn, sample
from tribute.diffusion.loading import load_model
from tribute.diffusion.towers import Towers
from tribute.records import StyleUse, Unreadable


@pytest.fixture
def towered(bench, tmp_path):
    """The bench with its model told apart by towers."""
    folder = tmp_path / "towered"
    shutil.copytree(bench.folder, folder)
    torch.manual_seed(5)
    Towers(text_width=32, hidden=16, shared=8).save_pretrained(folder / "towers")
    bench.model = load_model(str(folder), engine="torch")
    return bench


def ask(*styles, **more):
    uses = tuple(StyleUse(name=name, weight=1.0) for name in styles)
    return Ask(prompt="a blue heart", styles=uses, **({"seed": 7, "steps": 2, "width": 64, "height": 64} | more))


def alike(one, other):
    return np.abs(one.astype(int) - other.astype(int)).max() <= 1  # rounding in another batch


def test_what_is_kept_is_most_like_the_words(towered):
    model = towered.model
    recipes = recipes_of(ask(count=3, tries=5), model, [])
    assert [recipe.seed for recipe in recipes] == [7, 12, 17]
    kept, drawn = best_of(model, recipes, 5, None)
    for recipe, chosen, picture in zip(recipes, kept, drawn, strict=True):
        tried = [recipe.model_copy(update={"seed": recipe.seed + more}) for more in range(5)]
        pictures = sample(model, [as_drawn(one) for one in tried], None)
        likest = int(likeness_to_words(model, recipe.prompt, pictures).argmax())
        assert chosen == tried[likest]
        assert alike(picture, pictures[likest])
    assert len({chosen.seed - recipe.seed for chosen, recipe in zip(kept, recipes, strict=True)}) > 1  # not always the same place


def test_a_view_shows_one_try_of_each(towered):
    recipes, views = recipes_of(ask(count=2, tries=2), towered.model, []), []
    best_of(towered.model, recipes, 2, None, watch=lambda done, total, look: views.append(look()))
    alone = []
    sample(towered.model, recipes, None, watch=lambda done, total, look: alone.append(look()))
    assert len(views) == len(alone) == 2
    assert all(alike(one, other) for one, other in zip(np.concatenate(views), np.concatenate(alone), strict=True))


def test_a_picture_that_was_chosen_is_the_picture_of_its_seed(towered):
    (chosen,) = commission(towered.desk, towered.model, ask("ada", "bo", tries=4))
    assert 7 <= chosen.recipe.seed < 11
    (again,) = commission(towered.desk, towered.model, ask("ada", "bo", seed=chosen.recipe.seed))
    assert again.recipe == chosen.recipe
    shares = [{share.party: share.share_ppm for share in picture.credits.shares} for picture in (chosen, again)]
    assert shares[0].keys() == shares[1].keys() == {"base", "ada", "bo"}
    assert all(abs(shares[0][party] - shares[1][party]) < 5_000 for party in shares[0])


def test_the_coalitions_of_what_was_chosen_are_told_step_by_step(towered):
    """A worker hears of a cancelled job by its progress, so no part of the drawing may go without."""
    said = []
    asked = ask("ada", "bo", count=2, tries=4)
    commission(towered.desk, towered.model, asked, lambda done, total: said.append((done, total)), said.append)
    drawing, crediting = said.index("drawing"), said.index("crediting")
    assert said[drawing + 1 : crediting] == [(done, 4) for done in range(1, 5)]  # two batches of four tries, two steps each
    assert said[crediting + 1 : crediting + 5] == [(done, 4) for done in range(1, 5)]  # two pictures' coalitions


def test_what_is_there_already_is_not_drawn_and_the_rest_are_the_same(towered):
    whole = commission(towered.desk, towered.model, ask(count=3, tries=2))
    (last,) = commission(towered.desk, towered.model, ask(count=3, tries=2, skip=(0, 1)))
    assert last.recipe == whole[2].recipe


def test_a_model_that_cannot_tell_draws_once(bench, towered, monkeypatch):
    monkeypatch.setattr("tribute.diffusion.features.installed", lambda: False)
    assert not can_choose(towered.model)
    seen = []
    (picture,) = commission(towered.desk, towered.model, ask(tries=8), progress=lambda done, total: seen.append(total))
    assert picture.recipe.seed == 7
    assert set(seen) == {2}
    monkeypatch.undo()
    towered.model.towers = None
    assert not can_choose(towered.model)


def test_whoever_gives_no_seed_gets_the_best_of_several():
    assert unseeded({})["tries"] == TRIES > 1
    assert unseeded({"tries": 2, "steps": 30})["tries"] == 2
    once = {"full": True, "steps": 30, "guidance": 3.0, "negative_prompt": "red", "source_sha256": "0" * 64, "variation_strength": 0.2}
    assert [unseeded({name: value})["tries"] for name, value in once.items()] == [1] * len(once)
    assert len({unseeded({})["seed"] for _ in range(4)}) > 1


@pytest.mark.parametrize("near", [{"source_sha256": "0" * 64}, {"variation_strength": 0.5, "variation_seed": 3}])
def test_tries_are_for_what_is_drawn_from_words_alone(near):
    with pytest.raises(ValidationError, match="from words alone"):
        ask(tries=2, **near)


def test_damaged_towers_are_told(towered, tmp_path):
    folder = tmp_path / "towered"
    (folder / "towers" / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    with pytest.raises(Unreadable, match="towers"):
        load_model(str(folder), engine="torch")
