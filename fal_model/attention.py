"""Attention over time, over space and across streams; the divided space-time block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.config import Activation

MLP_RATIO = 4

QUICK_GELU_SLOPE = 1.702

NORM_EPS = 1e-6
"""Of every LayerNorm; that of most published vision transformers."""


def layer_norm(width: int) -> nn.LayerNorm:
    """Make the norm that all parts of the model use."""
    return nn.LayerNorm(width, eps=NORM_EPS)


class TimeAttention(nn.Module):
    """Attention of each position with the same position of the other frames: [B, T, P, D] to the same shape."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.head_width = width // num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        """Attend over T."""
        batch, frames, positions, width = x_BTPD.shape
        pieces = positions * width // self.head_width
        # Three products instead of one: then positions and heads lie side by side in memory, and P·N is the head
        # dimension of one attention call without a copy.
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q, k, v = (
            F.linear(x_BTPD, weight, bias).view(batch, frames, pieces, self.head_width).transpose(1, 2)
            for weight, bias in zip(weights, biases, strict=True)
        )
        y_BHTE = F.scaled_dot_product_attention(q, k, v)
        y_BTPD: Tensor = self.out(y_BHTE.transpose(1, 2).reshape(x_BTPD.shape))
        return y_BTPD


class SpaceAttention(nn.Module):
    """Attention among the positions of one frame: [B, T, P, D] to the same shape."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        """Attend over P."""
        batch, frames, positions, width = x_BTPD.shape
        qkv = self.qkv(x_BTPD).view(batch * frames, positions, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.transpose(1, 3).unbind(2)
        y_MNPE = F.scaled_dot_product_attention(q, k, v)
        y_BTPD: Tensor = self.out(y_MNPE.transpose(1, 2).reshape(x_BTPD.shape))
        return y_BTPD


class CrossAttention(nn.Module):
    """Attention of tokens [B, Q, D] to the tokens of another stream [B, S, D]; keeps the shape of the first."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BQD: Tensor, other_BSD: Tensor) -> Tensor:
        """Attend from the first stream to the second."""
        batch, queries, width = x_BQD.shape
        head_width = width // self.num_heads
        q = self.q(x_BQD).view(batch, queries, self.num_heads, head_width).transpose(1, 2)
        kv = self.kv(other_BSD).view(batch, other_BSD.shape[1], 2, self.num_heads, head_width)
        k, v = kv.transpose(1, 3).unbind(2)
        y_BNQE = F.scaled_dot_product_attention(q, k, v)
        y_BQD: Tensor = self.out(y_BNQE.transpose(1, 2).reshape(batch, queries, width))
        return y_BQD


class Mlp(nn.Module):
    """Two linear layers around a GELU, four times as wide inside."""

    def __init__(self, width: int, activation: Activation = Activation.GELU) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(width, MLP_RATIO * width)
        self.out = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last dimension; the shape stays."""
        inner = self.up(x)
        is_quick = self.activation is Activation.QUICK_GELU
        y: Tensor = self.out(inner * torch.sigmoid(QUICK_GELU_SLOPE * inner) if is_quick else F.gelu(inner))
        return y


class DividedBlock(nn.Module):
    """Time attention, space attention, an MLP: each normalised first, each added to its input.

    The first token of each frame may be one that stands for the whole frame. It attends with the patches of its frame,
    but takes no part in time attention: what other frames show, it hears from the patches.

    Source: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", §3; its class token
    is treated alike.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        dropout: float,
        *,
        activation: Activation = Activation.GELU,
        has_frame_token: bool = False,
    ) -> None:
        super().__init__()
        self.has_frame_token = has_frame_token
        self.time_norm = layer_norm(width)
        self.time = TimeAttention(width, num_heads)
        self.space_norm = layer_norm(width)
        self.space = SpaceAttention(width, num_heads)
        self.mlp_norm = layer_norm(width)
        self.mlp = Mlp(width, activation)
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x_BTPD: Tensor) -> Tensor:
        """Keep the shape [B, T, P, D], or [B, T, 1 + P, D] with a frame token."""
        first = int(self.has_frame_token)
        patches_BTPD = x_BTPD[:, :, first:]
        patches_BTPD = patches_BTPD + self.drop(self.time(self.time_norm(patches_BTPD)))
        x_BTPD = torch.cat((x_BTPD[:, :, :1], patches_BTPD), dim=2) if first else patches_BTPD
        x_BTPD = x_BTPD + self.drop(self.space(self.space_norm(x_BTPD)))
        y_BTPD: Tensor = x_BTPD + self.drop(self.mlp(self.mlp_norm(x_BTPD)))
        return y_BTPD
