from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.tiny import make_adapter
from tribute.create.sample import sample
from tribute.credit.attention import keyword_shares
from tribute.diffusion.loading import load_model
from tribute.records import NotInstalled, Recipe, StyleUse, Unknown, sha256


def recipe(model, **more):
    given = {"prompt": "a blue heart", "seed": 1, "steps": 2, "guidance": 3.0, "width": 64, "height": 64} | more
    return Recipe(scheduler="x", model=model.name, model_sha256=model.sha256, snapshot=None, dtype="float32", **given)


def far(one, other):
    return max(np.abs(a.astype(int) - b).max() for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_openvino_draws_what_torch_draws_with_and_without_adapters(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain, fast = (load_model(str(bench.folder), engine=engine, dtype=torch.float32) for engine in ("torch", "openvino"))
    blobs = {sha256(data): data for data in (make_adapter(bench.folder, 1), make_adapter(bench.folder, 2, decoding=True))}
    one, two = (StyleUse(name=name, weight=weight, adapter_sha256=key) for name, weight, key in zip(("one", "two"), (1.0, 0.5), blobs, strict=True))
    asked = [recipe(plain, styles=styles, seed=seed) for styles in ((), (one,), (one, two), (two,), ()) for seed in (1, 2)]
    drawn = [sample(model, asked, blobs.__getitem__) for model in (plain, fast)]
    assert far(*drawn) <= 1
    assert far(drawn[1][:2], drawn[1][2:4]) > 3  # the adapter is seen at all
    assert far(drawn[1][:2], drawn[1][-2:]) <= 1  # and goes without a trace: the rest is the decoder's rounding in float32
    assert len(list(tmp_path.rglob("*.xml"))) == 3  # the decoder, and the base with and without a side branch
    again = load_model(str(bench.folder), engine="openvino", dtype=torch.float32)  # reads what was traced before
    assert far(sample(again, asked[2:4], blobs.__getitem__), drawn[1][2:4]) <= 1
    assert len(list(tmp_path.rglob("*.xml"))) == 3


@pytest.mark.slow
def test_a_newer_student_is_not_drawn_by_the_network_traced_for_an_older_one(bench, tmp_path, monkeypatch):
    """Traced networks of one base lie side by side: without its student, with it, and with another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    students = [None, tmp_path / "older", tmp_path / "newer"]
    for number, path in enumerate(students[1:], 1):
        path.write_bytes(make_adapter(bench.folder, number))
    drawn = {}
    for student in students:
        for engine in ("torch", "openvino"):
            model = load_model(str(bench.folder), engine=engine, dtype=torch.float32)
            model.student = student
            drawn[student, engine] = sample(model, [recipe(model, student=student is not None)], None)
        assert far(drawn[student, "torch"], drawn[student, "openvino"]) <= 1
    assert min(far(drawn[one, "torch"], drawn[other, "torch"]) for one, other in pairwise(students)) > 3
    assert len(list(tmp_path.rglob("*.xml"))) == 4  # the decoder, and three denoisers


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_rows_that_wear_different_styles_share_a_batch(bench, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load_model(str(bench.folder), engine=engine, dtype=torch.float32)  # bfloat16's rounding depends on the batch
    data = make_adapter(bench.folder, 1)
    use = StyleUse(name="one", weight=0.7, adapter_sha256=sha256(data))
    asked = [recipe(model, styles=styles) for styles in ((), (use,), (use.model_copy(update={"weight": 2.0}),))]
    together = sample(model, asked, lambda _: data)
    assert far(together, [sample(model, [one], lambda _: data)[0] for one in asked]) <= 1
    assert far(together[:1], together[1:2]) > 3


@pytest.mark.slow
@pytest.mark.parametrize("size", [{}, {"width": 96}])
def test_pictures_are_the_same_in_batches_of_every_size(bench, size, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain, fast = (load_model(str(bench.folder), engine=engine, dtype=torch.float32) for engine in ("torch", "openvino"))
    wanted = [sample(plain, [recipe(plain, seed=seed, **size)], None)[0] for seed in range(7)]
    for count in (1, 2, 3, 7):
        made = sample(fast, [recipe(fast, seed=seed, **size) for seed in range(count)], None)
        assert far(made, wanted[:count]) <= 1


@pytest.mark.slow
def test_nothing_stays_in_the_pipeline_while_torch_draws(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load_model(str(bench.folder), engine="openvino")
    sample(model, [recipe(model)], None)
    parts = (model.pipeline.vae.__dict__, model.pipeline.unet.__dict__)
    assert ["decode" in parts[0], "forward" in parts[1]] == [True, True]
    with model.in_torch():
        assert ["decode" in parts[0], "forward" in parts[1]] == [False, False]


def test_attention_is_read_in_torch_and_the_engine_comes_back(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load_model(str(bench.folder), engine="openvino")
    words = keyword_shares(model, recipe(model), lambda asked: sample(model, [asked], None)[0])
    assert sum(word.share for word in words) == pytest.approx(1.0)
    assert model.engine_name == "openvino"


def test_engines_are_named(bench, monkeypatch):
    with pytest.raises(Unknown, match="no engine named 'warp'; there is auto, openvino, torch"):
        load_model(str(bench.folder), engine="warp")
    monkeypatch.setattr("tribute.diffusion.engine.LARGEST", 10)
    assert load_model(str(bench.folder)).engine_name == "torch"
    with pytest.raises(NotInstalled, match="does not run in OpenVINO here"):
        load_model(str(bench.folder), engine="openvino")


def test_nothing_reports_its_use_over_the_network():
    import subprocess
    import sys

    look = "from tribute.diffusion.compiled import import_openvino; import_openvino(); import sys, openvino.tools.ovc; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert done.stdout.strip() == "None", done.stderr[-500:]
