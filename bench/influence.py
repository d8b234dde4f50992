"""Which works of a style a picture leans on: methods held against retraining (linear datamodelling score; Park et al. 2023).

python bench/influence.py --home HOME --base FOLDER [--style micah] [--works 48] [--subsets 64] [--seeds 3]

Trains a small adapter on each of 64 random halves of 48 works of one style, three seeds each: 192 trainings of some seconds.
For each target (held-out works, and pictures drawn by the adapter of all 48) a method's score of a subset is the sum over its works; the
figure is the rank correlation between those and minus the target's loss under each subset's adapter, mean over targets, with a 95%
interval by bootstrap over subsets. λ is chosen on half of the subsets, the figure is of the other half. The ceiling is what the
seeds' own agreement allows. HOME has the collection's pictures; it resumes from --cache where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor
from tqdm import tqdm

from tribute.credit.influence import Influence, influence_matrix
from tribute.credit.similarity import embed
from tribute.diffusion import recipes
from tribute.diffusion.autoencoder import PatchBasis
from tribute.diffusion.denoiser import build_scheduler
from tribute.diffusion.examples import load_pictures, split
from tribute.diffusion.text import tokens_of
from tribute.diffusion.training import generator_at, multiplies_in_bfloat16
from tribute.records import Work
from tribute.store.database import documents
from tribute.store.schema import works
from tribute.studio.wiring import STARTER, Settings, open_workshop

RANK, STEPS, BATCH, RATE = 4, 12, 16, 4e-3
LEVELS, HELD, MADE = 8, 8, 6
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Rig:
    def __init__(self, home: Path, base: Path, style: str, count: int) -> None:
        workshop = open_workshop(Settings(home=home), STARTER)
        with workshop.database.reading() as connection:
            found = [work for work in documents(connection, works, Work, works.c.style == style) if work.captions_en]
        trained, held = split(found)
        rng = np.random.default_rng(1)
        chosen = [trained[at] for at in rng.choice(len(trained), count, replace=False)] + [held[at] for at in rng.choice(len(held), HELD, replace=False)]
        tokenizer, encode = recipes.frozen_text(base)
        self.basis = PatchBasis.load(base / "basis.safetensors")
        pictures_NHWC = load_pictures(chosen, workshop.blobs.get)
        latents_NCHW = self.basis.encode_pictures(pictures_NHWC)
        states_NTD = torch.cat([encode(tokens_of(tokenizer, [work.captions_en[0]])) for work in chosen]).float()
        self.pictures_NHWC, self.targets_MHWC = pictures_NHWC[:count], pictures_NHWC[count:]
        self.latents_NCHW, self.states_NTD = latents_NCHW[:count], states_NTD[:count]
        self.target_latents_MCHW, self.target_states_MTD = latents_NCHW[count:], states_NTD[count:]
        self.empty_TD = encode(tokens_of(tokenizer, [""]))[0].float()
        self.scheduler = build_scheduler()
        self.base = base

    def network(self) -> Any:
        unet = UNet2DConditionModel.from_pretrained(self.base / "unet").float().to(memory_format=torch.channels_last)
        return unet.requires_grad_(False)

    def adapter(self, unet: Any, rows: list[int], seed: int, steps: int = STEPS) -> list[Any]:
        """Has the network wear a new adapter, trained on those works alone; returns its weights."""
        if hasattr(unet, "peft_config"):
            unet.delete_adapters("default")
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        parameters = [value for value in unet.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98))
        mine = torch.tensor(rows)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / 3) * min(1.0, (steps - step) / (steps / 2))
            generator = generator_at(seed, step)
            at_B = mine[torch.randint(len(mine), (BATCH,), generator=generator)]
            level_B = ((torch.arange(BATCH) + torch.rand(1, generator=generator)) / BATCH * 1000).long().clamp(max=999)
            with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16()):
                loss = self.losses(unet, self.latents_NCHW[at_B], self.states_NTD[at_B], level_B, generator).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        return parameters

    def losses(self, unet: Any, latents_BCHW: Tensor, states_BTD: Tensor, level_B: Tensor, generator: torch.Generator) -> Tensor:
        noise_BCHW = torch.randn(latents_BCHW.shape, generator=generator)
        made_BCHW = unet(self.scheduler.add_noise(latents_BCHW, noise_BCHW, level_B), level_B, states_BTD).sample
        found: Tensor = (made_BCHW - self.scheduler.get_velocity(latents_BCHW, noise_BCHW, level_B)).square().mean((1, 2, 3))
        return found

    @torch.no_grad()
    def measured(self, unet: Any) -> Tensor:
        """Loss_M of every target, over the same noise levels and noise."""
        level_K = ((torch.arange(LEVELS) + 0.5) / LEVELS * 1000).long()
        count = len(self.target_latents_MCHW)
        latents, states = (value.repeat_interleave(LEVELS, 0) for value in (self.target_latents_MCHW, self.target_states_MTD))
        return self.losses(unet, latents, states, level_K.repeat(count), torch.Generator().manual_seed(5)).view(count, LEVELS).mean(1)

    @torch.no_grad()
    def draw(self, unet: Any) -> None:
        """Adds pictures that the adapter draws, of the first works' captions, to the targets."""
        states_BTD = self.states_NTD[:MADE]
        scheduler = build_scheduler()
        scheduler.set_timesteps(20)
        latent_BCHW = torch.randn(MADE, *self.latents_NCHW.shape[1:], generator=torch.Generator().manual_seed(2))
        for at in scheduler.timesteps:
            both = unet(torch.cat([latent_BCHW] * 2), at, torch.cat([self.empty_TD.expand_as(states_BTD), states_BTD])).sample
            plain, told = both.chunk(2)
            latent_BCHW = scheduler.step(plain + 3.0 * (told - plain), at, latent_BCHW).prev_sample
        made_BHWC = self.basis.decode(latent_BCHW).add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        self.targets_MHWC = np.concatenate([self.targets_MHWC, made_BHWC])
        self.target_latents_MCHW = torch.cat([self.target_latents_MCHW, latent_BCHW])
        self.target_states_MTD = torch.cat([self.target_states_MTD, states_BTD])


