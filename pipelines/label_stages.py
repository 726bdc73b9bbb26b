"""The decoding stage of the labelling graph: work items become batches of clips. Without Ray, and without torch.

What is no video's fault travels to the driver as a row with an ``error``, because a worker that raises would only be
tried again; what kills a worker is noticed by what does not arrive.
"""

from __future__ import annotations

import faulthandler
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import pyarrow as pa

from fal_model.errors import FalError, printable
from fal_model.spec import ClipSpec
from pipelines import clip_batches, label_parts, storage
from pipelines.clip_batches import KnownVideo
from pipelines.known import KnownFiles
from pipelines.limits import DecodeLimits
from pipelines.merge import MergePlan
from pipelines.prepare import BatchPreparer

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """What every worker of the labelling graph is told.

    Attributes:
        merge: Where the output is, and what it is made with.
        model_dir: Directory or hub id of the model.
        model_id: What every worker must find there.
        spec: The model's input contract.
        limits: What a video may cost.
        known: Address of the index of what earlier runs predicted; empty where there is none.
        thumbnail_share: Share of the videos of which the report keeps pictures.
        stall_s: How long a worker may give no sign of life before it ends itself, seconds.
        piece_windows: Most windows of one video that one worker does; the rest is other workers' work.
    """

    merge: MergePlan
    model_dir: str
    model_id: str
    spec: ClipSpec
    limits: DecodeLimits
    known: str
    thumbnail_share: float
    stall_s: float
    piece_windows: int


class StallGuard:
    """End this process, with the stacks of its threads on stderr, when it gives no sign of life for too long.

    Nothing else ends a call into a library that never returns, and one such worker would hold up the whole job.

    Args:
        limit_s: Longest time between two signs of life, seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def __enter__(self) -> Self:
        self.sign_of_life()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def sign_of_life(self) -> None:
        """Start to wait anew."""
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=sys.__stderr__ or 2)

    def watch(self, rows: Iterator[_R]) -> Iterator[_R]:
        """Yield rows; the time in which nobody asks for the next one does not count."""
        while True:
            with self:
                row = next(rows, None)
            if row is None:
                return
            yield row


class PrepareItems:
    """Stage: work items in, one row per model batch out (1:N). Holds one decoder process."""

    def __init__(self, plan: LabelPlan) -> None:
        self.plan = plan
        self._known: KnownFiles | None = None
        self._guard = StallGuard(plan.stall_s)
        self.preparer = BatchPreparer(
            plan.spec,
            plan.limits,
            plan.merge.batch_clips,
            find_known=lambda sha256: self._known_files().by_content(sha256),
            sign_of_life=self._guard.sign_of_life,
        )

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Prepare the items in ``batch``."""
        for item in batch.to_pylist():
            try:
                yield from self._guard.watch(self._batches(item))
            except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it, and Ray would retry
                yield _error_row(item, error)

    def _batches(self, item: Mapping[str, Any]) -> Iterator[pa.Table]:
        merge = self.plan.merge
        if item["attempt"] > 1:  # somebody is to be found who kills workers
            storage.write_bytes(label_parts.begun_uri(merge.output, merge.run, item["part"], item["item_index"]), b"")
        rows = label_parts.read_part(merge.manifest, item["part_index"])
        if item["videos"]:
            rows = [rows[i] for i in item["videos"]]
        pictured = frozenset(r["video_id"] for r in rows if hash_share(r["video_id"]) < self.plan.thumbnail_share)
        unchanged = [known for row in rows if (known := self._unchanged(row)) is not None]
        names = {video.video_id for video in unchanged}
        todo = [row for row in rows if row["video_id"] not in names]
        windows = range(item["first_window"], item["first_window"] + self.plan.piece_windows)
        for i, (meta, arrays, is_last) in enumerate(self.preparer.batches(todo, pictured, windows)):
            if i == 0:
                meta.known[:0] = unchanged
            yield clip_batches.to_row(item, i, is_last=is_last, meta=meta, arrays=arrays)

    def _unchanged(self, row: Mapping[str, Any]) -> KnownVideo | None:
        file = self._known_files().by_look(row)
        if file is None:
            return None
        return KnownVideo(video_id=row["video_id"], uri=row["uri"], sha256=file.sha256, part=file.part)

    def _known_files(self) -> KnownFiles:
        if self._known is None:
            self._known = KnownFiles.read(self.plan.known)
        return self._known


def _error_row(item: Mapping[str, Any], error: Exception) -> pa.Table:
    return clip_batches.error_row(item, text_of(error))


def text_of(error: Exception) -> str:
    """Say what went wrong: the sentence alone where it is one of ours, else with the name of the error."""
    text = printable(str(error)) or "no message"
    return text if isinstance(error, FalError) else f"{type(error).__name__}: {text}"


def hash_share(video_id: str) -> float:
    """Give each video a fixed point in [0, 1): which ones the report shows does not depend on the run."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") / 2**64
