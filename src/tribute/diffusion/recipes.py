"""The starter model's training, stage by stage; each is a function of a snapshot's works and a run folder.

    basis → (autoencoder, text) → denoiser → one adapter a style → assemble

Every stage resumes where it stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tribute.collection.picture import open_picture
from tribute.diffusion.adapters import StyleConfig, train_style
from tribute.diffusion.autoencoder import AutoencoderConfig, PatchBasis, principal_components, train_decoder, train_encoder
from tribute.diffusion.denoiser import DenoiserConfig, Examples, build_scheduler, train_denoiser
from tribute.diffusion.text import TextConfig, tokens_of, train_text_encoder
from tribute.diffusion.training import Schedule
from tribute.diffusion.wording import captions, held_out, tinted
from tribute.records import Work

SIDE = 128  # pixels that the starter learns and draws
Read = Callable[[str], bytes]  # picture hash -> PNG bytes
Hands = dict[str, tuple[str, str]]  # style -> words for its hand, English and Chinese

BASIS_PICTURES = 3000
DECODER = Schedule(steps=2400, batch=16, learning_rate=1e-3, warmup=100, decay=0.4, ema_half_life=50, sheet_every=250, weight_decay=0.0)
ENCODER = Schedule(steps=1000, batch=16, learning_rate=1e-3, warmup=50, decay=0.5, ema_half_life=30, weight_decay=0.0)
TEXT = Schedule(steps=1600, batch=192, learning_rate=8e-4, warmup=100, decay=0.5, ema_half_life=50)
DENOISER = Schedule(steps=2500, batch=48, learning_rate=6e-4, warmup=200, decay=0.25, ema_half_life=100, sheet_every=600)
STYLE = Schedule(steps=70, batch=32, learning_rate=1.5e-3, warmup=20, decay=0.5, ema_half_life=10, sheet_every=1000)
SHEET_PROMPTS = (
    "red apple", "blue heart", "cat face", "dog", "fox", "house", "sailboat", "guitar", "tree", "rocket", "grinning face", "pizza",
    "portrait of a person, brown hair, glasses", "蓝色的心", "猫脸", "一朵红色的花", "太阳", "汽车",
)  # fmt: skip


def load_pictures(works: Sequence[Work], read: Read, side: int = SIDE) -> np.ndarray:
    """uint8 pictures_NHWC at `side`, in the order of `works`."""
    from PIL import Image
    from tqdm import tqdm

    def load(work: Work) -> np.ndarray:
        picture = open_picture(read(work.picture_sha256), work.title)
        return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(tqdm(pool.map(load, works), total=len(works), desc="pictures", mininterval=2.0)))


def split(works: Sequence[Work]) -> tuple[list[Work], list[Work]]:
    """(trained on, held out)"""
    return [work for work in works if not held_out(work)], [work for work in works if held_out(work)]


def basis(run: Path, works: Sequence[Work], read: Read) -> None:
    """What the latents are; the stages after it need nothing else of the autoencoder to begin."""
    trained, _ = split(works)
    run.mkdir(parents=True, exist_ok=True)
    every = max(1, len(trained) // BASIS_PICTURES)
    principal_components(load_pictures(trained[::every], read), AutoencoderConfig().latent_channels).save(run / "basis.safetensors")


def autoencoder(run: Path, works: Sequence[Work], read: Read, *, parts: Path) -> None:
    """The decoder, then the encoder. `parts` holds basis.safetensors."""
    trained, held = split(works)
    given, config = PatchBasis.load(parts / "basis.safetensors"), AutoencoderConfig()
    pictures_NHWC = load_pictures(trained, read)
    model = train_decoder(run / "decoder", pictures_NHWC, load_pictures(held[:: max(1, len(held) // 192)], read), given, DECODER, config)
    model = train_encoder(run / "encoder", model, pictures_NHWC, given, ENCODER, config)
    model.register_to_config(scaling_factor=1.0)  # the components are scaled already
    model.save_pretrained(run / "vae")


def text(run: Path, works: Sequence[Work], read: Read) -> None:
    del read
    tokenizer, model, _ = train_text_encoder(run, split(works)[0], TEXT, TextConfig())
    tokenizer.save_pretrained(run / "tokenizer")
    model.save_pretrained(run / "text_encoder")


def frozen_text(folder: Path) -> tuple[CLIPTokenizer, Callable[[Tensor], Tensor]]:
    """The tokenizer, and a function from ids_BT to states_BTD without gradients."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()

    @torch.no_grad()
    def encode(ids_BT: Tensor) -> Tensor:
        states: Tensor = model(ids_BT).last_hidden_state
        return states

    return tokenizer, encode


def build_examples(
    works: Sequence[Work], pictures_NHWC: np.ndarray, hands: Hands, basis: PatchBasis, tokenizer: CLIPTokenizer, variants: int, seed: int
) -> Examples:
    """Latents with their captions; `variants` recoloured copies of each work that has one main colour."""
    rng = np.random.default_rng(seed)
    texts: list[list[str]] = []
    extra_texts: list[list[str]] = []
    extra_pictures: list[np.ndarray] = []
    for work, picture_HWC in zip(works, pictures_NHWC, strict=True):
        own, made = tinted(work, picture_HWC, rng, variants) if variants else ([], [])
        texts.append(captions(work, *hands.get(work.style, (work.style, work.style))) + own)
        extra_texts += [said for _, said in made]
        extra_pictures += [recoloured for recoloured, _ in made]
    everything = np.concatenate([pictures_NHWC, np.stack(extra_pictures)]) if extra_pictures else pictures_NHWC
    latents_NCHW = basis.encode_pictures(everything)
    weights = [0.5 if work.concept == "portrait" else 1.0 for work in works] + [0.35] * len(extra_texts)
    unique = list(dict.fromkeys(said for row in texts + extra_texts for said in row))
    row_of = {said: row for row, said in enumerate(unique)}
    return Examples(
        latents_NCHW=latents_NCHW,
        captions=[[row_of[said] for said in row] for row in texts + extra_texts],
        token_ids=tokens_of(tokenizer, unique),
        weights_N=torch.tensor(weights),
    )


