import io
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from tests.conftest import flat_art, make_work
from tribute.diffusion import examples as made_of
from tribute.diffusion import recipes
from tribute.diffusion.autoencoder import PatchBasis
from tribute.diffusion.balance import EVERYDAY, common_concepts
from tribute.diffusion.smoothing import STRENGTHS
from tribute.diffusion.wording import held_out, held_out_pair
from tribute.studio.wiring import STARTER


@pytest.fixture
def styled(tmp_path, monkeypatch):
    """What `recipes.style` hands to training, with the starter's own parts: of works and of those of the commons, the examples and the schedule."""
    monkeypatch.setattr(recipes, "train_style", lambda run, model, examples, encode, empty, schedule, *_: (examples, schedule))
    monkeypatch.setattr(recipes, "decoder_part", lambda *_: {})
    monkeypatch.setattr(recipes, "add_part", lambda *_: None)
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")

    def style(works, commons, changes=None):
        return recipes.style(
            tmp_path, works, lambda _: written.getvalue(), parts=STARTER, base=STARTER, vae=STARTER / "vae", hands={}, commons=commons, changes=changes
        )

    return style


WORKS = [work for work in (make_work("ada-artist", "ada", seed) for seed in range(8)) if not held_out(work)]


def test_a_style_learns_everyday_things_more_often_and_longer_the_more_things_it_draws(styled, monkeypatch):
    everyday = make_work("bo-artist", "bo", 0).model_copy(update={"concept": WORKS[0].concept})
    monkeypatch.setattr(recipes, "FEW_CONCEPTS", 0)
    examples, schedule = styled(WORKS, [everyday])
    count = len(WORKS)
    assert (examples.weights_N[:count] + examples.weights_N[count:]).tolist() == pytest.approx([8.0] + [1.0] * (count - 1))  # as it is and mirrored
    assert schedule == replace(recipes.STYLE, steps=recipes.STYLE_LEAST)  # of so few things it would be fewer
    monkeypatch.setattr(recipes, "STYLE_CONCEPTS", 2)
    assert styled(WORKS, [everyday])[1].steps == recipes.STYLE.steps * len(WORKS) // 2
    assert styled(WORKS, [everyday], {"steps": 7, "seed": 3})[1] == replace(recipes.STYLE, steps=7, seed=3)


def test_a_style_of_few_things_learns_what_its_artist_never_drew_from_the_commons(styled):
    """Three draws in ten; not from a thing that the artist draws in a hand of their own, nor from a work that is held out."""
    of_the_commons = [make_work("bo-artist", "bo", seed) for seed in range(100, 130)]
    others = [work.model_copy(update={"concept": f"other-{at}"}) for at, work in enumerate(of_the_commons)]
    kept = [work for work in others if not held_out(work)]
    assert 0 < len(kept) < len(others)
    same = of_the_commons[0].model_copy(update={"concept": WORKS[0].concept})
    examples, _ = styled(WORKS, [same, *others])
    assert len(examples.weights_N) == 2 * (len(WORKS) + len(kept))
    shares = examples.weights_N.view(2, -1).sum(0)  # as they are and mirrored
    assert shares[len(WORKS) :].sum().item() == pytest.approx(recipes.KEPT)
    assert shares[: len(WORKS)].sum().item() == pytest.approx(1 - recipes.KEPT)


def test_a_style_of_many_things_is_shown_other_hands_and_keeps_what_its_artist_never_drew(tmp_path, monkeypatch):
    """Works of the commons: those of its own things, to be turned into its own; those of no thing of its own, whose prediction is kept."""
    monkeypatch.setattr(recipes, "train_style", lambda *given: given)
    monkeypatch.setattr(recipes, "decoder_part", lambda *_: {})
    monkeypatch.setattr(recipes, "add_part", lambda *_: None)
    monkeypatch.setattr(recipes, "FEW_CONCEPTS", 0)
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")
    of_the_commons = [work for work in (make_work("bo-artist", "bo", seed) for seed in range(100, 110)) if not held_out(work)]
    shared = [work.model_copy(update={"concept": own.concept}) for work, own in zip(of_the_commons, WORKS[:3], strict=False)]
    shared = [work for work in shared if not held_out(work)]
    other = next(work for work in (of_the_commons[-1].model_copy(update={"concept": f"other-{at}"}) for at in range(9)) if not held_out(work))
    *_, examples, _, _, _, _, _, others, counterparts = recipes.style(
        tmp_path, WORKS, lambda _: written.getvalue(), parts=STARTER, base=STARTER, vae=STARTER / "vae", hands={}, commons=[*shared, other]
    )
    assert len(examples.latents_NCHW) == 2 * len(WORKS)  # as they are and mirrored
    assert len(others.latents_NCHW) == 2
    assert len(shared) > 1
    assert counterparts.latents_NCHW.shape == (math.ceil(0.7 * len(shared)), 128, 8, 8)


