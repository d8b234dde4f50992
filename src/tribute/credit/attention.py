"""Keyword shares from cross-attention: how much of the picture each word of the prompt was looked at for.

DAAM (Tang et al. 2022, arXiv:2210.04885) with its traps seen to: only the conditional half of the batch is read where there is
guidance and all of it where there is none; any context length and any aspect; begin, end and padding tokens are left out, and so
is punctuation, which attention favours without cause. Per step and layer the maps of a word's tokens are summed over tokens and
averaged over heads, brought to one grid and averaged over steps and layers. Then

    area = the part of the picture where the word is above the mean over all words,   strength = its mean there,
    share = area × strength, divided by the sum over words.

It says which words shaped which pixels. It does not say whose works did: compare `shapley`.

Axes: B batch, A heads, P positions, T tokens, H and W the common grid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tribute.credit.method import Case, Catalogues
from tribute.credit.shares import BASE, Scores
from tribute.diffusion.loading import Model
from tribute.records import Recipe

METHOD = "keyword-attention"
GRID = 32


@dataclass(frozen=True)
class Word:
    """One word's part. `by_step` and `by_layer` are its share of attention in each; `map_HW` its mean map on the common grid."""

    text: str
    share: float
    area: float
    strength: float
    by_step: tuple[float, ...]
    by_layer: tuple[float, ...]
    map_HW: np.ndarray


class _Recorder:
    """An attention processor that computes what diffusers' plain AttnProcessor does and keeps the conditional maps."""

    def __init__(self, layer: str, keep: Callable[[str, Tensor], None], guided: bool) -> None:
        self.layer, self.keep, self.guided = layer, keep, guided

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: Tensor | None = None,
                 temb: Tensor | None = None, **_: Any) -> Tensor:  # fmt: skip
        residual = hidden_states
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        query, key, value = (attn.head_to_batch_dim(part) for part in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)))
        maps_BPT = attn.get_attention_scores(query, key, attention_mask)
        self.keep(self.layer, maps_BPT.unflatten(0, (-1, attn.heads)))
        hidden_states = attn.batch_to_head_dim(torch.bmm(maps_BPT, value))
        hidden_states = attn.to_out[1](attn.to_out[0](hidden_states))
        if attn.residual_connection:
            hidden_states = hidden_states + residual
        scaled: Tensor = hidden_states / attn.rescale_output_factor
        return scaled


def word_tokens(tokenizer: Any, prompt: str, length: int) -> list[tuple[str, list[int]]]:
    """Words of the prompt with the positions of their tokens; a run of Chinese counts as one word, punctuation as none."""
    encoded = tokenizer(prompt, truncation=True, max_length=length, return_offsets_mapping=True)
    words: list[tuple[str, list[int]]] = []
    for match in re.finditer(r"\w+(?:['’-]\w+)*", prompt):
        at = [index for index, (start, end) in enumerate(encoded["offset_mapping"]) if end > start and start < match.end() and end > match.start()]
        if at:
            words.append((match[0], at))
    return words


def keyword_shares(model: Model, recipe: Recipe, render: Callable[[Recipe], np.ndarray]) -> tuple[Word, ...]:
    """Renders once more with recorders in the cross-attention layers. Words in the order of the prompt; shares sum to 1."""
    unet, tokenizer = model.pipeline.unet, model.pipeline.tokenizer
    words = word_tokens(tokenizer, recipe.drawn_prompt, model.max_tokens)
    if not words:
        return ()
    rows, columns = GRID * recipe.height // max(recipe.height, recipe.width), GRID * recipe.width // max(recipe.height, recipe.width)
    seen: dict[str, list[Tensor]] = {}

    def keep(layer: str, maps_BAPT: Tensor) -> None:
        conditional = maps_BAPT.chunk(2)[1] if recipe.guidance > 1 else maps_BAPT
        positions = conditional.shape[2]
        height = max(1, round(math.sqrt(positions * recipe.height / recipe.width)))
        by_word_WP = torch.stack([conditional[..., at].sum(-1).mean((0, 1)) for _, at in words]).float()
        if positions % height == 0:
            grid = by_word_WP.reshape(len(words), 1, height, positions // height)
            seen.setdefault(layer, []).append(torch.nn.functional.interpolate(grid, (rows, columns), mode="bilinear")[:, 0].cpu())

    with model.lock, model.in_torch():
        before = dict(unet.attn_processors)
        recorders = {name: _Recorder(name, keep, recipe.guidance > 1) if name.endswith("attn2.processor") else processor for name, processor in before.items()}
        try:
            unet.set_attn_processor(recorders)
            render(recipe)
        finally:
            unet.set_attn_processor(before)
    layers = list(seen)
    maps_LSWHW = torch.stack([torch.stack(seen[layer]) for layer in layers])
    mean_WHW = maps_LSWHW.mean((0, 1))
    threshold = mean_WHW.mean()
    above_WHW = mean_WHW > threshold
    area_W = above_WHW.float().mean((1, 2))
    strength_W = (mean_WHW * above_WHW).sum((1, 2)) / above_WHW.sum((1, 2)).clamp(min=1)
    product_W = area_W * strength_W
    share_W = product_W / product_W.sum() if float(product_W.sum()) > 0 else torch.full_like(product_W, 1 / len(words))
    total_LSW = maps_LSWHW.mean((3, 4))
    by_step = (total_LSW.mean(0) / total_LSW.mean(0).sum(-1, keepdim=True)).T.tolist()
    by_layer = (total_LSW.mean(1) / total_LSW.mean(1).sum(-1, keepdim=True)).T.tolist()
    return tuple(
        Word(text, float(share_W[at]), float(area_W[at]), float(strength_W[at]), tuple(by_step[at]), tuple(by_layer[at]), mean_WHW[at].numpy())
        for at, (text, _) in enumerate(words)
    )


def heat_maps(picture_HWC: np.ndarray, words: tuple[Word, ...]) -> list[Image.Image]:
    """The picture once a word, dimmed to blue where the word was little attended to and left bright where it was most."""
    height, width, _ = picture_HWC.shape
    made = []
    for word in words:
        span = float(word.map_HW.max() - word.map_HW.min()) or 1.0
        heat = Image.fromarray(((word.map_HW - word.map_HW.min()) / span * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        weight = np.asarray(heat, np.float32)[..., None] / 255
        cold = picture_HWC.mean(-1, keepdims=True) * 0.35 * np.array([0.55, 0.7, 1.3]) + np.array([10, 18, 60])
        made.append(Image.fromarray((picture_HWC * weight + cold * (1 - weight)).clip(0, 255).astype(np.uint8)))
    return made


class KeywordAttention:
    """Pays styles for the words that name their hand: the share of attention those words have; all other words are the base's.

    It says which words shaped which pixels. A style that no word names gets nothing, whatever it drew: hence its error.
    """

    name = METHOD

    def prepare(self, catalogues: Catalogues) -> None:
        self.words = {name: {word.lower() for said in one.words for word in re.findall(r"\w+", said)} for name, one in catalogues.items()}

    def score(self, case: Case) -> Scores:
        draw = case.redraw or case.render
        shares = keyword_shares(case.model, case.recipe, lambda asked: draw([asked])[0])
        scores = dict.fromkeys((BASE, *case.styles), 0.0)
        for word in shares:
            named = [style for style in case.styles if word.text.lower() in self.words.get(style, ())]
            for party in named or [BASE]:
                scores[party] += word.share / len(named or [BASE])
        return Scores(self.name, "attention", scores, {word.text: word.share for word in shares})
