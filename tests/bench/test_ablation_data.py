from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ablation_data import (
    COARSE,
    DATA_SETS,
    EVENT_SET,
    FIGHTS,
    SPLITS,
    STANDIN,
    DataSizes,
    clip_spec,
    coarse_row,
    event_row,
    event_scenes,
    shards,
    source,
)
from bench.sampling_scenes import EVENTS, MAX_VIDEO_S
from fal_model.spec import ClipSpec, Sampling
from fal_model.taxonomy import Taxonomy
from pipelines import manifest
from pipelines.shards import ShardSet

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8)


def test_only_videos_of_short_events_are_one_clip() -> None:
    found = {name: clip_spec(name, SPEC) for name in DATA_SETS}
    assert {name for name, other in found.items() if other != SPEC} == {EVENT_SET}
    assert found[EVENT_SET] == replace(SPEC, window_s=MAX_VIDEO_S)


def test_every_kind_of_event_is_in_every_split_alike() -> None:
    chosen = event_scenes(14, [])
    assert len({scene.seed for scene, _ in chosen}) == 14 * len(EVENTS)
    counts = Counter((scene.event, split) for scene, split in chosen)
    assert counts == {(event, split): n for event in EVENTS for split, n in (("train", 8), ("test", 4), ("val", 2))}


def test_when_it_happens_is_told_to_training_only(tmp_path: Path) -> None:
    chosen = event_scenes(7, [])
    place = tmp_path / "all.jsonl"
    place.write_text(
        "\n".join(json.dumps(event_row(scene, tmp_path / f"{scene.seed}.mp4", split)) for scene, split in chosen)
    )
    read = {row["video_id"]: row for row in manifest.read_manifest(str(place)).to_pylist()}
    assert len(read) == len(chosen)
    for scene, split in chosen:
        row = read[f"scene-{scene.seed:05d}"]
        label = scene.event.replace(" ", "_")
        start_s, end_s = scene.event_s
        assert (row["labels"], row["split"]) == ([label], split)
        times = [{"label": label, "start_s": start_s, "end_s": end_s}] if split == "train" else None
        assert row["segments"] == times


def test_three_of_four_videos_to_train_on_have_labels_one_level_up() -> None:
    tree = Taxonomy.from_csv("id,parent\nrun,\nrun.dog,run\nrun.cat,run\nsit,\nsit.dog,sit\nsit.cat,sit\n")
    segments = [
        {"label": label, "start_s": start_s, "end_s": start_s + 1}
        for label, start_s in (("run.dog", 0.0), ("run.cat", 1.0), ("sit.dog", 2.0))
    ]
    row = {"uri": "a/b.mp4", "labels": ["run.dog", "run.cat", "sit.dog"], "segments": segments}
    videos = [row | {"video_id": f"v{n}", "split": "train" if n < 400 else "test"} for n in range(410)]
    found = [coarse_row(video, tree, Path("/videos")) for video in videos]

    assert {video["uri"] for video in found} == {"/videos/a/b.mp4"}
    coarse = [video for video in found if video["labels"] == ["run", "sit"]]
    assert all([s["label"] for s in video["segments"]] == ["run", "run", "sit"] for video in coarse)
    assert all([(s["start_s"], s["end_s"]) for s in v["segments"]] == [(0, 1), (1, 2), (2, 3)] for v in coarse)
    assert {video["split"] for video in coarse} == {"train"}
    assert 280 <= len(coarse) <= 320
    assert all(
        video == row | {"uri": video["uri"]} | {k: video[k] for k in ("video_id", "split")}
        for video in found
        if video not in coarse
    )


@pytest.mark.real
def test_a_source_of_recordings_is_in_one_split(real_videos: Path, tmp_path: Path) -> None:
    found = source(tmp_path, FIGHTS, DataSizes())
    rows = manifest.read_manifest(str(found.manifest)).to_pylist()
    with (real_videos / "surveillance-fights" / "split.csv").open(encoding="utf-8") as file:
        source_of = {row["file"]: row["source"] for row in csv.DictReader(file)}
    assert sorted(row["video_id"] for row in rows) == sorted(source_of)
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(source_of[row["video_id"]], set()).add(row["split"])
    assert {len(found) for found in splits.values()} == {1}
    assert {row["split"] for row in rows} == set(SPLITS)


@pytest.mark.ray
@pytest.mark.slow
def test_the_jobs_make_the_shards_once(tmp_path: Path) -> None:
    sizes = DataSizes(classes=2, videos_per_class=3)
    uniform = replace(SPEC, sampling=Sampling.UNIFORM)
    places = [shards(source(tmp_path, STANDIN, sizes), spec) for spec in (SPEC, uniform)]
    assert len(set(places)) == 2
    for place, spec in zip(places, (SPEC, uniform), strict=True):
        sets = {split: ShardSet.open(str(place / split)) for split in SPLITS}
        assert {split: shard_set.spec for split, shard_set in sets.items()} == dict.fromkeys(SPLITS, spec)
        assert {shard_set.num_clips for shard_set in sets.values()} == {2}
    coarse = ShardSet.open(str(shards(source(tmp_path, COARSE, sizes), SPEC) / "train"))
    assert (coarse.num_clips, coarse.taxonomy.to_dict()) == (2, sets["train"].taxonomy.to_dict())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert shards(source(tmp_path, STANDIN, sizes), SPEC) == places[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
