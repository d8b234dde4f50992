import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer

from tests.conftest import flat_art, make_work
from tribute.diffusion import recipes
from tribute.diffusion.autoencoder import PatchBasis
from tribute.diffusion.wording import held_out
from tribute.studio.wiring import STARTER


@pytest.fixture
def styled(tmp_path, monkeypatch):
    """What `recipes.style` hands to training, with the starter's own parts: of works and of those of the commons, the examples and the steps."""
    monkeypatch.setattr(recipes, "train_style", lambda run, model, examples, encode, empty, schedule, *_: (examples, schedule.steps))
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")

    def style(works, commons):
        return recipes.style(tmp_path, works, lambda _: written.getvalue(), parts=STARTER, base=STARTER, hands={}, commons=commons)

    return style


WORKS = [work for work in (make_work("ada-artist", "ada", seed) for seed in range(8)) if not held_out(work)]


def test_a_style_learns_everyday_things_more_often_and_longer_the_more_things_it_draws(styled, monkeypatch):
    everyday = make_work("bo-artist", "bo", 0).model_copy(update={"concept": WORKS[0].concept})
    monkeypatch.setattr(recipes, "FEW_CONCEPTS", 0)
    examples, steps = styled(WORKS, [everyday])
    assert examples.weights_N.tolist() == ([4.0] + [0.5] * (len(WORKS) - 1)) * 2  # each as often mirrored as not
    assert steps == recipes.STYLE_LEAST  # of so few things it would be fewer
    monkeypatch.setattr(recipes, "STYLE_CONCEPTS", 2)
    assert styled(WORKS, [everyday])[1] == recipes.STYLE.steps * len(WORKS) // 2


def test_a_style_of_few_things_learns_what_its_artist_never_drew_from_the_commons(styled):
    """Three draws in ten; not from a thing that the artist draws in a hand of their own, nor from a work that is held out."""
    of_the_commons = [make_work("bo-artist", "bo", seed) for seed in range(100, 130)]
    others = [work.model_copy(update={"concept": f"other-{at}"}) for at, work in enumerate(of_the_commons)]
    kept = [work for work in others if not held_out(work)]
    assert 0 < len(kept) < len(others)
    same = of_the_commons[0].model_copy(update={"concept": WORKS[0].concept})
    examples, _ = styled(WORKS, [same, *others])
    assert len(examples.weights_N) == 2 * (len(WORKS) + len(kept))
    shares = examples.weights_N[: len(WORKS) + len(kept)] * 2
    assert shares[len(WORKS) :].sum().item() == pytest.approx(recipes.KEPT)
    assert shares[: len(WORKS)].sum().item() == pytest.approx(1 - recipes.KEPT)


def test_works_are_learned_mirrored_too_but_for_those_that_tell_sides():
    basis, tokenizer = PatchBasis.load(STARTER / "basis.safetensors"), CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    names = (("fox", "狐狸"), ("left arrow", "左箭头"))
    works = [make_work("a", "s", seed).model_copy(update={"captions_en": (en,), "captions_zh": (zh,)}) for seed, (en, zh) in enumerate(names)]
    pictures = np.stack([flat_art(128, 1), flat_art(128, 2)])
    pictures[:, :, :40] = 255  # so that no side is like the other
    made = recipes.build_examples(works, pictures, {}, basis, tokenizer, 0, 0, torch.tensor([3.0, 1.0]))
    assert made.weights_N.tolist() == [1.5, 1.0, 1.5]
    assert made.captions[2] == made.captions[0] != made.captions[1]
    drawn = basis.decode(made.latents_NCHW)
    assert torch.allclose(drawn[2], drawn[0].flip(2), atol=0.2)
    assert (drawn[2] - drawn[0]).abs().mean() > 0.2
    letters = recipes.build_examples(works[1:], pictures[1:], {}, basis, tokenizer, 0, 0, torch.tensor([1.0]))
    assert len(letters.latents_NCHW) == 1  # where none may be mirrored, each is there once
    assert letters.weights_N.tolist() == [1.0]
