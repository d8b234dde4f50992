import io

import numpy as np
import torch
from PIL import Image
from transformers import CLIPTokenizer

from tests.conftest import flat_art, make_work
from tribute.diffusion import recipes
from tribute.diffusion.autoencoder import PatchBasis
from tribute.diffusion.wording import held_out
from tribute.studio.wiring import STARTER


def test_a_style_learns_everyday_things_more_often_and_longer_the_more_things_it_draws(tmp_path, monkeypatch):
    """The weights and the schedule that `recipes.style` hands to training, with the starter's own parts."""
    begun = []
    monkeypatch.setattr(recipes, "train_style", lambda run, model, examples, encode, empty, schedule, *_: begun.append((examples.weights_N, schedule.steps)))
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")
    works = [work for work in (make_work("ada-artist", "ada", seed) for seed in range(8)) if not held_out(work)]
    everyday = make_work("bo-artist", "bo", 0).model_copy(update={"concept": works[0].concept})

    def style():
        recipes.style(tmp_path, works, lambda _: written.getvalue(), parts=STARTER, base=STARTER, hands={}, commons=[everyday])
        return begun[-1]

    weights, steps = style()
    assert weights.tolist() == ([4.0] + [0.5] * (len(works) - 1)) * 2  # each as often mirrored as not
    assert steps == recipes.STYLE.steps // 10  # the least: of so few things it would be fewer
    monkeypatch.setattr(recipes, "STYLE_CONCEPTS", 10)
    assert style()[1] == recipes.STYLE.steps * len(works) // 10


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
