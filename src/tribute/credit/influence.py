"""Which works within a style a picture leans on: gradient influence with random projections.

TRAK (Park et al. 2023, arXiv:2303.14186) as D-TRAK changes it for diffusion (Zheng et al. 2024, arXiv:2311.00500): the gradient is not of
the loss but of the mean square of the network's output, which was found to tell more. With φ(x) that gradient over the adapter's
weights, averaged over noise levels and projected to `dims` by a count sketch (Charikar et al. 2002), and Φ those of all works,

    score of work i for picture x = φ(x)ᵀ (ΦᵀΦ + λI)⁻¹ φ(xᵢ).

λ is a multiple of the mean eigenvalue; choose it on other subsets than those you report (`python bench/influence.py`).

Axes: N works, C latent channels, H height, W width, T tokens, D text width, K noise levels, F dims, P weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tribute.credit.shares import Scores
from tribute.diffusion.loading import Model
from tribute.records import Recipe, StyleUse

METHOD = "gradient-influence"
DIMS = 4096
LEVELS = 8
RIDGE = 0.1


class Influence:
    """Gradients of a worn adapter. `parameters` are its weights, `denoiser` the network that wears it; `output` is norm (D-TRAK) or loss (TRAK)."""

    def __init__(self, denoiser: Any, parameters: Sequence[nn.Parameter], scheduler: Any, *, output: str = "norm", dims: int = DIMS, seed: int = 0) -> None:
        self.denoiser, self.parameters, self.scheduler, self.output, self.dims, self.seed = denoiser, list(parameters), scheduler, output, dims, seed
        generator = torch.Generator().manual_seed(seed)
        count = sum(value.numel() for value in self.parameters)
        self.bucket_P = torch.randint(dims, (count,), generator=generator)
        self.sign_P = torch.randint(2, (count,), generator=generator).float().mul_(2).sub_(1)

    def gradients(self, latents_NCHW: Tensor, states_NTD: Tensor) -> Tensor:
        """φ_NF: one row an example, all under the same noise levels and the same noise."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        count = self.scheduler.config["num_train_timesteps"]
        step_K = ((torch.arange(LEVELS) + 0.5) / LEVELS * count).long()
        noise_KCHW = torch.randn(LEVELS, *latents_NCHW.shape[1:], generator=generator)
        rows = []
        for latent_CHW, states_TD in zip(latents_NCHW, states_NTD, strict=True):
            latent_KCHW = latent_CHW.expand(LEVELS, -1, -1, -1)
            noisy_KCHW = self.scheduler.add_noise(latent_KCHW, noise_KCHW, step_K)
            made_KCHW = self.denoiser(noisy_KCHW, step_K, states_TD.expand(LEVELS, -1, -1)).sample
            target_KCHW = 0.0 if self.output == "norm" else self.scheduler.get_velocity(latent_KCHW, noise_KCHW, step_K)
            found = torch.autograd.grad((made_KCHW - target_KCHW).square().mean(), self.parameters)
            flat_P = torch.cat([one.reshape(-1) for one in found]).float()
            rows.append(torch.zeros(self.dims).index_add_(0, self.bucket_P, flat_P * self.sign_P))
        return torch.stack(rows)


def influence_matrix(works_NF: Tensor, pictures_MF: Tensor, ridge: float) -> Tensor:
    """Scores_MN of every work for every picture. `ridge` times the mean eigenvalue of ΦΦᵀ is λ."""
    gram_NN = (works_NF @ works_NF.T).double()
    weight = ridge * gram_NN.diagonal().mean() * torch.eye(len(gram_NN), dtype=torch.float64)
    # φ(x)ᵀ (ΦᵀΦ + λI)⁻¹ Φᵀ = φ(x)ᵀ Φᵀ (ΦΦᵀ + λI)⁻¹, which is as large as the works, not as the projection.
    solved: Tensor = torch.linalg.solve(gram_NN + weight, (works_NF @ pictures_MF.T).double())
    return solved.T


def works_within(
    model: Model, use: StyleUse, read: Any, recipe: Recipe, picture_HWC: np.ndarray, pictures_NHWC: np.ndarray, captions: Sequence[str], names: Sequence[str],
    ridge: float = RIDGE,
) -> Scores:  # fmt: skip
    """Which of a style's works a picture leans on most, among those given, by the gradients of the style's own adapter on this model.

    `pictures_NHWC` are uint8 of the model's own size, each with a caption and a name. About a quarter of a second a work on two cores.
    """
    pipeline = model.pipeline

    @torch.no_grad()
    def latents(pictures: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(pipeline.vae.dtype) / 127.5 - 1
        found = [pipeline.vae.encode(some.to(model.device)).latent_dist.mean for some in pixels.split(16)]
        scaled: Tensor = torch.cat(found) * pipeline.vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def states(texts: Sequence[str]) -> Tensor:
        return torch.cat([pipeline.encode_prompt(text, model.device, 1, False)[0] for text in texts])

    with model.lock, model.in_torch():
        model.wear([(use,)], read)
        pipeline.unet.float()  # gradients of bfloat16 weights would be too coarse; back again, the weights are as they were
        parameters = [value for name, value in pipeline.unet.named_parameters() if name.split(".")[-3:-1] in (["lora_A", use.name], ["lora_B", use.name])]
        before = [value.requires_grad for value in parameters]
        for value in parameters:
            value.requires_grad_(True)
        try:
            influence = Influence(pipeline.unet, parameters, pipeline.scheduler)
            works_NF = influence.gradients(latents(pictures_NHWC).float(), states(captions).float())
            picture_1F = influence.gradients(latents(picture_HWC[None]).float(), states([recipe.drawn_prompt]).float())
        finally:
            for value, needed in zip(parameters, before, strict=True):
                value.requires_grad_(needed)
            pipeline.unet.to(model.dtype)
    return works_scores(names, influence_matrix(works_NF, picture_1F, ridge)[0])


def works_scores(names: Sequence[str], scores_N: Tensor) -> Scores:
    """Scores of works by their hashes, for `shares` to clip and normalise."""
    return Scores(METHOD, "d-trak", dict(zip(names, scores_N.tolist(), strict=True)))
