"""The starter model's training, stage by stage; each is a function of a snapshot's works and a run folder.

    basis → (autoencoder, text) → denoiser → decoder → (upscaler, one adapter a style) → (smoothing, student); vocabulary and likeness by themselves

Every stage resumes where it stopped; `assembly.py` makes one model of their results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tribute.diffusion.adapters import StyleConfig, add_part, train_decoder_part, train_style
from tribute.diffusion.autoencoder import AutoencoderConfig, PatchBasis, decode_pictures, extended, principal_components, train_decoder, train_encoder
from tribute.diffusion.balance import common_concepts, concept_weights, everyday_weights
from tribute.diffusion.denoiser import DenoiserConfig, build_scheduler, redraw, train_denoiser
from tribute.diffusion.examples import SIDE, Hands, Read, build_examples, cached_examples, find_counterparts, load_pictures, split
from tribute.diffusion.features import features
from tribute.diffusion.likeness import build_likeness
from tribute.diffusion.loading import AUTOENCODER, DECODING, in_peft_names
from tribute.diffusion.smoothing import strength_for
from tribute.diffusion.student import StudentConfig, guided, train_student
from tribute.diffusion.text import TextConfig, end_states, teacher, tokens_of, train_text_encoder
from tribute.diffusion.towers import TowersConfig, train_towers
from tribute.diffusion.training import Schedule, mean_of, multiplies_in_bfloat16
from tribute.diffusion.upscaler import UpscalerConfig, train_upscaler
from tribute.diffusion.vocabulary import VOCABULARY, VocabularyConfig, common_words, meanings, save_vocabulary
from tribute.records import Work

LIKENESS = "likeness.safetensors"
ADAPTER = "pytorch_lora_weights.safetensors"
Changes = Mapping[str, Any]  # of a schedule, by name, for one run: its steps, its seed

BASIS_PICTURES = 3000
UPSCALER_PICTURES = 2000
DECODER = Schedule(steps=3200, batch=6, learning_rate=8e-4, warmup=50, decay=0.7, ema_half_life=50, sheet_every=800, weight_decay=0.0, bfloat16=True)
ENCODER = Schedule(steps=2400, batch=8, learning_rate=1e-3, warmup=50, decay=0.7, ema_half_life=30, weight_decay=0.0, bfloat16=True)
FINISH = Schedule(steps=900, batch=6, learning_rate=6e-4, warmup=50, decay=0.8, ema_half_life=50, sheet_every=300, weight_decay=0.0, bfloat16=True)
FINISHED_UP_TO = 200  # of a thousand training steps: the noise that `decoder` finishes under, a little more than the student's last step takes away
UPSCALER = Schedule(steps=2000, batch=24, learning_rate=1e-3, warmup=50, decay=0.7, ema_half_life=50, sheet_every=500, weight_decay=0.0, bfloat16=True)
TEXT = Schedule(steps=1600, batch=192, learning_rate=8e-4, warmup=100, decay=0.5, ema_half_life=50)
DENOISER = Schedule(
    steps=2600, batch=96, learning_rate=6e-4, warmup=50, decay=0.75, ema_half_life=80, sheet_every=650, seed=10, muon=True, bfloat16=True, compiled=True
)  # a seed a run: one that goes on from the last run sees other noise
LEARNED = 0.75  # the part of what a run learned in the denoiser that it leaves, the rest of what it began with: docs/decisions/0025 and 0034
STYLE = Schedule(steps=800, batch=32, learning_rate=1e-3, warmup=20, decay=0.6, ema_half_life=10, sheet_every=1000, seed=41, muon=True, bfloat16=True)
STYLE_CONCEPTS = 1000  # that STYLE's steps are for; more or fewer in proportion, but never under STYLE_LEAST
STYLE_LEAST = 300
FEW_CONCEPTS = 100  # an artist who draws fewer things is learned with works of the commons beside theirs, of things that they never drew,
KEPT = 0.3  # so often, and with
FEW_RANKS = 12  # ranks, which makes room in the starter for what their decoders learn
DECODED = Schedule(steps=400, batch=6, learning_rate=1.5e-3, warmup=20, decay=0.7, ema_half_life=20, sheet_every=1000, weight_decay=0.0, bfloat16=True)
SMOOTHED = 48  # works of a hand that say how still its pictures are
DECODED_HELD = 64  # held-out works of an artist that say whether their style decodes better
STUDENT = Schedule(steps=200, batch=32, learning_rate=1e-3, warmup=10, decay=0.5, ema_half_life=20, sheet_every=10_000, seed=3, bfloat16=True)
TOWERS = Schedule(steps=1600, batch=512, learning_rate=2e-3, warmup=50, decay=0.7, ema_half_life=30, weight_decay=0.05)
SHEET_PROMPTS = (
    "red apple", "blue heart", "cat face", "dog", "fox", "house", "sailboat", "guitar", "tree", "rocket", "grinning face", "pizza",
    "portrait of a person, brown hair, glasses", "蓝色的心", "猫脸", "一朵红色的花", "太阳", "汽车",
)  # fmt: skip


def basis(run: Path, works: Sequence[Work], read: Read, *, start: Path | None = None) -> None:
    """What the latents are; the stages after it need nothing else of the autoencoder to begin. `start`: earlier runs to extend."""
    trained, _ = split(works)
    config = AutoencoderConfig()
    run.mkdir(parents=True, exist_ok=True)
    every = max(1, len(trained) // BASIS_PICTURES)
    pictures_NHWC = load_pictures(trained[::every], read)
    if start is None:
        given = principal_components(pictures_NHWC, config.latent_channels, config.unit_channels)
    else:
        given = extended(PatchBasis.load(start / "parts" / "basis.safetensors"), pictures_NHWC, config.latent_channels)
    given.save(run / "basis.safetensors")


def finished_vae(runs: Path) -> Path:
    """The folder of the autoencoder of these runs: with its decoder taught further, where it was."""
    finished = runs / "decoder" / "vae"
    return finished if finished.exists() else runs / "autoencoder" / "vae"


def weights_of(folder: Path) -> dict[str, Tensor]:
    """A diffusers component's weights."""
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def autoencoder(run: Path, works: Sequence[Work], read: Read, *, parts: Path, start: Path | None = None) -> None:
    """The decoder, then the encoder. `parts` holds basis.safetensors; `start`: earlier runs whose weights it begins with."""
    trained, held = split(works)
    given, config = PatchBasis.load(parts / "basis.safetensors"), AutoencoderConfig()
    pictures_NHWC = load_pictures(trained, read)
    held_NHWC = load_pictures(held[:: max(1, len(held) // 192)], read)
    begin = weights_of(start / "autoencoder" / "vae") if start else None
    model = train_decoder(run / "decoder", pictures_NHWC, held_NHWC, given, DECODER, config, begin)
    model = train_encoder(run / "encoder", model, pictures_NHWC, given, ENCODER, config)
    model.register_to_config(scaling_factor=1.0)  # the components are scaled already
    model.save_pretrained(run / "vae")


def decoder(run: Path, works: Sequence[Work], read: Read, *, parts: Path, vae: Path, base: Path) -> None:
    """The autoencoder `vae` with its decoder taught further, half of the time on latents as the denoiser in `base` draws them."""
    trained, held = split(works)
    given, config, scheduler = PatchBasis.load(parts / "basis.safetensors"), AutoencoderConfig(), build_scheduler()
    tokenizer, encode = frozen_text(parts)
    states_1TD = encode(tokens_of(tokenizer, [""]))
    denoiser = UNet2DConditionModel.from_pretrained(base / "unet").float().to(memory_format=torch.channels_last).eval()

    def redrawn(latent_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        return redraw(denoiser, states_1TD, scheduler, latent_BCHW, FINISHED_UP_TO, generator)

    held_NHWC = load_pictures(held[:: max(1, len(held) // 192)], read)
    model = train_decoder(run, load_pictures(trained, read), held_NHWC, given, FINISH, config, weights_of(vae), redrawn)
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(run / "vae")


def upscaler(run: Path, works: Sequence[Work], read: Read, *, parts: Path, vae: Path, start: Path | None = None) -> None:
    """Twice the side. `vae` is the autoencoder whose decoder it follows; `start`: earlier runs whose weights it begins with."""
    trained, _ = split(works)
    chosen = trained[:: max(1, len(trained) // UPSCALER_PICTURES)]
    given = PatchBasis.load(parts / "basis.safetensors")
    decoder = AutoencoderKL.from_pretrained(vae).to(memory_format=torch.channels_last).eval()
    plain_NHWC = load_pictures(chosen, read)
    latents_NCHW = given.encode_pictures(plain_NHWC)
    generator = torch.Generator().manual_seed(UPSCALER.seed)
    blur_N111 = 0.3 * torch.rand(len(chosen), 1, 1, 1, generator=generator)
    soft_NHWC = decode_pictures(decoder, latents_NCHW + blur_N111 * torch.randn(latents_NCHW.shape, generator=generator))
    begin = weights_of(start / "upscaler" / "upscaler") if start else None
    large_NHWC = load_pictures(chosen, read, 2 * SIDE)
    train_upscaler(run, large_NHWC, plain_NHWC, soft_NHWC, UPSCALER, UpscalerConfig(), begin).save_pretrained(run / "upscaler")


def text(run: Path, works: Sequence[Work], read: Read) -> None:
    del read
    tokenizer, model, _ = train_text_encoder(run, split(works)[0], TEXT, TextConfig())
    tokenizer.save_pretrained(run / "tokenizer")
    model.save_pretrained(run / "text_encoder")


def vocabulary(run: Path, works: Sequence[Work], read: Read) -> None:
    """What the model calls the things that its captions call otherwise."""
    del read
    config = VocabularyConfig()
    run.mkdir(parents=True, exist_ok=True)
    save_vocabulary(run / VOCABULARY, meanings(split(works)[0], common_words(config.words), teacher, run, config))


def towers(run: Path, works: Sequence[Work], read: Read, *, parts: Path, hands: Hands) -> None:
    """Pictures, mirrored ones too, and words, with their hand and without, in one space. `parts` holds tokenizer/ and text_encoder/."""
    trained, _ = split(works)
    tokenizer = CLIPTokenizer.from_pretrained(parts / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder").float().eval()
    said = []
    for work in trained:
        by_en, by_zh = hands.get(work.style, (work.style, work.style))
        in_hand = [f"{work.captions_en[0]}, {by_en}", f"{work.captions_zh[0]}，{by_zh}"]
        said.append([*work.captions_en[:1], *work.captions_en[:3], *work.captions_zh[:1] * 2, *work.captions_zh[:3], *in_hand * 2])
    row_of = {text: row for row, text in enumerate(dict.fromkeys(text for row in said for text in row))}
    called: dict[str, tuple[str, str]] = {}
    for work in trained:
        called.setdefault(work.concept, (work.captions_en[0], work.captions_zh[0]))
    concepts = {concept: at for at, concept in enumerate(called)}

    @torch.no_grad()
    def states(texts: Sequence[str]) -> Tensor:
        ids_NT = tokens_of(tokenizer, texts)
        return torch.cat([end_states(encoder, ids_NT[at : at + 256]) for at in range(0, len(ids_NT), 256)])

    pictures_NHWC = load_pictures(trained, read)
    seen_NS = features(np.concatenate([pictures_NHWC, pictures_NHWC[:, :, ::-1]])).both_NS
    train_towers(
        run, seen_NS, states(list(row_of)), [[row_of[text] for text in row] for row in said] * 2,
        torch.tensor([concepts[work.concept] for work in trained] * 2), [states(names) for names in zip(*called.values(), strict=True)],
        TOWERS, TowersConfig(),
    ).save_pretrained(run / "towers")  # fmt: skip


def likeness(run: Path, works: Sequence[Work], read: Read) -> None:
    """Every work as a small vector, in the order of their hashes: what "am I in it?" looks through."""
    run.mkdir(parents=True, exist_ok=True)
    in_order = sorted(works, key=lambda work: work.hash)
    build_likeness(features(load_pictures(in_order, read)).pooled_NF).save(run / LIKENESS)


def frozen_text(folder: Path) -> tuple[CLIPTokenizer, Callable[[Tensor], Tensor]]:
    """The tokenizer, and a function from ids_BT to states_BTD without gradients."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()  # shipped ones are bfloat16

    @torch.no_grad()
    def encode(ids_BT: Tensor) -> Tensor:
        states: Tensor = model(ids_BT).last_hidden_state
        return states

    return tokenizer, remembered(encode)


def remembered(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`encode`, which keeps what it has encoded, in bfloat16 (24 kB a caption): a run says the same captions hundreds of times."""
    known: dict[bytes, Tensor] = {}

    def recall(ids_BT: Tensor) -> Tensor:
        keys = [row_T.tobytes() for row_T in ids_BT.numpy()]
        new = {key: at for at, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, encode(ids_BT[list(new.values())]).bfloat16(), strict=True))
        return torch.stack([known[key] for key in keys]).float()

    return recall


def denoiser(
    run: Path, works: Sequence[Work], read: Read, *, parts: Path, hands: Hands, start: Path | None = None, changes: Changes | None = None
) -> None:  # fmt: skip
    """`parts` holds basis.safetensors, tokenizer/ and text_encoder/; its sheets are drawn through the bare components. `start`: earlier runs whose weights
    it begins with and is taken back to by a part. `changes`: of DENOISER, for this run."""
    given = PatchBasis.load(parts / "basis.safetensors")
    tokenizer, encode = frozen_text(parts)
    examples = cached_examples(run, works, read, parts, tokenizer, hands)

    def sheet(model: UNet2DConditionModel, step: int) -> None:
        save_samples(run / f"sheet-{step:06d}.png", model, given.decode, tokenizer, encode, SHEET_PROMPTS)

    begin = weights_of(start / "denoiser" / "unet") if start else None
    model = train_denoiser(run, examples, encode, tokens_of(tokenizer, [""])[0], replace(DENOISER, **(changes or {})), DenoiserConfig(), sheet, begin)
    learned = model.state_dict()
    if begin and all(begin[name].shape == value.shape for name, value in learned.items()):  # a model that was widened has no mean with what it was
        model.load_state_dict(mean_of(learned, begin, LEARNED))
    model.save_pretrained(run / "unet")


def style_sizes() -> dict[str, Any]:
    """How long a style learns and from what, as the model tells it."""
    return {
        "for_concepts": STYLE_CONCEPTS, "least_steps": STYLE_LEAST, "few_concepts": FEW_CONCEPTS, "kept": KEPT, "few_ranks": FEW_RANKS,
        "decoder": asdict(DECODED),
    }  # fmt: skip


def style(
    run: Path, works: Sequence[Work], read: Read, *, parts: Path, base: Path, vae: Path, hands: Hands, commons: Sequence[Work] = (),
    start: Path | None = None, changes: Changes | None = None,
) -> Path:  # fmt: skip
    """One artist's adapter on the base whose unet/ is in `base`, and on the decoder of the autoencoder `vae`; returns its safetensors file.

    `commons`: the base's works, whose commonest concepts are drawn more often here too. A style of few things (portraits, say) learns them again
    beside its own: worn on anything else it made the ruins of a portrait (prior preservation, Ruiz et al. 2023, arXiv:2208.12242). Any other keeps what
    the base makes of what is not shown in the artist's hand, and is shown how works of the same things become the artist's (`train_style`). `start`:
    an earlier adapter to go on from. `changes`: of STYLE, and of how long so many concepts take, for this run.
    """
    given = PatchBasis.load(parts / "basis.safetensors")
    tokenizer, encode = frozen_text(parts)
    trained, held = split(works)
    everyday = common_concepts(commons)
    weights_N = everyday_weights(trained, everyday)
    drawn = {work.concept for work in trained}
    undrawn = [work for work in split(commons)[0] if work.concept not in drawn]
    shared = [work for work in split(commons)[0] if work.concept in drawn]
    learned, others, counterparts, config = trained, None, None, StyleConfig()
    if undrawn and len(drawn) < FEW_CONCEPTS:
        config, undrawn_N = replace(config, rank=FEW_RANKS), everyday_weights(undrawn, everyday)
        weights_N = torch.cat([(1 - KEPT) * weights_N / weights_N.sum(), KEPT * undrawn_N / undrawn_N.sum()])
        learned = [*trained, *undrawn]
    elif undrawn:
        kept_N = concept_weights(undrawn, everyday)
        others = build_examples(undrawn, load_pictures(undrawn, read), hands, given, tokenizer, 0, STYLE.seed, kept_N, name_hand=False)
    pictures_NHWC = load_pictures(learned, read)
    if shared and len(drawn) >= FEW_CONCEPTS:
        latents_NCHW, shared_NCHW = given.encode_pictures(pictures_NHWC), given.encode_pictures(load_pictures(shared, read))
        counterparts = find_counterparts(trained, latents_NCHW, shared, shared_NCHW, everyday, tokenizer)
    examples = build_examples(learned, pictures_NHWC, hands, given, tokenizer, 0, STYLE.seed, weights_N, name_hand=False)
    model = UNet2DConditionModel.from_pretrained(base / "unet").float().to(memory_format=torch.channels_last)
    schedule = replace(replace(STYLE, steps=max(STYLE_LEAST, STYLE.steps * len(drawn) // STYLE_CONCEPTS)), **(changes or {}))
    empty_ids_1T = tokens_of(tokenizer, [""])
    path = train_style(run, model, examples, encode, empty_ids_1T[0], schedule, config, start, others, counterparts)
    add_part(path, decoder_part(run / "decoder", trained, held, read, given, vae, model, encode(empty_ids_1T), config, start))
    return path


def decoder_part(
    run: Path, trained: Sequence[Work], held: Sequence[Work], read: Read, given: PatchBasis, vae: Path, denoiser: UNet2DConditionModel, states_1TD: Tensor,
    config: StyleConfig, start: Path | None,
) -> dict[str, Tensor]:  # fmt: skip
    """What a style changes in the decoder, learned on its artist's works and on them as `denoiser`, which wears it, draws them again."""
    scheduler = build_scheduler()
    decoder = AutoencoderKL.from_pretrained(vae).float().to(memory_format=torch.channels_last).eval()
    unseen = held or trained

    def redrawn(latent_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            return redraw(denoiser, states_1TD, scheduler, latent_BCHW, FINISHED_UP_TO, generator)

    held_NHWC = load_pictures(unseen[:: -(-len(unseen) // DECODED_HELD)], read)
    return train_decoder_part(run, decoder, load_pictures(trained, read), held_NHWC, given, DECODED, config, redrawn, start)


def student(
    run: Path, works: Sequence[Work], read: Read, *, parts: Path, base: Path, styles: dict[str, Path], hands: Hands, start: Path | None = None,
    changes: Changes | None = None,
) -> Path:  # fmt: skip
    """The few-step student of the base in `base`, taught with and without the adapters `styles`; returns its safetensors file. `changes`: of STUDENT."""
    tokenizer, encode = frozen_text(parts)
    examples = cached_examples(base, works, read, parts, tokenizer, hands)
    model = UNet2DConditionModel.from_pretrained(base / "unet").float().to(memory_format=torch.channels_last)
    for name, path in styles.items():
        model.load_lora_adapter(in_peft_names(load_file(path)), prefix="unet", adapter_name=name)
    return train_student(run, model, list(styles), examples, encode, tokens_of(tokenizer, [""])[0], replace(STUDENT, **(changes or {})), StudentConfig(), start)


def smoothing(works: Sequence[Work], said: Sequence[str], read: Read, *, parts: Path, base: Path, vae: Path, adapter: Path | None = None) -> float:
    """How strongly pictures in the hand of `works` are smoothed, so that they are as still as those: what is drawn, with the artist's `adapter` worn, by
    what is `said` of each work."""
    tokenizer, encode = frozen_text(parts)
    model = UNet2DConditionModel.from_pretrained(base / "unet").float().to(memory_format=torch.channels_last).eval()
    decoder = AutoencoderKL.from_pretrained(vae).float().to(memory_format=torch.channels_last).eval()
    if adapter is not None:
        weights = in_peft_names(load_file(adapter))
        model.load_lora_adapter(dict(weights), prefix="unet")
        if any(key.startswith(DECODING) for key in weights):
            decoder.load_lora_adapter(dict(weights), prefix=AUTOENCODER.removesuffix("."))
    with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16()):
        latents_NCHW = draw(model, tokenizer, encode, said, steps=12)
        drawn_NHWC = decode_pictures(decoder, latents_NCHW.float())
    return strength_for(list(drawn_NHWC), list(load_pictures(works, read)))


@torch.no_grad()
def draw(
    model: UNet2DConditionModel, tokenizer: CLIPTokenizer, encode: Callable[[Tensor], Tensor], prompts: Sequence[str], steps: int = 20, seed: int = 1
) -> Tensor:  # fmt: skip
    """latents_BCHW of the prompts by plain DDIM, guided as the student's teacher is."""
    scheduler, config = build_scheduler(), StudentConfig()
    scheduler.set_timesteps(steps)
    states_BTD = torch.cat([encode(tokens_of(tokenizer, [""] * len(prompts))), encode(tokens_of(tokenizer, prompts))])
    shape = (len(prompts), model.config.in_channels, model.config.sample_size, model.config.sample_size)
    latent_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for at in scheduler.timesteps:
        plain_BCHW, told_BCHW = model(torch.cat([latent_BCHW] * 2), at, states_BTD).sample.float().chunk(2)
        latent_BCHW = scheduler.step(guided(plain_BCHW, told_BCHW, config.guidance, config.rescale), at, latent_BCHW).prev_sample
    return latent_BCHW


@torch.no_grad()
def save_samples(
    path: Path, model: UNet2DConditionModel, decode: Callable[[Tensor], Tensor], tokenizer: CLIPTokenizer, encode: Callable[[Tensor], Tensor],
    prompts: Sequence[str],
) -> None:  # fmt: skip
    """A sheet of the prompts, two seeds each."""
    from tribute.diffusion.sheets import save_sheet

    made_BCHW = decode(draw(model, tokenizer, encode, [said for said in prompts for _ in range(2)]))
    made_BHWC = made_BCHW.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    save_sheet(path, [list(made_BHWC[at : at + 12]) for at in range(0, len(made_BHWC), 12)])
