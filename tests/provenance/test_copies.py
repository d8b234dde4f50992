import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import flat_art
from tribute.provenance.copies import THRESHOLD, CopyIndex

WORKS = [flat_art(seed=seed, side=128) for seed in range(12)]


def saved(picture, **how):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **how)
    return np.asarray(Image.open(file))


def cropped(picture):
    return np.asarray(Image.fromarray(picture).crop((4, 4, 124, 124)).resize((128, 128)))


@pytest.mark.parametrize("attack", [lambda p: p, lambda p: saved(p, quality=60), lambda p: p[::2, ::2], cropped, lambda p: (p * 0.85).astype(np.uint8)])
def test_a_copy_is_found_whatever_was_done_to_it(attack):
    index = CopyIndex(WORKS)
    for at, work in enumerate(WORKS):
        found = index.nearest(attack(work))
        assert (found.work, found.is_copy) == (at, True)


def test_a_stranger_is_none():
    index = CopyIndex(WORKS)
    assert [index.nearest(flat_art(seed=seed, side=128)).similarity >= THRESHOLD for seed in range(50, 60)] == [False] * 10
    assert not index.nearest(np.full((128, 128, 3), 255, np.uint8)).is_copy
