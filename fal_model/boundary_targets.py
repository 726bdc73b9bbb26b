"""What the boundary head learns: how far it is from each frame to the borders of what happens at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fal_model.taxonomy import Taxonomy


class Span(NamedTuple):
    """A class between two places of a clip (see :mod:`fal_model.timeline`), within 0 to 1.

    What goes on beyond the clip's window begins at 0, or ends at 1.
    """

    class_index: int
    start: float
    end: float


def boundary_targets(
    spans: Sequence[Sequence[Span] | None], taxonomy: Taxonomy, num_frames: int
) -> tuple[Tensor, Tensor]:
    """Say how far each frame is from the borders of the spans that hold at it.

    Args:
        spans: Per clip its spans; None where unknown. Those of classes that are not leaves are left out. Where
            several of one class hold at a frame, the one that starts last counts.
        taxonomy: The label tree of L leaves.
        num_frames: Frames per clip.

    Returns:
        Distances from the frame to start and end, in strata (of which the window has T), float32 [B, T, L, 2]; and
        where they are known and the leaf holds, bool [B, T, L].

    Raises:
        ValueError: a class outside the tree, or a span that does not lie within 0 to 1.
    """
    leaf_of = {class_index: leaf for leaf, class_index in enumerate(taxonomy.leaves)}
    places_T = (torch.arange(num_frames, dtype=torch.float64) + 0.5) / num_frames
    offsets_BTL2 = torch.zeros(len(spans), num_frames, len(leaf_of), 2)
    known_BTL = torch.zeros(len(spans), num_frames, len(leaf_of), dtype=torch.bool)
    for clip, row in enumerate(spans):
        for span in sorted(row or (), key=lambda s: (s.start, -s.end)):
            _check_span(span, len(taxonomy))
            leaf = leaf_of.get(span.class_index)
            if leaf is None:
                continue
            holds_T = (places_T >= span.start) & (places_T < span.end)
            offsets_BTL2[clip, holds_T, leaf, 0] = (num_frames * (places_T[holds_T] - span.start)).float()
            offsets_BTL2[clip, holds_T, leaf, 1] = (num_frames * (span.end - places_T[holds_T])).float()
            known_BTL[clip, holds_T, leaf] = True
    return offsets_BTL2, known_BTL


def _check_span(span: Span, num_classes: int) -> None:
    if not 0 <= span.class_index < num_classes:
        raise ValueError(f"span: got class index {span.class_index}, must be from 0 to {num_classes - 1}")
    if not 0 <= span.start <= span.end <= 1:
        raise ValueError(f"span: got {span.start} to {span.end}, must lie within 0 to 1")
