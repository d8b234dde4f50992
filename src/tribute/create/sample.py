"""Prompt to pixels with the model's own pipeline and scheduler.

Each picture has a noise generator of its own, seeded on the CPU, so that a picture does not depend on the batch it was drawn
in (to rounding) nor on the device that drew it (to its arithmetic).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tribute.create.edit import drawn_over
from tribute.create.perturbation import perturbed_words
from tribute.create.variation import varied_noise
from tribute.diffusion.loading import Model
from tribute.diffusion.smoothing import smoothed
from tribute.diffusion.upscaler import enlarge
from tribute.records import InvalidInput, InvalidPrompt, Recipe, sha256

Progress = Callable[[int, int], None]  # (steps done, steps in all)
Watch = Callable[[int, int, Callable[[], np.ndarray]], None]  # the same, and what shows the pictures as they stand, uint8 pictures_NHWC as drawn


def check_size(model: Model, width: int, height: int, enlarge: int = 1) -> None:
    """Raises InvalidInput for a size that the model cannot draw and then enlarge so many times."""
    if enlarge > 1 and model.upscaler is None:
        raise InvalidInput(f"model {model.name!r} has no upscaler; leave `enlarge` at 1")
    multiple, least, most = model.multiple * enlarge, model.smallest * enlarge, min(2048, model.largest * enlarge)
    for name, pixels in (("width", width), ("height", height)):
        if pixels % multiple or not least <= pixels <= most:
            raise InvalidInput(f"{name} {pixels} does not suit model {model.name!r}; give a multiple of {multiple} from {least} to {most}")


def tokens_in(model: Model, text: str) -> int:
    """How many tokens a text makes, with the two that stand around it."""
    return len(model.pipeline.tokenizer(text, truncation=False).input_ids)


def check_prompt_fits(model: Model, *texts: str) -> None:
    """Raises InvalidPrompt where a text has more tokens than the model reads, rather than cut it off in silence."""
    for text in texts:
        tokens = tokens_in(model, text)
        if tokens > model.max_tokens:
            raise InvalidPrompt(f"the prompt makes {tokens - 2} tokens; model {model.name!r} reads {model.max_tokens - 2}: shorten it")


def sample(model: Model, recipes: Sequence[Recipe], read_adapter: Any, progress: Progress | None = None, watch: Watch | None = None) -> list[np.ndarray]:
    """uint8 RGB pictures_HWC of recipes that differ in their prompt, what leads away from it, seeds, styles and smoothing alone. Holds the model's
    lock while it draws.

    They share batches of as many as fit; the styles of one never touch another. `progress` counts the steps of all batches,
    `watch` those of the first.
    """
    first = recipes[0]
    own: dict[str, Any] = {"prompt": "", "told": "", "seed": 0, "styles": (), "variation_seed": None, "smoothing": 0.0}
    own |= {"beside": "", "prompt_noise": 0.0, "led_until": 1.0}
    assert all(recipe.model_copy(update=own) == first.model_copy(update=own) for recipe in recipes)
    check_size(model, first.width, first.height, first.enlarge)
    check_prompt_fits(model, first.negative_prompt, *{text for recipe in recipes for text in (recipe.prompt, recipe.told, recipe.beside)})
    made: list[np.ndarray] = []
    with model.lock, torch.inference_mode():
        at_once = model.rows_at_once(first.width // first.enlarge, first.height // first.enlarge)
        if len({recipe.styles for recipe in recipes}) > 1:
            model.load_styles([recipe.styles for recipe in recipes], read_adapter)  # so that it is known what they touch
            alone = not model.shares_batches([recipe.styles for recipe in recipes])
        else:
            alone = False
        batches = _batches(recipes, at_once, alone)
        for number, batch in enumerate(batches):
            model.wear([recipe.styles for recipe in batch], read_adapter, student=first.student, halves=2 if first.guidance > 1 else 1)
            made += _draw(model, batch, read_adapter, _shifted(progress, number, len(batches)), watch if number == 0 else None)
    return made


def _batches(recipes: Sequence[Recipe], at_once: int, alone: bool) -> list[Sequence[Recipe]]:
    """Recipes in their order, at most `at_once` together, and with `alone` only neighbours that wear the same."""
    batches: list[list[Recipe]] = []
    for recipe in recipes:
        if batches and len(batches[-1]) < at_once and not (alone and batches[-1][0].styles != recipe.styles):
            batches[-1].append(recipe)
        else:
            batches.append([recipe])
    return list(batches)


def _shifted(progress: Progress | None, number: int, count: int) -> Progress | None:
    return (lambda done, total: progress(number * total + done, count * total)) if progress else None


def _draw(model: Model, recipes: Sequence[Recipe], read: Any, progress: Progress | None, watch: Watch | None) -> list[np.ndarray]:
    first, blend = recipes[0], None
    steps = int(first.steps * first.strength) if first.source_sha256 else first.steps
    generators = [torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes]
    asked: dict[str, Any] = {"width": first.width // first.enlarge, "height": first.height // first.enlarge}
    pipeline = model.pipeline
    if first.guidance_rescale > 0:
        asked["guidance_rescale"] = first.guidance_rescale  # drawing over a picture knows none
    if first.source_sha256:
        pipeline, asked, blend = drawn_over(model, recipes, read)
    elif first.variation_strength > 0:
        asked["latents"] = varied_noise(model, recipes)

    def stepped(_: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress(step + 1, steps)
        if blend:
            values["latents"] = blend(step, values["latents"])
        if led_away := [row for row, last in enumerate(led_steps) if last == step + 1]:
            values["prompt_embeds"] = values["prompt_embeds"].clone()
            values["prompt_embeds"][-len(recipes) :][led_away] = plain_BTD[led_away]  # where it is guided, those that lead away from it come first
        if watch:
            watch(step + 1, steps, lambda: _as_they_stand(model, values["latents"]))
        return values

    extra = {"eta": 0.0} if "eta" in inspect.signature(pipeline.scheduler.step).parameters else {}
    words: dict[str, Any] = {"prompt": [recipe.drawn_prompt for recipe in recipes], "negative_prompt": [first.negative_prompt] * len(recipes)}
    led_steps: list[int] = []
    if any(recipe.beside or recipe.prompt_noise > 0 for recipe in recipes):
        words, plain_BTD = perturbed_words(model, recipes)
        led_steps = [math.ceil(recipe.led_until * steps) for recipe in recipes]
        asked["callback_on_step_end_tensor_inputs"] = ["latents", "prompt_embeds"]
    made = pipeline(
        num_inference_steps=first.steps,
        guidance_scale=first.guidance,
        generator=generators,
        output_type="np",
        callback_on_step_end=stepped,
        **words,
        **asked,
        **extra,
    ).images
    pictures = (np.nan_to_num(np.asarray(made)) * 255).round().clip(0, 255).astype(np.uint8)
    return [enlarged(model, first, picture_HWC) for picture_HWC in smoothed(list(pictures), [recipe.smoothing for recipe in recipes])]


def _as_they_stand(model: Model, latent_BCHW: torch.Tensor) -> np.ndarray:
    vae = model.pipeline.vae
    seen_BCHW = vae.decode(latent_BCHW.to(vae.dtype) / vae.config.scaling_factor).sample.float().nan_to_num()
    return np.asarray(seen_BCHW.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy())


def as_drawn(recipe: Recipe) -> Recipe:
    """The recipe of what the model itself draws, before it is enlarged: what credit compares."""
    times = recipe.enlarge
    return recipe.model_copy(update={"width": recipe.width // times, "height": recipe.height // times, "enlarge": 1})


def enlarged(model: Model, recipe: Recipe, drawn_HWC: np.ndarray) -> np.ndarray:
    """The picture of `recipe` from what the model drew for `as_drawn(recipe)`."""
    return enlarge(model.upscaler, drawn_HWC, recipe.enlarge) if recipe.enlarge > 1 else drawn_HWC


def pixel_hash(picture_HWC: np.ndarray) -> str:
    """SHA-256 over height, width and RGB bytes."""
    height, width, _ = picture_HWC.shape
    return sha256(f"{height}x{width}:".encode() + np.ascontiguousarray(picture_HWC).tobytes())
