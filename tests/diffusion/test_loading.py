import json

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from tests.tiny import make_adapter, make_model
from tribute.create.sample import sample
from tribute.diffusion.loading import best_dtype, load_model
from tribute.records import Recipe, StyleUse, Unknown, Unreadable, sha256


def recipe(model, *styles, seed=1, **more):
    given = {"prompt": "a blue heart", "seed": seed, "steps": 2, "guidance": 3.0, "width": 64, "height": 64, "styles": styles} | more
    return Recipe(scheduler="x", model=model.name, model_sha256=model.sha256, snapshot=None, dtype="float32", **given)


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_each_kind_of_stable_diffusion_loads_and_draws(tmp_path, kind):
    model = load_model(str(make_model(tmp_path / kind, kind)), engine="torch")
    assert model.snapshot is None
    first, again = (sample(model, [recipe(model)], None)[0] for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert (first == again).all()
    assert (sample(model, [recipe(model, seed=2)], None)[0] != first).any()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(make_model(tmp_path_factory.mktemp("m") / "tiny")), engine="torch")


@pytest.fixture(scope="module", params=[False, True], ids=["denoising", "decoding too"])
def adapters(request, model, tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("a") / "tiny")
    held = {sha256(data): data for data in (make_adapter(folder, 1, decoding=request.param), make_adapter(folder, 2, decoding=request.param))}
    one, two = held
    return held.__getitem__, StyleUse(name="one", adapter_sha256=one), StyleUse(name="two", adapter_sha256=two)


def test_styles_switch_in_and_out_without_a_trace(model, adapters):
    read, one, two = adapters
    plain = sample(model, [recipe(model)], read)[0]
    with_one = sample(model, [recipe(model, one)], read)[0]
    with_both = sample(model, [recipe(model, one, two)], read)[0]
    assert (with_one != plain).any()
    assert (with_both != with_one).any()
    assert (sample(model, [recipe(model, one)], read)[0] == with_one).all()
    assert (sample(model, [recipe(model)], read)[0] == plain).all()
    assert (sample(model, [recipe(model, one.model_copy(update={"weight": 0.0}))], read)[0] == plain).all()


def test_an_adapters_part_of_the_decoder_is_worn_with_it_and_by_its_own_row_alone(model, tmp_path):
    folder = make_model(tmp_path / "tiny")
    blobs = {sha256(data): data for data in (make_adapter(folder, 1), make_adapter(folder, 1, decoding=True))}
    plain, decoding = (StyleUse(name=name, adapter_sha256=key) for name, key in zip(("plain", "decoding"), blobs, strict=True))
    worn = [(), (plain,), (decoding,), (decoding.model_copy(update={"weight": 0.5}),), (plain, decoding)]
    alone = [sample(model, [recipe(model, *styles)], blobs.__getitem__)[0].astype(int) for styles in worn]
    together = sample(model, [recipe(model, *styles) for styles in worn], blobs.__getitem__)
    assert max(np.abs(one - other).max() for one, other in zip(alone, together, strict=True)) <= 1
    assert np.abs(alone[1] - alone[2]).max() > 3  # the same denoising, decoded otherwise
    assert np.abs(alone[2] - alone[3]).max() > 3
    again = sample(model, [recipe(model)], blobs.__getitem__)[0]
    assert (again == alone[0]).all()


@pytest.mark.parametrize(("instead", "told"), [("vae.decoder.conv_gone.", "without 1 of its"), ("vae.encoder.conv_in.", "encoded")])
def test_weights_for_no_part_of_the_decoder_are_refused(model, tmp_path, instead, told):
    weights = load(make_adapter(make_model(tmp_path / "tiny"), 1, decoding=True))
    odd = save({name.replace("vae.decoder.conv_in.", instead): value for name, value in weights.items()})
    use = StyleUse(name="odd", adapter_sha256=sha256(odd))
    whole = save(weights)
    good = StyleUse(name="odd", adapter_sha256=sha256(whole))
    plain = sample(model, [recipe(model)], None)[0]
    with pytest.raises(Unreadable, match=told):
        sample(model, [recipe(model, use)], lambda _: odd)
    assert (sample(model, [recipe(model)], None)[0] == plain).all()
    assert (sample(model, [recipe(model, good)], lambda _: whole)[0] != plain).any()  # nothing of what was refused stands in its way


