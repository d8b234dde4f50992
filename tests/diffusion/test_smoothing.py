"""What is drawn is as still as works of its hand are: flat areas flat, edges as they were."""

import numpy as np
import pytest

from tests.conftest import flat_art
from tribute.diffusion.smoothing import STRENGTHS, smoothed, stillness, strength_for


def washed(seed: int = 0) -> np.ndarray:
    """Flat art with the stains of watercolour in it."""
    rng = np.random.default_rng(seed)
    stains = np.kron(rng.normal(0, 3, (32, 32, 3)), np.ones((4, 4, 1))) + rng.normal(0, 1, (128, 128, 3))
    return (flat_art(seed=seed) + stains).round().clip(0, 255).astype(np.uint8)


def test_stains_leave_flat_areas_and_edges_stay():
    plain, stained = flat_art(seed=3), washed(3)
    (made,) = smoothed([stained], [0.008])
    assert (made.shape, made.dtype) == (plain.shape, np.uint8)
    assert stillness([stained]) < 0.3 < 0.9 < stillness([made])
    error = [float(np.square(one.astype(float) - plain).mean()) for one in (stained, made)]
    assert error[1] < error[0] / 4
    steep = np.abs(np.diff(plain.astype(int), axis=1)).max(2) > 60
    assert steep.any()
    kept = np.abs(np.diff(made.astype(int), axis=1)).max(2)[steep]
    assert np.median(kept / np.abs(np.diff(plain.astype(int), axis=1)).max(2)[steep]) > 0.95


def test_each_picture_is_smoothed_by_its_own_strength_and_by_none_not_at_all():
    pictures = [washed(seed) for seed in range(3)]
    made = smoothed(pictures, [0.0, 0.002, 0.008])
    assert np.array_equal(made[0], pictures[0])
    for at, strength in ((1, 0.002), (2, 0.008)):
        (alone,) = smoothed([pictures[at]], [strength])
        assert np.abs(alone.astype(int) - made[at]).max() <= 1
        assert not np.array_equal(made[at], pictures[at])
    assert smoothed([], []) == []
    (wide,) = smoothed([pictures[0][:40, :95]], [0.004])
    assert wide.shape == (40, 95, 3)


def test_what_is_nearly_all_white_or_black_stays_white_or_black():
    rng = np.random.default_rng(1)
    for end, stain in ((255, -4), (0, 4)):
        drawn = np.full((64, 64, 3), end, np.uint8)
        drawn[rng.random((64, 64)) < 0.3] = end + stain
        assert np.array_equal(smoothed([drawn], [0.004])[0], np.full((64, 64, 3), end, np.uint8))


def test_a_plain_picture_stays_as_it_is():
    plain = np.full((64, 64, 3), 131, np.uint8)
    (made,) = smoothed([plain], [0.1])
    assert np.array_equal(made, plain)
    assert stillness([plain]) == 1.0


@pytest.mark.parametrize("needed", STRENGTHS[1:-1])
def test_the_least_strength_is_taken_that_makes_pictures_as_still_as_works(needed):
    drawn = [washed(seed) for seed in range(2)]
    works = smoothed(drawn, [needed] * 2)
    assert strength_for(drawn, works) == needed


def test_what_is_as_still_as_works_is_left_and_what_never_is_gets_the_most():
    drawn = [washed(seed) for seed in range(2)]
    assert strength_for(drawn, drawn) == 0.0
    assert strength_for(drawn, [np.zeros((64, 64, 3), np.uint8)]) == STRENGTHS[-1]
