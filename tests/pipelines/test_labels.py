"""From predictions to the row that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fal_model.calibration import Calibration, Scaling
from pipelines.config import LabelConfig
from pipelines.labels import Labeller, VideoPredictions, mean_embedding
from pipelines.records import labels_schema
from tests.helpers.model import TREE

K, T = len(TREE), 4
SURE, NEVER = 9.0, -9.0
LOGITS = st.floats(-12, 12, width=32)


def labeller(calibration: Calibration | None = None, **settings_: Any) -> Labeller:
    return Labeller(TREE, calibration or Calibration(), LabelConfig(**settings_), "model", "pipeline")


def logits_of(*labels: str) -> list[float]:
    on = {i for label in labels for i in TREE.path_indices(TREE.index(label))}
    return [SURE if i in on else NEVER for i in range(K)]


def predictions(
    clips: Sequence[Sequence[str]], frames: Sequence[Sequence[Sequence[str]]] | None = None, **changes: Any
) -> VideoPredictions:
    """Make the predictions of two-second clips in which these labels, and at each frame those, are certain."""
    num = len(clips)
    per_frame = frames if frames is not None else [[labels] * T for labels in clips]
    values: dict[str, Any] = {
        "logits_NK": np.array([logits_of(*labels) for labels in clips], np.float32),
        "frame_logits_NTK": np.array([[logits_of(*labels) for labels in clip] for clip in per_frame], np.float16),
        "offsets_NTL2": np.full((num, T, len(TREE.leaves), 2), 128, np.uint8),  # borders half-way between frames
        "embedding_ND": np.eye(num, 8, dtype=np.float32),
        "windows_s": [(2.0 * i, 2.0 * i + 2) for i in range(num)],
        "frame_times_s": [[2.0 * i + 0.25 + 0.5 * t for t in range(T)] for i in range(num)],
        "covered_s": 2.0 * num,
        "duration_s": 2.0 * num,
    }
    return VideoPredictions(**values | changes)


def row_of(found: VideoPredictions, maker: Labeller | None = None) -> dict[str, Any]:
    return (maker or labeller()).row("v", "/v.mp4", "abc", found)


# ---- the row ------------------------------------------------------------------------------------------------------


def test_a_row_fits_its_schema_exactly() -> None:
    row = row_of(predictions([["tennis"], ["run"]]))
    schema = labels_schema(8)
    assert list(row) == schema.names
    (back,) = pa.Table.from_pylist([row], schema=schema).to_pylist()
    assert (back["video_id"], back["uri"], back["sha256"]) == ("v", "/v.mp4", "abc")
    assert (back["model_id"], back["taxonomy_id"], back["pipeline_id"]) == ("model", TREE.taxonomy_id, "pipeline")
    assert back["frame_times_s"] == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75]


def test_something_seen_in_one_clip_holds_for_the_video() -> None:
    row = row_of(predictions([["studio"], ["tennis"], []]))
    assert {label["label"] for label in row["labels"]} == {"news", "studio", "sport", "ball", "tennis"}
    (tennis,) = [label for label in row["labels"] if label["label"] == "tennis"]
    assert (tennis["path"], tennis["level"]) == (["sport", "ball", "tennis"], 2)
    assert tennis["score"] == pytest.approx(1, abs=1e-3)


def test_the_top_label_is_the_best_leaf_even_below_the_threshold() -> None:
    found = predictions([[]])
    found.logits_NK[0, TREE.index("sport")] = 0.1
    found.logits_NK[0, TREE.index("run")] = -1.0
    row = row_of(found)
    assert (row["top_label"], row["top_path"]) == ("run", ["sport", "run"])
    assert row["top_score"] == pytest.approx(1 / (1 + math.exp(-0.1)) / (1 + math.exp(1)))
    assert [label["label"] for label in row["labels"]] == ["sport"]


def test_scores_are_calibrated() -> None:
    halved = Calibration(clip=(Scaling(bias=-SURE),), frame=(Scaling(bias=-2 * SURE),))
    row = row_of(predictions([["news"]]), labeller(halved, threshold=0.4))
    assert [(label["label"], label["score"]) for label in row["labels"]] == [("news", 0.5)]
    assert row_of(predictions([["studio"]]), labeller(halved, threshold=0.1))["segments"] == []


def test_each_class_has_its_own_threshold_unless_one_is_asked_for() -> None:
    found = predictions([[]])
    for label, logit in (("sport", 0.0), ("run", 0.0), ("news", -0.2), ("studio", SURE)):
        found.logits_NK[0, TREE.index(label)] = logit
    fitted = Calibration(
        thresholds={node.id: 0.2 if node.id == "run" else 0.6 for node in TREE.nodes},
        frame_thresholds={node.id: 0.0 for node in TREE.nodes},
    )
    row = row_of(found, labeller(fitted))
    assert [(x["label"], round(x["score"], 2)) for x in row["labels"]] == [("sport", 0.5), ("run", 0.25)]
    assert {x["label"] for x in row["segments"]} <= {"run"}
    over = row_of(found, labeller(fitted, threshold=0.4))
    assert [x["label"] for x in over["labels"]] == ["sport", "news", "studio"]
    assert [x["label"] for x in row_of(found)["labels"]] == ["sport"]  # nothing fitted: a half


def test_a_video_of_which_the_model_is_not_sure_is_marked() -> None:
    found = predictions([["run"], []])
    sure = row_of(found, labeller(Calibration(abstain_below=0.9)))
    assert not sure["is_abstained"]
    found.logits_NK[0] = 0.0  # a half at most
    unsure = row_of(found, labeller(Calibration(abstain_below=0.9), threshold=0.1))
    assert unsure["is_abstained"]
    assert unsure["labels"]  # they stay, for a person to look at
    assert not row_of(found)["is_abstained"]


def test_coverage_is_a_share_of_the_duration() -> None:
    assert row_of(predictions([[]], covered_s=1.0))["coverage"] == 0.5
    assert row_of(predictions([[]], covered_s=2.1))["coverage"] == 1.0
    assert row_of(predictions([[]], duration_s=0.0))["coverage"] == 0.0


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 3), st.just(K)), elements=LOGITS),
    st.floats(0, 1),
    st.integers(1, K),
)
def test_labels_come_best_first_with_all_their_ancestors(
    logits_NK: np.ndarray[Any, np.dtype[np.float32]], threshold: float, max_labels: int
) -> None:
    found = predictions([[]] * len(logits_NK), logits_NK=logits_NK)
    row = row_of(found, labeller(threshold=threshold, max_labels=max_labels))
    labels = {label["label"]: label for label in row["labels"]}
    assert len(labels) == len(row["labels"]) <= max_labels
    scores = [label["score"] for label in row["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert all(threshold <= score <= 1 for score in scores)
    for label in labels.values():
        assert label["path"] == TREE.path(TREE.index(label["label"]))
        assert label["level"] == len(label["path"]) - 1
        for ancestor in label["path"]:  # also when max_labels cuts: an ancestor never comes after its descendant
            assert labels[ancestor]["score"] >= label["score"]
    leaves = {TREE.nodes[i].id for i in TREE.leaves}
    assert row["top_label"] in leaves
    assert all(row["top_score"] >= label["score"] for label in labels.values() if label["label"] in leaves)


# ---- segments -----------------------------------------------------------------------------------------------------


def test_segments_say_when_a_leaf_holds_and_join_over_windows() -> None:
    on, off = ["run"], list[str]()
    row = row_of(predictions([on, on, off], [[off, off, on, on], [on, off, off, off], [off] * 4]))
    (run,) = row["segments"]
    assert run["label"] == "run"
    assert (run["start_s"], run["end_s"]) == pytest.approx((1.0, 2.5), abs=2 / 255)
    assert run["score"] == pytest.approx(1, abs=1e-3)


def test_a_class_that_does_not_hold_for_the_video_has_no_segments() -> None:
    assert row_of(predictions([["studio"]], [[["run"]] * 4]))["segments"] == []


def test_segments_have_their_own_threshold() -> None:
    found = predictions([["run"]], [[["run"], ["run"], [], ["run"]]])
    found.frame_logits_NTK[0, 3, TREE.index("run")] = 0.0
    for threshold, ends_s in ((0.4, [1.0, 2.0]), (0.6, [1.0])):
        row = row_of(found, labeller(segment_threshold=threshold))
        assert [s["end_s"] for s in row["segments"]] == pytest.approx(ends_s, abs=2 / 255)


def test_the_best_segments_stay_and_the_others_are_counted() -> None:
    frames = np.full((1, T, K), NEVER, np.float16)
    for t, logit in ((0, 2.0), (2, 5.0)):
        frames[0, t] = [logit if i in TREE.path_indices(TREE.index("run")) else NEVER for i in range(K)]
    found = predictions([["run"]], [[["run"], [], ["run"], []]], frame_logits_NTK=frames)
    everything, best = row_of(found), row_of(found, labeller(max_segments=1))
    assert len(everything["segments"]) == 2
    assert (everything["num_segments_left_out"], best["num_segments_left_out"]) == (0, 1)
    assert best["segments"] == everything["segments"][1:]
    assert best["segments"][0]["start_s"] == pytest.approx(1.0, abs=2 / 255)


def test_a_frame_that_two_windows_saw_is_listed_once() -> None:
    found = predictions([[], []], windows_s=[(0.0, 2.0), (1.0, 3.0)], frame_times_s=[[0, 1, 1, 1.5], [1, 1.5, 2, 2.5]])
    assert row_of(found)["frame_times_s"] == [0, 1, 1.5, 2, 2.5]


# ---- embedding ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.floats(-1, 1, width=32)))
def test_an_embedding_always_has_unit_length(embedding_ND: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    found = mean_embedding(embedding_ND)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_an_embedding_is_the_direction_of_the_mean() -> None:
    assert mean_embedding(np.array([[1, 0, 0], [0, 1, 0]], np.float32)) == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert mean_embedding(np.array([[1, 0], [-1, 0]], np.float32)).tolist() == [1, 0]  # none is better than another
