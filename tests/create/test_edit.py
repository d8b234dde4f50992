"""Drawing over a picture and within a mask; variations. On a tiny model, whose pictures mean nothing and whose arithmetic does."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import flat_art
from tribute.commission import Ask, commission
from tribute.create.edit import as_mask, as_source, outside_kept
from tribute.create.variation import between
from tribute.records import InvalidInput, InvalidPicture, StyleUse
from tribute.store.schema import pictures


def png(picture_HWC, **more):
    written = io.BytesIO()
    Image.fromarray(picture_HWC).save(written, "PNG", **more)
    return written.getvalue()


def make(bench, **fields):
    return commission(bench.desk, bench.model, Ask(**{"prompt": "a fox", "seed": 1, "width": 64, "height": 64, "steps": 4, "guidance": 1.5, **fields}))


def pixels(bench, picture):
    return np.asarray(Image.open(io.BytesIO(bench.desk.blobs.get(picture.file_sha256))).convert("RGB"), int)


def test_noise_between_two_seeds_stays_noise_and_meets_both_ends():
    one, other = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(1)), torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(between(one, other, 0.0), one, atol=1e-5)
    assert torch.allclose(between(one, other, 1.0), other, atol=1e-5)
    half = between(one, other, 0.5)
    assert float(half.std()) == pytest.approx(1.0, abs=0.02)  # a straight line would give 0.71
    assert torch.allclose(between(one, one, 0.3), one, atol=1e-5)


def test_a_variation_of_strength_nearly_0_is_the_picture_and_of_1_the_other_seeds(bench):
    (plain,) = make(bench)
    (other,) = make(bench, seed=9)
    (near,) = make(bench, variation_seed=9, variation_strength=1e-6)
    (far,) = make(bench, variation_seed=9, variation_strength=1.0)
    shown = [pixels(bench, one) for one in (plain, other, near, far)]
    assert np.abs(shown[0] - shown[2]).mean() < 6  # watermarks differ
    assert np.abs(shown[1] - shown[3]).mean() < 6
    assert np.abs(shown[0] - shown[1]).mean() > 20


def test_the_same_edit_gives_the_same_pixels_and_more_strength_moves_further(bench):
    source = bench.desk.blobs.put(as_source(png(flat_art(64, 1)), "x", 64, 64))
    (one,), (again,), (strong,) = (make(bench, source_sha256=source, strength=part, steps=8) for part in (0.25, 0.25, 1.0))
    assert one.pixel_sha256 == again.pixel_sha256 != strong.pixel_sha256
    moved = [np.abs(pixels(bench, made) - flat_art(64, 1)).mean() for made in (one, strong)]
    assert moved[0] < moved[1]


def test_edits_are_credited_as_any_picture(bench):
    source = bench.desk.blobs.put(as_source(png(flat_art(64, 1)), "x", 64, 64))
    (made,) = make(bench, source_sha256=source, strength=0.8, styles=(StyleUse(name="ada"), StyleUse(name="bo")))
    assert sum(share.share_ppm for share in made.credits.shares) == 1_000_000
    assert len(made.credits.values) == 4  # every coalition was drawn over the same source


def test_outside_the_mask_every_pixel_is_the_sources(bench):
    picture = flat_art(64, 2)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:23, 20:23] = 255  # three pixels that a latent cell swallows
    put = bench.desk.blobs.put
    source, digest = put(as_source(png(picture), "x", 64, 64)), put(as_mask(png(mask), "m", 64, 64))
    (made,) = make(bench, source_sha256=source, mask_sha256=digest)
    drawn = np.full((64, 64, 3), 7, np.uint8)
    kept = outside_kept(made.recipe, drawn, bench.desk.blobs.get)
    assert (kept[mask == 0] == picture[mask == 0]).all()
    assert (kept[mask == 255] == 7).all()


@pytest.mark.parametrize("turned", [1, 6])
def test_sources_are_upright_flat_and_of_the_size_that_is_drawn(turned):
    tall = np.full((100, 80, 3), 255, np.uint8)
    tall[:20] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = turned
    made = np.asarray(Image.open(io.BytesIO(as_source(png(tall, exif=exif), "x", 64, 64))).convert("RGB"))
    assert made.shape == (64, 64, 3)
    red = made[:4].mean((0, 1)) if turned == 1 else made[:, -4:].mean((0, 1))
    assert red[0] > 200
    assert red[1] < 60


def test_what_cannot_be_drawn_over_is_refused_and_stores_nothing(bench):
    source = bench.desk.blobs.put(as_source(png(flat_art(64, 1)), "x", 64, 64))
    with pytest.raises(InvalidInput, match="less than one step"):
        make(bench, source_sha256=source, strength=0.2)
    with pytest.raises(InvalidInput, match="nothing to draw"):
        as_mask(png(np.zeros((64, 64), np.uint8)), "the mask", 64, 64)
    with pytest.raises(InvalidPicture):
        as_source(b"no picture", "x", 64, 64)
    with bench.desk.database.reading() as connection:
        assert connection.execute(pictures.select()).all() == []
