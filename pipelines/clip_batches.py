"""The unit that travels from decode workers to model workers: one model batch of clips, as one Arrow row.

Which clips share a batch depends only on the manifest and the settings, never on timing, so a batch gives the same
numbers in every run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.spec import ClipSpec
from pipelines.clips import Clip

SCHEMA = pa.schema(
    [
        ("part_index", pa.int32()),
        ("batch_index", pa.int32()),
        ("is_last", pa.bool_()),
        ("meta", pa.string()),
        ("frames", pa.large_binary()),
        ("flow", pa.large_binary()),
        ("flow_valid", pa.large_binary()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMeta:
    """What is known about one clip besides its pixels."""

    video_id: str
    clip_index: int
    start_s: float
    end_s: float
    covered_s: float
    num_substituted: int
    frame_times_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMeta:
    """A video whose clips have all been prepared."""

    video_id: str
    uri: str
    sha256: str
    duration_s: float
    num_clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A video that cannot be labelled; a row of the ``failures`` table."""

    video_id: str
    uri: str
    stage: str
    kind: str
    message: str
    attempts: int = 1


@dataclass(slots=True, kw_only=True)
class BatchMeta:
    """Everything of a batch that is not an array."""

    clips: list[ClipMeta] = field(default_factory=list)
    videos: list[VideoMeta] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    thumbnails: dict[str, str] = field(default_factory=dict)
    busy_s: float = 0.0

    def to_json(self) -> str:
        """Write as JSON; floats keep every bit."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> BatchMeta:
        """Read what :meth:`to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            clips=[ClipMeta(**c) for c in data["clips"]],
            videos=[VideoMeta(**v) for v in data["videos"]],
            failures=[Failure(**f) for f in data["failures"]],
            thumbnails=data["thumbnails"],
            busy_s=data["busy_s"],
        )


@dataclass(frozen=True, slots=True)
class ClipArrays:
    """The pixels of a batch: frames [B, T, H, W, 3] uint8, flow [B, T, h, w, 2] int8 bytes, validity [B, T]."""

    frames_BTHWC: npt.NDArray[np.uint8]
    flow_q_BTHWC: npt.NDArray[np.int8]
    flow_valid_BT: npt.NDArray[np.bool_]

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], spec: ClipSpec) -> ClipArrays:
        """Stack clips; an empty list gives arrays of length 0."""
        if not clips:
            size, grid, num = spec.size_px, spec.flow_size_px, spec.num_frames
            return cls(
                np.zeros((0, num, size, size, 3), np.uint8),
                np.zeros((0, num, grid, grid, 2), np.int8),
                np.zeros((0, num), np.bool_),
            )
        return cls(
            np.stack([c.frames_THWC for c in clips]),
            np.stack([c.flow_q_THWC for c in clips]),
            np.stack([c.flow_valid_T for c in clips]),
        )


def to_row(part_index: int, batch_index: int, *, is_last: bool, meta: BatchMeta, arrays: ClipArrays) -> pa.Table:
    """Pack one batch as a table of one row."""
    return pa.table(
        {
            "part_index": [part_index],
            "batch_index": [batch_index],
            "is_last": [is_last],
            "meta": [meta.to_json()],
            "frames": [arrays.frames_BTHWC.tobytes()],
            "flow": [arrays.flow_q_BTHWC.tobytes()],
            "flow_valid": [arrays.flow_valid_BT.tobytes()],
        },
        schema=SCHEMA,
    )


def arrays_of(row: dict[str, Any], spec: ClipSpec) -> ClipArrays:
    """Unpack the arrays of a row without copying."""
    size, grid, num = spec.size_px, spec.flow_size_px, spec.num_frames
    return ClipArrays(
        np.frombuffer(row["frames"], np.uint8).reshape(-1, num, size, size, 3),
        np.frombuffer(row["flow"], np.int8).reshape(-1, num, grid, grid, 2),
        np.frombuffer(row["flow_valid"], np.bool_).reshape(-1, num),
    )
