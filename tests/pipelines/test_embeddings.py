"""The nearest videos are those that comparing everything by hand finds, whatever the parts and their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines.embeddings import Block, Nearest, embedding_of, embedding_of_label, read_blocks, unit
from pipelines.exporters.source import Source, open_source
from tests.helpers.label_output import write_output
from tests.helpers.report_folder import failure_row, label_row

DIM = 4


def rows_of(ids: list[str]) -> pa.Table:
    columns = {"uri": "/v", "top_label": "run", "top_score": 0.5, "duration_s": 1.0}
    return pa.Table.from_pylist([{"video_id": i, **columns} for i in ids])


def source_of(folder: Path, embeddings: dict[str, list[float]], **tops: str) -> Source:
    labels = [label_row(i, tops.get(i, "run"), embedding=e) for i, e in embeddings.items()]
    write_output(folder, labels, [failure_row("broken")], part_videos=2)
    return open_source(str(folder))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), num=st.integers(1, 30), k=st.integers(1, 12), block=st.integers(1, 9))
def test_it_is_what_comparing_all_by_hand_finds(data: st.DataObject, num: int, k: int, block: int) -> None:
    values = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=DIM, max_size=DIM)
    raw = np.array(data.draw(st.lists(values, min_size=num, max_size=num)), np.float32)
    query = np.array(data.draw(values.filter(any)), np.float32)
    ids = data.draw(st.permutations([f"v{i:02d}" for i in range(num)]))
    nearest = Nearest(query, k, without="v00")
    for start in range(0, num, block):
        part = slice(start, start + block)
        nearest.add(Block(rows_of(ids[part]), unit(raw[part])))
    lengths = np.linalg.norm(raw, axis=1) * np.linalg.norm(query)
    cosines = {i: row @ query / length for i, row, length in zip(ids, raw, lengths, strict=True) if row.any()}
    expected = sorted((-round(float(c), 5), i) for i, c in cosines.items() if i != "v00")[:k]
    found = nearest.found()
    assert [n.video_id for n in found] == [i for _, i in expected]
    assert [n.cosine for n in found] == pytest.approx([-c for c, _ in expected], abs=1e-5)


@pytest.mark.parametrize("query", [np.zeros(DIM), np.array([1, np.nan, 0, 0])])
def test_nothing_is_near_to_nothing(query: npt.NDArray[Any]) -> None:
    with pytest.raises(ConfigError, match="the embedding asked about is zero or holds no numbers, so nothing is near"):
        Nearest(query, 3)


def test_embeddings_of_another_model_are_refused() -> None:
    nearest = Nearest(np.ones(DIM, np.float32), 3)
    with pytest.raises(ConfigError, match="asked about has 4 numbers, those of the labels have 6; they are of another"):
        nearest.add(Block(rows_of(["a"]), unit(np.ones((1, 6), np.float32))))


def test_rows_of_zeros_and_of_no_numbers_are_like_nothing() -> None:
    rows_ND = np.array([[3, 4], [0, 0], [np.inf, 1], [np.nan, 1]], np.float32)
    assert unit(rows_ND).tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 0], [0, 0]]))


def test_blocks_hold_every_labelled_video_once(tmp_path: Path) -> None:
    source = source_of(tmp_path, {f"v{i}": [1.0, float(i)] for i in range(5)})
    blocks = list(read_blocks(source, ["coverage"]))
    assert sorted(i for b in blocks for i in b.rows["video_id"].to_pylist()) == [f"v{i}" for i in range(5)]
    assert {name for b in blocks for name in b.rows.column_names} >= {"coverage", "uri", "top_label"}


def test_one_video_is_found_in_its_part_and_a_failed_one_has_no_embedding(tmp_path: Path) -> None:
    source = source_of(tmp_path, {"a": [3.0, 4.0], "b": [0.0, 2.0], "c": [1.0, 0.0]})
    found = embedding_of(source, "a")
    assert found is not None
    assert found.tolist() == pytest.approx([0.6, 0.8])
    assert embedding_of(source, "broken") is None
    assert embedding_of(source, "nobody") is None


def test_a_class_is_the_mean_of_its_videos_weighted_by_score(tmp_path: Path) -> None:
    labels = [
        label_row("a", "run", 0.9, embedding=[1.0, 0.0]),
        label_row("b", "jump", 0.3, embedding=[0.0, 5.0]),
        label_row("c", "studio", 0.8, embedding=[7.0, 7.0]),
    ]
    write_output(tmp_path, labels, part_videos=1)
    source = open_source(str(tmp_path))
    found, num_videos = embedding_of_label(source, "sport")  # the inner class above both
    assert (found.tolist(), num_videos) == (pytest.approx([0.9, 0.3]), 2)
    assert embedding_of_label(source, "run")[0].tolist() == pytest.approx([0.9, 0.0])
    assert embedding_of_label(source, "news")[1] == 1
    assert embedding_of_label(source, "chess")[1] == 0
