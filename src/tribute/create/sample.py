"""Prompt to pixels with the model's own pipeline and scheduler.

Each picture has a noise generator of its own, seeded on the CPU, so that a picture does not depend on the batch it was drawn
in (to rounding) nor on the device that drew it (to its arithmetic).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tribute.diffusion.loading import Model
from tribute.records import InvalidInput, InvalidPrompt, Recipe, sha256

Progress = Callable[[int, int], None]  # (steps done, steps in all)


def check_size(model: Model, width: int, height: int) -> None:
    """Raises InvalidInput for a size that the model cannot draw."""
    for name, pixels in (("width", width), ("height", height)):
        if pixels % model.multiple or not model.smallest <= pixels <= model.largest:
            raise InvalidInput(
                f"{name} {pixels} does not suit model {model.name!r}; give a multiple of {model.multiple} from {model.smallest} to {model.largest}"
            )


def check_prompt_fits(model: Model, *texts: str) -> None:
    """Raises InvalidPrompt where a text has more tokens than the model reads, rather than cut it off in silence."""
    for text in texts:
        tokens = len(model.pipeline.tokenizer(text, truncation=False).input_ids)
        if tokens > model.max_tokens:
            raise InvalidPrompt(f"the prompt makes {tokens - 2} tokens; model {model.name!r} reads {model.max_tokens - 2}: shorten it")


def sample(model: Model, recipes: Sequence[Recipe], read_adapter: Any, progress: Progress | None = None) -> list[np.ndarray]:
    """uint8 RGB pictures_HWC of recipes that differ in their seed alone. Holds the model's lock while it draws."""
    first = recipes[0]
    assert all(recipe.model_copy(update={"seed": 0}) == first.model_copy(update={"seed": 0}) for recipe in recipes)
    check_size(model, first.width, first.height)
    check_prompt_fits(model, first.prompt, first.negative_prompt)
    with model.lock, torch.inference_mode():
        model.use_styles(first.styles, read_adapter)
        return _draw(model, recipes, progress)


def _draw(model: Model, recipes: Sequence[Recipe], progress: Progress | None) -> list[np.ndarray]:
    first = recipes[0]

    def stepped(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress(step + 1, first.steps)
        return values

    extra = {"eta": 0.0} if "eta" in inspect.signature(model.pipeline.scheduler.step).parameters else {}
    made = model.pipeline(
        prompt=[first.prompt] * len(recipes),
        negative_prompt=[first.negative_prompt] * len(recipes),
        num_inference_steps=first.steps,
        guidance_scale=first.guidance,
        width=first.width,
        height=first.height,
        generator=[torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes],
        output_type="np",
        callback_on_step_end=stepped,
        **extra,
    ).images
    return list((np.nan_to_num(np.asarray(made)) * 255).round().clip(0, 255).astype(np.uint8))


def pixel_hash(picture_HWC: np.ndarray) -> str:
    """SHA-256 over height, width and RGB bytes."""
    height, width, _ = picture_HWC.shape
    return sha256(f"{height}x{width}:".encode() + np.ascontiguousarray(picture_HWC).tobytes())
