"""Activation checkpointing: give up what a block computed inside and compute it again when gradients are taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class BlockRunner(nn.Module):
    """A part of the model that runs blocks one after the other.

    Attributes:
        is_recomputed: Keep only what goes into each block and run the block again in the backward pass. It costs one
            more forward pass and gives the same gradients, dropout included. Without gradients it changes nothing.
    """

    is_recomputed: bool = False

    def run_blocks(self, stack: nn.Module, x: Tensor, *others: Tensor | None) -> Tensor:
        """Run the children of a module.

        Args:
            stack: Holds the blocks; each takes a tensor and the others, and returns the next tensor.
            x: For the first block.
            others: The same for every block.

        Returns:
            What the last block returns.
        """
        for block in stack.children():
            if self.is_recomputed and torch.is_grad_enabled():
                x = checkpoint(block, x, *others, use_reentrant=False)
            else:
                x = block(x, *others)
        return x


def set_recomputed(model: nn.Module, *, is_recomputed: bool) -> None:
    """Switch recomputation in every part of a model that runs blocks."""
    for part in model.modules():
        if isinstance(part, BlockRunner):
            part.is_recomputed = is_recomputed
