"""Embeddings of a stored run beside what a manifest says of its videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.relabel_corpus import write_run
from fal_model.errors import ConfigError
from pipelines import label_parts, relabelling, tables
from pipelines.config import LabelConfig
from pipelines.head_data import HeadData, read_examples
from pipelines.records import MANIFEST
from pipelines.relabelling import StoredRun
from pipelines.splits import SplitConfig
from tests.helpers.model import TREE

NUM, CLIPS = 30, 3
EVEN = SplitConfig(shares={"train": 0.5, "val": 0.25, "test": 0.25})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    place = str(tmp_path_factory.mktemp("stored") / "run")
    write_run(place, TREE, NUM, clips_per_video=CLIPS, config=LabelConfig(part_videos=8), embedding_dim=8)
    return relabelling.open_run(place)


def name(number: int) -> str:
    return f"video-{number:06d}"


def truth(*rows: dict[str, Any]) -> pa.Table:
    filled = [{"uri": "/a.mp4", "labels": ["run"], "split": "train"} | row for row in rows]
    return pa.Table.from_pylist(filled, schema=MANIFEST)


def read(stored: StoredRun, table: pa.Table, split: SplitConfig = EVEN, max_clips: int = 1000) -> HeadData:
    return read_examples(stored, table, TREE, split, max_clips)


def test_clips_come_with_their_embeddings_labels_and_weights(stored: StoredRun) -> None:
    segment = {"label": "news", "start_s": 10.0, "end_s": 20.0}
    rows: list[dict[str, Any]] = [
        {"video_id": name(3)},
        {"video_id": name(1), "labels": ["news"], "segments": [segment]},
        {"video_id": name(2), "labels": [], "split": "val"},
    ]
    data = read(stored, truth(*rows))
    assert data.num_videos == {"train": 2, "val": 1}
    train = data.examples["train"]
    stored_rows = [
        row
        for part in stored.names
        for row in tables.read_table(label_parts.table_uri(stored.place, "predictions", part)).to_pylist()
    ]
    wanted = [row["embedding"] for i in (1, 3) for row in stored_rows if row["video_id"] == name(i)]
    assert train.embedding_NE.tolist() == wanted
    news, run = set(TREE.path_indices(TREE.index("news"))), set(TREE.path_indices(TREE.index("run")))
    assert [set(np.flatnonzero(row).tolist()) for row in train.labels_NK] == [set(), news, set(), run, run, run]
    assert np.allclose(train.weight_N, 1 / CLIPS)
    assert not data.examples["val"].labels_NK.any()


def test_what_is_not_there_is_counted(stored: StoredRun) -> None:
    rows: list[dict[str, Any]] = [{"video_id": name(i), "split": "val" if i else "train"} for i in range(3)]
    more: list[dict[str, Any]] = [{"video_id": "elsewhere"}, {"video_id": name(9), "labels": None}]
    data = read(stored, truth(*rows, *more))
    assert (data.num_unknown, data.num_unlabelled, data.num_left_out) == (1, 1, 0)
    assert sum(data.num_videos.values()) == 3


def test_videos_without_a_split_are_divided(stored: StoredRun) -> None:
    data = read(stored, truth(*({"video_id": name(i), "split": None} for i in range(20))))
    assert data.num_videos == {"train": 10, "val": 5, "test": 5}
    assert {split: len(e) for split, e in data.examples.items()} == {"train": 30, "val": 15, "test": 15}


def test_of_too_many_clips_every_nth_is_taken(stored: StoredRun) -> None:
    rows = [{"video_id": name(i), "split": "val" if i == 9 else "train"} for i in range(10)]
    data, every = read(stored, truth(*rows), max_clips=7), read(stored, truth(*rows))
    assert len(data.examples["train"]) == 7
    assert data.num_left_out == 27 - 7
    some, most = data.examples["train"], every.examples["train"]
    for taken, of_all in zip(
        (some.embedding_NE, some.labels_NK, some.weight_N),
        (most.embedding_NE, most.labels_NK, most.weight_N),
        strict=True,
    ):
        assert np.array_equal(taken, of_all[::4])
    assert (every.num_left_out, len(every.examples["val"])) == (0, CLIPS)


def test_nothing_to_fit_or_to_calibrate_is_said(stored: StoredRun) -> None:
    with pytest.raises(ConfigError, match=r"1 of its 1 videos have labels, and .* of none of them; .*'video-000000'"):
        read(stored, truth({"video_id": "elsewhere"}))
    with pytest.raises(ConfigError, match=r"of the 1 labelled videos .* none is in the split 'val'; train is fitted"):
        read(stored, truth({"video_id": name(0)}))
    with pytest.raises(ConfigError, match=r"none is in the split 'train'"):
        read(stored, truth({"video_id": name(0), "split": "val"}))
