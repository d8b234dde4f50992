"""The denoiser and the decoder in OpenVINO, with adapters switched in and out without compiling anything again.

What a picture wears runs beside the base's own weights, which stay constants: y = W x + B (s ⊙ A x), where A and B are the ranks of all
worn adapters together and s has a factor for each row of the batch and each rank. A, B and s are inputs, so pictures that wear
different styles share a batch, and nobody's adapter touches another's row. The few-step student, which all rows wear, is added to W.
Each width of the side branch (a multiple of RANKS, none where nothing is worn) is compiled when it is first needed. Measured
by `python bench/create.py`; torch does the rest, and everything where OpenVINO is not installed.

Axes: B batch, C latent channels, H height, W width, T tokens, D text width, R ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tribute.diffusion.adapters import StyleConfig
from tribute.diffusion.compiled import Kept, Networks, cache_folder, import_openvino, trace, weights_digest

LARGEST = 100_000_000  # parameters; above it a second copy of the network costs more than it saves
RANKS = 32


class _Sided(nn.Module):
    """A layer, and beside it the branch of whatever is worn."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.worn: tuple[Tensor, Tensor, Tensor] | None = None  # A, B, s_BR

    def forward(self, x: Tensor, *others: Any, **more: Any) -> Tensor:
        made: Tensor = self.layer(x, *others, **more)
        if self.worn is None:
            return made
        down, up, factor_BR = self.worn
        if isinstance(self.layer, nn.Conv2d):
            inner = nn.functional.conv2d(x, down, None, self.layer.stride, self.layer.padding)
            return made + nn.functional.conv2d(inner * factor_BR[:, :, None, None], up)
        return made + nn.functional.linear(nn.functional.linear(x, down) * factor_BR[:, None, :], up)


class _WithSides(nn.Module):
    """The denoiser as a function of what is worn, for tracing."""

    def __init__(self, denoiser: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser, self.places = denoiser, []
        for name in names:
            parent, _, last = name.rpartition(".")
            sided = _Sided(denoiser.get_submodule(name))
            setattr(denoiser.get_submodule(parent), last, sided)
            self.places.append(sided)

    def forward(self, noisy_BCHW: Tensor, time: Tensor, states_BTD: Tensor, factor_BR: Tensor, *worn: Tensor) -> Tensor:
        for place, down, up in zip(self.places, worn[::2], worn[1::2], strict=True):
            place.worn = (down, up, factor_BR)
        made: Tensor = self.denoiser(noisy_BCHW, time, states_BTD, return_dict=False)[0]
        return made


class _Plain(nn.Module):
    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy_BCHW: Tensor, time: Tensor, states_BTD: Tensor) -> Tensor:
        made: Tensor = self.denoiser(noisy_BCHW, time, states_BTD, return_dict=False)[0]
        return made


def suits(denoiser: Any, device: str) -> bool:
    """Whether this engine can run the denoiser here and gains by it."""
    try:
        import_openvino()
    except ImportError:
        return False
    plain = denoiser.config.get("addition_embed_type") is None and denoiser.config.get("time_cond_proj_dim") is None
    return device == "cpu" and plain and small(denoiser)


def small(network: nn.Module) -> bool:
    """Whether a second copy of it costs less than it saves."""
    return sum(value.numel() for value in network.parameters()) <= LARGEST


def without_adapters(network: nn.Module) -> nn.Module:
    """A copy of a network as it was before adapters were loaded on it."""
    from peft.tuners.lora import LoraLayer

    plain = copy.deepcopy(network)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, LoraLayer):
            parent, _, last = name.rpartition(".")
            setattr(plain.get_submodule(parent), last, layer.get_base_layer())
    return plain