def denoiser(run: Path, works: Sequence[Work], read: Read, *, parts: Path, hands: Hands) -> None:
    """`parts` holds basis.safetensors, tokenizer/ and text_encoder/; its sheets are drawn through the bare components."""
    from safetensors.torch import load_file, save_file

    given = PatchBasis.load(parts / "basis.safetensors")
    tokenizer, encode = frozen_text(parts)
    cache = run / "examples.safetensors"
    run.mkdir(parents=True, exist_ok=True)
    if cache.exists():
        stored = load_file(cache)
        rows = json.loads((run / "captions.json").read_text())
        examples = Examples(stored["latents"], rows, stored["ids"], stored["weights"])
    else:
        trained, _ = split(works)
        examples = build_examples(trained, load_pictures(trained, read), hands, given, tokenizer, variants=1, seed=DENOISER.seed)
        save_file({"latents": examples.latents_NCHW, "ids": examples.token_ids, "weights": examples.weights_N}, cache)
        (run / "captions.json").write_text(json.dumps(examples.captions))

    def sheet(model: UNet2DConditionModel, step: int) -> None:
        save_samples(run / f"sheet-{step:06d}.png", model, given.decode, tokenizer, encode, SHEET_PROMPTS)

    model = train_denoiser(run, examples, encode, tokens_of(tokenizer, [""])[0], DENOISER, DenoiserConfig(), sheet)
    model.save_pretrained(run / "unet")


def style(run: Path, works: Sequence[Work], read: Read, *, parts: Path, base: Path, hands: Hands) -> Path:
    """One artist's adapter on the base whose unet/ is in `base`; returns its safetensors file."""
    given = PatchBasis.load(parts / "basis.safetensors")
    tokenizer, encode = frozen_text(parts)
    trained, _ = split(works)
    examples = build_examples(trained, load_pictures(trained, read), hands, given, tokenizer, variants=0, seed=STYLE.seed)
    model = UNet2DConditionModel.from_pretrained(base / "unet").to(memory_format=torch.channels_last)
    return train_style(run, model, examples, encode, tokens_of(tokenizer, [""])[0], STYLE, StyleConfig())


@torch.no_grad()
def save_samples(
    path: Path, model: UNet2DConditionModel, decode: Callable[[Tensor], Tensor], tokenizer: CLIPTokenizer, encode: Callable[[Tensor], Tensor],
    prompts: Sequence[str], steps: int = 20, guidance: float = 4.0, seed: int = 1,
) -> None:  # fmt: skip
    """A sheet of the prompts, two seeds each, by plain DDIM with guidance."""
    from tribute.diffusion.sheets import save_sheet

    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    twice = [said for said in prompts for _ in range(2)]
    states_BTD = torch.cat([encode(tokens_of(tokenizer, [""] * len(twice))), encode(tokens_of(tokenizer, twice))])
    shape = (len(twice), model.config.in_channels, model.config.sample_size, model.config.sample_size)
    latent_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for at in scheduler.timesteps:
        plain_BCHW, told_BCHW = model(torch.cat([latent_BCHW] * 2), at, states_BTD).sample.chunk(2)
        latent_BCHW = scheduler.step(plain_BCHW + guidance * (told_BCHW - plain_BCHW), at, latent_BCHW).prev_sample
    made_BCHW = decode(latent_BCHW)
    made_BHWC = made_BCHW.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    save_sheet(path, [list(made_BHWC[at : at + 12]) for at in range(0, len(made_BHWC), 12)])


def assemble(runs: Path, out: Path, snapshot: str) -> None:
    """Writes the stages' results as one stock diffusers folder in bfloat16 that cites its snapshot."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(runs / "text" / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    CLIPTextModel.from_pretrained(runs / "text" / "text_encoder").bfloat16().save_pretrained(out / "text_encoder")
    AutoencoderKL.from_pretrained(runs / "autoencoder" / "vae").bfloat16().save_pretrained(out / "vae")
    UNet2DConditionModel.from_pretrained(runs / "denoiser" / "unet").bfloat16().save_pretrained(out / "unet")
    build_scheduler().save_pretrained(out / "scheduler")
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    recipe = {
        "autoencoder": {"decoder": asdict(DECODER), "encoder": asdict(ENCODER), "config": asdict(AutoencoderConfig())},
        "text": {"schedule": asdict(TEXT), "config": asdict(TextConfig())},
        "denoiser": {"schedule": asdict(DENOISER), "config": asdict(DenoiserConfig())},
        "style": {"schedule": asdict(STYLE), "config": asdict(StyleConfig())},
    }
    (out / "tribute.json").write_text(json.dumps({"snapshot": snapshot, "recipe": recipe}, indent=2) + "\n")
