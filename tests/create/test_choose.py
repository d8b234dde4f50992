"""Several tries of a picture, the one most like its words kept: real towers, randomly initialised, on a tiny model."""

import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.conftest import flat_art
from tests.tiny import make_adapter
from tribute.commission import TRIES, Ask, commission, recipes_of, unseeded
from tribute.commission.copies import too_alike
from tribute.create.choose import ELSEWHERE, ROUNDS, WORTH, best_of, can_choose, likeness_to_words, own_or_best_of
from tribute.create.sample import as_drawn, sample
from tribute.diffusion.loading import load_model
from tribute.diffusion.towers import Towers
from tribute.provenance.copies import descriptor
from tribute.provenance.fingerprints import FINGERPRINTS, build_fingerprints, fingerprints_of
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
    return Ask(styles=uses, **({"prompt": "a blue heart", "seed": 7, "steps": 2, "width": 64, "height": 64} | more))


def copies(told):
    """A `too_alike` of what says whether a picture_HWC is a copy."""
    return lambda picture: 1.0 if told(picture) else -1.0


def led(recipe):
    """As ROUNDS say it."""
    return recipe.prompt_noise, recipe.led_until


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


def test_what_is_passed_over_is_not_kept(towered):
    model = towered.model
    recipes = recipes_of(ask(count=2, tries=3), model, [])
    ((first, other), (picture, _)) = best_of(model, recipes, 3, None)
    kept, drawn = best_of(model, recipes, 3, None, too_alike=copies(lambda found: alike(found, picture)))
    assert kept[1] == other
    pictures = sample(model, [as_drawn(first.model_copy(update={"seed": 7 + more})) for more in range(3)], None)
    ranked = np.argsort(-likeness_to_words(model, first.prompt, pictures))
    assert (first.seed, kept[0].seed) == (7 + ranked[0], 7 + ranked[1])
    assert alike(drawn[0], pictures[ranked[1]])


def test_where_all_are_passed_over_others_are_drawn_and_at_last_the_least_alike_is_kept(towered):
    recipes, steps = recipes_of(ask(count=2, tries=2), towered.model, []), []
    (_, other), _ = best_of(towered.model, recipes, 2, None)
    seen = []

    def all_of_the_first(found):
        seen.append(found)
        return len(seen) <= 2

    kept, drawn = best_of(towered.model, recipes, 2, None, too_alike=copies(all_of_the_first))
    assert kept[1] == other
    assert (led(kept[0]), kept[0].seed in (7, 8)) == (ROUNDS[1], True)
    (alone,) = sample(towered.model, [as_drawn(kept[0])], None)
    assert alike(drawn[0], alone)
    seen, how_alike = [], iter((5.0, 4.0, 0.5, 3.0, 1.0, 2.0, 6.0, 7.0))  # all are too alike, the least so a try of the second round
    all_too_alike = {"too_alike": lambda found: seen.append(found) or next(how_alike)}
    kept, drawn = best_of(towered.model, recipes[:1], 2, None, lambda done, total: steps.append((done, total)), **all_too_alike)
    assert led(kept[0]) == ROUNDS[1]
    assert drawn[0] is seen[2]
    assert alike(drawn[0], sample(towered.model, [as_drawn(kept[0])], None)[0])
    assert steps == [(done, 2) for _ in ROUNDS for done in (1, 2)]  # one batch a round, and none that goes without a word


def test_where_all_are_passed_over_whoever_names_a_work_gets_the_first_best(towered):
    recipes, seen = recipes_of(ask(count=2, tries=3), towered.model, []), []
    expected, pictures = best_of(towered.model, recipes, 3, None)

    def told(found):
        seen.append(found)
        return 9.0 - len(seen)  # the likest is the most alike

    kept, drawn = best_of(towered.model, recipes, 3, None, too_alike=told, may_copy=lambda *_: True)
    assert (kept, len(seen)) == (expected, 6)
    assert all(alike(one, other) for one, other in zip(drawn, pictures, strict=True))
    how_alike = iter([2.0] * 6 + [1.0] * 9)  # of those that name none the later are less alike
    kept, _ = best_of(towered.model, recipes, 3, None, too_alike=lambda _: next(how_alike), may_copy=lambda recipe, _: recipe == recipes[1])
    assert (led(kept[0]), kept[1]) == (ROUNDS[1], expected[1])