class _Decoding(nn.Module):
    """A copy of an autoencoder's way back to pixels, in float32."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.before = copy.deepcopy(autoencoder.post_quant_conv or nn.Identity()).float()
        self.decoder = without_adapters(autoencoder.decoder).float().eval()

    def forward(self, latent_BCHW: Tensor) -> Tensor:
        made: Tensor = self.decoder(self.before(latent_BCHW))
        return made


class Decoder:
    """Stands in for `autoencoder.decode` between `attach` and `detach`."""

    def __init__(self, autoencoder: Any, side: int, networks: Networks) -> None:
        self.autoencoder, self.side, self.networks = autoencoder, side, networks

    def attach(self) -> None:
        self.autoencoder.decode = self._decode

    def detach(self) -> None:
        self.autoencoder.__dict__.pop("decode", None)

    def _traced(self) -> Path:
        channels = self.autoencoder.config.latent_channels
        own = (value for name, value in self.autoencoder.state_dict().items() if ".lora_" not in name)
        path = self.networks.cache / f"{weights_digest(own, self.autoencoder.config)}.xml"
        if not path.is_file():
            trace(_Decoding(self.autoencoder), [torch.zeros(1, channels, self.side, self.side)], {0: [-1, channels, -1, -1]}, path)
        return path

    def _decode(self, latent_BCHW: Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        from diffusers.models.autoencoders.vae import DecoderOutput

        del generator  # torch's own decoder passes it over too
        own = latent_BCHW.shape[2:] == (self.side, self.side)
        made = self.networks.ask("decoder", self._traced, [latent_BCHW.float().contiguous().numpy()], own=own, most=1).to(latent_BCHW.dtype)
        return DecoderOutput(sample=made) if return_dict else (made,)


class Engine:
    """Stands in for `denoiser.forward`, and for the autoencoder's `decode`, between `attach` and `detach`."""

    def __init__(self, denoiser: Any, autoencoder: Any, dtype: torch.dtype, cache: Path | None = None) -> None:
        """`denoiser` wears nothing yet. Traced networks are kept in `cache`, by the hash of their weights, and read from there."""
        self.denoiser, self.cache = denoiser, cache or cache_folder()
        self.networks = Networks(dtype, self.cache)
        self.decoder = Decoder(autoencoder, denoiser.config.sample_size, self.networks) if small(autoencoder) else None
        self.plain = copy.deepcopy(denoiser).eval()
        self.multiple = 2 ** (len(denoiser.config.block_out_channels) - 1)  # of the latents' sides, that the traced network takes
        targets = StyleConfig().targets
        self.names = [name for name, part in denoiser.named_modules() if name.endswith(targets) and isinstance(part, nn.Linear | nn.Conv2d)]
        self.merged, self.ranks, self.factor_BR, self.sides = "", 0, np.zeros((1, 0), np.float32), Kept()

    def wear(self, rows: Mapping[str, Sequence[float]], marks: Mapping[str, str], merged: str | None = None) -> None:
        """Makes each row of the next batch wear each adapter so much, and all rows `merged` in full. `marks` tell one adapter's bytes from another's."""
        self.merged = merged or ""
        ranks_of = {name: self._rank(name) for name in rows}
        total = sum(ranks_of.values())
        self.ranks = -(-total // RANKS) * RANKS
        if not rows:
            return
        columns = [np.repeat(np.asarray(rows[name], np.float32)[:, None], rank, 1) for name, rank in ranks_of.items()]
        count = len(columns[0])
        self.factor_BR = np.concatenate([*columns, np.zeros((count, self.ranks - total), np.float32)], 1)
        now = (self.merged, *(f"{name}:{marks[name]}" for name in rows))
        if now != self.sides.names:
            self.sides = Kept(now, 4, self._sides(list(rows)))

    def _rank(self, adapter: str) -> int:
        from peft.tuners.lora import LoraLayer

        layers = (self.denoiser.get_submodule(name) for name in self.names)
        return max((layer.r[adapter] for layer in layers if isinstance(layer, LoraLayer) and adapter in layer.r), default=0)

    @torch.no_grad()
    def _sides(self, adapters: Sequence[str]) -> list[Any]:
        """A and B of every adaptable layer in turn, all adapters' ranks together, each with its own scale in B."""
        from peft.tuners.lora import LoraLayer

        ov = import_openvino()
        made = []
        for name in self.names:
            layer, base = self.denoiser.get_submodule(name), self.plain.get_submodule(name).weight
            down = torch.zeros(self.ranks, *base.shape[1:])
            up = torch.zeros(base.shape[0], self.ranks, *([1, 1] if base.dim() == 4 else []))
            start = 0
            for adapter in adapters:
                rank = self._rank(adapter)
                if isinstance(layer, LoraLayer) and adapter in layer.r:
                    own = layer.r[adapter]
                    down[start : start + own] = layer.lora_A[adapter].weight.float()
                    up[:, start : start + own] = layer.lora_B[adapter].weight.float() * (layer.lora_alpha[adapter] / own)
                start += rank
            made += [ov.Tensor(np.ascontiguousarray(part.numpy()), shared_memory=False) for part in (down, up)]
        return made

    def _traced(self) -> Path:
        """The network for what is worn now, traced when it is first asked for."""
        config = self.plain.config
        path = self.cache / f"{weights_digest(self._weights(), self.ranks, config)}.xml"
        if path.is_file():
            return path
        denoiser = self._with_merged()
        shapes = {0: [-1, config.in_channels, -1, -1], 1: [], 2: [-1, -1, config.cross_attention_dim]}
        example: list[Tensor] = [
            torch.zeros(1, config.in_channels, config.sample_size, config.sample_size), torch.tensor(1), torch.zeros(1, 8, config.cross_attention_dim),
        ]  # fmt: skip
        network: nn.Module = _Plain(denoiser)
        if self.ranks:
            sides = [torch.from_numpy(tensor.data) for tensor in self.sides.tensors]
            example += [torch.zeros(1, self.ranks), *sides]
            shapes |= {3: [-1, self.ranks]} | {4 + at: list(side.shape) for at, side in enumerate(sides)}
            network = _WithSides(denoiser, self.names)
        trace(network, example, shapes, path)
        return path

    def _merged_layers(self) -> Iterator[tuple[str, Any]]:
        """The layers that the adapter which every row wears changes, by their names."""
        for name in self.names if self.merged else ():
            layer = self.denoiser.get_submodule(name)
            if self.merged in getattr(layer, "lora_A", {}):
                yield name, layer

    def _weights(self) -> Iterator[Tensor]:
        """All that the network depends on: adding them up takes a second, so it is not done where a traced one is there."""
        yield from self.plain.state_dict().values()
        for _, layer in self._merged_layers():
            yield from (layer.lora_A[self.merged].weight, layer.lora_B[self.merged].weight, torch.as_tensor(layer.scaling[self.merged]))

    @torch.no_grad()
    def _with_merged(self) -> Any:
        """A copy of the base in float32, with the adapter that every row wears added to its weights."""
        denoiser = copy.deepcopy(self.plain).float()
        for name, layer in self._merged_layers():
            denoiser.get_submodule(name).weight += layer.get_delta_weight(self.merged).float()
        return denoiser

    def covers_adapters(self) -> bool:
        """False where an active adapter changes something that is not adaptable here."""
        from peft.tuners.lora import LoraLayer

        known = set(self.names)
        return all(name in known for name, part in self.denoiser.named_modules() if isinstance(part, LoraLayer))

    def attach(self, decoder: bool = True) -> None:
        """`decoder`: the decoder's part too, which is the base's own; where an adapter that changes it is worn torch decodes."""
        self.denoiser.forward = self._forward
        if self.decoder and decoder:
            self.decoder.attach()
        elif self.decoder:
            self.decoder.detach()

    def detach(self) -> None:
        self.denoiser.__dict__.pop("forward", None)
        if self.decoder:
            self.decoder.detach()

    def _forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, *others: Any, return_dict: bool = True, **more: Any) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        if any(side % self.multiple for side in sample.shape[2:]):
            forward = type(self.denoiser).forward
            return forward(self.denoiser, sample, timestep, encoder_hidden_states, *others, return_dict=return_dict, **more)
        given = [sample.float().contiguous().numpy(), np.asarray(int(timestep), np.int64), encoder_hidden_states.float().contiguous().numpy()]
        if self.ranks:
            assert len(self.factor_BR) == len(sample), "a factor for every row"
            given.append(self.factor_BR)
        own = sample.shape[2:] == (self.denoiser.config.sample_size,) * 2
        made = self.networks.ask((self.merged, self.ranks), self._traced, given, own=own, kept=self.sides if self.ranks else None).to(sample.dtype)
        return UNet2DConditionOutput(sample=made) if return_dict else (made,)
