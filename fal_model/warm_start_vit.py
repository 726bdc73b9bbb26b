"""A published vision transformer, read into the terms of our encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fal_model.attention import MLP_RATIO
from fal_model.config import Activation
from fal_model.errors import ModelLoadError
from fal_model.pretrained import weights_id
from fal_model.spec import content_id
from fal_model.warm_start_files import Settings, checked_count, checked_pixels, read_checkpoint
from fal_model.warm_start_names import NAMINGS, Naming, Pixels, bias_name, intruders, recognise, strangers, weight_name

HEAD_WIDTH = 64
"""Of all published models of these families; taken where no settings tell the number of heads."""

IMAGE_PX = 224
"""Edge of the pictures of all published VideoMAE; taken where no settings tell it."""

MAX_GRID = 256
"""Far above any published grid: a wrong number must not fill the memory with positions."""

NUM_SHOWN = 5


@dataclass(frozen=True, slots=True)
class VitWeights:
    """The encoder of a published vision transformer, float32.

    Attributes:
        source: Where it was read.
        family: Whose naming it has.
        pixels: What its pixels are normalised with.
        activation: Of its MLPs.
        num_heads: Attention heads.
        patch_DCHW: Patch embedding; of a video model the sum over the frames of a tubelet.
        patch_bias_D: Its bias.
        token_D: Class token plus its position; None where the model has none.
        space_PD: Positions of the patches, row by row; of VideoMAE those of the first tubelet.
        time_TD: Positions of the frames; None where the model has none.
        input_norm: ``weight`` and ``bias`` of the norm before the first block; None where there is none.
        blocks: Parameters of each block under our names, LayerScale and TimeSformer's second time projection folded
            into ``out``; those of time attention only where the checkpoint has them.
        used: Names of the tensors that are in the above.
        left_out: Names of the others: final norm, classifier, text tower, decoder.
    """

    source: str
    family: str
    pixels: Pixels
    activation: Activation
    num_heads: int
    patch_DCHW: Tensor
    patch_bias_D: Tensor
    token_D: Tensor | None
    space_PD: Tensor
    time_TD: Tensor | None
    input_norm: dict[str, Tensor] | None
    blocks: tuple[dict[str, Tensor], ...]
    used: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def width(self) -> int:
        """Return the channels of a token."""
        return len(self.patch_DCHW)

    @property
    def patch_px(self) -> int:
        """Return the edge of a patch, pixels."""
        return self.patch_DCHW.shape[-1]

    @property
    def grid(self) -> int:
        """Return the edge of the grid of patches that the positions are of."""
        return math.isqrt(len(self.space_PD))

    @property
    def content_id(self) -> str:
        """Content hash of everything that decides what a model becomes, 16 hex digits. Reads all weights."""
        tensors = {"patch": self.patch_DCHW, "patch_bias": self.patch_bias_D, "space": self.space_PD}
        tensors |= {name: t for name, t in (("token", self.token_D), ("time", self.time_TD)) if t is not None}
        tensors |= {f"input_norm.{name}": tensor for name, tensor in (self.input_norm or {}).items()}
        for i, block in enumerate(self.blocks):
            tensors |= {f"{i}.{name}": tensor for name, tensor in block.items()}
        return content_id([weights_id(tensors), self.pixels, self.activation.value, self.num_heads])


def load_vit(
    path: str | Path,
    *,
    pixels: Pixels | None = None,
    activation: Activation | None = None,
    num_heads: int | None = None,
) -> VitWeights:
    """Read a published vision transformer.

    What an argument gives goes before what the folder's settings say, and that before the custom of the family: for
    pixels ImageNet's mean and deviation, of CLIP and TimeSformer their own, of transformers' ViT 0.5; for the
    activation GELU, of CLIP its quick one; heads are 64 wide, and VideoMAE's pictures 224 pixels.

    Args:
        path: A ``.safetensors`` file, or a folder as on the Hugging Face hub, of which the settings are read too.
        pixels: Mean and deviation that the checkpoint's pixels, 0 to 1, were normalised with.
        activation: Of the MLPs.
        num_heads: Attention heads, ≥ 1.

    Raises:
        ModelLoadError: not found, damaged, a pickle, or not a transformer that our encoder can take over unchanged.
    """
    state, settings = read_checkpoint(path)
    if pixels is not None:
        pixels = checked_pixels("pixels", pixels.mean, pixels.std)
    num_heads = checked_count("num_heads", num_heads)
    naming, prefix = _recognised(path, state)
    tensors = _Tensors(str(path), state, prefix)
    patch_DCHW, patch_bias_D = _patch(tensors, naming)
    width = len(patch_DCHW)
    heads = num_heads or settings.num_heads or max(width // HEAD_WIDTH, 1)
    if width % heads:
        raise ModelLoadError(f"{path}: num_heads: got {heads}, must divide the width {width}")
    if naming.positions:
        token_D, space_PD = _positions(tensors, naming, width)
    else:
        token_D, space_PD = None, _computed_positions(str(path), settings, patch_DCHW)
    has_input_norm = bool(naming.input_norm) and tensors.has(f"{naming.input_norm}.weight")
    return VitWeights(
        source=str(path),
        family=naming.title,
        pixels=pixels or settings.pixels or naming.pixels,
        activation=activation or settings.activation or naming.activation,
        num_heads=heads,
        patch_DCHW=patch_DCHW,
        patch_bias_D=patch_bias_D,
        token_D=token_D,
        space_PD=space_PD,
        time_TD=_times(tensors, naming, width) if naming.times else None,
        input_norm=tensors.layer((naming.input_norm,), width) if has_input_norm else None,
        blocks=tuple(_block(tensors, naming, i, width) for i in range(tensors.count(naming.block))),
        used=tuple(sorted(tensors.used)),
        left_out=tuple(sorted(set(state) - tensors.used)),
    )


def _recognised(path: str | Path, state: Mapping[str, Tensor]) -> tuple[Naming, str]:
    """Find the naming and what stands before its names, and check that it is all that the encoder computes."""
    found = recognise({name: tensor.ndim for name, tensor in state.items()})
    if found is None:
        raise ModelLoadError(
            f"{path}: got tensors named {_some(sorted(state))}; must be a vision transformer in the naming of "
            f"{', '.join(naming.title for naming in NAMINGS)}"
        )
    naming, prefix = found
    others = intruders(naming, prefix, state)
    if others:
        raise ModelLoadError(
            f"{path}: {naming.title}: got {_some(others)}, must not be there: its blocks are named like those of "
            f"{naming.title}, but it is another model"
        )
    unknown = strangers(naming, prefix, state)
    if unknown:
        raise ModelLoadError(
            f"{path}: {naming.title}: cannot take over {_some(unknown)}; a block must be attention, an MLP of two "
            "layers, two norms and LayerScales, without register tokens, gates or relative positions"
        )
    return naming, prefix


class _Tensors:
    """The tensors of a checkpoint, checked as they are taken, and which of them were."""

    def __init__(self, source: str, state: Mapping[str, Tensor], prefix: str) -> None:
        self.source, self.state, self.prefix = source, state, prefix
        self.used: set[str] = set()

    def has(self, name: str) -> bool:
        return self.prefix + name in self.state

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a tensor as float32; its shape is checked where one is given."""
        key = self.prefix + name
        if key not in self.state:
            raise ModelLoadError(f"{self.source}: {key}: missing")
        tensor = self.state[key]
        if not tensor.is_floating_point():
            raise ModelLoadError(f"{self.source}: {key}: got {tensor.dtype}, must be floating point")
        if shape and tensor.shape != shape:
            raise self.misshapen(name, str(list(shape)))
        tensor = tensor.float()  # before the look at its values, which torch cannot take at those of 8 bits
        if not tensor.isfinite().all():
            raise ModelLoadError(f"{self.source}: {key}: holds infinite values or NaN, must be finite")
        self.used.add(key)
        return tensor

    def misshapen(self, name: str, allowed: str) -> ModelLoadError:
        """Return the error for a tensor of a shape that is not allowed."""
        key = self.prefix + name
        return ModelLoadError(f"{self.source}: {key}: got {list(self.state[key].shape)}, must be {allowed}")

    def layer(self, names: tuple[str, ...], *shape: int) -> dict[str, Tensor]:
        """Return weight and bias of a layer that may lie in several parts, one below the other; no bias is zeros."""
        rows = shape[0] // len(names)
        weights = [self.take(weight_name(name), rows, *shape[1:]) for name in names]
        biases = [self.take(bias, rows) if self.has(bias) else torch.zeros(rows) for bias in map(bias_name, names)]
        return {"weight": torch.cat(weights), "bias": torch.cat(biases)}

    def count(self, block: str) -> int:
        """Return the number of blocks; the first is there already."""
        start = f"{self.prefix}{block}."
        found = {name.removeprefix(start).split(".")[0] for name in self.state if name.startswith(start)}
        numbers = {int(number) for number in found if number.isdecimal()}
        if numbers != set(range(len(numbers))):
            raise ModelLoadError(f"{self.source}: {start}N: got numbers {sorted(numbers)}, must be 0 to N without gaps")
        return len(numbers)


