"""The few-step student, the upscaler and SVG, on a tiny model that has them."""

import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import make_adapter
from tribute.commission import Ask, as_svg, commission, larger, recipes_of
from tribute.create.edit import check_strength
from tribute.create.trace import trace
from tribute.diffusion.loading import load_model
from tribute.diffusion.upscaler import Upscaler
from tribute.provenance.verify import verify
from tribute.records import InvalidInput, StyleUse, Unreadable


@pytest.fixture(scope="module")
def fast_folder(tmp_path_factory):
    from tests.tiny import make_model

    folder = make_model(tmp_path_factory.mktemp("fast") / "tiny", snapshot="a" * 64)
    torch.manual_seed(0)
    Upscaler(8, 1).save_pretrained(folder / "upscaler")
    (folder / "student").mkdir()
    (folder / "student" / "pytorch_lora_weights.safetensors").write_bytes(make_adapter(folder, 9))
    return folder


@pytest.fixture
def fast(fast_folder):
    return load_model(str(fast_folder), engine="torch")


def ask(**more):
    return Ask(prompt="a blue heart", seed=3, **more)


def test_the_student_draws_by_default_and_the_picture_is_twice_as_large(bench, fast):
    (picture,) = commission(bench.desk, fast, ask())
    recipe = picture.recipe
    assert (recipe.student, recipe.steps, recipe.guidance, recipe.enlarge) == (True, 8, 1.0, 2)
    assert (recipe.width, recipe.height) == (2 * fast.native,) * 2
    assert Image.open(io.BytesIO(bench.desk.blobs.get(picture.file_sha256))).size == (recipe.width, recipe.height)
    (full,) = commission(bench.desk, fast, ask(full=True))
    assert (full.recipe.student, full.recipe.steps, full.recipe.guidance) == (False, 24, 4.0)
    assert full.pixel_sha256 != picture.pixel_sha256
    (again,) = commission(bench.desk, fast, ask())
    assert again.pixel_sha256 == picture.pixel_sha256  # the student went without a trace in between


