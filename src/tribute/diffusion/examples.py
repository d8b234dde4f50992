"""Works as training examples: their pictures, latents and captions, and how often each is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from tribute.collection.picture import open_picture
from tribute.diffusion.autoencoder import PatchBasis
from tribute.diffusion.balance import common_concepts, drawing_weights, everyday_weights
from tribute.diffusion.denoiser import Examples
from tribute.diffusion.features import features
from tribute.diffusion.text import tokens_of
from tribute.diffusion.wording import captions, held_out, mirrorable, tinted
from tribute.records import Work

SIDE = 128  # pixels that the starter learns and draws
RECOLOUR_SEED = 0  # which copies are made: the same ones run after run, so that what no caption holds stays so
RECOLOURED = 0.2  # how often a recoloured copy is drawn, to once for its work
MIRRORED = 0.2  # how often a work is drawn mirrored, to once as it is
Read = Callable[[str], bytes]  # picture hash -> PNG bytes
Hands = dict[str, tuple[str, str]]  # style -> words for its hand, English and Chinese
LIKEST = 0.7  # the part of an artist's works, those most like another hand's of the same thing, that the other's are turned into


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


def build_examples(
    works: Sequence[Work], pictures_NHWC: np.ndarray, hands: Hands, basis: PatchBasis, tokenizer: CLIPTokenizer, variants: int, seed: int,
    weights_N: Tensor | None = None, name_hand: bool = True,
) -> Examples:  # fmt: skip
    """Latents with their captions; `variants` recoloured copies, drawn less often, of each work that has one main colour; and all of them mirrored,
    one in six of their draws, where their captions allow it.

    A style is trained without `name_hand`: one that is worn is not named to the model when it draws either.
    """
    weights = (torch.ones(len(works)) if weights_N is None else weights_N).tolist()
    rng = np.random.default_rng(seed)
    texts: list[list[str]] = []
    extra_texts: list[list[str]] = []
    extra_pictures: list[np.ndarray] = []
    both_ways = [mirrorable(work) for work in works]
    for work, picture_HWC, weight, mirror in zip(works, pictures_NHWC, list(weights), list(both_ways), strict=True):
        own, made = tinted(work, picture_HWC, rng, variants) if variants else ([], [])
        texts.append(captions(work, *hands.get(work.style, (work.style, work.style)), name_hand) + own)
        extra_texts += [said for _, said in made]
        extra_pictures += [recoloured for recoloured, _ in made]
        weights += [RECOLOURED * weight] * len(made)
        both_ways += [mirror] * len(made)
    everything = np.concatenate([pictures_NHWC, np.stack(extra_pictures)]) if extra_pictures else pictures_NHWC
    rows, ids_NT = numbered(texts + extra_texts, tokenizer)
    mirrored = [at for at, mirror in enumerate(both_ways) if mirror]
    weights_M = torch.tensor(weights)
    weights_M[mirrored] /= 1 + MIRRORED
    ways = (everything, everything[mirrored][:, :, ::-1])
    return Examples(
        latents_NCHW=torch.cat([basis.encode_pictures(way_NHWC) for way_NHWC in ways if len(way_NHWC)]),
        captions=rows + [rows[at] for at in mirrored],
        token_ids=ids_NT,
        weights_N=torch.cat([weights_M, MIRRORED * weights_M[mirrored]]),
    )


def numbered(texts: Sequence[Sequence[str]], tokenizer: CLIPTokenizer) -> tuple[list[list[int]], Tensor]:
    """(per example, the rows of its captions; ids_NT of all captions, each once)"""
    unique = list(dict.fromkeys(said for row in texts for said in row))
    row_of = {said: row for row, said in enumerate(unique)}
    return [[row_of[said] for said in row] for row in texts], tokens_of(tokenizer, unique)


def find_counterparts(
    works: Sequence[Work], latents_NCHW: Tensor, others: Sequence[Work], other_latents_NCHW: Tensor, everyday: Collection[str], tokenizer: CLIPTokenizer
) -> Examples | None:
    """An artist's works, each after the likest of the same concept in another hand, along C; the most alike `LIKEST` of them, None where there is none."""
    of_concept: dict[str, list[int]] = {}
    for at, other in enumerate(others):
        of_concept.setdefault(other.concept, []).append(at)
    nearest: list[tuple[float, int, int]] = []  # (how far apart, own, other)
    for at, work in enumerate(works):
        if same := of_concept.get(work.concept):
            apart_M = (other_latents_NCHW[same] - latents_NCHW[at]).square().mean((1, 2, 3))
            nearest.append((float(apart_M.min()), at, same[int(apart_M.argmin())]))
    chosen = sorted(nearest)[: math.ceil(LIKEST * len(nearest))]
    if not chosen:
        return None
    own = [at for _, at, _ in chosen]
    rows, ids_NT = numbered([captions(works[at], "", "", name_hand=False) for at in own], tokenizer)
    both_NCHW = torch.cat([other_latents_NCHW[[other for *_, other in chosen]], latents_NCHW[own]], 1)
    return Examples(both_NCHW, rows, ids_NT, everyday_weights([works[at] for at in own], everyday))


def cached_examples(run: Path, works: Sequence[Work], read: Read, parts: Path, tokenizer: CLIPTokenizer, hands: Hands) -> Examples:
    """The base's training examples, from the run's folder where they are there already."""
    cache = run / "examples.safetensors"
    run.mkdir(parents=True, exist_ok=True)
    if cache.exists():
        stored = load_file(cache)
        return Examples(stored["latents"], json.loads((run / "captions.json").read_text()), stored["ids"], stored["weights"])
    trained, _ = split(works)
    pictures_NHWC = load_pictures(trained, read)
    weights_N = drawing_weights(trained, features(pictures_NHWC).pooled_NF, common_concepts(works))
    given = PatchBasis.load(parts / "basis.safetensors")
    examples = build_examples(trained, pictures_NHWC, hands, given, tokenizer, variants=1, seed=RECOLOUR_SEED, weights_N=weights_N)
    (run / "captions.json").write_text(json.dumps(examples.captions))
    save_file({"latents": examples.latents_NCHW, "ids": examples.token_ids, "weights": examples.weights_N}, cache)
    return examples
