import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.conftest import flat_art
from tests.credit.test_shapley import game_of, painted
from tribute.create.sample import sample
from tribute.credit.influence import Influence, influence_matrix, works_scores, works_within
from tribute.credit.method import Case, Catalogue
from tribute.credit.registry import METHODS
from tribute.credit.shapley import exact_scores
from tribute.credit.shares import BASE, to_credits
from tribute.diffusion.denoiser import build_scheduler
from tribute.diffusion.loading import load_model
from tribute.records import PPM, Recipe, StyleUse


def pictures(seed):
    return lambda: np.stack([flat_art(seed=seed * 100 + at) for at in range(12)])


CATALOGUES = {
    BASE: Catalogue(BASE, BASE, 700, (), pictures(1)),
    "ada": Catalogue("ada", "ada", 200, ("thin ink lines",), pictures(2)),
    "bo": Catalogue("bo", "bo", 100, ("soft chalk",), pictures(3)),
}


def shares(name, case):
    method = METHODS[name]()
    method.prepare(CATALOGUES)
    credits = to_credits(method.score(case), {}, True)
    return {share.party: share.share_ppm / PPM for share in credits.shares}


@pytest.fixture
def case():
    game = game_of(("ada", 1.0), ("bo", 0.5))
    return Case(game.recipe, painted(game.recipe), game.render)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "keyword-attention"])
def test_every_method_gives_shares_of_one_to_the_base_and_the_worn_styles(name, case):
    found = shares(name, case)
    assert sum(found.values()) == pytest.approx(1.0)
    assert {BASE, "ada", "bo"} <= set(found) <= {BASE, "ada", "bo", "uncertain"}


def test_simple_methods_say_what_they_are_named_for(case):
    assert shares("uniform", case) == pytest.approx({BASE: 1 / 3, "ada": 1 / 3, "bo": 1 / 3}, abs=2e-6)
    assert shares("catalogue-size", case) == {BASE: 0.7, "ada": 0.2, "bo": 0.1}
    exact = exact_scores(game_of(("ada", 1.0), ("bo", 0.5)))
    assert shares("shapley-exact", case)["ada"] == pytest.approx(exact.parties["ada"] / sum(exact.parties.values()), abs=2e-6)
    assert shares("shapley-sampled", case)["ada"] <= shares("shapley-exact", case)["ada"] + 1e-6  # the lower end of its interval


def test_similarity_pays_those_whose_works_the_picture_is_like(case):
    like_bo = Case(case.recipe, flat_art(seed=305), case.render)
    found = shares("feature-similarity", like_bo)
    assert found["bo"] > found["ada"]
    assert found["bo"] > found[BASE]


def test_keyword_attention_pays_the_words_of_a_hand_and_the_base_for_the_rest(bench):
    model = bench.model

    def case_of(prompt, *names):
        recipe = Recipe(
            prompt=prompt, styles=tuple(StyleUse(name=name, adapter_sha256=bench.styles[name].adapter_sha256) for name in names), seed=1, steps=2,
            guidance=3.0, width=64, height=64, scheduler="x", model=model.name, model_sha256=model.sha256, snapshot=None, dtype="float32",
        )  # fmt: skip

        def render(recipes):
            return [sample(model, [one], bench.desk.blobs.get)[0] for one in recipes]

        return Case(recipe, render([recipe])[0], render, model)

    named = shares("keyword-attention", case_of("fox thin ink lines", "ada", "bo"))
    assert sum(named.values()) == pytest.approx(1.0)
    assert named["ada"] > 0
    assert named["bo"] == 0.0
    unnamed = shares("keyword-attention", case_of("fox", "ada", "bo"))
    assert unnamed == {BASE: 1.0, "ada": 0.0, "bo": 0.0}


@pytest.mark.parametrize("output", ["norm", "loss"])
def test_the_work_that_a_picture_is_has_the_greatest_influence_on_it(output):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(32,), down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",), cross_attention_dim=16, attention_head_dim=1,
    )  # fmt: skip
    parameters = [value for name, value in unet.named_parameters() if "to_" in name]
    latents_NCHW, states_NTD = torch.randn(10, 4, 4, 4), torch.randn(10, 3, 16)
    influence = Influence(unet, parameters, build_scheduler(), output=output, dims=512)
    works_NF = influence.gradients(latents_NCHW, states_NTD)
    assert torch.equal(works_NF[:1], influence.gradients(latents_NCHW[:1], states_NTD[:1]))
    pictures_MF = influence.gradients(latents_NCHW[[3, 7]] + 0.05 * torch.randn(2, 4, 4, 4), states_NTD[[3, 7]])
    scores_MN = influence_matrix(works_NF, pictures_MF, 0.01)
    assert scores_MN.argmax(1).tolist() == [3, 7]
    credits = to_credits(works_scores([f"w{at}" for at in range(10)], scores_MN[0]), {}, True)
    assert credits.shares[0].party == "w3"


def test_influence_has_one_answer_in_both_its_forms():
    """φ(x)ᵀ (ΦᵀΦ + λI)⁻¹ φ(xᵢ) as it is written, against how it is computed."""
    works_NF, pictures_MF = torch.randn(6, 9, dtype=torch.float64), torch.randn(2, 9, dtype=torch.float64)
    weight = 0.3 * (works_NF @ works_NF.T).diagonal().mean()
    written = pictures_MF @ torch.linalg.inv(works_NF.T @ works_NF + weight * torch.eye(9, dtype=torch.float64)) @ works_NF.T
    assert torch.allclose(influence_matrix(works_NF, pictures_MF, 0.3), written)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_works_within_a_worn_style_are_told_apart_on_a_whole_model(bench, dtype):
    """In the precision that the machine draws in; the style was worn to draw before, as whoever asks has done."""
    model, use = load_model(str(bench.folder), dtype=dtype, engine="torch"), StyleUse(name="ada", adapter_sha256=bench.styles["ada"].adapter_sha256)
    works_NHWC = np.stack([flat_art(model.native, seed=at) for at in range(6)])
    recipe = Recipe(prompt="thing 4", seed=1, steps=2, guidance=1.0, width=model.native, height=model.native, scheduler="x", model=model.name,
                    model_sha256=model.sha256, snapshot=None, dtype="float32")  # fmt: skip
    names = [f"w{at}" for at in range(6)]
    captions = [f"thing {at}" for at in range(6)]
    sample(model, [recipe.model_copy(update={"styles": (use,)})], bench.desk.blobs.get)
    before = sample(model, [recipe], None)[0]
    scores = works_within(model, use, bench.desk.blobs.get, recipe, works_NHWC[4], works_NHWC, captions, names)
    assert max(scores.parties, key=scores.parties.get) == "w4"
    assert np.array_equal(sample(model, [recipe], None)[0], before)