def test_where_what_is_left_is_much_less_like_the_words_others_are_drawn_too(towered, monkeypatch):
    """And the likest to the words of all rounds is kept, though none is as like them as what was passed over."""
    recipes, looked = recipes_of(ask(tries=2), towered.model, []), []
    rounds = iter([[0.9, 0.2], [0.3, 0.5], [0.4, 0.1], [0.6, 0.55]])
    monkeypatch.setattr("tribute.create.choose.likeness_to_words", lambda *_: np.array(next(rounds)))

    def told(found):
        looked.append(found)
        return 1.0 if len(looked) in (1, 4) else -1.0  # 0.9 and 0.6

    ((kept,), (picture,)) = best_of(towered.model, recipes, 2, None, too_alike=told)
    assert (led(kept), kept.seed) == (ROUNDS[3], 8)
    assert picture is looked[-1]
    assert len(looked) == 5  # 0.9, 0.2; 0.5; none of 0.4, 0.1; 0.6, 0.55
    rounds, looked = iter([[0.9, 0.9 * WORTH]]), []
    assert best_of(towered.model, recipes, 2, None, too_alike=told)[0] == [recipes[0].model_copy(update={"seed": 8})]


def test_what_is_led_away_takes_the_student_no_more_steps_and_is_drawn_again_alike(towered, tmp_path):
    model, seen = towered.model, []
    model.student, model.student_steps = tmp_path / "student.safetensors", 2
    model.student.write_bytes(make_adapter(towered.folder, 9))
    recipes = recipes_of(ask(tries=2, steps=None), model, [])
    (first,), _ = best_of(model, recipes, 2, None)
    (kept,), (picture,) = best_of(model, recipes, 2, None, too_alike=copies(lambda found: seen.append(found) or len(seen) <= 2))
    assert (first.student, first.steps, kept.student, kept.steps) == (True, 2, True, 2)
    again = recipes_of(ask(steps=None, seed=kept.seed, prompt_noise=kept.prompt_noise, led_until=kept.led_until), model, [])
    assert again == [kept]  # so that it is the same picture when it is drawn once more, larger say
    assert alike(picture, sample(model, [as_drawn(kept)], None)[0])
    assert recipes_of(ask(steps=None, prompt_noise=0.6), model, [])[0].steps == 4  # as pictures were that noise led to the end


def test_a_commission_passes_over_near_copies_of_the_works_that_its_model_knows(towered):
    """The tries kept at first are made works: of those, the model has the fingerprints."""
    asked = ask(tries=3)
    (found,) = commission(towered.desk, towered.model, asked)
    recipes = recipes_of(asked, towered.model, [])
    (drawn,) = sample(towered.model, [as_drawn(found.recipe)], None)
    works = [drawn, *(flat_art(seed=seed, side=128) for seed in range(200))]
    build_fingerprints(np.stack([descriptor(work) for work in works])).save(towered.model.folder / FINGERPRINTS)
    fingerprints_of.cache_clear()
    (other,) = commission(towered.desk, towered.model, asked)
    assert other.recipe != found.recipe
    assert other.recipe == best_of(towered.model, recipes, 3, None, too_alike=too_alike(towered.model))[0][0]
    (again,) = commission(towered.desk, towered.model, ask(seed=found.recipe.seed))  # whoever names a seed gets its picture
    assert again.recipe == found.recipe


def test_one_own_seed_gives_way_to_the_best_of_several_where_it_draws_a_near_copy(towered):
    recipes = recipes_of(ask(count=3), towered.model, [])
    own = sample(towered.model, [as_drawn(recipe) for recipe in recipes], None)
    steps = []
    kept, drawn = own_or_best_of(
        towered.model, recipes, 4, None, lambda done, total: steps.append((done, total)), too_alike=copies(lambda found: alike(found, own[1]))
    )
    elsewhere = recipes[1].model_copy(update={"seed": ELSEWHERE + 4 * 8})
    (other,), (picture,) = best_of(towered.model, [elsewhere], 4, None)
    assert kept == [recipes[0], other, recipes[2]]
    assert all(alike(one, found) for one, found in zip(drawn, (own[0], picture, own[2]), strict=True))
    assert steps == [(1, 2), (2, 2), (1, 2), (2, 2)]
    last = recipes[0].model_copy(update={"seed": 2**32 - 1})
    (moved,), _ = own_or_best_of(towered.model, [last], 4, None, too_alike=copies(lambda found: alike(found, sample(towered.model, [as_drawn(last)], None)[0])))
    assert own_or_best_of(towered.model, [last], 4, None, too_alike=lambda _: 1.0, may_copy=lambda recipe, _: recipe == last)[0] == [last]
    assert 0 <= moved.seed - (ELSEWHERE - 4) < 4


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
