import numpy as np
import pytest

from tests.conftest import flat_art
from tribute.create.sample import sample
from tribute.credit.attention import heat_maps, keyword_shares, word_tokens
from tribute.records import Recipe


def keywords(bench, **more):
    given = {"prompt": "a blue heart, and a fox!", "seed": 1, "steps": 2, "guidance": 3.0, "width": 64, "height": 64} | more
    model = bench.model
    recipe = Recipe(scheduler="x", model=model.name, model_sha256=model.sha256, snapshot=None, dtype="float32", **given)
    drawn = []

    def render(asked):
        drawn.append(sample(model, [asked], None)[0])
        return drawn[-1]

    words = keyword_shares(model, recipe, render)
    return words, drawn[0], sample(model, [recipe], None)[0]


@pytest.mark.parametrize("more", [{}, {"guidance": 1.0}, {"width": 96, "height": 64}, {"prompt": "蓝色的心 和 fox"}])
def test_shares_of_words_sum_to_one_with_and_without_guidance_and_off_square(bench, more):
    words, _, _ = keywords(bench, **more)
    assert sum(word.share for word in words) == pytest.approx(1.0)
    assert all(0 <= word.area <= 1 and word.strength >= 0 for word in words)
    steps = np.array([word.by_step for word in words])
    layers = np.array([word.by_layer for word in words])
    assert steps.shape[1] == 2
    assert steps.sum(0) == pytest.approx(1.0)
    assert layers.sum(0) == pytest.approx(1.0)


def test_recording_does_not_change_the_picture_and_leaves_no_trace(bench):
    _, recorded, after = keywords(bench)
    assert np.abs(recorded.astype(int) - after).max() <= 1
    assert not any("Recorder" in type(processor).__name__ for processor in bench.model.pipeline.unet.attn_processors.values())


def test_words_have_their_tokens_and_punctuation_has_none(bench):
    found = word_tokens(bench.model.pipeline.tokenizer, "a fox's den, 蓝色的心!", 24)
    assert [word for word, _ in found] == ["a", "fox's", "den", "蓝色的心"]
    positions = [at for _, tokens in found for at in tokens]
    assert len(positions) == len(set(positions))
    assert 0 not in positions


def test_the_most_attended_word_keeps_its_light(bench):
    words, _, _ = keywords(bench)
    picture = flat_art(64)
    maps = heat_maps(picture, words)
    assert len(maps) == len(words)
    assert maps[0].size == (64, 64)
