"""Warm start: put a published vision transformer into the encoder, so that at first it computes what it always did.

What is preserved exactly, but for the rounding of float32, before any training:

- Image models (timm, DINOv2, CLIP, transformers' ViT and Dinov2): in every frame the patch tokens and the class token,
  up to the first merge of tokens. New blocks pass their input on, and attention over time starts at zero.
- TimeSformer: the same for one frame, and for equal frames if the checkpoint's frame positions are equal. It averages
  one class token over the frames; here each frame has its own. For frames that differ, the patch tokens after the first
  block are the same; later blocks see other class tokens.
- VideoMAE: it attends over all frames at once, here attention over space does so in each frame. Preserved is a clip of
  one tubelet of two equal frames, which is one frame here. Its key has no bias, its tokens have no class token.

A merge halves the grid by averaging 2×2 tokens at first; after it, the blocks compute what they do, on means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.config import ModelConfig
from fal_model.encoder import COLOURS_FROM_RGB, PIXEL_MEAN, PIXEL_STD, PatchEmbedding
from fal_model.errors import ModelLoadError
from fal_model.model import FALModel
from fal_model.warm_start_vit import VitWeights

RESIDUAL_OUTPUTS = ("time.out", "space.out", "mlp.out")
"""With these at zero, a block passes its input on."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What a warm start did.

    Attributes:
        source: Where the checkpoint was read.
        family: Whose naming it has.
        num_blocks: Blocks that the checkpoint has.
        num_new_blocks: Blocks that were added between them.
        used: Tensors of the checkpoint that were taken over.
        resized: Names of our positions that were interpolated to another grid or number of frames.
        left_out: Tensors of the checkpoint that have no place in the encoder.
        fresh: Our parameters that keep their random start.
    """

    source: str
    family: str
    num_blocks: int
    num_new_blocks: int
    used: tuple[str, ...]
    resized: tuple[str, ...]
    left_out: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        resized = f", {' and '.join(self.resized)} interpolated" if self.resized else ""
        return (
            f"warm start from {self.source} ({self.family}): {self.num_blocks} blocks, {self.num_new_blocks} new ones "
            f"between them; {len(self.used)} tensors taken over{resized}, {len(self.left_out)} left out; "
            f"{len(self.fresh)} of the model's own start at random"
        )


def fitted(config: ModelConfig, weights: VitWeights) -> ModelConfig:
    """Set the switches that follow from the checkpoint: frame token, norm of the input, activation.

    Raises:
        ModelLoadError: the checkpoint does not fit the sizes; all differences are listed.
    """
    config = replace(
        config,
        has_frame_token=weights.token_D is not None,
        has_input_norm=weights.input_norm is not None,
        activation=weights.activation,
    )
    _check(config, weights)
    return config


@torch.no_grad()
def warm_start(model: FALModel, weights: VitWeights) -> WarmStart:
    """Put a published vision transformer into the model's encoder.

    Blocks keep their order over the three stages. Where the model has more, new ones are spread evenly between them:
    copies of the block before, whose outputs start at zero. Motion, fusion, pyramid and heads keep their random start.

    Args:
        model: Of a configuration from :func:`fitted`. Its encoder is overwritten in place.
        weights: From :func:`~fal_model.warm_start_vit.load_vit`.

    Returns:
        What was done.

    Raises:
        ModelLoadError: the checkpoint does not fit the model; all differences are listed.
    """
    _check(model.config, weights)
    encoder = model.encoder
    blocks = [block for stage in encoder.stages for block in stage.children()]
    resized = _start_embedding(encoder.embed, weights)
    for block, origin, is_new in zip(blocks, *_growth(len(weights.blocks), len(blocks)), strict=True):
        _start_block(block, weights.blocks[origin], is_new=is_new)
    for name, parameter in encoder.merges.named_parameters():
        if ".out." in name:
            nn.init.zeros_(parameter)
    return WarmStart(
        source=weights.source,
        family=weights.family,
        num_blocks=len(weights.blocks),
        num_new_blocks=len(blocks) - len(weights.blocks),
        used=weights.used,
        resized=resized,
        left_out=weights.left_out,
        fresh=tuple(name for name, _ in model.named_parameters() if not name.startswith("encoder.")),
    )


def _check(config: ModelConfig, weights: VitWeights) -> None:
    depth = sum(config.stage_depths)
    pairs = (
        ("width", weights.width, config.width),
        ("num_heads", weights.num_heads, config.num_heads),
        ("patch_px", weights.patch_px, config.patch_px),
        ("has_frame_token", weights.token_D is not None, config.has_frame_token),
        ("has_input_norm", weights.input_norm is not None, config.has_input_norm),
        ("activation", weights.activation.value, config.activation.value),
    )
    problems = [f"{name}: got {found}, must be the model's {ours}" for name, found, ours in pairs if found != ours]
    if len(weights.blocks) > depth:
        problems.append(f"blocks: got {len(weights.blocks)}, must be at most the model's {depth}")
    if problems:
        raise ModelLoadError(f"{weights.source}: {weights.family}: does not fit the model: {'; '.join(problems)}")


def _growth(num_old: int, num_all: int) -> tuple[list[int], list[bool]]:
    """Spread blocks evenly: for each place the old block it comes from, and whether it is a new one."""
    origins = [i * num_old // num_all for i in range(num_all)]
    return origins, [i > 0 and origins[i - 1] == origin for i, origin in enumerate(origins)]


def _start_block(block: nn.Module, source: dict[str, Tensor], *, is_new: bool) -> None:
    """Fill a block. Attention over time, where the checkpoint has none, starts as that over space, without output."""
    for name, parameter in block.named_parameters():
        is_silent = is_new or name not in source
        if is_silent and name.rpartition(".")[0] in RESIDUAL_OUTPUTS:
            parameter.zero_()
        else:
            parameter.copy_(source[name] if name in source else source[name.replace("time", "space", 1)])


def _start_embedding(embed: PatchEmbedding, weights: VitWeights) -> tuple[str, ...]:
    """Fill the embedding; returns the names of positions that were interpolated."""
    weight_DN, bias_D = _for_our_pixels(weights)
    embed.proj.weight.copy_(weight_DN)
    embed.proj.bias.copy_(bias_D)
    if embed.frame_D is not None and weights.token_D is not None:
        embed.frame_D.copy_(weights.token_D)
    if isinstance(embed.norm, nn.LayerNorm) and weights.input_norm is not None:
        embed.norm.weight.copy_(weights.input_norm["weight"])
        embed.norm.bias.copy_(weights.input_norm["bias"])
    embed.space_PD.copy_(_resize_grid(weights, len(embed.space_PD)))
    if weights.time_TD is None:
        embed.time_TD.zero_()
    else:
        embed.time_TD.copy_(_resize_times(weights.time_TD, len(embed.time_TD)))
    is_resized = {
        "space_PD": len(weights.space_PD) != len(embed.space_PD),
        "time_TD": weights.time_TD is not None and len(weights.time_TD) != len(embed.time_TD),
    }
    return tuple(name for name, yes in is_resized.items() if yes)


def _for_our_pixels(weights: VitWeights) -> tuple[Tensor, Tensor]:
    """Return weight [D, 3·P²] and bias [D] that do with our normalisation and colours what the checkpoint's did.

    It saw (x − mean) / std of each colour x; ours are (x − PIXEL_MEAN) / PIXEL_STD, and weights are mixed by
    COLOURS_FROM_RGB before they are applied, so the inverse of that mixing is put in here.
    """
    weight_DCN = weights.patch_DCHW.double().flatten(2)
    mean_C1, std_C1 = (torch.tensor(values, dtype=torch.float64)[:, None] for values in weights.pixels)
    bias_D = weights.patch_bias_D.double() + (weight_DCN * (PIXEL_MEAN - mean_C1) / std_C1).sum(dim=(1, 2))
    rgb_DCN = weight_DCN * PIXEL_STD / std_C1
    mixing_KC = torch.tensor(COLOURS_FROM_RGB, dtype=torch.float64)
    ours_DKN = torch.einsum("dcn,ck->dkn", rgb_DCN, mixing_KC.inverse())
    return ours_DKN.flatten(1).float(), bias_D.float()


def _resize_grid(weights: VitWeights, num_patches: int) -> Tensor:
    """Interpolate positions of a square grid to another; bicubic, antialiased where it gets coarser."""
    if len(weights.space_PD) == num_patches:
        return weights.space_PD
    new = math.isqrt(num_patches)
    picture = weights.space_PD.T.reshape(1, -1, weights.grid, weights.grid)
    resized = F.interpolate(picture, size=(new, new), mode="bicubic", align_corners=False, antialias=True)
    return resized.flatten(2)[0].T


def _resize_times(time_TD: Tensor, num_frames: int) -> Tensor:
    """Give each frame the position that lies nearest in the clip, as transformers does."""
    if len(time_TD) == num_frames:
        return time_TD
    return F.interpolate(time_TD.T[None], size=num_frames, mode="nearest")[0].T
