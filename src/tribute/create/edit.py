"""Drawing over a picture: img2img, and within a mask.

SDEdit (Meng et al. 2021, arXiv:2108.01073) through diffusers' own pipeline; within a mask, what lies outside is put back after each step at
that step's noise (Lugmayr et al. 2022, arXiv:2201.09865, equation 8, without resampling), and in the finished picture pixel by pixel, which
the stock pipeline leaves slightly changed.

Axes: B pictures, C latent channels, H height, W width; pictures are uint8 RGB.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tribute.collection.picture import open_picture
from tribute.diffusion.loading import Model
from tribute.records import InvalidInput, Recipe

Read = Callable[[str], bytes]
Blend = Callable[[int, Tensor], Tensor]


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def as_source(data: bytes, name: str, width: int, height: int) -> bytes:
    """An uploaded picture upright, flattened on white and cropped to the size that is drawn, as PNG. Raises InvalidPicture."""
    picture = open_picture(data, name)
    return _png(ImageOps.fit(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS))


def as_mask(data: bytes, name: str, width: int, height: int, transparent: bool = False) -> bytes:
    """A mask as a black and white PNG: white where it is to be drawn. `transparent`: drawn where it is transparent, as OpenAI's are.

    Raises InvalidPicture, or InvalidInput for a mask that leaves nothing to draw.
    """
    open_picture(data, name)  # its size and kind
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    grey = ImageOps.invert(picture.convert("RGBA").getchannel("A")) if transparent else picture.convert("L")
    mask = ImageOps.fit(grey, (width, height), Image.Resampling.NEAREST).point(lambda value: 255 if value > 127 else 0)
    if mask.getextrema()[1] == 0:
        raise InvalidInput(f"{name} leaves nothing to draw; make it {'transparent' if transparent else 'white'} where the picture is to change")
    return _png(mask)


def _opened(read: Read, digest: str, mode: str) -> Image.Image:
    return Image.open(io.BytesIO(read(digest))).convert(mode)


def check_strength(recipe: Recipe) -> None:
    """Raises InvalidInput where so little is drawn anew that no step is taken."""
    if recipe.source_sha256 and int(recipe.steps * recipe.strength) < 1:
        raise InvalidInput(f"strength {recipe.strength:g} of {recipe.steps} steps is less than one step; give at least {1 / recipe.steps:.2f}")


def drawn_over(model: Model, recipes: Sequence[Recipe], read: Read) -> tuple[Any, dict[str, Any], Blend | None]:
    """(the pipeline that draws over `source`, what it is asked with, and what keeps the outside of the mask after each step)."""
    from diffusers import AutoPipelineForImage2Image

    first = recipes[0]
    check_strength(first)
    width, height = first.width // first.enlarge, first.height // first.enlarge
    source = _opened(read, first.source_sha256, "RGB").resize((width, height), Image.Resampling.LANCZOS)
    pipeline = AutoPipelineForImage2Image.from_pipe(model.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    asked = {"image": [source] * len(recipes), "strength": first.strength}
    return pipeline, asked, _keep_outside(model, pipeline, recipes, source, read) if first.mask_sha256 else None


def _keep_outside(model: Model, pipeline: Any, recipes: Sequence[Recipe], source: Image.Image, read: Read) -> Blend:
    first, vae = recipes[0], model.pipeline.vae
    small = (source.width // model.multiple, source.height // model.multiple)
    mask = _opened(read, first.mask_sha256, "L").resize(small, Image.Resampling.BOX)
    mask_11HW = (torch.from_numpy(np.array(mask)) > 0).to(model.device, model.dtype)[None, None]  # a cell that is drawn in at all
    pixels_1CHW = torch.from_numpy(np.array(source)).permute(2, 0, 1)[None].to(model.device, vae.dtype) / 127.5 - 1
    kept_1CHW = vae.encode(pixels_1CHW).latent_dist.mode() * vae.config.scaling_factor
    noise_BCHW = torch.cat([torch.randn(kept_1CHW.shape, generator=torch.Generator("cpu").manual_seed(one.seed)) for one in recipes])
    noise_BCHW = noise_BCHW.to(model.device, model.dtype)

    def blend(step: int, latent_BCHW: Tensor) -> Tensor:
        times = pipeline.scheduler.timesteps[-int(first.steps * first.strength) :]
        kept_BCHW = kept_1CHW.expand_as(noise_BCHW).to(latent_BCHW.dtype)
        if step + 1 < len(times):
            kept_BCHW = pipeline.scheduler.add_noise(kept_BCHW, noise_BCHW, times[step + 1 : step + 2].expand(len(recipes)))
        rows = latent_BCHW.shape[0] // len(recipes)  # guidance may have doubled it
        blended: Tensor = mask_11HW * latent_BCHW + (1 - mask_11HW) * kept_BCHW.repeat(rows, 1, 1, 1)
        return blended

    return blend


def outside_kept(recipe: Recipe, picture_HWC: np.ndarray, read: Read) -> np.ndarray:
    """The picture with every pixel outside the mask exactly the source's."""
    if not recipe.mask_sha256:
        return picture_HWC
    size = (picture_HWC.shape[1], picture_HWC.shape[0])
    source_HWC = np.asarray(_opened(read, recipe.source_sha256, "RGB").resize(size, Image.Resampling.LANCZOS))
    mask_HW1 = np.asarray(_opened(read, recipe.mask_sha256, "L").resize(size, Image.Resampling.NEAREST))[..., None] > 127
    return np.where(mask_HW1, picture_HWC, source_HWC)
