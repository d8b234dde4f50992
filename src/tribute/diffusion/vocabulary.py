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
from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True)
class VocabularyConfig:
    words: int = 40_000  # of each language, the commonest
    least: float = 0.76  # cosine to the nearest caption, below which a word means nothing that can be drawn
    everyday: float = 0.05  # that much nearer counts an everyday concept
    tagged: float = 0.1  # and one whose tag the text is
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


def meanings(works: Sequence[Work], words: Sequence[str], teacher: Callable[[], Any], run: Path, config: VocabularyConfig) -> dict[str, str]:
    """The label, in its own language, of what each tag and each word means that is none itself; portraits apart.

    That is the concept to whose label, and to the mean of whose captions, the text is nearest; a word must be near some caption, too. Labels that name a
    colour are no meaning: which colour is for the prompt to say.
    """
    labels: dict[str, tuple[str, str]] = {}
    tagged: dict[str, set[str]] = {}
    said: dict[str, set[str]] = {}
    for work in works:
        if work.concept != "portrait":
            labels.setdefault(work.concept, (work.captions_en[0], work.captions_zh[0]))
            for text in (*work.captions_en, *work.captions_zh):
                tagged.setdefault(text, set()).add(work.concept)
                said.setdefault(work.concept, set()).add(text)
    coloured, everyday = {name for pair in COLOURS for name in pair}, set(common_concepts(works))
    concepts = [concept for concept, (label, _) in labels.items() if not coloured & set(label.split())]
    names, anchors, plain = {name for pair in labels.values() for name in pair}, list(tagged), set(concepts)
    texts = [*anchors, *(word for word in dict.fromkeys(words) if word not in tagged)]
    vectors_NE = vectors_of(run, texts, teacher, config.teacher_batch)
    row = {text: at for at, text in enumerate(texts)}
    middle_CE = nn.functional.normalize(torch.stack([vectors_NE[[row[text] for text in sorted(said[concept])]].mean(0) for concept in concepts]), dim=1)
    bonus_C = torch.tensor([config.everyday * (concept in everyday) for concept in concepts])
    towards = [(vectors_NE[[row[labels[concept][chinese]] for concept in concepts]] + middle_CE) / 2 for chinese in (0, 1)]
    captions_AE = vectors_NE[: len(anchors)]
    near = [(vectors_NE[at : at + 4096] @ captions_AE.T).max(1) for at in range(0, len(texts), 4096)]
    similarity_N, nearest_N = torch.cat([some.values for some in near]).tolist(), torch.cat([some.indices for some in near]).tolist()
    found: dict[str, str] = {}
    for at, text in enumerate(texts):
        caption = text if text in tagged else anchors[nearest_N[at]]
        if text not in names | coloured and tagged[caption] <= plain and (text in tagged or similarity_N[at] >= config.least):
            chinese = not text.isascii()
            tag_C = torch.tensor([config.tagged * (concept in tagged.get(text, ())) for concept in concepts])
            found[text] = labels[concepts[int((towards[chinese] @ vectors_NE[at] + bonus_C + tag_C).argmax())]][chinese]
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
