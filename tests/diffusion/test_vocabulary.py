import gzip

import pytest
import torch

from tests.conftest import make_work
from tribute.diffusion.vocabulary import VocabularyConfig, bare, common_words, load_vocabulary, meanings, save_vocabulary
from tribute.records import Unreadable

DOG, FIRE, BETWEEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.8, 0.6, 0.0)
VECTORS = {
    "dog face": DOG, "狗脸": DOG, "pet": DOG, "puppy": DOG, "狗狗": DOG, "hound": BETWEEN, "fire": FIRE, "火": FIRE, "flame": FIRE, "blaze": FIRE,
    "tablecloth": (0.0, 0.0, 1.0), "red": FIRE, "red heart": (0.0, 0.0, 1.0), "红心": (0.0, 0.0, 1.0), "love": (0.0, 0.0, 1.0),
}  # fmt: skip


class Teacher:
    def encode(self, texts):
        return torch.tensor([VECTORS[text] for text in texts]).numpy()


def work(concept, english, chinese, seed):
    return make_work("a", "s", seed).model_copy(update={"concept": concept, "captions_en": english, "captions_zh": chinese})


WORKS = [
    work("dog-face", ("dog face", "pet"), ("狗脸",), 1),
    work("fire", ("fire", "flame", "pet"), ("火",), 2),
    work("portrait", ("person",), ("人",), 3),
    work("red-heart", ("red heart", "love"), ("红心",), 4),
]


def test_common_words_are_words_of_both_languages_in_turn():
    words = common_words(12_000)
    assert {"puppy", "yacht", "小狗", "自行车"} <= set(words)
    assert not {"2020", "it", ""} & set(words)
    assert sum(word.isascii() for word in words[:200]) == 100


@pytest.mark.parametrize(("least", "far"), [(0.7, {"hound": "dog face"}), (0.9, {})])
def test_words_mean_the_label_of_the_nearest_concept(tmp_path, least, far):
    """A tag of two concepts means the nearer one, in its own language; what is far from all means nothing, nor does a label or
    what would say a colour that nobody asked for."""
    found = meanings(WORKS, ["puppy", "狗狗", "hound", "tablecloth", "fire", "red"], Teacher, tmp_path, VocabularyConfig(least=least))
    assert found == {"pet": "dog face", "flame": "fire", "puppy": "dog face", "狗狗": "狗脸", **far}


def test_an_everyday_thing_is_meant_rather_than_a_rare_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tribute.diffusion.vocabulary.common_concepts", lambda _: ["fire"])
    for bonus, meant in ((0.0, "dog face"), (2.0, "fire")):
        assert meanings(WORKS, [], Teacher, tmp_path, VocabularyConfig(everyday=bonus))["pet"] == meant


NEAR, NEARER, APPLE = (0.98, 0.2, 0.0), (0.995, 0.07, 0.0), (0.4, 0.9, 0.0)
NAMED = {
    "cat face": NEAR, "猫脸": NEAR, "black cat": (0.9, 0.44, 0.0), "黑猫": (0.9, 0.44, 0.0), "lion": DOG, "狮子": DOG, "cat": NEARER, "猫": NEARER,
    "kitty": (0.985, 0.09, 0.0), "red apple": FIRE, "红苹果": FIRE, "apple": APPLE, "苹果": APPLE,
}  # fmt: skip


@pytest.mark.parametrize(
    ("called", "followed", "meant"),
    [
        (0.0, 0.0, {"cat": "lion", "猫": "狮子", "kitty": "lion"}),
        (0.5, 0.0, {"cat": "cat face", "猫": "猫脸", "kitty": "lion"}),
        (0.5, 0.5, {"cat": "cat face", "猫": "猫脸", "kitty": "cat face"}),
    ],
)
def test_a_cat_is_the_cat_face_and_a_kitty_what_a_cat_is(tmp_path, monkeypatch, called, followed, meant):
    """What bears the text's own name is meant, though another is a little nearer; a word follows the tag that it is nearest to. An apple would be a red one,
    so it stays an apple."""
    monkeypatch.setitem(globals(), "VECTORS", NAMED)
    works = [
        work("lion", ("lion", "cat"), ("狮子", "猫"), 1),
        work("cat-face", ("cat face", "cat"), ("猫脸", "猫"), 2),
        work("black-cat", ("black cat", "cat"), ("黑猫", "猫"), 3),
        work("red-apple", ("red apple", "apple"), ("红苹果", "苹果"), 4),
    ]
    config = VocabularyConfig(called=called, followed=followed, everyday=0.0)
    assert meanings(works, ["kitty"], Teacher, tmp_path, config) == meant


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("black cat", "cat"), ("cat face", "cat"), ("cat", "cat"), ("red", ""), ("face", "face"), ("红心", "心"), ("狗脸", "狗"), ("猪头", "猪"), ("红", "红"),
    ],
)  # fmt: skip
def test_a_label_s_bare_name(label, name):
    assert bare(label) == name


def test_other_words_are_not_given_the_vectors_of_an_earlier_run(tmp_path):
    config = VocabularyConfig(least=0.9)
    assert "puppy" not in meanings(WORKS, ["blaze"], Teacher, tmp_path, config)
    assert meanings(WORKS, ["puppy"], Teacher, tmp_path, config)["puppy"] == "dog face"


def test_a_vocabulary_comes_back_and_the_same_words_give_the_same_bytes(tmp_path):
    words = {"puppy": "dog face", "hound": "dog face", "小狗": "狗脸"}
    one, other = tmp_path / "one", tmp_path / "other"
    save_vocabulary(one, words)
    save_vocabulary(other, dict(reversed(words.items())))
    assert load_vocabulary(one) == words
    assert one.read_bytes() == other.read_bytes()
    assert load_vocabulary(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip", gzip.compress(b"[1]", mtime=0), gzip.compress(b'{"a": 1}', mtime=0), gzip.compress(b"{}", mtime=0)[:-9],
        gzip.compress(b" " * 9_000_000, mtime=0),
        gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20,
    ],
)  # fmt: skip
def test_a_damaged_vocabulary_is_told_of(tmp_path, data):
    (tmp_path / "vocabulary").write_bytes(data)
    with pytest.raises(Unreadable, match="take the file away"):
        load_vocabulary(tmp_path / "vocabulary")