@pytest.mark.slow
def test_a_styles_part_of_the_decoder_learns_from_its_artists_works(tmp_path, monkeypatch):
    """With the starter's own decoder and denoiser: works of thin black lines come back better, by weights of the decoder's own names."""
    written = {}
    for seed in range(12):
        drawn, rng = Image.new("RGB", (128, 128), "white"), np.random.default_rng(seed)
        pen = ImageDraw.Draw(drawn)
        for _ in range(12):
            pen.line([tuple(point) for point in rng.integers(0, 128, (2, 2)).tolist()], fill="black", width=1)
        made = io.BytesIO()
        drawn.save(made, "PNG")
        written[f"{seed:064d}"] = made.getvalue()
    works = [make_work("ada-artist", "ada", seed).model_copy(update={"picture_sha256": key}) for seed, key in enumerate(written)]
    monkeypatch.setattr(recipes, "DECODED", replace(recipes.DECODED, steps=25, batch=4))
    given = PatchBasis.load(STARTER / "basis.safetensors")
    denoiser = UNet2DConditionModel.from_pretrained(STARTER / "unet").float()
    _, encode = recipes.frozen_text(STARTER)
    states = encode(torch.zeros(1, 8, dtype=torch.long))
    run = tmp_path / "run"
    weights = recipes.decoder_part(run, works[:8], works[8:], written.__getitem__, given, STARTER / "vae", denoiser, states, recipes.StyleConfig(), None)
    without, with_it = (float(told) for told in (run / "psnr.txt").read_text().split())
    assert with_it > without + 0.3
    assert weights
    assert all(name.startswith("vae.decoder.") and value.dtype == torch.bfloat16 for name, value in weights.items())


def test_a_work_stands_beside_the_likest_of_the_same_thing_in_another_hand():
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    works = [make_work("a", "s", seed).model_copy(update={"concept": concept}) for seed, concept in enumerate(("fox", "owl", "elk", "yak"))]
    of_others = [make_work("b", "t", seed).model_copy(update={"concept": concept}) for seed, concept in enumerate(("fox", "fox", "owl", "elk"))]
    own_NCHW = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 2, 8, 8)
    other_NCHW = torch.tensor([5.0, 0.5, 9.0, 2.25]).view(4, 1, 1, 1).expand(-1, 2, 8, 8)
    found = made_of.find_counterparts(works, own_NCHW, of_others, other_NCHW, ["fox"], tokenizer)
    assert found.latents_NCHW[:, :, 0, 0].tolist() == [[2.25, 2.25, 2.0, 2.0], [0.5, 0.5, 0.0, 0.0], [9.0, 9.0, 1.0, 1.0]]  # of three, rounded up
    assert found.weights_N.tolist() == [1.0, EVERYDAY, 1.0]
    assert [tokenizer.decode(found.token_ids[row[0]], skip_special_tokens=True).strip() for row in found.captions[:2]] == [
        works[at].captions_en[0] for at in (2, 0)
    ]
    assert made_of.find_counterparts(works[3:], own_NCHW[3:], of_others, other_NCHW, [], tokenizer) is None


def test_a_thing_that_a_pair_is_held_out_of_is_as_everyday_as_without(tmp_path, monkeypatch):
    """Which things are common is counted among all works, not among those that are learned."""
    name = next(name for name in (f"thing-{at}" for at in range(300)) if held_out_pair(name, "ada") and not held_out_pair(name, "bo"))
    drawn_by = (("ada", name, 0), ("bo", name, 1), ("bo", "owl", 2))
    works = [make_work(f"{style}-artist", style, seed).model_copy(update={"concept": concept}) for style, concept, seed in drawn_by]
    assert [held_out(work) for work in works] == [True, False, False]
    written = io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")
    monkeypatch.setattr(made_of, "common_concepts", partial(common_concepts, count=1))
    monkeypatch.setattr(made_of, "features", lambda pictures: SimpleNamespace(pooled_NF=torch.eye(len(pictures))))
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    examples = made_of.cached_examples(tmp_path, works, lambda _: written.getvalue(), STARTER, tokenizer, {})
    twice, once = examples.weights_N[:2].tolist()
    assert twice == pytest.approx(EVERYDAY * once)


