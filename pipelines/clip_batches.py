"""The unit that travels from decode workers to model workers: one model batch of clips, as one Arrow row.

Which clips share a batch depends only on the manifest and the settings, never on timing, so a batch gives the same
numbers in every run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
        ("part", pa.string()),
        ("item_index", pa.int32()),
        ("batch_index", pa.int32()),
        ("is_last", pa.bool_()),
        ("meta", pa.string()),
        ("frames", pa.large_binary()),
        ("flow", pa.large_binary()),
        ("flow_valid", pa.large_binary()),
        ("error", pa.string()),
    ]
)
NOTHING_DECODED = "no frame could be decoded"
"""Why a video without any clip is a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMeta:
    """What is known about one clip besides its pixels."""

    video_id: str
    clip_index: int
    start_s: float
    end_s: float
    covered_s: float
    num_substituted: int
    input_sha256: str
    frame_times_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMeta:
    """A video, or a range of its windows, whose clips have all been prepared.

    Attributes:
        video_id: Which video.
        uri: Where it is.
        sha256: Hash of its bytes.
        duration_s: Of the whole video, seconds.
        num_windows: Windows of the whole video.
        first_window: The first of the range; 0 for a whole video.
        next_window: The first after the range; ``num_windows`` for a whole video.
        num_clips: How many of these windows gave a clip.
    """

    video_id: str
    uri: str
    sha256: str
    duration_s: float
    num_windows: int
    first_window: int
    next_window: int
    num_clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVideo:
    """A video whose predictions an earlier run left in the output: what is in the file has not changed since."""

    video_id: str
    uri: str
    sha256: str
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A video that cannot be labelled; a row of the ``failures`` table, and in which of its ranges that was found."""

    video_id: str
    uri: str
    stage: str
    kind: str
    message: str
    attempts: int = 1
    first_window: int = 0


@dataclass(slots=True, kw_only=True)
class BatchMeta:
    """Everything of a batch that is not an array.

    Attributes:
        clips: Its clips, in the order of the arrays.
        videos: Videos, or ranges of them, whose last clip is in this batch or before.
        known: Videos that need not be decoded again, each with the part that holds its predictions.
        failures: Videos that cannot be labelled.
        thumbnails: Strips of key frames by video id, JPEG in base64.
        versions: What decoded, see :func:`pipelines.receipts.decoding_versions`.
        busy_s: How long it took to prepare, seconds.
    """

    clips: list[ClipMeta] = field(default_factory=list)
    videos: list[VideoMeta] = field(default_factory=list)
    known: list[KnownVideo] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    thumbnails: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
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
            known=[KnownVideo(**k) for k in data["known"]],
            failures=[Failure(**f) for f in data["failures"]],
            thumbnails=data["thumbnails"],
            versions=data["versions"],
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

    def filled_up(self, num_clips: int) -> ClipArrays:
        """Append empty clips until there are so many; more stay as they are."""
        missing = num_clips - len(self.frames_BTHWC)
        if missing <= 0:
            return self
        arrays = (self.frames_BTHWC, self.flow_q_BTHWC, self.flow_valid_BT)
        return ClipArrays(*(np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in arrays))


@dataclass(frozen=True, slots=True)
class ClipOutputs:
    """Raw outputs for B clips.

    Attributes:
        logits_BK: Uncalibrated logits.
        frame_logits_BTK: The same at each frame.
        offsets_BTL2: Distances from each frame to the borders of each leaf class, in 255ths of a stratum.
        embedding_BD: Embedding of unit length.
    """

    logits_BK: npt.NDArray[np.float32]
    frame_logits_BTK: npt.NDArray[np.float16]
    offsets_BTL2: npt.NDArray[np.uint8]
    embedding_BD: npt.NDArray[np.float32]

    def are_numbers(self) -> npt.NDArray[np.bool_]:
        """Tell of each clip whether all that was said of it is finite, shape [B]; damaged weights say other things."""
        said = (self.logits_BK, self.frame_logits_BTK, self.embedding_BD)
        finite = [np.isfinite(values).all(axis=tuple(range(1, values.ndim))) for values in said]
        are_B: npt.NDArray[np.bool_] = np.logical_and.reduce(finite)
        return are_B


def to_row(
    item: Mapping[str, Any], batch_index: int, *, is_last: bool, meta: BatchMeta, arrays: ClipArrays
) -> pa.Table:
    """Pack one batch of a work item as a table of one row."""
    return _row(
        item,
        {
            "batch_index": batch_index,
            "is_last": is_last,
            "meta": meta.to_json(),
            "frames": arrays.frames_BTHWC.tobytes(),
            "flow": arrays.flow_q_BTHWC.tobytes(),
            "flow_valid": arrays.flow_valid_BT.tobytes(),
            "error": "",
        },
    )


def error_row(item: Mapping[str, Any], error: str) -> pa.Table:
    """Say in place of a batch that the work item cannot be done, which is no video's fault."""
    no_batch = {"batch_index": 0, "is_last": True, "meta": "", "frames": b"", "flow": b"", "flow_valid": b""}
    return _row(item, no_batch | {"error": error})


def _row(item: Mapping[str, Any], values: dict[str, Any]) -> pa.Table:
    named = {name: item[name] for name in ("part_index", "part", "item_index")} | values
    return pa.table({name: [value] for name, value in named.items()}, schema=SCHEMA)


def arrays_of(row: dict[str, Any], spec: ClipSpec) -> ClipArrays:
    """Unpack the arrays of a row without copying."""
    size, grid, num = spec.size_px, spec.flow_size_px, spec.num_frames
    return ClipArrays(
        np.frombuffer(row["frames"], np.uint8).reshape(-1, num, size, size, 3),
        np.frombuffer(row["flow"], np.int8).reshape(-1, num, grid, grid, 2),
        np.frombuffer(row["flow_valid"], np.bool_).reshape(-1, num),
    )
