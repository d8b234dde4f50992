import json

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from tribute.diffusion.assembly import adapter, assemble_model, unpack_model
from tribute.diffusion.recipes import ADAPTER, LEARNED
from tribute.diffusion.told import told_of, write_smoothing
from tribute.diffusion.vocabulary import VOCABULARY, load_vocabulary
from tribute.records import InvalidInput
from tribute.studio.wiring import STARTER


def test_a_student_is_assembled_halfway_between_what_it_learned_and_what_it_began_with(tmp_path):
    """The starter stands for what was learned; an earlier run whose student is all zeros for what it began with."""
    runs, start, out = tmp_path / "runs", tmp_path / "start", tmp_path / "out"
    unpack_model(STARTER, runs)
    weights, student = "unet/diffusion_pytorch_model.safetensors", f"student/{ADAPTER}"
    (start / "student").mkdir(parents=True)
    save_file({name: torch.zeros_like(value) for name, value in load_file(STARTER / student).items()}, start / student)
    write_smoothing(runs / "smoothing", {"": 0.004, "扁平": 0.016})
    assemble_model(runs, out, "s" * 64, start)
    told = json.loads((out / "tribute.json").read_text(encoding="utf-8"))
    assert told_of(out).smoothing == {"": 0.004, "扁平": 0.016}
    assert told["student_steps"] == told["recipe"]["student"]["config"]["taken"]
    assert load_vocabulary(out / VOCABULARY)["puppy"] == "dog face"
    for path, share in ((weights, 1), (student, 0.5)):  # the denoiser took what it began with back in when it was trained
        learned, shipped = load_file(STARTER / path), load_file(out / path)
        assert learned.keys() == shipped.keys()
        assert all(torch.equal(shipped[name], learned[name] * share) for name in learned)
    said, shipped_said = (json.loads((folder / "tribute.json").read_text())["recipe"] for folder in (out, STARTER))
    assert {stage: set(settings) for stage, settings in said.items()} == {stage: set(settings) for stage, settings in shipped_said.items()}
    assert said["denoiser"]["learned"] == LEARNED
    worn, earlier = runs / "style-micah" / ADAPTER, start / "style-micah" / ADAPTER
    earlier.parent.mkdir()
    denoising, decoding = {"unet.a": torch.full((2,), 4.0)}, {"vae.decoder.a": torch.full((2,), 6.0)}
    for path, weights in ((worn, {**denoising, **decoding}), (earlier, {"unet.a": torch.zeros(2)})):
        save_file(weights, path)
    half = load(adapter(runs / "style-micah", start))
    assert {name: value.tolist() for name, value in half.items()} == {"unet.a": [2.0, 2.0], "vae.decoder.a": [6.0, 6.0]}  # the decoder's part as learned
    earlier.unlink()
    worn.write_bytes((STARTER / "styles" / "micah.safetensors").read_bytes())
    assert adapter(runs / "style-micah", start) == (STARTER / "styles" / "micah.safetensors").read_bytes()  # it did not begin with any
    save_file({"other": torch.zeros(1)}, start / student)
    with pytest.raises(InvalidInput, match="without --start"):
        assemble_model(runs, out, "s" * 64, start)
