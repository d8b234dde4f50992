import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.conftest import flat_art
from tribute.provenance.copies import THRESHOLD, CopyIndex, descriptor, is_plain

WORKS = [flat_art(seed=seed, side=128) for seed in range(12)]


def saved(picture, **how):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **how)
    return np.asarray(Image.open(file))


def cropped(picture):
    return np.asarray(Image.fromarray(picture).crop((4, 4, 124, 124)).resize((128, 128)))


def laid_askew(picture):
    """A ninth smaller, turned by five degrees and moved by a sixteenth of its side, on white."""
    smaller = Image.fromarray(picture).resize((114, 114))
    ground = Image.new("RGB", (128, 128), "white")
    ground.paste(smaller, (15, 3))
    return np.asarray(ground.rotate(5, Image.Resampling.BICUBIC, fillcolor="white"))


ATTACKS = [lambda p: p, lambda p: saved(p, quality=60), lambda p: p[::2, ::2], cropped, lambda p: (p * 0.85).astype(np.uint8)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_copy_is_found_whatever_was_done_to_it(attack):
    index = CopyIndex(WORKS)
    for at, work in enumerate(WORKS):
        found = index.nearest(attack(work))
        assert (found.work, found.is_copy) == (at, True)


def test_a_copy_that_is_smaller_turned_and_off_its_place_is_nearly_always_found():
    index = CopyIndex(WORKS)
    found = [index.nearest(laid_askew(work)) for work in WORKS]
    assert sum(one.is_copy and one.work == at for at, one in enumerate(found)) >= 0.8 * len(WORKS)
    as_they_lie = np.stack([descriptor(laid_askew(work)) for work in WORKS])
    assert ((as_they_lie @ index.descriptors_ND.T).diagonal() < THRESHOLD).all()


def test_a_stranger_is_none():
    index = CopyIndex(WORKS)
    assert [index.nearest(flat_art(seed=seed, side=128)).similarity >= THRESHOLD for seed in range(50, 60)] == [False] * 10
    assert not index.nearest(np.full((128, 128, 3), 255, np.uint8)).is_copy


def test_what_three_artists_drew_alike_is_nobodys_own():
    """Of works like each other, by the artists who are named. One drew the eight that are likest; the others' have to be laid upon to be seen alike."""
    alike = [*[WORKS[0]] * 8, laid_askew(WORKS[0]), laid_askew(WORKS[0])]
    for artists, anybodys in ((["bo", "cy"], True), (["ada", "bo"], False), ([], False)):
        index = CopyIndex([*alike, *WORKS[1:]], [*["ada"] * 8, *artists] if artists else [])
        assert index.nearest(WORKS[0]).is_copy
        assert index.is_anybodys(WORKS[0]) is anybodys
        assert not index.is_anybodys(WORKS[1])
    index = CopyIndex([*alike, *WORKS[1:]], [*["ada"] * 8, "bo", "cy", *["dee"] * (len(WORKS) - 1)])
    assert index.is_anybodys(WORKS[0])
    assert not index.only([0, 8, 10]).is_anybodys(WORKS[0])
    assert not index.is_anybodys(WORKS[1])  # three artists drew something else alike


def drawn(shape, where, colour="#2196f3", side=128, **more):
    picture = Image.new("RGB", (side, side), "white")
    getattr(ImageDraw.Draw(picture), shape)(where, fill=colour, **more)
    return np.asarray(picture)


def test_a_plain_shape_of_one_colour_is_nobodys_own():
    disc = drawn("ellipse", (20, 20, 108, 108))
    heart = drawn("polygon", [(64, 112), (12, 56), (16, 30), (36, 20), (54, 24), (64, 38), (74, 24), (92, 20), (112, 30), (116, 56)], "#e53935")
    plain = [
        disc,
        saved(disc, quality=95, subsampling=0),
        heart,
        drawn("rectangle", (16, 16, 112, 112), "black"),
        drawn("polygon", [(64, 12), (116, 64), (64, 116), (12, 64)]),
    ]
    plain.append(drawn("ellipse", (40, 40, 216, 216), side=256))
    face = Image.fromarray(disc)
    for at in (40, 76):
        ImageDraw.Draw(face).ellipse((at, 48, at + 12, 60), fill="black")
    shaded = (255 - (255 - disc.astype(float)) * np.linspace(0.3, 1, 128)[:, None, None]).astype(np.uint8)
    arrow = drawn("polygon", [(12, 52), (70, 52), (70, 24), (116, 64), (70, 104), (70, 76), (12, 76)])
    thin = drawn("ellipse", (20, 20, 108, 108), "white", outline="black", width=4)
    owned = [np.asarray(face), shaded, thin, np.full((128, 128, 3), 255, np.uint8), np.full((3, 3, 3), 255, np.uint8), *WORKS]
    assert [is_plain(picture) for picture in plain] == [True] * len(plain)
    assert [is_plain(picture) for picture in owned] == [False] * len(owned)
    assert not is_plain(arrow)
    index = CopyIndex([disc, *WORKS], ["ada"] * (1 + len(WORKS)))
    assert index.nearest(disc).is_copy
    assert index.is_anybodys(disc)
    assert not index.is_anybodys(WORKS[0])
