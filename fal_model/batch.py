"""What travels between data and model: batches that check their own shapes when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fal_model.boundary_targets import Span, boundary_targets
from fal_model.taxonomy import Taxonomy
from fal_model.values import check_distances, check_flow_values, check_shares, check_tensors

FRAME_DIMS = 5
COLOURS = 3
FLOW_COMPONENTS = 2


class ModelOutput(NamedTuple):
    """What the model says about a batch of clips.

    Attributes:
        logits_BK: Conditional logit of every class, given that its parent holds; see ``hierarchy.path_log_scores``.
        frame_logits_BTK: The same for each frame.
        embedding_BE: Clip embedding of unit length.
        offsets_BTL2: For each frame and leaf class how long before the frame the class began, if it begins there, and
            how long after it it ends, if it ends there: strata, 0 to 1, as :mod:`fal_model.timeline` places them.
    """

    logits_BK: Tensor
    frame_logits_BTK: Tensor
    embedding_BE: Tensor
    offsets_BTL2: Tensor


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Frames and optical flow of B clips.

    Attributes:
        frames_BTCHW: RGB frames, uint8.
        flow_BTCHW: Flow (u, v) at each frame, frame pixels per flow step, floating point.
        flow_valid_BT: Where flow could be measured, bool; elsewhere its values are never looked at.

    Raises:
        ValueError: a wrong shape, type or device; and, looked at on the CPU only, flow that is NaN, infinite or out
            of range.
    """

    frames_BTCHW: Tensor
    flow_BTCHW: Tensor
    flow_valid_BT: Tensor

    def __post_init__(self) -> None:
        check_tensors(flow_valid=self.flow_valid_BT)
        check_clips(self.frames_BTCHW, self.flow_BTCHW, self.flow_valid_BT)

    def __len__(self) -> int:
        return self.frames_BTCHW.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Return the batch on another device."""
        return ClipBatch(
            self.frames_BTCHW.to(device, non_blocking=non_blocking),
            self.flow_BTCHW.to(device, non_blocking=non_blocking),
            self.flow_valid_BT.to(device, non_blocking=non_blocking),
        )

    def slice(self, start: int, stop: int) -> ClipBatch:
        """Return the clips ``[start, stop)`` without copying."""
        return ClipBatch(self.frames_BTCHW[start:stop], self.flow_BTCHW[start:stop], self.flow_valid_BT[start:stop])


@dataclass(frozen=True, slots=True)
class Targets:
    """What is true of B clips, over all K classes; the ancestors of a true class are true.

    A class that is true while none of its children is says nothing about the children: they are left out of the
    loss. A row of zeros says that nothing of the taxonomy is there. Labels between 0 and 1 are the probability that
    the class holds: mixtures of clips, or what a teacher believes; then an ancestor is at least as probable.

    Attributes:
        labels_BK: 1 where the class holds somewhere in the clip, 0 where not, or between; floating point.
        label_known_B: Whether the clip's labels are known at all, bool.
        frame_labels_BTK: The same for each frame, float32.
        frame_known_BT: Whether the frame's labels are known, bool.
        offsets_BTL2: For each leaf that holds at a frame how many strata before it it began, and how many after it it
            ends, float32; see :func:`fal_model.boundary_targets.boundary_targets`.
        offset_known_BTL: Where that is known, bool.

    Raises:
        ValueError: a wrong shape, type or device; and, looked at on the CPU only, labels that are not from 0 to 1, or
            known offsets that are not finite and ≥ 0.
    """

    labels_BK: Tensor
    label_known_B: Tensor
    frame_labels_BTK: Tensor
    frame_known_BT: Tensor
    offsets_BTL2: Tensor
    offset_known_BTL: Tensor

    def __post_init__(self) -> None:
        check_tensors(**{f.name: getattr(self, f.name) for f in fields(self)})
        frame_shape = tuple(self.frame_labels_BTK.shape)
        if len(frame_shape) != len("BTK") or tuple(self.labels_BK.shape) != (frame_shape[0], frame_shape[2]):
            raise ValueError(
                f"labels_BK and frame_labels_BTK: got {tuple(self.labels_BK.shape)} and {frame_shape}, "
                "must be [B, K] and [B, T, K]"
            )
        if tuple(self.frame_known_BT.shape) != frame_shape[:2] or tuple(self.label_known_B.shape) != frame_shape[:1]:
            raise ValueError(
                f"label_known_B and frame_known_BT: got {tuple(self.label_known_B.shape)} and "
                f"{tuple(self.frame_known_BT.shape)}, must be {frame_shape[:1]} and {frame_shape[:2]}"
            )
        if not self.labels_BK.is_floating_point() or not self.frame_labels_BTK.is_floating_point():
            raise ValueError(
                f"labels: got {self.labels_BK.dtype} and {self.frame_labels_BTK.dtype}, must be floating point"
            )
        if self.label_known_B.dtype != torch.bool or self.frame_known_BT.dtype != torch.bool:
            raise ValueError(f"known: got {self.label_known_B.dtype} and {self.frame_known_BT.dtype}, must be bool")
        known_shape = tuple(self.offset_known_BTL.shape)
        if known_shape[:2] != frame_shape[:2] or tuple(self.offsets_BTL2.shape) != (*known_shape, 2):
            raise ValueError(
                f"offsets_BTL2 and offset_known_BTL: got {tuple(self.offsets_BTL2.shape)} and {known_shape}, "
                f"must be [{frame_shape[0]}, {frame_shape[1]}, L, 2] and [{frame_shape[0]}, {frame_shape[1]}, L]"
            )
        if not self.offsets_BTL2.is_floating_point() or self.offset_known_BTL.dtype != torch.bool:
            raise ValueError(
                f"offsets: got {self.offsets_BTL2.dtype} and {self.offset_known_BTL.dtype}, "
                "must be floating point and bool"
            )
        check_shares("labels_BK", self.labels_BK)
        check_shares("frame_labels_BTK", self.frame_labels_BTK)
        check_distances("offsets_BTL2", self.offsets_BTL2, self.offset_known_BTL)

    @classmethod
    def from_labels(
        cls,
        labels: Sequence[Sequence[int] | None],
        frame_labels: Sequence[Sequence[Sequence[int]] | None],
        taxonomy: Taxonomy,
        num_frames: int,
        spans: Sequence[Sequence[Span] | None] | None = None,
    ) -> Targets:
        """Build targets from class indices; ancestors are added.

        Args:
            labels: Per clip its class indices; None where unknown.
            frame_labels: Per clip, per frame its class indices; None where unknown.
            taxonomy: The label tree.
            num_frames: Frames per clip.
            spans: Per clip where its classes begin and end; None where unknown. By default it is unknown everywhere.

        Raises:
            ValueError: an index outside the tree, or another number of clips or frames.
        """
        if len(labels) != len(frame_labels):
            raise ValueError(f"frame_labels: got {len(frame_labels)} clips, must be {len(labels)} as in labels")
        if spans is not None and len(spans) != len(labels):
            raise ValueError(f"spans: got {len(spans)} clips, must be {len(labels)} as in labels")
        frames: list[Tensor] = []
        for row in frame_labels:
            if row is not None and len(row) != num_frames:
                raise ValueError(f"frame_labels: got {len(row)} frames, must be {num_frames}")
            frames.append(multi_hot(row if row is not None else [()] * num_frames, taxonomy))
        return cls(
            multi_hot([row if row is not None else () for row in labels], taxonomy),
            torch.tensor([row is not None for row in labels], dtype=torch.bool),
            torch.stack(frames) if frames else torch.zeros(0, num_frames, len(taxonomy)),
            torch.tensor([[row is not None] * num_frames for row in frame_labels], dtype=torch.bool).view(
                -1, num_frames
            ),
            *boundary_targets([None] * len(labels) if spans is None else spans, taxonomy, num_frames),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Targets:
        """Return the targets on another device."""
        return Targets(
            self.labels_BK.to(device, non_blocking=non_blocking),
            self.label_known_B.to(device, non_blocking=non_blocking),
            self.frame_labels_BTK.to(device, non_blocking=non_blocking),
            self.frame_known_BT.to(device, non_blocking=non_blocking),
            self.offsets_BTL2.to(device, non_blocking=non_blocking),
            self.offset_known_BTL.to(device, non_blocking=non_blocking),
        )

    def slice(self, start: int, stop: int) -> Targets:
        """Return the clips ``[start, stop)`` without copying."""
        return Targets(
            self.labels_BK[start:stop],
            self.label_known_B[start:stop],
            self.frame_labels_BTK[start:stop],
            self.frame_known_BT[start:stop],
            self.offsets_BTL2[start:stop],
            self.offset_known_BTL[start:stop],
        )


def multi_hot(rows: Sequence[Sequence[int]], taxonomy: Taxonomy) -> Tensor:
    """Turn lists of class indices into rows of 0 and 1, with all ancestors.

    Args:
        rows: One list of class indices per row; may be empty.
        taxonomy: The label tree.

    Returns:
        float32 of shape [rows, K].

    Raises:
        ValueError: an index outside the tree.
    """
    hot_RK = torch.zeros(len(rows), len(taxonomy))
    for i, row in enumerate(rows):
        for index in row:
            if not _is_class(index, taxonomy):
                raise ValueError(f"class index: got {index!r}, must be from 0 to {len(taxonomy) - 1}")
            hot_RK[i, list(taxonomy.path_indices(index))] = 1.0
    return hot_RK


def _is_class(index: object, taxonomy: Taxonomy) -> bool:
    return isinstance(index, int | np.integer) and not isinstance(index, bool) and 0 <= int(index) < len(taxonomy)


def check_clips(frames: Tensor, flow: Tensor, flow_valid: Tensor | None) -> None:
    """Check that frames and flow of a batch fit together and are possible. A batch of no clips is fine.

    Values are looked at on the CPU only, see :mod:`fal_model.values`.

    Raises:
        ValueError: no tensors, a wrong shape, type or device; or flow that is NaN, infinite or out of range where it
            is valid.
    """
    check_tensors(frames=frames, flow=flow, **({} if flow_valid is None else {"flow_valid": flow_valid}))
    if frames.ndim != FRAME_DIMS or frames.shape[2] != COLOURS or frames.dtype != torch.uint8:
        raise ValueError(f"frames: got {frames.dtype} {list(frames.shape)}, must be uint8 [B, T, 3, H, W]")
    if flow.ndim != FRAME_DIMS or flow.shape[2] != FLOW_COMPONENTS or not flow.is_floating_point():
        raise ValueError(f"flow: got {flow.dtype} {list(flow.shape)}, must be floating point [B, T, 2, h, w]")
    if flow.shape[:2] != frames.shape[:2]:
        raise ValueError(f"flow: got {list(flow.shape[:2])} clips and frames, must be {list(frames.shape[:2])}")
    if flow_valid is not None and (flow_valid.shape != frames.shape[:2] or flow_valid.dtype != torch.bool):
        raise ValueError(
            f"flow_valid: got {flow_valid.dtype} {list(flow_valid.shape)}, must be bool {list(frames.shape[:2])}"
        )
    check_flow_values(flow, flow_valid, max(frames.shape[-2:]))
