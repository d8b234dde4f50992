import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import flat_art
from tribute.provenance import watermark


def jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("seed", range(4))
def test_the_id_survives_jpeg_75_and_is_hardly_seen(side, seed):
    picture, picture_id = flat_art(side, seed), f"{seed * 77_777 + side:08x}"
    marked = watermark.embed(picture, picture_id)
    assert watermark.read(Image.fromarray(marked)) == picture_id
    assert watermark.read(jpeg(marked, 75)) == picture_id
    assert psnr(picture, marked) > (34 if side == 64 else 38)


def test_flat_areas_take_less_of_it_than_busy_ones():
    """Of pictures with a blank half and a noisy one."""
    picture = np.full((128, 128, 3), 200, np.uint8)
    picture[:, 64:] = np.random.default_rng(5).integers(60, 200, (128, 64, 1))
    changed = np.abs(watermark.embed(picture, "5eed1e55").astype(int) - picture)
    assert 0.2 < changed[:, :64].mean() / changed[:, 64:].mean() < 0.5


def test_white_and_black_can_be_marked():
    for shade in (0, 255):
        marked = watermark.embed(np.full((128, 128, 3), shade, np.uint8), "deadbeef")
        assert watermark.read(jpeg(marked, 75)) == "deadbeef"


def test_it_is_found_after_a_resize_and_in_grey():
    marked = Image.fromarray(watermark.embed(flat_art(128, 3), "0badcafe"))
    assert watermark.read(marked.resize((256, 256), Image.Resampling.BICUBIC)) == "0badcafe"
    assert watermark.read(marked.convert("L").convert("RGB")) == "0badcafe"


@pytest.mark.slow
def test_unmarked_pictures_say_nothing():
    assert [watermark.read(Image.fromarray(flat_art(128, seed))) for seed in range(40)] == [None] * 40
    noise = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), dtype=np.uint8)
    assert [watermark.read(Image.fromarray(picture)) for picture in noise] == [None] * 40


def test_pictures_too_small_to_hold_it():
    assert watermark.read(Image.new("RGB", (8, 8))) is None
