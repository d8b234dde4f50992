"""Recipe for the vocabulary: what the model calls the things that its captions call otherwise.

The denoiser knows a thing by its captions; a word that it never heard draws nothing, however near its vector lies. So each tag of a work, and each
common word of English and Chinese that is near enough to a caption, is given the label of the concept that it means: translation by nearest
neighbour (Mikolov et al. 2013, arXiv:1309.4168, section 4) in the space of Universal Sentence Encoder multilingual v3 (Yang et al. 2019,
arXiv:1907.04307). `create.prompt` says a prompt in these words.

Axes: N texts, C concepts, E teacher's width (512).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tribute.diffusion.balance import common_concepts
from tribute.diffusion.text import COLOURS, encode_all
from tribute.records import Unreadable, Work

VOCABULARY = "vocabulary.json.gz"
BYTES_MAX = 8_000_000  # of a vocabulary that is read, unpacked
TEXTS_AT_ONCE = 4096
ENGLISH_COLOURS = {english for english, _ in COLOURS}
CHINESE_COLOURS = {chinese[0] for _, chinese in COLOURS}


@dataclass(frozen=True)
class VocabularyConfig:
    words: int = 40_000  # of each language, the commonest
    least: float = 0.7  # cosine to the nearest caption of its language, below which a word means nothing that can be drawn
    everyday: float = 0.05  # that much nearer counts an everyday concept
    tagged: float = 0.1  # and one whose tag the text is
    called: float = 0.1  # and one whose label is the text, but for a colour or `face`
    followed: float = 0.1  # and the meaning of the caption that a word is nearest to
    teacher_batch: int = 256


def common_words(count: int) -> list[str]:
    """The commonest words of English and of Chinese in turn, by frequency lists (Speer 2022, wordfreq 3)."""
    from wordfreq import top_n_list

    english = [word for word in top_n_list("en", count) if word.isascii() and word.isalpha() and len(word) > 2]
    chinese = [word for word in top_n_list("zh", count) if all("\u4e00" <= character <= "\u9fff" for character in word)]
    return [word for both in zip_longest(english, chinese) for word in both if word]


def vectors_of(run: Path, texts: Sequence[str], teacher: Callable[[], Any], batch: int) -> Tensor:
    """The teacher's unit vectors_NE, which a run that is said again finds in its folder."""
    kept, said = run / "vectors.npy", run / "texts.json"
    if not kept.exists() or not said.exists() or json.loads(said.read_text(encoding="utf-8")) != list(texts):
        np.save(kept, encode_all(teacher(), texts, batch).numpy())
        said.write_text(json.dumps(list(texts), ensure_ascii=False), encoding="utf-8")
    return torch.from_numpy(np.load(kept))


def bare(label: str) -> str:
    """A label without its colour and without what emoji names add to a thing: `cat` of `black cat` and of `cat face`, `心` of `红心`."""
    if label.isascii():
        return " ".join(word for word in label.removesuffix(" face").split() if word not in ENGLISH_COLOURS)
    if len(label) < 2:
        return label
    return label[1:] if label[0] in CHINESE_COLOURS else label[:-1] if label[-1] in "脸头" else label


@dataclass(frozen=True)
class Concepts:
    """What can be meant, portraits apart: C concepts with their labels, and everything that any of their works is called."""

    labels: Mapping[str, tuple[str, str]]  # English and Chinese
    tagged: Mapping[str, Collection[int]]  # caption -> the concepts' places
    everyday: Collection[str]

    @classmethod
    def of(cls, works: Sequence[Work]) -> Concepts:
        labels: dict[str, tuple[str, str]] = {}
        tagged: dict[str, set[int]] = {}
        place: dict[str, int] = {}
        for work in works:
            if work.concept != "portrait":
                labels.setdefault(work.concept, (work.captions_en[0], work.captions_zh[0]))
                place.setdefault(work.concept, len(place))
                for text in (*work.captions_en, *work.captions_zh):
                    tagged.setdefault(text, set()).add(place[work.concept])
        return cls(labels, tagged, set(common_concepts(works)))

    def called(self, chinese: bool) -> dict[str, list[int]]:
        """Concepts by their bare labels in a language, and by their labels."""
        found: dict[str, list[int]] = {}
        for at, label in enumerate(pair[chinese] for pair in self.labels.values()):
            for name in {label, bare(label)}:
                found.setdefault(name, []).append(at)
        return found


