"""Flat pictures as SVG: runs of like colour become filled outlines, by vtracer."""

from __future__ import annotations

import numpy as np

from tribute.records import InvalidInput, NotInstalled

DETAILS = {"few": (5, 12), "some": (6, 6), "much": (8, 3)}  # name -> (bits a colour channel, smallest patch in pixels)


def trace(picture_HWC: np.ndarray, detail: str = "some") -> str:
    """An SVG of a uint8 RGB picture, with smooth outlines. Raises InvalidInput for an unknown detail, NotInstalled without vtracer."""
    try:
        import vtracer
    except ImportError as error:
        raise NotInstalled("vtracer is missing; install it with: pip install 'tribute[vector]'") from error
    if detail not in DETAILS:
        raise InvalidInput(f"detail {detail[:40]!r} is not one of {', '.join(DETAILS)}")
    precision, speckle = DETAILS[detail]
    height, width, _ = picture_HWC.shape
    opaque = np.concatenate([picture_HWC, np.full((height, width, 1), 255, np.uint8)], axis=2)
    pixels = [tuple(pixel) for pixel in opaque.reshape(-1, 4).tolist()]
    svg: str = vtracer.convert_pixels_to_svg(
        pixels, size=(width, height), mode="spline", hierarchical="stacked", filter_speckle=speckle, color_precision=precision, layer_difference=16
    )
    return svg
