"""What leads a model away from the works that it knows by heart: other words beside a prompt's, and noise on both.

Gaussian noise on the text's embedding is one of the remedies of Somepalli et al. 2023, "Understanding and Mitigating Copying in
Diffusion Models" (arXiv:2305.20086). What helps here, and what it costs: docs/decisions/0028 and 0029.

Axes: B pictures, T tokens, D text states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tribute.diffusion.loading import Model
from tribute.records import Recipe


def perturbed_words(model: Model, recipes: Sequence[Recipe]) -> tuple[dict[str, Any], Tensor]:
    """(what a pipeline is told in place of prompts, the prompts' own states_BTD): each recipe's states, halfway to those of the words beside them where
    there are any, and moved by `prompt_noise` times the prompt's own deviation, from the recipe's seed."""
    guided, encode = recipes[0].guidance > 1, model.pipeline.encode_prompt
    prompts = [recipe.drawn_prompt for recipe in recipes]
    others = [recipe.drawn_beside or prompt for recipe, prompt in zip(recipes, prompts, strict=True)]
    states_BTD, negative_BTD = encode(prompts, model.device, 1, guided, [recipes[0].negative_prompt] * len(recipes) if guided else None)
    others_BTD = encode(others, model.device, 1, False)[0] if others != prompts else states_BTD
    rows = []
    for recipe, states_TD, others_TD in zip(recipes, states_BTD.float(), others_BTD.float(), strict=True):
        noise_TD = torch.randn(states_TD.shape, generator=torch.Generator("cpu").manual_seed(recipe.seed)).to(model.device)
        rows.append((states_TD + others_TD) / 2 + recipe.prompt_noise * states_TD.std() * noise_TD)
    return {"prompt_embeds": torch.stack(rows).to(states_BTD.dtype), "negative_prompt_embeds": negative_BTD}, states_BTD
