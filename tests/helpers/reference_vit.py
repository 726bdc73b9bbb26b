"""A vision transformer written from the papers in plain arithmetic, and its weights in the namings of others.

It shares no code with the encoder: tests compare the two.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH, HEADS, PATCH_PX, EPS = 16, 2, 8, 1e-6

State = dict[str, Tensor]


class ReferenceVit:
    """Weights by plain names: ``patch``, ``token``, ``positions`` and ``times``, and per block ``q``, ``k``, ``v``, …

    Args:
        grid: Edge of the grid of patches.
        depth: Blocks.
        has_token: Put a class token before the patches.
        has_scale: Scale the outputs of attention and MLP per channel.
        has_input_norm: Normalise tokens before the first block.
        num_frames: Above 0 TimeSformer: attention over time, and positions of that many frames.
        is_quick: Use CLIP's approximation of GELU.
        seed: Of the weights.
    """

    def __init__(
        self,
        *,
        grid: int = 3,
        depth: int = 3,
        has_token: bool = True,
        has_scale: bool = False,
        has_input_norm: bool = False,
        num_frames: int = 0,
        is_quick: bool = False,
        seed: int = 0,
    ) -> None:
        self.grid, self.depth, self.is_quick, self.num_frames = grid, depth, is_quick, num_frames
        dice = torch.Generator().manual_seed(seed)

        def draw(*shape: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
            return mean + std * torch.randn(*shape, generator=dice)

        def layer(name: str, rows: int, columns: int) -> State:
            return {f"{name}.weight": draw(rows, columns, std=columns**-0.5), f"{name}.bias": draw(rows, std=0.3)}

        def norm(name: str) -> State:
            return {f"{name}.weight": draw(WIDTH, std=0.2, mean=1), f"{name}.bias": draw(WIDTH, std=0.2)}

        self.patch = draw(WIDTH, 3, PATCH_PX, PATCH_PX, std=(3 * PATCH_PX**2) ** -0.5)
        self.patch_bias = draw(WIDTH, std=0.3)
        self.token = draw(WIDTH) if has_token else None
        self.positions = draw(has_token + grid**2, WIDTH, std=0.5)
        self.times = draw(num_frames, WIDTH, std=0.5)
        self.input_norm = norm("n") if has_input_norm else {}
        self.final_norm = norm("n")
        self.blocks: list[State] = []
        for _ in range(depth):
            block = norm("norm1") | norm("norm2")
            for name in ("q", "k", "v", "proj"):
                block |= layer(name, WIDTH, WIDTH)
            block |= layer("fc1", 4 * WIDTH, WIDTH) | layer("fc2", WIDTH, 4 * WIDTH)
            if has_scale:
                block |= {"scale1": draw(WIDTH, std=0.5), "scale2": draw(WIDTH, std=0.5)}
            if num_frames:
                block |= norm("time_norm")
                for name in ("time_q", "time_k", "time_v", "time_proj", "time_dense"):
                    block |= layer(name, WIDTH, WIDTH)
            self.blocks.append(block)

    def embed(self, pixels_3HW: Tensor) -> Tensor:
        """Return the patches of one normalised picture [P, D], without positions."""
        rows = []
        for row in range(self.grid):
            for column in range(self.grid):
                y, x = PATCH_PX * row, PATCH_PX * column
                square = pixels_3HW[:, y : y + PATCH_PX, x : x + PATCH_PX]
                rows.append((self.patch * square).sum(dim=(1, 2, 3)) + self.patch_bias)
        return torch.stack(rows)

    def __call__(self, pixels_T3HW: Tensor, depth: int | None = None) -> Tensor:
        """Run the blocks on normalised frames.

        Returns:
            Tokens [T, 1 + P, D], or [T, P, D] without a class token, before the final norm. Of TimeSformer the class
            token is the same in all frames.
        """
        frames = []
        for i, picture in enumerate(pixels_T3HW):
            x = self.embed(picture)
            if self.token is None:
                x = x + self.positions
            else:
                x = x + self.positions[1:]
                if self.num_frames:
                    x = x + self.times[i]
                x = torch.cat((self.token[None] + self.positions[:1], x))
            frames.append(normed(x, self.input_norm, "n") if self.input_norm else x)
        x_TPD = torch.stack(frames)
        for block in self.blocks[:depth]:
            x_TPD = self._block(block, x_TPD)
        return x_TPD

    def _block(self, block: State, x_TPD: Tensor) -> Tensor:
        x_TPD = x_TPD.clone()
        if self.num_frames:
            for p in range(1, x_TPD.shape[1]):
                over = attend(block, normed(x_TPD[:, p], block, "time_norm"), "time_")
                x_TPD[:, p] += linear(block, "time_dense", over)
        scale1, scale2 = block.get("scale1", 1.0), block.get("scale2", 1.0)
        seen_TPD = torch.stack([scale1 * attend(block, normed(x_PD, block, "norm1")) for x_PD in x_TPD])
        if self.num_frames:
            seen_TPD[:, 0] = seen_TPD[:, 0].mean(dim=0)
        x_TPD += seen_TPD
        inner = linear(block, "fc1", normed(x_TPD, block, "norm2"))
        active = inner / (1 + torch.exp(-1.702 * inner)) if self.is_quick else inner * (1 + (inner / 2**0.5).erf()) / 2
        return x_TPD + scale2 * linear(block, "fc2", active)


def linear(block: State, name: str, x: Tensor) -> Tensor:
    return x @ block[f"{name}.weight"].T + block[f"{name}.bias"]


def normed(x: Tensor, block: State, name: str) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    unit = centred / (centred.square().mean(dim=-1, keepdim=True) + EPS).sqrt()
    return unit * block[f"{name}.weight"] + block[f"{name}.bias"]


def attend(block: State, x_LD: Tensor, start: str = "") -> Tensor:
    """Attend within one sequence, head by head."""
    q, k, v = (linear(block, start + name, x_LD) for name in "qkv")
    size = WIDTH // HEADS
    heads = []
    for i in range(HEADS):
        part = slice(size * i, size * (i + 1))
        heads.append((q[:, part] @ k[:, part].T / size**0.5).softmax(dim=-1) @ v[:, part])
    return linear(block, f"{start}proj", torch.cat(heads, dim=-1))


# ---- the same weights under the names of others ------------------------------------------------------------------


def renamed(block: State, names: dict[str, str]) -> State:
    """Rename the layers of a block; names without ``.weight`` and ``.bias``."""
    found: State = {}
    for old, new in names.items():
        if old in block:
            found[new] = block[old]
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in block:
                found[f"{new}.{kind}"] = block[f"{old}.{kind}"]
    return found


def fused(block: State, name: str, start: str = "") -> State:
    """Put q, k and v below one another."""
    return {
        f"{name}{kind}": torch.cat([block[f"{start}{part}.{kind.strip('._')}"] for part in "qkv"])
        for kind in (("_weight", "_bias") if name.endswith("in_proj") else (".weight", ".bias"))
    }


def prefixed(start: str, state: State) -> State:
    return {start + name: tensor for name, tensor in state.items()}


def timm_state(vit: ReferenceVit) -> State:
    """Name as timm does; with scales as DINOv2 too."""
    state = {
        "pos_embed": vit.positions[None],
        "patch_embed.proj.weight": vit.patch,
        "patch_embed.proj.bias": vit.patch_bias,
    }
    if vit.token is not None:
        state["cls_token"] = vit.token[None, None]
    state |= renamed(vit.input_norm, {"n": "norm_pre"}) | renamed(vit.final_norm, {"n": "norm"})
    names = {"norm1": "norm1", "proj": "attn.proj", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    names |= {"scale1": "ls1.gamma", "scale2": "ls2.gamma"}
    for i, block in enumerate(vit.blocks):
        state |= prefixed(f"blocks.{i}.", renamed(block, names) | fused(block, "attn.qkv"))
    return state | {"head.weight": torch.zeros(5, WIDTH), "head.bias": torch.zeros(5)}


def random_timm_state(width: int, depth: int, patch_px: int, grid: int) -> State:
    """Draw the tensors of a timm ViT of any size."""
    dice = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid**2, width),
        "patch_embed.proj.weight": (width, 3, patch_px, patch_px),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        for name, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes[f"blocks.{i}.{name}.weight"] = (rows * width, columns * width)
            shapes[f"blocks.{i}.{name}.bias"] = (rows * width,)
        shapes |= {f"blocks.{i}.norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    return {name: 0.05 * torch.randn(shape, generator=dice) for name, shape in shapes.items()}


HF_NAMES = {
    "q": "attention.attention.query",
    "k": "attention.attention.key",
    "v": "attention.attention.value",
    "proj": "attention.output.dense",
}
HF5_NAMES = {"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "proj": "attention.o_proj"}
HF_REST = {"norm1": "layernorm_before", "norm2": "layernorm_after", "fc1": "intermediate.dense", "fc2": "output.dense"}
DINOV2_REST = {
    "norm1": "norm1",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "scale1": "layer_scale1.lambda1",
    "scale2": "layer_scale2.lambda1",
}


def hf_state(vit: ReferenceVit, block: str, names: dict[str, str], prefix: str = "") -> State:
    """Name as transformers does for ViT and Dinov2.

    Args:
        vit: The weights.
        block: Before the number of a block.
        names: Of the layers of a block.
        prefix: Before all that belongs to the encoder.
    """
    state = {
        "embeddings.position_embeddings": vit.positions[None],
        "embeddings.patch_embeddings.projection.weight": vit.patch,
        "embeddings.patch_embeddings.projection.bias": vit.patch_bias,
        **renamed(vit.final_norm, {"n": "layernorm"}),
    }
    if vit.token is not None:
        state["embeddings.cls_token"] = vit.token[None, None]
    for i, weights in enumerate(vit.blocks):
        state |= prefixed(f"{block}.{i}.", renamed(weights, names))
    return prefixed(prefix, state) | {"classifier.weight": torch.zeros(5, WIDTH)}


def timesformer_state(vit: ReferenceVit) -> State:
    """Name as transformers does for TimeSformer."""
    names = HF_REST | {"proj": "attention.output.dense", "time_norm": "temporal_layernorm"}
    names |= {"time_proj": "temporal_attention.output.dense", "time_dense": "temporal_dense"}
    state = hf_state(vit, "encoder.layer", names, "timesformer.")
    state["timesformer.embeddings.time_embeddings"] = vit.times[None]
    for i, block in enumerate(vit.blocks):
        attention = fused(block, "attention.attention.qkv") | fused(block, "temporal_attention.attention.qkv", "time_")
        state |= prefixed(f"timesformer.encoder.layer.{i}.", attention)
    return state


def videomae_state(vit: ReferenceVit, *, is_published: bool) -> State:
    """Name as transformers does for VideoMAE: published files have ``q_bias``, later ones ``query.bias``."""
    state = hf_state(vit, "encoder.layer", HF_NAMES | HF_REST, "videomae.")
    del state["videomae.embeddings.position_embeddings"]
    kernel = "videomae.embeddings.patch_embeddings.projection.weight"
    state[kernel] = torch.stack((0.3 * vit.patch, 0.7 * vit.patch), dim=2)
    for i in range(vit.depth):
        attention = f"videomae.encoder.layer.{i}.attention.attention."
        del state[f"{attention}key.bias"]
        if is_published:
            state[f"{attention}q_bias"] = state.pop(f"{attention}query.bias")
            state[f"{attention}v_bias"] = state.pop(f"{attention}value.bias")
    return state


def hf_clip_state(vit: ReferenceVit) -> State:
    """Name as transformers does for CLIP, with something of a text tower."""
    assert vit.token is not None
    names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "proj": "self_attn.out_proj"}
    names |= {"norm1": "layer_norm1", "norm2": "layer_norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    state = {
        "embeddings.class_embedding": vit.token,
        "embeddings.patch_embedding.weight": vit.patch,
        "embeddings.position_embedding.weight": vit.positions,
        "embeddings.position_ids": torch.arange(len(vit.positions))[None],
        **renamed(vit.input_norm, {"n": "pre_layrnorm"}),
        **renamed(vit.final_norm, {"n": "post_layernorm"}),
    }
    for i, block in enumerate(vit.blocks):
        state |= prefixed(f"encoder.layers.{i}.", renamed(block, names))
    text = {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.zeros(8, 8), "logit_scale": torch.zeros(())}
    return prefixed("vision_model.", state) | text


def openai_clip_state(vit: ReferenceVit, prefix: str = "visual.") -> State:
    """Name as OpenAI's CLIP and open_clip do, with something of a text tower."""
    assert vit.token is not None
    names = {"proj": "attn.out_proj", "norm1": "ln_1", "norm2": "ln_2", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}
    names |= {"scale1": "ls_1.gamma", "scale2": "ls_2.gamma"}
    state = {
        "class_embedding": vit.token,
        "conv1.weight": vit.patch,
        "positional_embedding": vit.positions,
        "proj": torch.zeros(WIDTH, 5),
        **renamed(vit.input_norm, {"n": "ln_pre"}),
        **renamed(vit.final_norm, {"n": "ln_post"}),
    }
    for i, block in enumerate(vit.blocks):
        state |= prefixed(f"transformer.resblocks.{i}.", renamed(block, names) | fused(block, "attn.in_proj"))
    text = {
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(24, 8),
        "token_embedding.weight": torch.zeros(9, 8),
    }
    return prefixed(prefix, state) | text