def ranks(rows: Tensor) -> Tensor:
    return rows.argsort(-1).argsort(-1).double()


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Rank correlation along the last axis."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    found: Tensor = (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt().clamp(min=1e-12)
    return found


def figure(scores_MN: Tensor, masks_SN: Tensor, fit_SM: Tensor) -> tuple[float, float, float]:
    """Mean over targets of the rank correlation over subsets, and its 95% bootstrap interval."""
    predicted_MS = scores_MN.double() @ masks_SN.double().T
    rng = np.random.default_rng(0)
    draws = [torch.from_numpy(rng.integers(len(masks_SN), size=len(masks_SN))) for _ in range(500)]
    means = [float(spearman(predicted_MS[:, at], fit_SM.T[:, at]).mean()) for at in draws]
    return float(spearman(predicted_MS, fit_SM.T).mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main(given: argparse.Namespace) -> None:
    rig = Rig(given.home, given.base, given.style, given.works)
    began = time.perf_counter()
    unet, other = rig.network(), rig.network()
    parameters = rig.adapter(unet, list(range(given.works)), 0, 2 * STEPS)
    rig.draw(unet)
    generator = torch.Generator().manual_seed(9)
    masks_SN = torch.stack([torch.randperm(given.works, generator=generator) < given.works // 2 for _ in range(given.subsets)])
    done: dict[tuple[int, int], Tensor] = torch.load(given.cache, weights_only=True) if given.cache.exists() else {}
    for subset in tqdm(range(given.subsets), desc="subsets"):
        for seed in range(given.seeds):
            if (subset, seed) not in done:
                rig.adapter(other, masks_SN[subset].nonzero()[:, 0].tolist(), 100 + seed)
                done[subset, seed] = rig.measured(other)
        torch.save(done, given.cache)
    trained_s = time.perf_counter() - began
    loss_ESM = torch.stack([torch.stack([done[subset, seed] for subset in range(given.subsets)]) for seed in range(given.seeds)])
    fit_SM = -loss_ESM.mean(0)
    pairs = [(one, other) for one in range(given.seeds) for other in range(one)]
    between = float(torch.stack([spearman(loss_ESM[one].T, loss_ESM[other].T).mean() for one, other in pairs]).mean())
    reliability = given.seeds * between / (1 + (given.seeds - 1) * between)
    half = given.subsets // 2
    rows: dict[str, tuple[Tensor, str]] = {"uniform": (torch.ones(fit_SM.shape[1], given.works), "")}
    works_ND, targets_MD = embed(rig.pictures_NHWC), embed(rig.targets_MHWC)
    rows["feature similarity"] = (targets_MD @ works_ND.T, "")
    flat = torch.nn.functional.normalize
    rows["latent similarity"] = (flat(rig.target_latents_MCHW.flatten(1)) @ flat(rig.latents_NCHW.flatten(1)).T, "")
    seconds = {}
    for name, output in (("gradient of the loss (TRAK)", "loss"), ("gradient of the output's norm (D-TRAK)", "norm")):
        clock = time.perf_counter()
        influence = Influence(unet, parameters, rig.scheduler, output=output)
        works_NF = influence.gradients(rig.latents_NCHW, rig.states_NTD)
        targets_MF = influence.gradients(rig.target_latents_MCHW, rig.target_states_MTD)
        seconds[name] = time.perf_counter() - clock
        by_ridge = {ridge: influence_matrix(works_NF, targets_MF, ridge) for ridge in RIDGES}
        best = max(by_ridge, key=lambda ridge: figure(by_ridge[ridge], masks_SN[:half], fit_SM[:half])[0])
        rows[name] = (by_ridge[best], f"λ {best:g}, {seconds[name]:.0f} s")
    print(f"{given.style}: {given.works} works, {given.subsets} halves × {given.seeds} seeds, {fit_SM.shape[1]} targets; trained in {trained_s:.0f} s here")
    print(f"seed to seed {between:.3f}; a perfect method could reach {max(0.0, reliability) ** 0.5:.3f} on the mean of {given.seeds} seeds\n")
    print("| method | LDS on the reported half (95% interval) | held-out works | drawn pictures | |\n|---|---|---|---|---|")
    for name, (scores_MN, note) in rows.items():
        whole = figure(scores_MN, masks_SN[half:], fit_SM[half:])
        parts = [figure(scores_MN[rows_], masks_SN[half:], fit_SM[half:, rows_])[0] for rows_ in (slice(0, HELD), slice(HELD, None))]
        print(f"| {name} | {whole[0]:.3f} ({whole[1]:.3f} to {whole[2]:.3f}) | {parts[0]:.3f} | {parts[1]:.3f} | {note} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=STARTER)
    parser.add_argument("--style", default="micah")
    parser.add_argument("--works", type=int, default=48)
    parser.add_argument("--subsets", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("runs/influence.pt"))
    main(parser.parse_args())