def _patch(tensors: _Tensors, naming: Naming) -> tuple[Tensor, Tensor]:
    """Return weight [D, 3, P, P] and bias [D] of the patch embedding, the frames of a tubelet summed up."""
    name, bias = f"{naming.patch}.weight", f"{naming.patch}.bias"
    weight = tensors.take(name)
    shape = weight.shape
    if shape[1:2] != (3,) or len(shape) != 4 + naming.is_video or shape[-1] != shape[-2] or 0 in shape:
        allowed = "[width, 3, frames, P, P]" if naming.is_video else "[width, 3, P, P]"
        raise tensors.misshapen(name, f"{allowed}: patches are square and have three colours")
    if naming.is_video:
        weight = weight.sum(dim=2)
    return weight, tensors.take(bias, len(weight)) if tensors.has(bias) else torch.zeros(len(weight))


def _positions(tensors: _Tensors, naming: Naming, width: int) -> tuple[Tensor | None, Tensor]:
    """Return the class token with its position, and the positions of the patches."""
    token_D = None
    if tensors.has(naming.token):
        token_D = tensors.take(naming.token)
        if token_D.shape not in {(width,), (1, 1, width)}:
            raise tensors.misshapen(naming.token, f"[{width}] or [1, 1, {width}]")
        token_D = token_D.flatten()
    positions = tensors.take(naming.positions)
    count = positions.shape[-2] if positions.ndim > 1 else 0
    if positions.shape not in {(count, width), (1, count, width)}:
        count = 0
    first = int(token_D is not None and _is_square(count - 1))
    if count <= first or not _is_square(count - first):
        raise tensors.misshapen(
            naming.positions,
            f"[P, {width}] or [1, P, {width}], P positions of a square grid and at most one class token before them",
        )
    positions_PD = positions.reshape(count, width)
    if token_D is not None and first:
        token_D = token_D + positions_PD[0]
    return token_D, positions_PD[first:]


