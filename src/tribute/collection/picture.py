"""Opening pictures that strangers send: sizes are checked before a pixel is decoded."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from tribute.records import InvalidPicture

FILE_MAX_BYTES = 50_000_000
SIDE_MAX = 8192
PIXELS_MAX = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def read_limited(path: Path) -> bytes:
    """The bytes of a file that is small enough to be a picture. Raises InvalidPicture."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InvalidPicture(f"{path}: not a file; give the path of a picture")
        if size > FILE_MAX_BYTES:
            raise InvalidPicture(f"{path.name}: {size:,} bytes; pictures may have at most {FILE_MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise InvalidPicture(f"{path}: {error.strerror or error}; give the path of a picture") from error


def open_picture(data: bytes, name: str = "picture") -> Image.Image:
    """Decode to RGB on white, upright by its EXIF orientation. Raises InvalidPicture for anything that is not a whole, modest picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = picture.size
            if max(width, height) > SIDE_MAX or width * height > PIXELS_MAX:
                raise InvalidPicture(f"{name}: {width}×{height} pixels; at most {SIDE_MAX} a side and {PIXELS_MAX:,} in all are taken")
            picture.load()
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except InvalidPicture:
        raise
    except UnidentifiedImageError as error:
        raise InvalidPicture(f"{name}: not a picture in {', '.join(FORMATS)}") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        LookupError,
        TypeError,
        ArithmeticError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise InvalidPicture(f"{name}: cannot be decoded ({error}); it may be cut off or damaged") from error
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright).convert("RGB")


def png_bytes(picture: Image.Image) -> bytes:
    """Plain PNG without metadata: equal pixels give equal bytes with one Pillow and zlib."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