def test_a_damaged_adapter_is_refused(model, adapters):
    _, one, _ = adapters
    fresh = one.model_copy(update={"name": "fresh"})
    with pytest.raises(Unreadable, match="no longer matches"):
        sample(model, [recipe(model, fresh)], lambda digest: b"changed")


def test_a_newer_training_replaces_the_loaded_one(model, adapters):
    read, one, two = adapters
    one = one.model_copy(update={"weight": 0.5})  # as much is worn of the newer one, though nothing else is to be changed
    first = sample(model, [recipe(model, one)], read)[0]
    renewed = one.model_copy(update={"adapter_sha256": two.adapter_sha256})
    assert (sample(model, [recipe(model, renewed)], read)[0] != first).any()
    assert (sample(model, [recipe(model, one)], read)[0] == first).all()


@pytest.mark.parametrize("name", ["nowhere", "/nowhere/at/all", "../..", "a b/c", ""])
def test_an_unknown_model_is_one_clear_line(name):
    with pytest.raises(Unknown, match="no model at"):
        load_model(name)


def test_a_hub_id_without_a_network_is_one_clear_line():
    with pytest.raises(Unknown, match="cannot be fetched"):
        load_model("somebody/something")


def test_truncated_weights_are_one_clear_line(tmp_path):
    folder = make_model(tmp_path / "m")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(Unreadable, match="cannot be loaded"):
        load_model(str(folder))


def test_pickled_weights_are_never_opened(tmp_path):
    folder = make_model(tmp_path / "m")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(Unreadable):
        load_model(str(folder))


def test_another_kind_of_pipeline_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(Unknown, match="FluxPipeline"):
        load_model(str(tmp_path))


def test_the_number_type_is_what_the_processor_has():
    assert best_dtype("mps") == torch.float16
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert best_dtype("cpu") == (torch.bfloat16 if has else torch.float32)


@pytest.mark.slow
def test_an_adapter_under_mixed_names_is_loaded_whole_whatever_the_hash_seed(bench, tmp_path):
    """As `convert_state_dict_to_diffusers` writes them; some hash seeds used to lose the attention layers in silence."""
    import os
    import subprocess
    import sys

    mixed = {
        (name.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up.") if ".attn" in name else name): value
        for name, value in load(make_adapter(bench.folder, 1)).items()
    }
    path = tmp_path / "mixed.safetensors"
    path.write_bytes(save(mixed))
    script = (
        "import sys; from pathlib import Path; from tribute.diffusion.loading import load_model; from tribute.records import StyleUse, sha256\n"
        "model = load_model(sys.argv[1], engine='torch'); data = Path(sys.argv[2]).read_bytes()\n"
        "model.wear([(StyleUse(name='one', adapter_sha256=sha256(data)),)], lambda _: data)\n"
        "print(sum('one' in getattr(part, 'lora_A', {}) for part in model.pipeline.unet.modules()))\n"
    )
    layers = {name.split(".lora_A.")[0] for name in load(make_adapter(bench.folder, 1)) if ".lora_A." in name}
    for seed in ("1", "4"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script, str(bench.folder), str(path)], capture_output=True, text=True, env=env)
        assert done.stdout.strip() == str(len(layers)), done.stderr[-800:]


@pytest.mark.parametrize(("said", "steps"), [({"student_steps": 4}, 4), ({}, 8), *(({"student_steps": odd}, 8) for odd in (0, 151, "4", 2.0, None, [4], True))])
def test_a_student_takes_the_steps_that_its_model_says(tmp_path, said, steps):
    folder = make_model(tmp_path / "told")
    (folder / "tribute.json").write_text(json.dumps(said), encoding="utf-8")
    assert load_model(str(folder), engine="torch").student_steps == steps