@pytest.mark.parametrize("widened", [False, True])
def test_a_denoiser_takes_a_part_of_what_it_began_with_back_in_unless_it_was_widened(tmp_path, monkeypatch, widened):
    learned = UNet2DConditionModel.from_pretrained(STARTER / "unet")
    began = {name: torch.zeros_like(value) for name, value in learned.state_dict().items()}
    if widened:
        began["conv_in.weight"] = began["conv_in.weight"][:, :32].contiguous()
    (tmp_path / "start" / "denoiser" / "unet").mkdir(parents=True)
    save_file(began, tmp_path / "start" / "denoiser" / "unet" / "diffusion_pytorch_model.safetensors")
    monkeypatch.setattr(recipes, "cached_examples", lambda *_: None)
    monkeypatch.setattr(recipes, "train_denoiser", lambda *_: learned)
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    recipes.denoiser(tmp_path / "run", [], lambda _: b"", parts=STARTER, hands={}, start=tmp_path / "start")
    left = recipes.weights_of(tmp_path / "run" / "unet")
    share = 1.0 if widened else recipes.LEARNED
    assert all(torch.allclose(left[name], share * value, rtol=0.01) for name, value in before.items())


def test_works_are_learned_mirrored_too_but_for_those_that_tell_sides():
    basis, tokenizer = PatchBasis.load(STARTER / "basis.safetensors"), CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    names = (("fox", "狐狸"), ("left arrow", "左箭头"))
    works = [make_work("a", "s", seed).model_copy(update={"captions_en": (en,), "captions_zh": (zh,)}) for seed, (en, zh) in enumerate(names)]
    pictures = np.stack([flat_art(128, 1), flat_art(128, 2)])
    pictures[:, :, :40] = 255  # so that no side is like the other
    made = made_of.build_examples(works, pictures, {}, basis, tokenizer, 0, 0, torch.tensor([3.0, 1.0]))
    assert made.weights_N.tolist() == pytest.approx([2.5, 1.0, 0.5])  # one draw in six
    assert made.captions[2] == made.captions[0] != made.captions[1]
    drawn = basis.decode(made.latents_NCHW)
    assert torch.allclose(drawn[2], drawn[0].flip(2), atol=0.2)
    assert (drawn[2] - drawn[0]).abs().mean() > 0.2
    letters = made_of.build_examples(works[1:], pictures[1:], {}, basis, tokenizer, 0, 0, torch.tensor([1.0]))
    assert len(letters.latents_NCHW) == 1  # where none may be mirrored, each is there once
    assert letters.weights_N.tolist() == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, STARTER / "styles" / "micah.safetensors"])
def test_pictures_are_smoothed_until_they_are_as_still_as_works(adapter):
    """By the starter's own parts: works of one colour are stiller than any drawing, noise is in none."""
    works, rng = [make_work("ada", "ada", seed) for seed in range(3)], np.random.default_rng(0)
    for picture_HWC, strength in ((np.full((128, 128, 3), 90, np.uint8), STRENGTHS[-1]), (rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), 0.0)):
        written = io.BytesIO()
        Image.fromarray(picture_HWC).save(written, "PNG")
        said = ["a dog", "a red apple", "portrait of a person, red hair"]
        found = recipes.smoothing(works, said, lambda _, png=written: png.getvalue(), parts=STARTER, base=STARTER, vae=STARTER / "vae", adapter=adapter)
        assert found == strength


@pytest.mark.slow
def test_a_style_is_measured_wearing_all_of_its_adapter(monkeypatch, tmp_path):
    """What it changes in the denoiser and what it changes in the decoder."""
    whole, drawn, written = STARTER / "styles" / "micah.safetensors", [], io.BytesIO()
    Image.fromarray(flat_art(128, 1)).save(written, "PNG")
    save_file({name: value for name, value in load_file(whole).items() if name.startswith("unet.")}, tmp_path / "half.safetensors")
    monkeypatch.setattr(recipes, "strength_for", lambda made, _: drawn.append(made[0].astype(int)) or 0.0)
    for adapter in (None, tmp_path / "half.safetensors", whole):
        recipes.smoothing([make_work("ada", "ada", 1)], ["portrait of a person, red hair"], lambda _: written.getvalue(), parts=STARTER, base=STARTER,
                          vae=STARTER / "vae", adapter=adapter)  # fmt: skip
    bare, half, worn = drawn
    assert np.abs(bare - half).mean() > 3
    assert np.abs(half - worn).mean() > 0.3
