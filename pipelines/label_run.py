"""The driver's side of a labelling run: what has arrived, what is missing, what is merged. Without Ray.

Workers may die at any moment and take along whatever they were at. So nothing counts as done because it was started: a
work item counts when each of its batches has been acknowledged, a part when its mark is written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fal_model.errors import FailureKind, FalError
from pipelines import label_parts, storage
from pipelines.clip_batches import Failure
from pipelines.label_parts import PartCounts, PlannedParts
from pipelines.merge import Batch, MergePlan
from pipelines.progress import StageProgress

_LOG = logging.getLogger(__name__)
MAX_ATTEMPTS = 3
"""How often a video is tried: with others of its part, and twice alone."""
MAX_ROUNDS = 50
"""How often what is missing is done again before the job gives up: a node that goes takes work along."""
DONE_AGAIN = ("num_videos", "num_failed", "num_clips")
"""What is counted once, however often a worker died on it; the time that it took was spent."""
NOBODY_LIVES = 8
"""Work items that died, while none of the run ever came through, for the workers and not the videos to be at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What one task of the decoding stage does: some videos of a part, by their place in it; none means all.

    ``attempt`` counts from 1: how often these videos have been begun, this time included. Of each video it does the
    windows from ``first_window`` on, as many as a work item may have; the rest of a longer one is work of its own.
    """

    part_index: int
    part: str
    item_index: int
    videos: list[int]
    attempt: int
    first_window: int = 0


@dataclass(frozen=True, slots=True)
class Workers:
    """How many actors of each stage begin, to how many they may grow, and what a model actor holds."""

    num_decoders: int
    num_models: int
    gpus_each: float
    max_decoders: int
    max_models: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is, in this run: videos and clips acknowledged, parts merged, and how long stages were busy."""

    num_videos: int
    num_failed: int
    num_clips: int
    num_parts: int
    prepare_busy_s: float
    predict_busy_s: float

    def stages(self, workers: Mapping[str, int], num_parts: int) -> tuple[StageProgress, ...]:
        """Say how far each stage is, for people.

        Args:
            workers: How many ``prepare`` and how many ``predict``.
            num_parts: How many parts there are to do.
        """
        busy_s = {"prepare": self.prepare_busy_s, "predict": self.predict_busy_s}
        clips = [
            StageProgress(name=name, unit="clips", num_done=self.num_clips, busy_s=busy_s[name], num_workers=number)
            for name, number in workers.items()
        ]
        return (*clips, StageProgress(name="merge", unit="parts", num_done=self.num_parts, total=num_parts))


Report = Callable[[Progress], None]


class Merges(Protocol):
    """Runs :func:`pipelines.merge.merge_part` somewhere."""

    def start(
        self, plan: MergePlan, part_index: int, part: str, batches: Sequence[Batch], lost: Sequence[Failure]
    ) -> None:
        """Start the merge of a part."""

    def ready(self, *, is_last: bool) -> Iterator[tuple[int, PartCounts]]:
        """Yield the merges that are done; all of them, waited for, when no more will be started."""


