"""A survey counts what shards hold and chooses clips of many classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec
from pipelines import storage
from pipelines.shard_survey import NO_LABEL, ShowConfig, Survey, facts_of, open_sets, read_clip, survey
from pipelines.shard_writing import shard_row, write_shard
from pipelines.shards import ShardSet
from tests.helpers.model import SPEC, TREE, random_clip

LABELS = [["run"], ["run"], ["run", "tennis"], [], ["studio"], ["run"], ["run"]]


def rows_of(labels: list[list[str]]) -> list[dict[str, Any]]:
    """Make two clips of a video with segments for each list of labels."""
    found = []
    for number, names in enumerate(labels):
        segments = None if number % 2 else [{"label": n, "start_s": 0.0, "end_s": 9.0} for n in names]
        video = {"video_id": f"v{number}", "labels": names, "segments": segments}
        found += [shard_row(video, random_clip(10 * number + i, index=i), 90) for i in range(2)]
    return found


def write(folder: str, labels: list[list[str]] = LABELS, spec: ClipSpec = SPEC) -> str:
    rows = rows_of(labels)
    half = len(rows) // 4 * 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        write_shard(storage.join(folder, f"{name}.parquet"), part, spec, TREE, group_clips=3)
    return folder


def survey_of(shards: ShardSet, num: int, **changes: Any) -> tuple[Survey, list[int]]:
    told: list[int] = []
    return survey("all", shards, ShowConfig(**changes), num, told.append), told


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return ShardSet.open(write(str(tmp_path_factory.mktemp("shards"))))


def test_everything_is_counted(shards: ShardSet) -> None:
    found, told = survey_of(shards, 4)
    assert (found.name, found.num_shards, found.num_videos, found.num_clips) == ("all", 2, 7, 14)
    assert found.labels == {"run": 10, "tennis": 2, "studio": 2, NO_LABEL: 2}
    rows = rows_of(LABELS)
    assert found.num_timed == sum(row["frame_labels"] is not None for row in rows) > 0
    assert found.num_flows == sum(sum(row["flow_valid"]) for row in rows)
    assert (found.num_frames, found.clips_s) == (14 * 4, 28.0)
    sizes = [Path(uri).stat().st_size for uri in {group.uri for group in shards.groups}]
    assert found.file_bytes == sum(sizes) > sum(found.column_bytes.values())
    assert found.column_bytes.most_common(1)[0][0] == "frames_jpeg"
    assert told == sorted(told)
    assert told[-1] == 14


@settings(deadline=None, max_examples=15)
@given(num=st.integers(1, 16), seed=st.integers(0, 99))
def test_the_sample_has_as_many_classes_as_fit(shards: ShardSet, num: int, seed: int) -> None:
    found, _ = survey_of(shards, num, seed=seed)
    assert len(set(found.chosen)) == len(found.chosen) == min(num, 14)
    seen = Counter(label for place in found.chosen for label in read_clip(place)["labels"] or [NO_LABEL])
    assert len(seen) >= min(num, 4)
    assert survey_of(shards, num, seed=seed)[0].chosen == found.chosen


def test_a_class_can_be_asked_for(shards: ShardSet) -> None:
    found, _ = survey_of(shards, 9, label="tennis")
    assert [read_clip(place)["labels"] for place in found.chosen] == [["run", "tennis"]] * 2
    assert survey_of(shards, 9, label="ball")[0].chosen == []
    seeds = {tuple(survey_of(shards, 1, label="run", seed=seed)[0].chosen) for seed in range(9)}
    assert len(seeds) > 1


def test_a_clip_is_read_whole(shards: ShardSet) -> None:
    rows = {(row["video_id"], row["clip_index"]): row for row in rows_of(LABELS)}
    for place in survey_of(shards, 14)[0].chosen:
        row = read_clip(place)
        assert row == rows.pop((row["video_id"], row["clip_index"]))
    assert rows == {}


def test_a_folder_of_splits_is_opened_by_split(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(str(tmp_path / name))
    write_shard(str(tmp_path / "val" / "a.parquet"), [], SPEC, TREE, group_clips=3)
    sets = open_sets(str(tmp_path))
    assert {name: found.num_clips for name, found in sets.items()} == {"train": 14, "test": 14}
    assert facts_of(sets) == (sets["train"].spec, sets["train"].taxonomy)
    assert list(open_sets(f"{tmp_path}/test/")) == ["test"]


def test_shards_in_s3_are_read_alike(bucket: str, shards: ShardSet) -> None:
    (there,) = open_sets(write(f"{bucket}/train")).values()
    mine, theirs = survey_of(shards, 5)[0], survey_of(there, 5)[0]
    assert (theirs.labels, theirs.column_bytes, theirs.file_bytes) == (mine.labels, mine.column_bytes, mine.file_bytes)
    assert [read_clip(place) for place in theirs.chosen] == [read_clip(place) for place in mine.chosen]


def test_folders_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^shards: no \.parquet files in '.*', nor in train, val, test below it$"):
        open_sets(str(tmp_path))
    write_shard(str(tmp_path / "val" / "a.parquet"), [], SPEC, TREE, group_clips=3)
    with pytest.raises(ConfigError, match=r"^shards: '.*' holds no clips$"):
        open_sets(str(tmp_path))
    write(str(tmp_path / "train"))
    write(str(tmp_path / "test"), spec=ClipSpec.from_dict(SPEC.to_dict() | {"window_s": 3.0}))
    with pytest.raises(
        ConfigError, match=r"^shards: train, test were made with different clip settings or taxonomies$"
    ):
        open_sets(str(tmp_path))
    (tmp_path / "test" / "c.parquet").write_bytes(b"no shard")
    with pytest.raises(ConfigError, match="cannot be read"):
        open_sets(str(tmp_path))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        ShowConfig(clips=0, seed=-1)
    assert raised.value.problems == [
        "show.clips: got 0, must be ≥ 1 and ≤ 500",
        "show.seed: got -1, must be ≥ 0 and < 2.14748e+09",
    ]
