"""What a picture costs: Tribute's engines beside stock diffusers as a user gets it, in one run, as ratios.

python bench/create.py                    the starter: pictures, calls of the denoiser, stages and their floors (idle machine, 7 minutes)
python bench/create.py --compile          the same with torch.compile beside them (minutes more)
python bench/create.py --model FOLDER --size 512 --steps 2    any diffusers folder
python bench/create.py --sd15             a random folder of Stable Diffusion 1.5's shape at 512², seconds a step (10 GB of memory, 20 for OpenVINO's float32)

Each contender runs in a process of its own, in turn, `--rounds` times over; the median counts. ONNX Runtime needs `onnx` and `onnxruntime`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tribute.studio.evaluation.speed import median_s
from tribute.studio.wiring import STARTER

PROMPT = "red apple"
CALLS = (1, 2, 4, 8)


def stock(folder: Path) -> Any:
    """What the documentation of diffusers says to write; float32, since that is what it loads."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), safety_checker=None, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def in_onnx(pipeline: Any) -> None:
    """Puts ONNX Runtime in the place of the denoiser's forward; weights are constants, so no adapter can change."""
    import onnxruntime
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    class Call(torch.nn.Module):
        def __init__(self, denoiser: Any) -> None:
            super().__init__()
            self.denoiser = denoiser

        def forward(self, x: Any, t: Any, states: Any) -> Any:
            return self.denoiser(x, t, states, return_dict=False)[0]

    unet = pipeline.unet
    example = (torch.zeros(2, unet.config.in_channels, *[unet.config.sample_size] * 2), torch.tensor(1), torch.zeros(2, 8, unet.config.cross_attention_dim))
    path = Path(tempfile.mkdtemp()) / "denoiser.onnx"
    axes = {"x": {0: "b", 2: "h", 3: "w"}, "states": {0: "b", 1: "t"}}
    torch.onnx.export(Call(unet).eval(), example, str(path), input_names=["x", "t", "states"], dynamic_axes=axes, dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(sample: Any, timestep: Any, encoder_hidden_states: Any, *_: Any, return_dict: bool = True, **__: Any) -> Any:
        given = {"x": sample.numpy(), "t": np.array(int(timestep)), "states": encoder_hidden_states.numpy()}
        made = torch.from_numpy(session.run(None, given)[0])
        return UNet2DConditionOutput(sample=made) if return_dict else (made,)

    unet.forward = forward


def contender(name: str, folder: Path) -> Any:
    """A pipeline, ready to draw."""
    if name in ("stock", "compiled", "onnxruntime"):
        pipeline = stock(folder)
        if name == "compiled":
            pipeline.unet = torch.compile(pipeline.unet.to(memory_format=torch.channels_last))
        elif name == "onnxruntime":
            in_onnx(pipeline)
        return pipeline
    from tribute.diffusion import engine
    from tribute.diffusion.loading import load_model

    engine.LARGEST = 10**12  # it is measured on whatever folder is given
    model = load_model(str(folder), engine="openvino" if name == "openvino" else "torch")
    if model.engine is not None:
        model.engine.attach()
    return model.pipeline


def child(name: str, folder: Path, size: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds a picture and milliseconds a call of the denoiser."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipeline = contender(name, folder)
    unet, latent = pipeline.unet, size // pipeline.vae_scale_factor

    def draw() -> None:
        more = {"generator": torch.Generator().manual_seed(1), "output_type": "np"}
        pipeline(PROMPT, num_inference_steps=steps, guidance_scale=4.0, width=size, height=size, **more)

    def call(batch: int) -> float:
        dtype = next(unet.parameters()).dtype
        noisy = torch.zeros(batch, unet.config.in_channels, latent, latent, dtype=dtype)
        states = torch.zeros(batch, pipeline.tokenizer.model_max_length, unet.config.cross_attention_dim, dtype=dtype)
        return 1000 * median_s(lambda: unet(noisy, torch.tensor(500), encoder_hidden_states=states, return_dict=False), repeats)

    with torch.inference_mode():
        calls = {str(batch): call(batch) for batch in (CALLS if latent < 32 else (2,))}
        return {"picture_s": median_s(draw, max(1, repeats // 3)), "calls_ms": calls}


def matmul_rate(dtype: torch.dtype, side: int = 2048) -> float:
    """GFLOP/s of a matrix product in that precision."""
    one, other = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    return 2 * side**3 / median_s(lambda: one @ other, 5) / 1e9


def stages(folder: Path) -> None:
    """Where the time of one of Tribute's own pictures goes, and how far each stage is from its arithmetic."""
    from torch.utils.flop_counter import FlopCounterMode

    from tribute.diffusion.loading import load_model
    from tribute.diffusion.upscaler import enlarge
    from tribute.provenance import watermark

    torched, model = load_model(str(folder), engine="torch"), load_model(str(folder))
    rate, pipeline, size = matmul_rate(model.dtype), model.pipeline, model.native
    config = pipeline.unet.config
    latent = torch.zeros(1, config.in_channels, config.sample_size, config.sample_size, dtype=model.dtype)
    states = torch.zeros(1, model.max_tokens, config.cross_attention_dim, dtype=model.dtype)
    ids = torch.tensor([[0] * model.max_tokens])
    drawn = np.full((size, size, 3), 200, np.uint8)
    if model.engine is not None:
        model.engine.attach()
    work: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]] = {
        "text": (lambda: pipeline.text_encoder(ids), lambda: torched.pipeline.text_encoder(ids)),
        "denoiser, one call": (lambda: pipeline.unet(latent, 500, states), lambda: torched.pipeline.unet(latent, 500, states)),
        "decoder": (lambda: pipeline.vae.decode(latent), lambda: torched.pipeline.vae.decode(latent)),
    }
    if model.upscaler is not None:
        work["upscaler, twice the side"] = (lambda: enlarge(model.upscaler, drawn, 2), lambda: enlarge(torched.upscaler, drawn, 2))
        drawn_large = np.repeat(np.repeat(drawn, 2, 0), 2, 1)
        work["watermark"] = (lambda: watermark.embed(drawn_large, "00000001"), None)
    print(f"\n{str(model.dtype).removeprefix('torch.')} matmul {rate:.0f} GFLOP/s\nstage                       ms    GFLOP    floor ms    to the floor")
    with torch.inference_mode():
        for name, (run, counted) in work.items():
            took = 1000 * median_s(run, 9)
            if counted is None:
                print(f"{name:26}{took:6.1f}")
                continue
            with FlopCounterMode(display=False) as counter:
                counted()
            flops = counter.get_total_flops() / 1e9
            print(f"{name:26}{took:6.1f}{flops:9.2f}{1000 * flops / rate:12.1f}{took * rate / flops / 1000:14.1f}×")


def sd15(folder: Path) -> Path:
    """A random folder of Stable Diffusion 1.5's shape, but for its words: a small tokenizer and text encoder give states of width 768."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    text = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=768, intermediate_size=768, num_hidden_layers=2, num_attention_heads=12,
                          max_position_embeddings=tokenizer.model_max_length)  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--size", type=int, default=0, help="pixels a side that are drawn; the model's own by default")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--sd15", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sd15 and not given.child:
        with tempfile.TemporaryDirectory() as folder:
            given.model, given.size, given.steps, given.rounds, given.repeats = sd15(Path(folder)), 512, 2, 1, 1
            compare(given)
        return
    if not given.size:
        unet, vae = (json.loads((given.model / part / "config.json").read_text()) for part in ("unet", "vae"))
        given.size = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    if given.child:
        print(json.dumps(child(given.child, given.model, given.size, given.steps, given.repeats)))
    else:
        compare(given)
        if given.model == STARTER:
            stages(given.model)


def failure(code: int, said: str) -> str:
    """Why a contender's process left nothing: what it said last or, where it was killed, what by."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", as happens where the memory does not suffice" if name == "SIGKILL" else "")
    return f"failed: {(said.strip().splitlines() or ['it said nothing'])[-1][:200]}"


def compare(given: Any) -> None:
    import importlib.util

    names = ["stock", "torch", "openvino", *(["onnxruntime"] if importlib.util.find_spec("onnxruntime") else []), *(["compiled"] if given.compile else [])]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(given.rounds):
        for name in names:
            command = [sys.executable, __file__, "--child", name, "--model", str(given.model), "--size", str(given.size), "--steps", str(given.steps),
                       "--repeats", str(given.repeats)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: {failure(done.returncode, done.stderr)}")
                found.pop(name, None)
                names = [other for other in names if other != name]
            else:
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {name: {"picture": statistics.median(one["picture_s"] for one in some)} for name, some in found.items()}
    for name, some in found.items():
        middle[name] |= {f"call B={batch}": statistics.median(one["calls_ms"][batch] for one in some) for batch in some[0]["calls_ms"]}
    print(f"{given.size}×{given.size}, {given.steps} guided steps, {torch.get_num_threads()} threads, {given.rounds} rounds; × is stock's time to it")
    columns = list(next(iter(middle.values())))
    print("engine      " + "".join(f"{column:>18}" for column in columns))
    for name, row in middle.items():
        cells = [f"{row[column]:.2f}{' s' if column == 'picture' else ' ms'} {middle['stock'][column] / row[column]:5.2f}×" for column in columns]
        print(f"{name:12}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