def test_a_student_of_fewer_steps_draws_in_fewer(bench, fast_folder, tmp_path):
    folder = shutil.copytree(fast_folder, tmp_path / "fewer")
    (folder / "tribute.json").write_text(json.dumps({"snapshot": "a" * 64, "student_steps": 4}), encoding="utf-8")
    model, steps = load_model(str(folder), engine="torch"), []
    (picture,) = commission(bench.desk, model, ask(), progress=lambda done, total: steps.append((done, total)))
    assert (picture.recipe.student, picture.recipe.steps) == (True, 4)
    assert steps[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    (over,) = recipes_of(ask(source_sha256="0" * 64, strength=0.2), model, [])
    assert (over.student, over.steps) == (True, 8)  # of which a fifth is still one
    check_strength(over)


@pytest.mark.parametrize("given", [{"steps": 3}, {"guidance": 2.0}, {"negative_prompt": "red"}])
def test_what_the_student_cannot_do_is_drawn_in_full(bench, fast, given):
    assert not commission(bench.desk, fast, ask(**({"steps": 2} | given)))[0].recipe.student


def test_a_model_without_them_draws_in_full_at_its_own_size(bench):
    (picture,) = commission(bench.desk, bench.model, ask(steps=2))
    assert (picture.recipe.student, picture.recipe.enlarge) == (False, 1)
    with pytest.raises(InvalidInput, match="has no upscaler"):
        commission(bench.desk, bench.model, ask(steps=2, enlarge=2))


def test_a_larger_picture_is_the_same_picture(bench, fast):
    (small,) = commission(bench.desk, fast, ask())
    (large,) = commission(bench.desk, fast, larger(small, 2))
    assert (large.recipe.width, large.recipe.enlarge) == (4 * fast.native, 4)
    pixels = [np.asarray(Image.open(io.BytesIO(bench.desk.blobs.get(one.file_sha256))).resize((32, 32), Image.Resampling.BOX), int) for one in (small, large)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 3
    with pytest.raises(InvalidInput, match="eight in all"):
        larger(large, 4)


def test_tracing_keeps_flat_colours(bench, fast):
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:48] = (20, 40, 200)
    svg = trace(picture)
    assert svg.count("<path") in (1, 2)
    assert "#1428C8" in svg.upper()
    with pytest.raises(InvalidInput, match="few, some, much"):
        trace(picture, "all")


def test_an_svg_is_signed_and_one_changed_byte_is_told(bench, fast):
    (picture,) = commission(bench.desk, bench.model, ask(styles=(StyleUse(name="ada"),), steps=2))
    pixels = np.asarray(Image.open(io.BytesIO(bench.desk.blobs.get(picture.file_sha256))))
    svg = as_svg(bench.desk, picture, pixels)
    found = verify(svg, "x.svg", bench.desk.studio.root)
    assert (found.verdict, found.picture_id) == ("intact", picture.id)
    assert [style["artist"] for style in found.signature["facts"]["styles"]] == ["Ada"]
    assert found.labels["tribute"]["id"] == picture.id
    assert found.labels["digital_source_type"].endswith("trainedAlgorithmicMedia")
    changed = svg.replace(b"<path", b"<path ", 1)
    assert verify(changed, "x.svg", bench.desk.studio.root).verdict == "changed"
    plain = verify(trace(pixels).encode(), "x.svg", bench.desk.studio.root)
    assert (plain.verdict, plain.picture_id) == ("nothing", None)


def test_the_students_target_is_what_two_guided_steps_reach():
    """For any latent, one step with the wanted velocity lands exactly where the teacher's two landed."""
    from tribute.diffusion.denoiser import build_scheduler
    from tribute.diffusion.student import ddim_step, levels, student_times, wanted_velocity

    scheduler = build_scheduler()
    scheduler.set_timesteps(8)
    times = student_times(scheduler, 8)
    assert times[:-1].tolist() == scheduler.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    for start, end in itertools.pairwise(times):
        here, there = levels(scheduler, start[None]), levels(scheduler, end[None])
        latent, velocity, landed = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3))
        wanted = wanted_velocity(latent, landed, here, there)
        assert torch.allclose(ddim_step(latent, wanted, here, there), landed, atol=1e-4)
        stepped = scheduler.step(velocity, start, latent).prev_sample  # our step is the scheduler's own
        assert torch.allclose(ddim_step(latent, velocity, here, there), stepped, atol=1e-3)


@pytest.mark.slow
def test_a_student_learns_to_take_two_steps_at_once(tmp_path):
    from diffusers import UNet2DConditionModel

    from tribute.diffusion.denoiser import Examples
    from tribute.diffusion.student import StudentConfig, train_student
    from tribute.diffusion.training import Schedule

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=2,
    )  # fmt: skip
    examples = Examples(torch.randn(16, 4, 8, 8), [[at % 2] for at in range(16)], torch.zeros(2, 5, dtype=torch.long), torch.ones(16))
    states = torch.randn(2, 5, 16)
    schedule = Schedule(steps=50, batch=8, learning_rate=3e-3, warmup=5, ema_half_life=5)
    path = train_student(tmp_path, unet, [], examples, lambda ids: states[ids[:, 0]], torch.zeros(5, dtype=torch.long), schedule, StudentConfig(rank=4))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    from safetensors.torch import load_file

    assert all(name.startswith("unet.") and name.endswith((".lora_A.weight", ".lora_B.weight")) for name in load_file(path))  # one way of naming


def test_a_damaged_student_is_told_in_one_line(bench, fast_folder, tmp_path):
    folder = shutil.copytree(fast_folder, tmp_path / "damaged")
    path = folder / "student" / "pytorch_lora_weights.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Unreadable, match="the few-step student does not fit model 'damaged'"):
        commission(bench.desk, load_model(str(folder), engine="torch"), ask())
