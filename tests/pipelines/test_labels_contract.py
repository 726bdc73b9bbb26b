"""What the tables of a run over real files promise, column by column (`docs/data-contracts.md`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from fal_model.errors import FailureKind
from fal_model.model import FALModel
from pipelines import tables
from pipelines.config import LabelConfig
from pipelines.records import FAILURES, labels_schema
from tests.helpers.label_plan import label_in_process
from tests.helpers.model import MICRO, SPEC, TREE, micro_model

pytestmark = [pytest.mark.real, pytest.mark.slow]

LABEL = LabelConfig(threshold=0.3, segment_threshold=0.3, max_segments=6)
CAMERA_FILES = 12
MOST_BYTES = 4 << 20
"""Larger files take long and show nothing else."""


def model() -> FALModel:
    """Make a model that finds something in most videos, and not the same in all."""
    made = micro_model()
    with torch.no_grad():
        for classes in (made.heads.clip_classes, made.heads.frame_classes):
            classes.weight.mul_(0.2)
            classes.bias.fill_(1.0)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real_videos: Path) -> Path:
    """Label the odd files, the broken ones and some recordings of each set."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "videos").mkdir()
    for path in chosen(real_videos):
        (folder / "videos" / f"{path.parent.name}-{path.name}").symlink_to(path)
    model().save_pretrained(folder / "model")
    label_in_process(folder / "videos", folder / "run", folder / "model", LABEL)
    return folder


def chosen(real_videos: Path) -> Iterator[Path]:
    for folder in sorted(path for path in real_videos.iterdir() if path.is_dir()):
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size <= MOST_BYTES)
        yield from files if folder.name in {"odd", "broken"} else files[:CAMERA_FILES]


@pytest.fixture(scope="module")
def rows(made: Path) -> list[dict[str, Any]]:
    table = tables.read_folder(str(made / "run" / "labels"))
    assert table is not None
    assert table.schema.remove_metadata() == labels_schema(MICRO.embedding_dim).remove_metadata()
    found: list[dict[str, Any]] = table.to_pylist()
    assert len(found) > 60
    return found


def test_every_file_is_in_one_table_once(made: Path, rows: list[dict[str, Any]]) -> None:
    table = tables.read_folder(str(made / "run" / "failures"))
    assert table is not None
    assert table.schema.remove_metadata() == FAILURES.remove_metadata()
    failures = table.to_pylist()
    ids = sorted(row["video_id"] for row in (*rows, *failures))
    assert ids == sorted(path.name for path in (made / "videos").iterdir())
    assert len(failures) > 10
    for row in failures:
        assert row["kind"] in tuple(FailureKind)
        assert row["stage"] in {"open", "probe", "decode"}
        assert row["message"].isprintable()
        assert 0 < len(row["message"]) <= 500
        assert row["attempts"] >= 1
        assert row["uri"].endswith(row["video_id"])


def test_name_place_content_and_ids(made: Path, rows: list[dict[str, Any]]) -> None:
    meta = model().meta()
    for row in rows:
        path = made / "videos" / row["video_id"]
        assert row["uri"] == str(path)
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row["model_id"] == meta.model_id
        assert row["taxonomy_id"] == TREE.taxonomy_id
        assert row["pipeline_id"] == SPEC.pipeline_id


def test_the_duration_is_that_of_the_video_stream(made: Path, rows: list[dict[str, Any]]) -> None:
    off = []
    for row in rows:
        with av.open(str(made / "videos" / row["video_id"])) as media:
            stated_s = media.streams.video[0].duration
            time_base = media.streams.video[0].time_base
        if stated_s and time_base and abs(float(stated_s * time_base) - row["duration_s"]) > 0.5:
            off.append((row["video_id"], float(stated_s * time_base), row["duration_s"]))
        assert row["duration_s"] > 0
    # Files whose header says something else than their packets are there on purpose, but few.
    assert len(off) < len(rows) / 10, off


def test_labels_are_paths_that_no_child_leaves(rows: list[dict[str, Any]]) -> None:
    leaves = {TREE.nodes[i].id for i in TREE.leaves}
    num = 0
    for row in rows:
        scores = {label["label"]: label["score"] for label in row["labels"]}
        assert len(scores) == len(row["labels"])
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        for label in row["labels"]:
            index = TREE.index(label["label"])
            assert label["path"] == TREE.path(index)
            assert label["level"] == TREE.levels[index] == len(label["path"]) - 1
            assert LABEL.threshold is not None
            assert LABEL.threshold <= label["score"] <= 1
            assert all(scores[parent] >= label["score"] for parent in label["path"])
            num += 1
        assert row["top_label"] in leaves
        assert row["top_path"] == TREE.path(TREE.index(row["top_label"]))
        assert 0 <= row["top_score"] <= 1
        if row["top_label"] in scores:
            assert row["top_score"] == scores[row["top_label"]] == max(scores[x] for x in leaves & set(scores))
        assert row["is_abstained"] is False  # the model's calibration never abstains
    assert num > len(rows)


def test_segments_lie_in_the_video_and_are_of_listed_leaves(rows: list[dict[str, Any]]) -> None:
    num = 0
    for row in rows:
        listed = {label["label"] for label in row["labels"]}
        assert [s["start_s"] for s in row["segments"]] == sorted(s["start_s"] for s in row["segments"])
        assert len(row["segments"]) <= LABEL.max_segments
        assert row["num_segments_left_out"] >= 0
        assert not row["num_segments_left_out"] or len(row["segments"]) == LABEL.max_segments
        for segment in row["segments"]:
            assert 0 <= segment["start_s"] < segment["end_s"] <= row["duration_s"]
            assert 0.3 <= segment["score"] <= 1
            assert segment["label"] in listed
            num += 1
    assert num > len(rows) / 2


def test_what_was_seen_and_how_much_of_it(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        times_s = row["frame_times_s"]
        assert times_s == sorted(set(times_s))
        assert 0 <= times_s[0] <= times_s[-1] <= row["duration_s"]
        assert 0 < row["coverage"] <= 1
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
    whole = [row for row in rows if row["coverage"] == 1]
    assert len(whole) > 0.8 * len(rows)