@dataclass(slots=True)
class _Arrived:
    """What has arrived of a work item; ``more`` are the videos of which it was only the beginning.

    ``counted`` is what was reported of it, and does not count if it is done again.
    """

    item: Item
    num_batches: int | None = None
    batches: set[int] = field(default_factory=set)
    more: list[Mapping[str, Any]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    is_given_out: bool = False

    @property
    def is_complete(self) -> bool:
        return self.num_batches is not None and len(self.batches) == self.num_batches


@dataclass(slots=True)
class _Part:
    """The work items of a part by number, and the videos of it that no worker survived."""

    items: dict[int, _Arrived] = field(default_factory=dict)
    lost: list[Failure] = field(default_factory=list)
    next_number: int = 0
    is_merging: bool = False

    def add(self, part_index: int, name: str, videos: list[int], attempt: int, first_window: int = 0) -> None:
        item = Item(
            part_index=part_index,
            part=name,
            item_index=self.next_number,
            videos=videos,
            attempt=attempt,
            first_window=first_window,
        )
        self.items[self.next_number] = _Arrived(item)
        self.next_number += 1


class LabelRun:
    """Count acknowledgements, merge a part when all its items are in, and say what is to be done again.

    Args:
        plan: What every merge is told.
        parts: All parts.
        todo: Indices of the parts to do.
        merges: Runs the merges.
        report: Called as the run goes on.
    """

    def __init__(
        self, plan: MergePlan, parts: PlannedParts, todo: Sequence[int], merges: Merges, report: Report
    ) -> None:
        self._plan = plan
        self._planned = parts
        self._merges = merges
        self._report = report
        self._parts = {index: _Part() for index in todo}
        self._done: dict[int, PartCounts] = {}
        self._totals = dict.fromkeys(("num_videos", "num_failed", "num_clips", "prepare_busy_s", "predict_busy_s"), 0.0)
        self._has_arrived = False
        self._num_rounds = 0
        for index, part in self._parts.items():
            part.add(index, parts.names[index], [], attempt=1)

    def missing(self) -> list[Item]:
        """Hand out the work items that have not arrived, those of a part together."""
        missing = self._incomplete()
        for arrived in missing:
            arrived.is_given_out = True
        return [arrived.item for arrived in missing]

    def _incomplete(self) -> list[_Arrived]:
        return [a for part in self._parts.values() for a in part.items.values() if not a.is_complete]

    def add(self, ack: Mapping[str, Any]) -> None:
        """Count one batch; one that comes again, from a task tried again, changes nothing.

        Raises:
            FalError: a worker says what stopped it, which is no video's fault; or a merge failed.
        """
        if ack["error"]:
            raise FalError(f"labelling stopped: {ack['error']}")
        arrived = self._parts[ack["part_index"]].items[ack["item_index"]]
        if ack["batch_index"] in arrived.batches:
            return
        arrived.batches.add(ack["batch_index"])
        if ack["is_last"]:
            arrived.num_batches = ack["batch_index"] + 1
        arrived.more += ack["more"]
        self._has_arrived = True
        for name in self._totals:
            self._totals[name] += ack[name]
        arrived.counted.update({name: ack[name] for name in DONE_AGAIN})
        if arrived.is_complete:
            self._add_rest(arrived)
        self._merge_if_complete(ack["part_index"])
        self._collect(is_last=False)

    def _add_rest(self, arrived: _Arrived) -> None:
        """Make work items of what is left of long videos; only of a whole item, lest one that is done again adds it."""
        if not arrived.more:
            return
        item, part = arrived.item, self._parts[arrived.item.part_index]
        place_of = {row["video_id"]: place for place, row in enumerate(self._rows(item))}
        for video in arrived.more:
            for first in range(video["next_window"], video["num_windows"], video["next_window"]):
                part.add(item.part_index, item.part, [place_of[video["video_id"]]], attempt=1, first_window=first)

    def _rows(self, item: Item) -> list[dict[str, Any]]:
        return label_parts.read_part(self._plan.manifest, item.part_index)

    def end_round(self) -> None:
        """Decide about the items that did not arrive: their videos are done again one by one, or are failures.

        Raises:
            FalError: nothing ever came through, of many items, so it is not the videos that kill the workers.
        """
        broken = [arrived for arrived in self._incomplete() if arrived.is_given_out]
        num_videos = sum(len(self._places(a.item)) for a in broken)
        # One video takes the others of its item along: they are done again first, one by one. In the end only those may
        # be left that kill.
        if len(broken) >= NOBODY_LIVES and not self._has_arrived:
            raise FalError(
                f"labelling stopped: the workers of all {num_videos} videos died; see their last words above"
            )
        self._num_rounds += 1
        if self._num_rounds >= MAX_ROUNDS and broken:
            raise FalError(
                f"labelling stopped: {num_videos} videos did not come through in {MAX_ROUNDS} rounds; run again"
            )
        if broken:
            _LOG.warning("%d videos did not come back from workers that died; they are tried again", num_videos)
        for arrived in broken:
            self._give_back(arrived)
        for index in {a.item.part_index for a in broken}:
            self._merge_if_complete(index)
        self._collect(is_last=False)

    def _places(self, item: Item) -> list[int]:
        return item.videos or list(range(self._planned.sizes[item.part_index]))

    def _give_back(self, arrived: _Arrived) -> None:
        item = arrived.item
        part = self._parts[item.part_index]
        del part.items[item.item_index]  # its batches stay behind under its number, which is not used again
        for name, num in arrived.counted.items():
            self._totals[name] -= num
        attempt = item.attempt + self._was_begun(item)
        for place in self._places(item):
            if attempt <= MAX_ATTEMPTS:
                part.add(item.part_index, item.part, [place], attempt, item.first_window)
            else:
                part.lost.append(self._failure(item, place))
                self._totals["num_videos"] += item.first_window == 0
                self._totals["num_failed"] += 1

    def _was_begun(self, item: Item) -> bool:
        """Tell whether a worker had these videos: what waited behind another on a worker that died is not to blame."""
        return item.attempt == 1 or storage.exists(self._begun_uri(item))

    def _begun_uri(self, item: Item) -> str:
        return label_parts.begun_uri(self._plan.output, self._plan.run, item.part, item.item_index)

    def _failure(self, item: Item, place: int) -> Failure:
        row = self._rows(item)[place]
        return Failure(
            video_id=row["video_id"],
            uri=row["uri"],
            stage="decode",
            kind=FailureKind.DECODER_CRASH.value,
            message=f"the worker process died {MAX_ATTEMPTS} times while it had this video, the last times alone",
            attempts=MAX_ATTEMPTS,
            first_window=item.first_window,
        )

    def _merge_if_complete(self, part_index: int) -> None:
        part = self._parts[part_index]
        if part.is_merging or not all(a.is_complete for a in part.items.values()):
            return
        part.is_merging = True
        batches = [(number, batch) for number, a in part.items.items() for batch in range(a.num_batches or 0)]
        self._merges.start(self._plan, part_index, self._planned.names[part_index], batches, part.lost)

    def _collect(self, *, is_last: bool) -> None:
        self._done.update(self._merges.ready(is_last=is_last))
        self._report(self._progress())

    def _progress(self) -> Progress:
        totals = self._totals
        return Progress(
            num_videos=int(totals["num_videos"]),
            num_failed=int(totals["num_failed"]),
            num_clips=int(totals["num_clips"]),
            num_parts=len(self._done),
            prepare_busy_s=totals["prepare_busy_s"],
            predict_busy_s=totals["predict_busy_s"],
        )

    def finish(self) -> dict[int, PartCounts]:
        """Wait for the last merges, prove that no part is missing, and return the counts by part.

        Raises:
            FalError: a merge failed, or a part did not finish.
        """
        self._collect(is_last=True)
        missing = sorted(set(self._parts) - set(self._done))
        if missing:
            raise FalError(
                f"{len(missing)} of {len(self._parts)} parts did not finish, first {self._planned.names[missing[0]]}; "
                "run the job again"
            )
        return dict(self._done)
