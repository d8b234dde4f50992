import pytest

from tests.tiny import tokenizer
from tribute.diffusion.text import distillation_texts, token_texts, tokens_of


@pytest.mark.parametrize("text", ["a blue heart", "蓝色的心", "zzyx 龘 ü 🦊!", ""])
def test_any_text_has_tokens_and_comes_back(text):
    words = tokenizer()
    ids = words(text).input_ids
    assert ids[0] == words.bos_token_id
    assert ids[-1] == words.eos_token_id
    assert len(words) > max(ids)
    assert words.decode(ids[1:-1]).replace(" ", "") == text.replace(" ", "")


def test_padding_repeats_the_end():
    words = tokenizer()
    ids = tokens_of(words, ["a"])[0].tolist()
    assert len(ids) == words.model_max_length
    assert set(ids[ids.index(words.eos_token_id) :]) == {words.eos_token_id}


def test_tokens_say_what_they_say():
    texts = token_texts(tokenizer())
    assert "heart" in texts
    assert "蓝色的心" in texts or "蓝色" in texts or "蓝" in texts


def test_mixtures_are_in_both_languages():
    import torch

    from tests.conftest import make_work

    texts = distillation_texts([make_work("a", "s", 1)], ["fox", "狐狸"], torch.Generator().manual_seed(0), mixed=50)
    assert "fox" in texts
    assert any("狐狸" in text and "色" in text for text in texts)


def test_a_caption_is_encoded_once_and_comes_back_alike():
    import torch

    from tribute.diffusion.recipes import remembered

    asked = []

    def encode(ids):
        asked.append(len(ids))
        return ids[:, :, None].float() * torch.tensor([1.0, 0.5])

    recall = remembered(encode)
    one, two = torch.tensor([[1, 2, 3], [4, 5, 6], [1, 2, 3]]), torch.tensor([[4, 5, 6], [7, 8, 9]])
    assert torch.equal(recall(one), one[:, :, None].float() * torch.tensor([1.0, 0.5]))
    assert torch.equal(recall(two), two[:, :, None].float() * torch.tensor([1.0, 0.5]))
    assert asked == [2, 1]


def test_the_base_is_told_the_hand_and_a_style_is_not():
    from tests.conftest import make_work
    from tribute.diffusion.wording import captions

    work = make_work("a", "s", 1)
    quiet = captions(work, "by hand", "手绘", False)
    assert not any("by hand" in text or "手绘" in text for text in quiet)
    said = captions(work, "by hand", "手绘", True)
    in_english, in_chinese = (sum(hand in text for text in said) for hand in ("by hand", "手绘"))
    assert (in_english, in_chinese) == (6, 6)
    assert 2 * (in_english + in_chinese) > len(said)
