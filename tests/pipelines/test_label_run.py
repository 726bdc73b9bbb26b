"""The driver's side of a labelling run: whatever arrives, in whatever order, every video ends in one merge, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Calibration
from fal_model.errors import FalError
from pipelines import label_parts, storage
from pipelines.clip_batches import Failure
from pipelines.config import LabelConfig
from pipelines.label_parts import PartCounts, PlannedParts
from pipelines.label_run import MAX_ATTEMPTS, MAX_ROUNDS, NOBODY_LIVES, Item, LabelRun, Progress
from pipelines.labels import Labeller
from pipelines.merge import Batch, MergePlan
from pipelines.progress import StageProgress
from pipelines.records import MANIFEST
from tests.helpers.model import TREE

RUN = "run"


@dataclass(slots=True)
class Merges:
    """Remembers what is to be merged; a merge is done when it is asked for."""

    started: dict[int, tuple[list[Batch], list[Failure]]] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    num_lost: int = 0

    def start(
        self, plan: MergePlan, part_index: int, part: str, batches: Sequence[Batch], lost: Sequence[Failure]
    ) -> None:
        assert part_index not in self.started, "a part is merged once"
        assert plan.run == RUN
        assert part
        self.started[part_index] = list(batches), list(lost)
        self.waiting.append(part_index)

    def ready(self, *, is_last: bool) -> Iterator[tuple[int, PartCounts]]:
        for part_index in self.waiting[self.num_lost if is_last else 0 :]:
            yield part_index, PartCounts(1, 1, 0, 1, {}, 0.0, 0.0)
        self.waiting.clear()


def planned(output: Path, num_videos: int, part_videos: int) -> tuple[MergePlan, PlannedParts]:
    table = pa.Table.from_pylist([{"video_id": f"{i}", "uri": f"/{i}"} for i in range(num_videos)], schema=MANIFEST)
    parts = label_parts.plan_parts(table, [""] * num_videos, "p", part_videos)
    plan = MergePlan(
        output=str(output),
        manifest=label_parts.write_manifest(str(output), parts),
        run=RUN,
        prediction_id="p",
        label_id="l",
        weights_id="w",
        batch_clips=4,
        sizes=(1, 1, 1, 1),
        labeller=Labeller(TREE, Calibration(), LabelConfig(), "m", "p"),
    )
    return plan, parts


def acks_of(item: Item, num_batches: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    num_videos = len(item.videos) or sizes[item.part_index]
    return [
        {
            "part_index": item.part_index,
            "item_index": item.item_index,
            "batch_index": i,
            "is_last": i == num_batches - 1,
            "num_videos": num_videos if i == num_batches - 1 else 0,
            "num_failed": 0,
            "num_clips": 2,
            "prepare_busy_s": 0.5,
            "predict_busy_s": 0.25,
            "error": "",
            "more": [],
        }
        for i in range(num_batches)
    ]


def begin(plan: MergePlan, item: Item) -> None:
    storage.write_bytes(label_parts.begun_uri(plan.output, RUN, item.part, item.item_index), b"")


@settings(deadline=None, max_examples=40)
@given(num_videos=st.integers(1, 12), part_videos=st.integers(1, 5), data=st.data())
def test_every_video_ends_in_one_merge_whatever_is_lost_on_the_way(
    tmp_path_factory: pytest.TempPathFactory, num_videos: int, part_videos: int, data: st.DataObject
) -> None:
    plan, parts = planned(tmp_path_factory.mktemp("out"), num_videos, part_videos)
    merges, seen = Merges(), list[Progress]()
    run = LabelRun(plan, parts, range(len(parts.names)), merges, seen.append)
    poison = data.draw(st.sets(st.integers(0, num_videos - 1), max_size=2))
    ids = [label_parts.read_part(plan.manifest, i) for i in range(len(parts.names))]
    num_begun = dict.fromkeys(poison, 0)
    has_arrived = False
    for _ in range(MAX_ROUNDS):
        items = run.missing()
        if not items:
            break
        arrived: list[dict[str, Any]] = []
        for item in items:
            places = item.videos or list(range(parts.sizes[item.part_index]))
            videos = {int(ids[item.part_index][place]["video_id"]) for place in places}
            was_begun = data.draw(st.booleans()) or item.attempt == 1
            if item.attempt > 1 and was_begun:
                begin(plan, item)
            if videos & poison:
                for video in videos & poison:
                    num_begun[video] += was_begun
            elif was_begun:
                arrived += acks_of(item, data.draw(st.integers(1, 3)), parts.sizes)
        for ack in data.draw(st.permutations(arrived + arrived[: len(arrived) // 2])):
            run.add(ack)
        has_arrived = has_arrived or bool(arrived)
        if not has_arrived and len(items) >= NOBODY_LIVES:
            with pytest.raises(FalError, match="died"):
                run.end_round()
            return
        run.end_round()
    assert sorted(run.finish()) == list(range(len(parts.names)))
    lost = [failure.video_id for _, failures in merges.started.values() for failure in failures]
    assert sorted(map(int, lost)) == sorted(poison)
    assert set(num_begun.values()) <= {MAX_ATTEMPTS}
    assert seen[-1].num_videos == num_videos
    assert seen[-1].num_failed == len(poison)
    assert seen[-1].num_parts == len(parts.names)


def test_progress_adds_up_and_a_batch_that_comes_again_counts_once(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 3, 10)
    merges, seen = Merges(), list[Progress]()
    run = LabelRun(plan, parts, [0], merges, seen.append)
    (item,) = run.missing()
    first, last = acks_of(item, 2, parts.sizes)
    run.add(last)
    run.add(last)
    assert merges.started == {}
    run.add(first)
    assert merges.started == {0: ([(0, 0), (0, 1)], [])}
    for ack in (first, last):  # also after the merge
        run.add(ack)
    assert run.missing() == []
    assert seen[-1] == Progress(
        num_videos=3, num_failed=0, num_clips=4, num_parts=1, prepare_busy_s=1.0, predict_busy_s=0.5
    )


def test_a_part_that_did_not_come_back_is_done_video_by_video(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 3, 10)
    merges = Merges()
    run = LabelRun(plan, parts, [0], merges, lambda _: None)
    (whole,) = run.missing()
    assert (whole.videos, whole.attempt) == ([], 1)
    run.add(acks_of(whole, 2, parts.sizes)[0])  # the first of two batches, then the worker died
    run.end_round()
    alone = run.missing()
    assert [(item.videos, item.attempt) for item in alone] == [([0], 2), ([1], 2), ([2], 2)]
    assert len({item.item_index for item in alone} | {whole.item_index}) == 4
    for item in alone[:2]:
        run.add(acks_of(item, 1, parts.sizes)[0])
    begin(plan, alone[2])
    run.end_round()
    (last,) = run.missing()
    assert (last.videos, last.attempt) == ([2], 3)
    begin(plan, last)
    run.end_round()
    assert run.missing() == []
    ((batches, lost),) = merges.started.values()
    assert batches == [(item.item_index, 0) for item in alone[:2]]  # nothing of the attempt that broke off
    (failure,) = lost
    row = label_parts.read_part(plan.manifest, 0)[2]
    assert (failure.video_id, failure.uri, failure.kind, failure.attempts) == (
        row["video_id"],
        row["uri"],
        "decoder_crash",
        MAX_ATTEMPTS,
    )
    assert failure.message == ("the worker process died 3 times while it had this video, the last times alone")


def test_what_is_done_again_is_counted_once(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 3, 10)
    seen = list[Progress]()
    run = LabelRun(plan, parts, [0], Merges(), seen.append)
    (whole,) = run.missing()
    first, _ = acks_of(whole, 2, parts.sizes)
    run.add(first)
    assert seen[-1].num_clips > 0
    run.end_round()
    assert (seen[-1].num_videos, seen[-1].num_clips) == (0, 0)
    assert seen[-1].prepare_busy_s > 0
    for item in run.missing():
        run.add(acks_of(item, 1, parts.sizes)[0])
    assert seen[-1].num_videos == 3


def test_what_waited_behind_a_worker_that_died_is_not_to_blame(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    run = LabelRun(plan, parts, [0], Merges(), lambda _: None)
    for attempt in (1, 2, 2, 2, 2):
        (item,) = run.missing()
        assert item.attempt == attempt
        run.end_round()  # nobody began it


def test_workers_that_all_die_stop_the_job(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, NOBODY_LIVES, 100)
    run = LabelRun(plan, parts, [0], Merges(), lambda _: None)
    assert len(run.missing()) == 1
    run.end_round()  # it may be one video
    assert len(run.missing()) == NOBODY_LIVES
    with pytest.raises(FalError, match=f"labelling stopped: the workers of all {NOBODY_LIVES} videos died; see"):
        run.end_round()


def test_one_video_that_kills_its_worker_before_anything_arrives_costs_only_itself(tmp_path: Path) -> None:
    num = 2 * NOBODY_LIVES
    plan, parts = planned(tmp_path, num, 100)
    merges = Merges()
    run = LabelRun(plan, parts, [0], merges, lambda _: None)
    run.missing()
    for _ in range(MAX_ATTEMPTS):
        run.end_round()
        for item in run.missing():
            begin(plan, item)
            if item.videos != [0]:
                run.add(acks_of(item, 1, parts.sizes)[0])
    ((batches, lost),) = merges.started.values()
    assert len(batches) == num - 1
    assert [failure.kind for failure in lost] == ["decoder_crash"]


def test_many_videos_that_kill_their_workers_are_as_many_failures(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 2 * NOBODY_LIVES, 100)
    merges = Merges()
    run = LabelRun(plan, parts, [0], merges, lambda _: None)
    run.missing()
    run.end_round()
    for item in run.missing():
        begin(plan, item)
        if item.videos[0] >= NOBODY_LIVES:  # the others kill, every time, and in the end only they are left
            run.add(acks_of(item, 1, parts.sizes)[0])
    while merges.started == {}:
        run.end_round()
        for item in run.missing():
            begin(plan, item)
    ((_, lost),) = merges.started.values()
    assert len(lost) == NOBODY_LIVES


def test_a_job_that_gets_nowhere_gives_up(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    run = LabelRun(plan, parts, [0], Merges(), lambda _: None)
    for _ in range(MAX_ROUNDS - 1):
        assert len(run.missing()) == 1
        run.end_round()
    assert len(run.missing()) == 1
    with pytest.raises(FalError, match=f"labelling stopped: 1 videos did not come through in {MAX_ROUNDS} rounds"):
        run.end_round()


def long_video(plan: MergePlan, place: int, num_windows: int) -> dict[str, Any]:
    """Return what an acknowledgement says of a video of which only the first 10 windows were done."""
    video_id = label_parts.read_part(plan.manifest, 0)[place]["video_id"]
    return {"video_id": video_id, "next_window": 10, "num_windows": num_windows}


def test_the_rest_of_a_long_video_is_work_of_its_own_and_waited_for(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 3, 10)
    merges, seen = Merges(), list[Progress]()
    run = LabelRun(plan, parts, [0], merges, seen.append)
    (whole,) = run.missing()
    for ack in acks_of(whole, 2, parts.sizes):
        run.add(ack | {"more": [long_video(plan, 1, 35)] if ack["is_last"] else []})
    run.end_round()
    rest = run.missing()
    assert [(item.videos, item.first_window, item.attempt) for item in rest] == [([1], w, 1) for w in (10, 20, 30)]
    assert merges.started == {}
    for item in rest:
        run.add(acks_of(item, 1, parts.sizes)[0] | {"num_videos": 0})
    assert merges.started == {0: ([(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)], [])}
    run.end_round()
    assert run.missing() == []
    assert (seen[-1].num_videos, seen[-1].num_parts) == (3, 1)


def test_work_that_broke_off_leaves_no_rest_behind(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    run = LabelRun(plan, parts, [0], Merges(), lambda _: None)
    (whole,) = run.missing()
    run.add(acks_of(whole, 2, parts.sizes)[0] | {"more": [long_video(plan, 0, 20)]})
    run.end_round()
    (again,) = run.missing()
    assert (again.videos, again.attempt, again.first_window) == ([0], 2, 0)
    run.add(acks_of(again, 1, parts.sizes)[0] | {"more": [long_video(plan, 0, 20)]})
    run.end_round()
    assert [(item.videos, item.first_window) for item in run.missing()] == [([0], 10)]


def test_a_range_that_kills_its_workers_is_one_failure(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    merges, seen = Merges(), list[Progress]()
    run = LabelRun(plan, parts, [0], merges, seen.append)
    (whole,) = run.missing()
    run.add(acks_of(whole, 1, parts.sizes)[0] | {"more": [long_video(plan, 0, 20)]})
    run.end_round()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        (item,) = run.missing()
        assert (item.attempt, item.first_window) == (attempt, 10)
        begin(plan, item)
        run.end_round()
    ((batches, (failure,)),) = merges.started.values()
    assert batches == [(0, 0)]
    assert (failure.kind, failure.first_window, failure.attempts) == ("decoder_crash", 10, MAX_ATTEMPTS)
    run.finish()
    assert (seen[-1].num_videos, seen[-1].num_failed) == (1, 1)


def test_what_a_worker_says_stops_the_job(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    run = LabelRun(plan, parts, [0], Merges(), lambda _: None)
    (item,) = run.missing()
    with pytest.raises(FalError, match=r"^labelling stopped: the disk is full$"):
        run.add(acks_of(item, 1, parts.sizes)[0] | {"error": "the disk is full"})


def test_a_part_whose_merge_is_missing_is_noticed(tmp_path: Path) -> None:
    plan, parts = planned(tmp_path, 1, 10)
    run = LabelRun(plan, parts, [0], Merges(num_lost=1), lambda _: None)
    with pytest.raises(FalError, match=rf"1 of 1 parts did not finish, first {parts.names[0]}; run the job again"):
        run.finish()


def test_progress_says_how_far_each_stage_is() -> None:
    now = Progress(num_videos=9, num_failed=1, num_clips=40, num_parts=2, prepare_busy_s=8.0, predict_busy_s=3.0)
    assert now.stages({"prepare": 2, "predict": 1}, 5) == (
        StageProgress(name="prepare", unit="clips", num_done=40, busy_s=8.0, num_workers=2),
        StageProgress(name="predict", unit="clips", num_done=40, busy_s=3.0, num_workers=1),
        StageProgress(name="merge", unit="parts", num_done=2, total=5),
    )
