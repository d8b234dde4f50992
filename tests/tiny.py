"""Tiny randomly initialised models of each kind, written as stock diffusers folders on the spot."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tribute.diffusion.text import TextConfig, train_tokenizer


@functools.cache
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer(["a blue heart", "red fox in the snow", "蓝色的心", "红色的狐狸"] * 3, TextConfig(vocabulary=600, max_tokens=24))


def _text(kind: type, width: int) -> torch.nn.Module:
    words = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=24, projection_dim=width, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    return kind(config)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, sample_size=64,
    )  # fmt: skip


def _unet(width: int, **more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=2, **more,
    )  # fmt: skip


def make_model(folder: Path, kind: str = "sd1", snapshot: str | None = None) -> Path:
    """`kind` is sd1, sd2 or sdxl. With `snapshot`, the folder cites it as the starter does."""
    torch.manual_seed(0)
    scheduler = DDIMScheduler(prediction_type="v_prediction" if kind == "sd2" else "epsilon", steps_offset=1, clip_sample=False)
    if kind == "sdxl":
        unet = _unet(64, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80, use_linear_projection=True)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae(), text_encoder=_text(CLIPTextModel, 32), text_encoder_2=_text(CLIPTextModelWithProjection, 32), tokenizer=tokenizer(),
            tokenizer_2=tokenizer(), unet=unet, scheduler=EulerDiscreteScheduler(), add_watermarker=False,
        )  # fmt: skip
    else:
        pipeline = StableDiffusionPipeline(
            vae=_vae(), text_encoder=_text(CLIPTextModel, 32), tokenizer=tokenizer(), unet=_unet(32, use_linear_projection=kind == "sd2"),
            scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    if snapshot is not None:
        (folder / "tribute.json").write_text(json.dumps({"snapshot": snapshot}))
    return folder


@functools.cache
def make_adapter(folder: Path, seed: int, strength: float = 0.5, decoding: bool = False) -> bytes:
    """A LoRA for an sd1 folder, with `decoding` for its decoder too, as the bytes of its safetensors file; made once for each."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v", "conv1"]))
    state = {f"unet.{name}": value.detach() * strength for name, value in get_peft_model_state_dict(unet).items()}
    if decoding:
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        layers = [name for name, part in vae.named_modules() if name.startswith("decoder.") and isinstance(part, torch.nn.Conv2d)]
        vae.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=layers))
        state |= {f"vae.{name}": value.detach() for name, value in get_peft_model_state_dict(vae).items()}
    return save({name: value.contiguous() for name, value in state.items()})
