"""Shards hold what clips and manifest say, and every number of workers reads the same clips from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.boundary_targets import Span
from fal_model.errors import ConfigError, FalError
from fal_model.spec import ClipSpec
from pipelines import pixels, storage, tables
from pipelines.records import SCHEMA_VERSION
from pipelines.shard_writing import shard_row, write_shard
from pipelines.shards import Group, ReadPlan, ShardBatch, ShardSet, epoch_order, read_batches, spans_of, steps_per_epoch
from tests.helpers.model import SPEC, TREE, random_clip

SIZES = (5, 1, 7)
"""Clips of each shard; row groups hold two."""
BATCH = 4


def video(video_id: str = "v", **changes: Any) -> dict[str, Any]:
    return {"video_id": video_id, "labels": ["run"], "segments": None} | changes


def write_shards(folder: str) -> str:
    """Write clips named by their place: clip 3 of shard 1 is of video 1-3."""
    for number, size in enumerate(SIZES):
        rows = [shard_row(video(f"{number}-{i}"), random_clip(100 * number + i), 95) for i in range(size)]
        write_shard(storage.join(folder, f"part-{number}.parquet"), rows, SPEC, TREE, group_clips=2)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(str(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def shard_set(folder: str) -> ShardSet:
    return ShardSet.open(folder)


# ---- opening ------------------------------------------------------------------------------------------------------


def test_a_folder_of_shards_is_one_set(shard_set: ShardSet) -> None:
    assert shard_set.num_clips == sum(SIZES)
    assert [g.num_rows for g in shard_set.groups] == [2, 2, 1, 1, 2, 2, 2, 1]


def test_a_shard_without_clips_does_no_harm(tmp_path: Path) -> None:
    write_shards(str(tmp_path))
    write_shard(str(tmp_path / "part-9.parquet"), [], SPEC, TREE, group_clips=2)
    found = ShardSet.open(str(tmp_path))
    assert found.num_clips == sum(SIZES)
    assert len(epoch_order(found.groups, ReadPlan(batch_clips=1), 0)) == sum(SIZES)


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        ShardSet.open(str(folder))
    return [problem.replace(str(folder), "F") for problem in raised.value.problems]


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["shards: no .parquet files in 'F'"]
    write_shard(str(tmp_path / "a.parquet"), [], SPEC, TREE, group_clips=2)
    assert problems_of(tmp_path) == ["shards: 'F' holds no clips"]


def test_other_files_are_refused_and_all_are_named(tmp_path: Path) -> None:
    write_shards(str(tmp_path))
    (tmp_path / "bad.parquet").write_bytes(b"not Parquet at all")
    table = tables.read_table(str(tmp_path / "part-0.parquet"))
    old = {**(table.schema.metadata or {}), b"fal_schema_version": b"0"}
    pq.write_table(table.replace_schema_metadata(old), tmp_path / "old.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "other.parquet")
    problems = problems_of(tmp_path)
    assert problems[0].startswith("shards: 'F/bad.parquet' cannot be read: ")
    assert problems[1:] == [
        f"shards: 'F/old.parquet' is not a shard of schema version {SCHEMA_VERSION}",
        f"shards: 'F/other.parquet' is not a shard of schema version {SCHEMA_VERSION}",
    ]


def test_shards_of_different_settings_are_not_mixed(tmp_path: Path) -> None:
    other = ClipSpec.from_dict(SPEC.to_dict() | {"window_s": 3.0})
    for name, spec in (("a", SPEC), ("b", other), ("c", SPEC)):
        rows = [shard_row(video(), random_clip(1), 90)]
        write_shard(str(tmp_path / f"{name}.parquet"), rows, spec, TREE, group_clips=2)
    assert problems_of(tmp_path) == [
        "shards: made with different clip settings or taxonomies: F/a.parquet, F/b.parquet"
    ]


# ---- order --------------------------------------------------------------------------------------------------------

GROUPS = st.lists(st.integers(0, 5), min_size=1, max_size=8).map(
    lambda sizes: [Group("f", i, size) for i, size in enumerate(sizes)]
)


def pairs(order: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, int]]:
    return [(int(group), int(row)) for group, row in order]


@settings(deadline=None, max_examples=60)
@given(GROUPS, st.integers(0, 2**31), st.integers(0, 100), st.integers(1, 8))
def test_an_epoch_has_every_row_once_whoever_reads_it(
    groups: list[Group], seed: int, epoch: int, num_workers: int
) -> None:
    everything = [(g, row) for g, group in enumerate(groups) for row in range(group.num_rows)]
    plan = ReadPlan(batch_clips=8, seed=seed)
    order = pairs(epoch_order(groups, plan, epoch))
    assert sorted(order) == everything
    if 8 % num_workers == 0:
        other = ReadPlan(batch_clips=8, seed=seed, num_workers=num_workers, rank=num_workers - 1)
        assert pairs(epoch_order(groups, other, epoch)) == order
    assert pairs(epoch_order(groups, ReadPlan(batch_clips=8, is_shuffled=False), epoch)) == everything


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    groups = [Group("f", i, 4) for i in range(8)]
    orders = {
        tuple(pairs(epoch_order(groups, ReadPlan(batch_clips=4, seed=seed), epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


# ---- reading ------------------------------------------------------------------------------------------------------


def joined(batches: list[ShardBatch]) -> dict[str, Any]:
    arrays = [b.arrays for b in batches]
    return {
        "frames": np.concatenate([a.frames_BTHWC for a in arrays]),
        "flow": np.concatenate([a.flow_q_BTHWC for a in arrays]),
        "valid": np.concatenate([a.flow_valid_BT for a in arrays]),
        "ids": [i for b in batches for i in b.video_ids],
        "labels": [x for b in batches for x in b.labels],
        "frame_labels": [x for b in batches for x in b.frame_labels],
    }


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(np.array(values, object), np.array(second[name], object), err_msg=name)


def steps(shard_set: ShardSet, num_workers: int, seed: int, first: int, last: int, **plan: Any) -> list[dict[str, Any]]:
    """Read the global batches of these steps with so many workers."""
    readers: list[Iterator[ShardBatch]] = [
        read_batches(
            shard_set, ReadPlan(batch_clips=BATCH, rank=rank, num_workers=num_workers, seed=seed, **plan), first, last
        )
        for rank in range(num_workers)
    ]
    return [joined(list(parts)) for parts in zip(*readers, strict=True)]


@pytest.mark.parametrize("is_mirrored", [False, True])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), first=st.integers(0, 7), num=st.integers(1, 4))
def test_a_step_has_the_same_clips_and_pixels_for_any_number_of_workers(
    shard_set: ShardSet, is_mirrored: bool, seed: int, first: int, num: int
) -> None:
    alone = steps(shard_set, 1, seed, first, first + num, is_augmented=True, is_mirrored=is_mirrored)
    assert len(alone) == num
    for num_workers in (2, 4):
        together = steps(shard_set, num_workers, seed, first, first + num, is_augmented=True, is_mirrored=is_mirrored)
        for mine, theirs in zip(alone, together, strict=True):
            assert_same(mine, theirs)


def test_reading_can_begin_at_any_step(shard_set: ShardSet) -> None:
    whole = steps(shard_set, 1, 5, 0, 8, is_augmented=True)
    for first in range(8):
        for mine, theirs in zip(whole[first:], steps(shard_set, 1, 5, first, 8, is_augmented=True), strict=True):
            assert_same(mine, theirs)


def test_an_epoch_has_whole_batches_of_different_clips(shard_set: ShardSet) -> None:
    plan = ReadPlan(batch_clips=BATCH, seed=3)
    assert steps_per_epoch(shard_set, plan) == 3
    batches = list(read_batches(shard_set, plan))
    ids = [i for batch in batches for i in batch.video_ids]
    assert [len(batch.video_ids) for batch in batches] == [4, 4, 4]
    assert len(set(ids)) == 12


def test_clips_come_as_they_were_written_with_their_truth(shard_set: ShardSet) -> None:
    (batch,) = read_batches(shard_set, ReadPlan(batch_clips=100, is_shuffled=False))
    assert batch.video_ids == [f"{s}-{i}" for s, size in enumerate(SIZES) for i in range(size)]
    clips = [random_clip(100 * s + i) for s, size in enumerate(SIZES) for i in range(size)]
    np.testing.assert_array_equal(batch.arrays.flow_q_BTHWC, [c.flow_q_THWC for c in clips])
    np.testing.assert_array_equal(batch.arrays.flow_valid_BT, [c.flow_valid_T for c in clips])
    decoded = [[pixels.decode_jpeg(pixels.encode_jpeg(f, 95)) for f in c.frames_THWC] for c in clips]
    np.testing.assert_array_equal(batch.arrays.frames_BTHWC, decoded)
    assert batch.labels == [["run"]] * len(clips)
    assert batch.frame_labels == [None] * len(clips)


def test_segments_become_places_among_the_frames() -> None:
    times = {"start_s": 2.0, "end_s": 6.0, "frame_times_s": [2.5, 3.0, 5.0, 5.5]}
    segments = [{"label": "run", "start_s": 0.0, "end_s": 4.0}, {"label": "news", "start_s": 2.5, "end_s": 9.0}]
    assert spans_of(times | {"segments": segments}, TREE) == [
        Span(TREE.index("run"), 0.0, 0.5),  # half-way between the second frame and the third
        Span(TREE.index("news"), 0.125, 1.0),
    ]
    assert spans_of(times | {"segments": None}, TREE) is None


@pytest.mark.parametrize(("first", "sizes"), [(0, [4, 4, 4, 1]), (2, [4, 1]), (4, [4, 4, 4, 1])])
def test_unshuffled_reading_keeps_the_short_batch_and_ends_with_its_pass(
    shard_set: ShardSet, first: int, sizes: list[int]
) -> None:
    plan = ReadPlan(batch_clips=BATCH, is_shuffled=False)
    assert steps_per_epoch(shard_set, plan) == 4
    for stop in (None, 100):
        assert [len(b.video_ids) for b in read_batches(shard_set, plan, first, stop)] == sizes


def test_many_shards_are_read_with_few_open(tmp_path: Path) -> None:
    found = ShardSet.open(write_shards(str(tmp_path)))
    ids = [i for b in read_batches(found, ReadPlan(batch_clips=2, max_open_shards=1), 0, 6) for i in b.video_ids]
    assert len(set(ids)) == 12


def test_shards_in_s3_are_read_alike(bucket: str, shard_set: ShardSet) -> None:
    there = ShardSet.open(write_shards(f"{bucket}/train"))
    assert (there.spec, there.num_clips) == (shard_set.spec, shard_set.num_clips)
    for mine, theirs in zip(steps(shard_set, 1, 1, 0, 3), steps(there, 1, 1, 0, 3), strict=True):
        assert_same(mine, theirs)


def test_a_plan_that_cannot_be_is_refused(shard_set: ShardSet) -> None:
    with pytest.raises(ConfigError, match=r"^loop\.batch_clips: got 5, must be a multiple of loop\.workers \(2\)$"):
        ReadPlan(batch_clips=5, num_workers=2)
    with pytest.raises(ConfigError, match=r"^max_open_shards: got 0, must be at least 1$"):
        ReadPlan(batch_clips=4, max_open_shards=0)
    with pytest.raises(ConfigError, match=r"^unshuffled reading: got 2 workers, must be one$"):
        ReadPlan(batch_clips=4, num_workers=2, is_shuffled=False)
    with pytest.raises(ConfigError, match=r"^loop\.batch_clips: got 14, but the training shards hold only 13 clips$"):
        steps_per_epoch(shard_set, ReadPlan(batch_clips=14))


def test_any_number_of_threads_reads_the_same(shard_set: ShardSet) -> None:
    alone = steps(shard_set, 1, 3, 0, 4, is_augmented=True, is_mirrored=True)
    for mine, theirs in zip(
        alone, steps(shard_set, 1, 3, 0, 4, is_augmented=True, is_mirrored=True, threads=3), strict=True
    ):
        assert_same(mine, theirs)


def changed_jpeg(row: dict[str, Any], frame: int, data: bytes) -> dict[str, Any]:
    return row | {"frames_jpeg": [data if i == frame else old for i, old in enumerate(row["frames_jpeg"])]}


OTHER_SIZE = pixels.encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)
DAMAGES: list[tuple[dict[str, Any], str]] = [
    (
        changed_jpeg(shard_row(video(), random_clip(1), 90), 2, b"no picture"),
        "decode_jpeg: 10 bytes are not a readable",
    ),
    (changed_jpeg(shard_row(video(), random_clip(1), 90), 0, b""), "decode_jpeg: 0 bytes are not a readable JPEG"),
    (
        changed_jpeg(shard_row(video(), random_clip(1), 90), 0, OTHER_SIZE),
        r"got a frame of (16, 16, 3), the clip specification says (32, 32, 3)",
    ),
    (shard_row(video(), random_clip(1), 90) | {"frames_jpeg": [OTHER_SIZE] * 3}, "got a frame of"),
    (shard_row(video(), random_clip(1), 90) | {"flow_q": b"123"}, "cannot reshape array of size 3"),
]


@pytest.mark.parametrize("is_augmented", [False, True])
@pytest.mark.parametrize(("row", "problem"), DAMAGES)
def test_a_damaged_row_is_named(row: dict[str, Any], problem: str, is_augmented: bool, tmp_path: Path) -> None:
    good = shard_row(video(), random_clip(2), 90)
    write_shard(str(tmp_path / "a.parquet"), [good, good, good, row], SPEC, TREE, group_clips=2)
    plan = ReadPlan(batch_clips=4, is_augmented=is_augmented, is_shuffled=False)
    with pytest.raises(FalError) as raised:
        list(read_batches(ShardSet.open(str(tmp_path)), plan))
    place = f"shard '{tmp_path}/a.parquet', row group 1, row 1: damaged, write it again: "
    assert str(raised.value).startswith(place + problem)
