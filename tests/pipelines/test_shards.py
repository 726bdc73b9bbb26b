"""Shards hold what clips and manifest say, and every number of workers reads the same clips from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec
from pipelines import pixels, shards, storage, tables
from pipelines.records import SHARD
from pipelines.shards import Group, ReadPlan, ShardBatch, ShardSet, epoch_order, read_batches, steps_per_epoch
from tests.helpers.model import SPEC, TREE, random_clip

SIZES = (5, 1, 7)
"""Clips of each shard; row groups hold two."""
BATCH = 4


def video(video_id: str = "v", **changes: Any) -> dict[str, Any]:
    return {"video_id": video_id, "labels": ["run"], "segments": None} | changes


def write_shards(folder: str) -> str:
    """Write clips named by their place: clip 3 of shard 1 is of video 1-3."""
    for number, size in enumerate(SIZES):
        rows = [shards.shard_row(video(f"{number}-{i}"), random_clip(100 * number + i), 95) for i in range(size)]
        shards.write_shard(storage.join(folder, f"part-{number}.parquet"), rows, SPEC, TREE, group_clips=2)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(str(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def shard_set(folder: str) -> ShardSet:
    return ShardSet.open(folder)


# ---- writing ------------------------------------------------------------------------------------------------------


def test_a_row_holds_its_clip() -> None:
    clip = random_clip(1, index=3)
    row = shards.shard_row(video(), clip, 100)
    assert list(row) == SHARD.names
    assert (row["video_id"], row["clip_index"], row["start_s"], row["end_s"]) == ("v", 3, 6.0, 8.0)
    assert row["frame_times_s"] == [6.25, 6.75, 7.25, 7.75]
    frames, flow_q = shards.decode_row(row, SPEC)
    np.testing.assert_array_equal(flow_q, clip.flow_q_THWC)
    np.testing.assert_array_equal(row["flow_valid"], clip.flow_valid_T)
    np.testing.assert_array_equal(np.reshape(row["camera"], (-1, 2, 3)), clip.camera_T23)
    assert [pixels.encode_jpeg(f, 100) for f in clip.frames_THWC] == row["frames_jpeg"]
    assert frames.shape == clip.frames_THWC.shape


RUN = {"label": "run", "start_s": 0.25, "end_s": 0.75}
BALL = {"label": "ball", "start_s": 10.0, "end_s": 20.0}
LABELLED: list[tuple[dict[str, Any], list[str], list[list[str]] | None]] = [
    # A label of a video without segments holds everywhere, when is unknown.
    (video(labels=["run", "ball"]), ["ball", "run"], None),
    # One with segments holds at the frames within, the end not included: frames are at 0.25, 0.75, 1.25 and 1.75.
    (video(segments=[RUN]), ["run"], [["run"], [], [], []]),
    # Elsewhere in the video it does not hold in this clip.
    (video(labels=["ball"], segments=[BALL]), [], [[], [], [], []]),
    # A label that has no segment beside one that has: it holds, and the frames are not known whole.
    (video(labels=["studio", "run"], segments=[RUN]), ["run", "studio"], None),
    (video(labels=["run", "ball"], segments=[RUN, BALL, RUN]), ["run"], [["run"], [], [], []]),
    (video(labels=[]), [], None),
    (video(labels=[], segments=[]), [], [[], [], [], []]),
]


@pytest.mark.parametrize(("row", "labels", "frame_labels"), LABELLED)
def test_truth_is_cut_to_the_clip(row: dict[str, Any], labels: list[str], frame_labels: list[list[str]] | None) -> None:
    found = shards.shard_row(row, random_clip(1), 90)
    assert found["labels"] == labels
    assert found["frame_labels"] == frame_labels


def test_a_shard_carries_its_specification_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [shards.shard_row(video(str(i)), random_clip(i), 90) for i in range(3)]
    for name in ("a", "b"):
        shards.write_shard(str(tmp_path / name / "x.parquet"), rows, SPEC, TREE, group_clips=2)
    assert storage.read_bytes(str(tmp_path / "a/x.parquet")) == storage.read_bytes(str(tmp_path / "b/x.parquet"))
    found = ShardSet.open(str(tmp_path / "a"))
    assert found.spec == SPEC
    assert found.taxonomy.to_dict() == TREE.to_dict()
    assert [g.num_rows for g in found.groups] == [2, 1]
    schema = pq.read_schema(tmp_path / "a/x.parquet")
    assert schema.remove_metadata().equals(SHARD)
    assert {k.decode() for k in schema.metadata} == {"fal_schema_version", "fal_clip_spec", "fal_taxonomy"}


# ---- opening ------------------------------------------------------------------------------------------------------


def test_a_folder_of_shards_is_one_set(shard_set: ShardSet) -> None:
    assert shard_set.num_clips == sum(SIZES)
    assert [g.num_rows for g in shard_set.groups] == [2, 2, 1, 1, 2, 2, 2, 1]


def test_a_shard_without_clips_does_no_harm(tmp_path: Path) -> None:
    write_shards(str(tmp_path))
    shards.write_shard(str(tmp_path / "part-9.parquet"), [], SPEC, TREE, group_clips=2)
    found = ShardSet.open(str(tmp_path))
    assert found.num_clips == sum(SIZES)
    assert len(epoch_order(found.groups, ReadPlan(batch_clips=1), 0)) == sum(SIZES)


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        ShardSet.open(str(folder))
    return [problem.replace(str(folder), "F") for problem in raised.value.problems]


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["shards: no .parquet files in 'F'"]
    shards.write_shard(str(tmp_path / "a.parquet"), [], SPEC, TREE, group_clips=2)
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
        "shards: 'F/old.parquet' is not a shard of schema version 2",
        "shards: 'F/other.parquet' is not a shard of schema version 2",
    ]


def test_shards_of_different_settings_are_not_mixed(tmp_path: Path) -> None:
    other = ClipSpec.from_dict(SPEC.to_dict() | {"window_s": 3.0})
    for name, spec in (("a", SPEC), ("b", other), ("c", SPEC)):
        rows = [shards.shard_row(video(), random_clip(1), 90)]
        shards.write_shard(str(tmp_path / f"{name}.parquet"), rows, spec, TREE, group_clips=2)
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


@pytest.mark.parametrize(("first", "sizes"), [(0, [4, 4, 4, 1]), (2, [4, 1]), (4, [4, 4, 4, 1])])
def test_unshuffled_reading_keeps_the_short_batch_and_ends_with_its_pass(
    shard_set: ShardSet, first: int, sizes: list[int]
) -> None:
    plan = ReadPlan(batch_clips=BATCH, is_shuffled=False)
    assert steps_per_epoch(shard_set, plan) == 4
    for stop in (None, 100):
        assert [len(b.video_ids) for b in read_batches(shard_set, plan, first, stop)] == sizes


def test_many_shards_are_read_with_few_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 1)
    found = ShardSet.open(write_shards(str(tmp_path)))
    ids = [i for b in read_batches(found, ReadPlan(batch_clips=2), 0, 6) for i in b.video_ids]
    assert len(set(ids)) == 12


def test_shards_in_s3_are_read_alike(bucket: str, shard_set: ShardSet) -> None:
    there = ShardSet.open(write_shards(f"{bucket}/train"))
    assert (there.spec, there.num_clips) == (shard_set.spec, shard_set.num_clips)
    for mine, theirs in zip(steps(shard_set, 1, 1, 0, 3), steps(there, 1, 1, 0, 3), strict=True):
        assert_same(mine, theirs)


def test_a_plan_that_cannot_be_is_refused(shard_set: ShardSet) -> None:
    with pytest.raises(ConfigError, match=r"^loop\.batch_clips: got 5, must be a multiple of loop\.workers \(2\)$"):
        ReadPlan(batch_clips=5, num_workers=2)
    with pytest.raises(ConfigError, match=r"^unshuffled reading: got 2 workers, must be one$"):
        ReadPlan(batch_clips=4, num_workers=2, is_shuffled=False)
    with pytest.raises(ConfigError, match=r"^loop\.batch_clips: got 14, but the training shards hold only 13 clips$"):
        steps_per_epoch(shard_set, ReadPlan(batch_clips=14))


# ---- augmentation -------------------------------------------------------------------------------------------------


def augmented(seed: int, size: int, grid: int, *, can_mirror: bool) -> tuple[Any, Any, Any, Any]:
    """Augment a clip whose frame and flow show the same picture, at their own sizes."""
    coarse = np.random.default_rng(seed).integers(1, 100, (2, grid, grid), np.int64)
    frames = np.repeat(np.repeat(coarse, size // grid, 1), size // grid, 2)[..., None].repeat(3, 3).astype(np.uint8)
    flow_q = np.stack([coarse, coarse], axis=-1).astype(np.int8)
    return frames, flow_q, *shards.augment(frames, flow_q, np.random.default_rng(seed), can_mirror=can_mirror)


@pytest.mark.parametrize("can_mirror", [False, True])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_picture_and_flow_are_moved_together(can_mirror: bool, seed: int) -> None:
    frames, flow_q, new_frames, new_flow_q = augmented(seed, 80, 20, can_mirror=can_mirror)
    assert (new_frames.shape, new_frames.dtype) == (frames.shape, frames.dtype)
    assert (new_flow_q.shape, new_flow_q.dtype) == (flow_q.shape, flow_q.dtype)
    brightness: dict[int, int] = {}
    for cell, pixel in zip(new_flow_q[..., 1].ravel(), new_frames[:, 2::4, 2::4, 0].ravel(), strict=True):
        assert brightness.setdefault(int(cell), int(pixel)) == int(pixel)  # a cell's own pixel, wherever it went
    known = [brightness[cell] for cell in sorted(brightness)]
    assert known == sorted(known)
    signs = np.sign(new_flow_q[..., 0] * new_flow_q[..., 1].astype(int))
    assert len(np.unique(signs)) == 1  # mirrored or not, as a whole
    if not can_mirror:
        assert signs.flat[0] == 1


def test_half_of_the_clips_are_mirrored_where_that_is_allowed() -> None:
    mirrored = [augmented(seed, 40, 20, can_mirror=True)[3][0, 0, 0, 0] < 0 for seed in range(200)]
    assert 70 < sum(mirrored) < 130


def test_frames_that_are_no_multiple_of_the_flow_grid_move_as_far_as_it() -> None:
    # 100 pixels over 40 cells: a shift of 4 cells is one of 10 pixels.
    size, grid = 100, 40
    frames = np.zeros((1, size, size, 3), np.uint8)
    frames[:, 50:] = 200
    flow_q = np.zeros((1, grid, grid, 2), np.int8)
    flow_q[:, 20:] = 100
    for seed in range(20):
        new_frames, new_flow_q = shards.augment(frames, flow_q, np.random.default_rng(seed))
        edge_px = int(np.argmax(new_frames[0, :, 0, 0] > 100))
        edge_cell = int(np.argmax(new_flow_q[0, :, 0, 0] > 50))
        assert edge_px == pytest.approx(edge_cell * size / grid, abs=1)


def test_a_row_of_the_documented_metadata_can_be_read_by_others(folder: str) -> None:
    metadata = pq.read_schema(Path(folder) / "part-0.parquet").metadata
    assert json.loads(metadata[b"fal_clip_spec"])["size_px"] == 32
    assert json.loads(metadata[b"fal_taxonomy"])["nodes"][0]["id"] == "sport"
