"""How published vision transformers name their tensors: one table per naming, and what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fal_model.config import Activation


class Pixels(NamedTuple):
    """What was subtracted from RGB between 0 and 1, and by what it was then divided, when a checkpoint was trained."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Pixels((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
KINETICS = Pixels((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
"""What the authors of TimeSformer train with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """Where a family of checkpoints keeps each part; names without ``.weight`` and ``.bias``, relative to a prefix.

    Attributes:
        title: What a person calls it.
        block: Before the number of a block.
        patch: Patch embedding.
        token: Class token; empty where the family has none.
        positions: Positions of class token and patches; empty where they are computed.
        times: Positions of frames; empty where there are none.
        input_norm: Norm before the first block; empty where there is none.
        parts: Part of one of our blocks to its name within a block. ``space.qkv`` may be three, for q, k and v.
            ``space.scale`` and ``mlp.scale`` are LayerScales, full names.
        optional: Full names within a block that may be there or not.
        required: Full names without which it is another family, whose blocks look alike.
        forbidden: Full names with which it is another family, whose blocks look alike.
        pixels: How the family's pixels are normalised.
        activation: Of the family's MLPs.
        is_video: The patch embedding spans more than one frame.
    """

    title: str
    block: str
    patch: str
    token: str
    positions: str
    parts: dict[str, tuple[str, ...]]
    times: str = ""
    input_norm: str = ""
    optional: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    pixels: Pixels = IMAGENET
    activation: Activation = Activation.GELU
    is_video: bool = False


_HF_EMBEDDINGS = "embeddings.patch_embeddings.projection"

_HF_PARTS = {
    "space_norm": ("layernorm_before",),
    "space.qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    "space.out": ("attention.output.dense",),
    "mlp_norm": ("layernorm_after",),
    "mlp.up": ("intermediate.dense",),
    "mlp.out": ("output.dense",),
}

_HF5_ATTENTION = {
    "space.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "space.out": ("attention.o_proj",),
}

_TIMM_MLP = {"mlp_norm": ("norm2",), "mlp.up": ("mlp.fc1",), "mlp.out": ("mlp.fc2",)}

TIMM = Naming(
    title="timm ViT and DINOv2",
    block="blocks",
    patch="patch_embed.proj",
    token="cls_token",  # noqa: S106 - a name in a file
    positions="pos_embed",
    input_norm="norm_pre",
    parts={
        "space_norm": ("norm1",),
        "space.qkv": ("attn.qkv",),
        "space.out": ("attn.proj",),
        "space.scale": ("ls1.gamma",),
        "mlp.scale": ("ls2.gamma",),
        **_TIMM_MLP,
    },
)

HF_VIT = Naming(
    title="transformers ViT",
    block="encoder.layer",
    patch=_HF_EMBEDDINGS,
    token="embeddings.cls_token",  # noqa: S106 - a name in a file
    positions="embeddings.position_embeddings",
    parts=_HF_PARTS,
    pixels=HALF,
)

HF5_VIT = Naming(
    title="transformers 5 ViT",
    block="layers",
    patch=_HF_EMBEDDINGS,
    token="embeddings.cls_token",  # noqa: S106 - a name in a file
    positions="embeddings.position_embeddings",
    parts=_HF_PARTS | _HF5_ATTENTION | {"mlp.up": ("mlp.fc1",), "mlp.out": ("mlp.fc2",)},
    pixels=HALF,
)

HF_DINOV2 = Naming(
    title="transformers Dinov2",
    block="encoder.layer",
    patch=_HF_EMBEDDINGS,
    token="embeddings.cls_token",  # noqa: S106 - a name in a file
    positions="embeddings.position_embeddings",
    parts={
        "space_norm": ("norm1",),
        "space.qkv": _HF_PARTS["space.qkv"],
        "space.out": _HF_PARTS["space.out"],
        "space.scale": ("layer_scale1.lambda1",),
        "mlp.scale": ("layer_scale2.lambda1",),
        **_TIMM_MLP,
    },
)

HF5_DINOV2 = Naming(
    title="transformers 5 Dinov2",
    block="encoder.layer",
    patch=_HF_EMBEDDINGS,
    token="embeddings.cls_token",  # noqa: S106 - a name in a file
    positions="embeddings.position_embeddings",
    parts=HF_DINOV2.parts | _HF5_ATTENTION,
)

HF_CLIP = Naming(
    title="transformers CLIP",
    block="encoder.layers",
    patch="embeddings.patch_embedding",
    token="embeddings.class_embedding",  # noqa: S106 - a name in a file
    positions="embeddings.position_embedding.weight",
    input_norm="pre_layrnorm",  # the family's own spelling
    parts={
        "space_norm": ("layer_norm1",),
        "space.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "space.out": ("self_attn.out_proj",),
        "mlp_norm": ("layer_norm2",),
        "mlp.up": ("mlp.fc1",),
        "mlp.out": ("mlp.fc2",),
    },
    required=("embeddings.class_embedding", "pre_layrnorm.weight"),
    pixels=CLIP,
    activation=Activation.QUICK_GELU,
)

OPENAI_CLIP = Naming(
    title="OpenAI CLIP and open_clip",
    block="transformer.resblocks",
    patch="conv1",
    token="class_embedding",  # noqa: S106 - a name in a file
    positions="positional_embedding",
    input_norm="ln_pre",
    parts={
        "space_norm": ("ln_1",),
        "space.qkv": ("attn.in_proj",),
        "space.out": ("attn.out_proj",),
        "space.scale": ("ls_1.gamma",),
        "mlp_norm": ("ln_2",),
        "mlp.up": ("mlp.c_fc",),
        "mlp.out": ("mlp.c_proj",),
        "mlp.scale": ("ls_2.gamma",),
    },
    required=("class_embedding", "ln_pre.weight"),
    pixels=CLIP,
    activation=Activation.QUICK_GELU,
)

TIMESFORMER = Naming(
    title="transformers TimeSformer",
    block="encoder.layer",
    patch=_HF_EMBEDDINGS,
    token="embeddings.cls_token",  # noqa: S106 - a name in a file
    positions="embeddings.position_embeddings",
    times="embeddings.time_embeddings",
    parts=_HF_PARTS
    | {
        "space.qkv": ("attention.attention.qkv",),
        "time_norm": ("temporal_layernorm",),
        "time.qkv": ("temporal_attention.attention.qkv",),
        "time.out": ("temporal_attention.output.dense",),
        "time.dense": ("temporal_dense",),
    },
    pixels=KINETICS,
)

VIDEOMAE = Naming(
    title="transformers VideoMAE",
    block="encoder.layer",
    patch=_HF_EMBEDDINGS,
    token="",
    positions="",
    parts=_HF_PARTS,
    optional=("attention.attention.q_bias", "attention.attention.v_bias"),
    forbidden=("embeddings.cls_token", "embeddings.position_embeddings"),  # ViViT, whose block names are the same
    is_video=True,
)

NAMINGS = (TIMM, TIMESFORMER, VIDEOMAE, HF_VIT, HF5_VIT, HF_DINOV2, HF5_DINOV2, HF_CLIP, OPENAI_CLIP)

_CHANGES_THE_FUNCTION = re.compile(
    r"regist|reg_token|dist_token|distillation|detection_token|relative_position|rel_pos|rope"
)
"""Parts of transformers that ours has not; a checkpoint with one of these cannot be loaded without changing it."""


def recognise(shapes: dict[str, int]) -> tuple[Naming, str] | None:
    """Find the naming of a checkpoint and what stands before its names.

    Args:
        shapes: Number of dimensions of each tensor.

    Returns:
        Naming and prefix, empty or ending in a dot; None when it is none that we know.
    """
    for naming in NAMINGS:
        key = f"{naming.patch}.weight"
        for name, num_dims in shapes.items():
            if name != key and not name.endswith(f".{key}"):
                continue
            prefix = name.removesuffix(key)
            if (num_dims > 4) is naming.is_video and _has_first_block(naming, prefix, shapes):  # noqa: PLR2004 - width, colours, rows, columns
                return naming, prefix
    return None


def _has_first_block(naming: Naming, prefix: str, names: Iterable[str]) -> bool:
    """Tell whether the attention of the first block is there under its names, and all that the family requires."""
    first = f"{prefix}{naming.block}.0."
    attention = [*naming.parts["space_norm"], *naming.parts["space.qkv"], *naming.parts.get("time.qkv", ())]
    wanted = {weight_name(first + part) for part in attention} | {prefix + name for name in naming.required}
    return wanted <= set(names)


def weight_name(part: str) -> str:
    """Return the name of a layer's weight; torch's MultiheadAttention has an underscore where others have a dot."""
    return f"{part}_weight" if part.endswith(".in_proj") else f"{part}.weight"


def bias_name(part: str) -> str:
    """Return the name of a layer's bias."""
    return f"{part}_bias" if part.endswith(".in_proj") else f"{part}.bias"


def intruders(naming: Naming, prefix: str, names: Iterable[str]) -> list[str]:
    """List the tensors that say that a checkpoint is of another family, though its blocks have a naming's names."""
    return sorted({prefix + name for name in naming.forbidden}.intersection(names))


def strangers(naming: Naming, prefix: str, names: Iterable[str]) -> list[str]:
    """List the tensors that are part of what the encoder computes and have no place in ours."""
    known = set(naming.optional)
    for key, parts in naming.parts.items():
        known |= set(parts) if key.endswith(".scale") else {f(part) for part in parts for f in (weight_name, bias_name)}
    block = re.compile(rf"{re.escape(prefix + naming.block)}\.\d+\.(.+)")
    found = []
    for name in names:
        if not name.startswith(prefix):
            continue
        match = block.fullmatch(name)
        if (match and match[1] not in known) or _CHANGES_THE_FUNCTION.search(name.removeprefix(prefix)):
            found.append(name)
    return found
