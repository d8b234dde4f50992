import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import flat_art
from tribute.collection import picture as module
from tribute.collection.picture import open_picture, png_bytes, read_limited
from tribute.records import InvalidPicture


def encoded(kind="PNG", side=32, **more):
    buffer = io.BytesIO()
    Image.fromarray(flat_art(side)).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_pictures_open_as_rgb(kind):
    opened = open_picture(encoded(kind))
    assert (opened.mode, opened.size) == ("RGB", (32, 32))


def test_transparency_becomes_white_and_exif_is_turned_upright():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    assert open_picture(buffer.getvalue()).getpixel((0, 0)) == (255, 255, 255)
    tall = Image.new("RGB", (8, 4), "red")
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    tall.save(buffer, "JPEG", exif=exif)
    assert open_picture(buffer.getvalue()).size == (4, 8)


@pytest.mark.parametrize("cut", [0, 1, 20, 100, -40])
def test_a_truncated_file_is_refused(cut):
    with pytest.raises(InvalidPicture):
        open_picture(encoded()[:cut])


def test_text_renamed_to_png_is_refused():
    with pytest.raises(InvalidPicture, match="not a picture"):
        open_picture(b"<svg>not really</svg>", "renamed.png")


def test_a_bomb_is_refused_before_it_is_decoded():
    """A 60,000 × 60,000 PNG of a few hundred bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(InvalidPicture):
        open_picture(bomb, "bomb.png")


def test_an_oversized_file_or_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILE_MAX_BYTES", 10)
    path = tmp_path / "large.png"
    path.write_bytes(encoded())
    with pytest.raises(InvalidPicture, match="at most"):
        read_limited(path)
    for bad in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(InvalidPicture):
            read_limited(bad)


def test_png_bytes_are_the_pixels():
    pixels = flat_art()
    again = np.asarray(Image.open(io.BytesIO(png_bytes(Image.fromarray(pixels)))))
    assert (again == pixels).all()


def test_a_broken_exif_block_is_refused_or_opened_but_never_crashes():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    whole = encoded()
    end = whole.rindex(b"IEND") - 4
    for exif in (b"MM\0*", b"II*\0\xff", b"MM\0*\0\0\0"):
        try:
            open_picture(whole[:end] + chunk(b"eXIf", exif) + whole[end:])
        except InvalidPicture:
            pass