def meanings(works: Sequence[Work], words: Sequence[str], teacher: Callable[[], Any], run: Path, config: VocabularyConfig) -> dict[str, str]:
    """The label, in its own language, of what each tag and each word means that is none itself; portraits apart.

    That is the concept to whose label, and to the mean of whose captions, the text is nearest, with something added for what is told in
    `VocabularyConfig`; a word must be near some caption, too. Labels that name a colour are no meaning, and a text that would mean one, as apple does a
    red one, is left alone: which colour is for the prompt to say.
    """
    concepts = Concepts.of(works)
    labels, tagged = list(concepts.labels.values()), concepts.tagged
    anchors = list(tagged)
    texts = [*anchors, *(word for word in dict.fromkeys(words) if word not in tagged)]
    vectors_NE = vectors_of(run, texts, teacher, config.teacher_batch)
    row = {text: at for at, text in enumerate(texts)}
    own: list[list[int]] = [[] for _ in labels]  # the rows of each concept's captions
    for text in sorted(tagged):
        for at in tagged[text]:
            own[at].append(row[text])
    middle_CE = nn.functional.normalize(torch.stack([vectors_NE[rows].mean(0) for rows in own]), dim=1)
    everyday_C = torch.tensor([config.everyday * (concept in concepts.everyday) for concept in concepts.labels])
    coloured = [bool(ENGLISH_COLOURS & set(english.split())) for english, _ in labels]
    found: dict[str, str] = {}
    for chinese in (False, True):
        towards_CE = (vectors_NE[[row[pair[chinese]] for pair in labels]] + middle_CE) / 2
        called = concepts.called(chinese)
        said = [text for text in texts if text.isascii() != chinese]  # tags first: a word may follow one
        captions = [text for text in said if text in tagged]
        captions_AE, meant = vectors_NE[[row[text] for text in captions]], dict[str, int]()
        for start in range(0, len(said), TEXTS_AT_ONCE):
            some = said[start : start + TEXTS_AT_ONCE]
            vectors_BE = vectors_NE[[row[text] for text in some]]
            nearest = (vectors_BE @ captions_AE.T).max(1)
            for text, score_C, similarity, caption in zip(
                some, vectors_BE @ towards_CE.T + everyday_C, nearest.values.tolist(), nearest.indices.tolist(), strict=True
            ):
                if text not in tagged and similarity < config.least:
                    continue
                score_C[list(tagged.get(text, ()))] += config.tagged
                score_C[called.get(text, [])] += config.called
                if text not in tagged:
                    score_C[meant[captions[caption]]] += config.followed
                meant[text] = int(score_C.argmax())
        names = {pair[chinese] for pair in labels} | ENGLISH_COLOURS | {name for _, name in COLOURS}
        found |= {text: labels[at][chinese] for text, at in meant.items() if text not in names and not coloured[at]}
    return found


def save_vocabulary(path: Path, words: Mapping[str, str]) -> None:
    """{label: the texts that mean it}: a third of the size of one line a text. The same words give the same bytes."""
    by_label: dict[str, list[str]] = {}
    for text in sorted(words):
        by_label.setdefault(words[text], []).append(text)
    packed = json.dumps(dict(sorted(by_label.items())), ensure_ascii=False, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(packed, 9, mtime=0))


def load_vocabulary(path: Path) -> dict[str, str]:
    """What each text means; empty where a model has no vocabulary. Raises Unreadable for a damaged or oversized file."""
    if not path.is_file():
        return {}
    try:
        with gzip.open(path) as packed:
            data = packed.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise ValueError(f"it unpacks to more than {BYTES_MAX:,} bytes")
        return {str(text): str(label) for label, texts in json.loads(data).items() for text in texts}
    except (OSError, EOFError, zlib.error, ValueError, AttributeError, TypeError) as error:
        raise Unreadable(f"{path} cannot be read: {str(error)[:200]}; take the file away to draw without it") from error
