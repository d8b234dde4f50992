"""Noise on a prompt's states, which leads a model away from the works that it knows by heart.

Gaussian noise on the text's embedding is one of the remedies of Somepalli et al. 2023, "Understanding and Mitigating Copying in
Diffusion Models" (arXiv:2305.20086). How much of it helps here, and what it costs: docs/decisions/0028.

Axes: B pictures, T tokens, D text states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tribute.diffusion.loading import Model
from tribute.records import Recipe


def perturbed_words(model: Model, recipes: Sequence[Recipe]) -> dict[str, Any]:
    """What a pipeline is told in place of prompts: each recipe's states, moved by `prompt_noise` times their own deviation, from its own seed."""
    guided = recipes[0].guidance > 1
    states_BTD, negative_BTD = model.pipeline.encode_prompt(
        [recipe.drawn_prompt for recipe in recipes], model.device, 1, guided, [recipe.negative_prompt for recipe in recipes] if guided else None
    )
    rows = []
    for recipe, states_TD in zip(recipes, states_BTD.float(), strict=True):
        noise_TD = torch.randn(states_TD.shape, generator=torch.Generator("cpu").manual_seed(recipe.seed)).to(model.device)
        rows.append(states_TD + recipe.prompt_noise * states_TD.std() * noise_TD)
    return {"prompt_embeds": torch.stack(rows).to(states_BTD.dtype), "negative_prompt_embeds": negative_BTD}