def _times(tensors: _Tensors, naming: Naming, width: int) -> Tensor:
    """Return the positions of the frames."""
    times = tensors.take(naming.times)
    if times.shape != (1, max([1, *times.shape[1:2]]), width):
        raise tensors.misshapen(naming.times, f"[1, frames, {width}] of at least one frame")
    return times[0]


def _computed_positions(source: str, settings: Settings, patch_DCHW: Tensor) -> Tensor:
    """Return VideoMAE's positions of the first tubelet, numbered in the grid that the checkpoint was trained on."""
    width, patch_px = len(patch_DCHW), patch_DCHW.shape[-1]
    image_px = settings.image_px or IMAGE_PX
    grid = image_px // patch_px
    if not 1 <= grid <= MAX_GRID:
        raise ModelLoadError(f"{source}: image_size: got {image_px}, must be 1 to {MAX_GRID} patches of {patch_px} px")
    return sinusoids(grid**2, width)


def _is_square(number: int) -> bool:
    return number >= 0 and math.isqrt(number) ** 2 == number


def sinusoids(num_positions: int, width: int) -> Tensor:
    """Return VideoMAE's fixed positions [P, D]: sines in the even channels, cosines in the odd ones.

    Source: Vaswani et al. 2017, "Attention Is All You Need", §3.5.
    """
    channels = torch.arange(width)
    rates = 10_000.0 ** (-2 * (channels // 2).double() / width)
    angles = torch.arange(num_positions).double()[:, None] * rates
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()


def _block(tensors: _Tensors, naming: Naming, number: int, width: int) -> dict[str, Tensor]:
    """Read a block under our names."""
    start = f"{naming.block}.{number}."
    shapes = {
        "space_norm": (width,),
        "space.qkv": (3 * width, width),
        "space.out": (width, width),
        "mlp_norm": (width,),
        "mlp.up": (MLP_RATIO * width, width),
        "mlp.out": (width, MLP_RATIO * width),
        "time_norm": (width,),
        "time.qkv": (3 * width, width),
        "time.out": (width, width),
        "time.dense": (width, width),
    }
    layers = {
        part: tensors.layer(tuple(start + name for name in naming.parts[part]), *shape)
        for part, shape in shapes.items()
        if part in naming.parts
    }
    for third, name in zip((0, 2), naming.optional, strict=False):  # VideoMAE's biases of q and v; k has none
        if tensors.has(start + name):
            layers["space.qkv"]["bias"][third * width : (third + 1) * width] = tensors.take(start + name, width)
    for part in ("space", "mlp"):
        scale = naming.parts.get(f"{part}.scale", ("",))[0]
        if scale and tensors.has(start + scale):
            scale_D = tensors.take(start + scale, width)
            out = layers[f"{part}.out"]
            layers[f"{part}.out"] = {"weight": scale_D[:, None] * out["weight"], "bias": scale_D * out["bias"]}
    if "time.dense" in layers:
        layers["time.out"] = _compose(layers.pop("time.dense"), layers["time.out"])
    return {f"{part}.{kind}": tensor for part, layer in layers.items() for kind, tensor in layer.items()}


def _compose(second: dict[str, Tensor], first: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the one linear layer that does what two in a row do."""
    weight, bias = second["weight"].double(), second["bias"].double()
    return {
        "weight": (weight @ first["weight"].double()).float(),
        "bias": (weight @ first["bias"].double() + bias).float(),
    }


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NUM_SHOWN])
    return f"{shown} and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else shown or "nothing"
