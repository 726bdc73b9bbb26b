"""The output of a run against a truth we know, so that every number can be told beforehand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Calibration, Scaling
from fal_model.errors import ConfigError, TaxonomyError
from pipelines import parts, storage, tables
from pipelines.config import LabelConfig
from pipelines.labels import Labeller, VideoPredictions
from pipelines.records import MANIFEST, labels_schema, predictions_schema
from pipelines.score import RELIABILITY_BINS, Score, metric_names, reliability, score_output, video_scores
from tests.helpers.model import TREE

K, L, T, D = len(TREE), len(TREE.leaves), 2, 2
SURE = 9.0
LABELLER = Labeller(TREE, Calibration(), LabelConfig(), "m", "p")


def logits_of(*labels: str) -> list[float]:
    on = {i for label in labels for i in TREE.path_indices(TREE.index(label))}
    return [SURE if i in on else -SURE for i in range(K)]


def write_output(
    folder: Path,
    videos: Mapping[str, Sequence[Sequence[str]]],
    part: int = 0,
    embeddings: Mapping[str, list[float]] | None = None,
) -> str:
    """Write what a run would have left: for each video the labels that are certain in each of its two-second clips."""
    output = str(folder)
    predictions, labels = [], []
    for video_id, clips in videos.items():
        embedding = (embeddings or {}).get(video_id, [1.0, 0.0])
        facts = {"video_id": video_id, "uri": f"/{video_id}", "sha256": "", "duration_s": 2.0 * len(clips)}
        times_s = [[2.0 * i + 0.5, 2.0 * i + 1.5] for i in range(len(clips))]
        for i, clip in enumerate(clips):
            predictions.append(
                facts
                | {"clip_index": i, "start_s": 2.0 * i, "end_s": 2.0 * i + 2, "covered_s": 2.0, "num_substituted": 0}
                | {"frame_times_s": times_s[i], "logits": logits_of(*clip), "embedding": embedding}
                | {"frame_logits": [np.float16(x) for x in logits_of(*clip) * T], "offsets": [255] * (T * L * 2)}
            )
        found = VideoPredictions(
            logits_NK=np.array([logits_of(*clip) for clip in clips], np.float32),
            frame_logits_NTK=np.array([[logits_of(*clip)] * T for clip in clips], np.float16),
            offsets_NTL2=np.full((len(clips), T, L, 2), 255, np.uint8),
            embedding_ND=np.array([embedding] * len(clips), np.float32),
            windows_s=[(2.0 * i, 2.0 * i + 2) for i in range(len(clips))],
            frame_times_s=times_s,
            covered_s=2.0 * len(clips),
            duration_s=2.0 * len(clips),
        )
        labels.append(LABELLER.row(video_id, f"/{video_id}", "", found))
    schemas = {"predictions": predictions_schema(K, L, T, D), "labels": labels_schema(D)}
    for name, rows in (("predictions", predictions), ("labels", labels)):
        tables.write_table(parts.table_uri(output, name, part), pa.Table.from_pylist(rows, schema=schemas[name]))
    return output


def truth_of(**labels: Sequence[str] | None) -> pa.Table:
    return pa.Table.from_pylist([{"video_id": i, "uri": i, "labels": x} for i, x in labels.items()], schema=MANIFEST)


def score(output: str, truth: pa.Table, calibration: Calibration | None = None) -> Score:
    return score_output(output, truth, TREE, calibration or Calibration())


# ---- classification -----------------------------------------------------------------------------------------------


def test_a_perfect_run_is_perfect(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]], "b": [["studio"], ["tennis"]]})
    found = score(output, truth_of(a=["run"], b=["studio", "tennis"]))
    assert found.num_scored == 2
    assert found.confusions == []
    names = ("top1", "top5", "top1_single_label", "map", "f1_micro", "f1_macro")
    assert {name: found.metrics[name] for name in names} == dict.fromkeys(names, 1.0)
    assert found.metrics["ece"] == pytest.approx(0, abs=1e-3)
    assert {f"f1_level_{i}" for i in range(3)} <= set(found.metrics)
    assert "segment_map" not in found.metrics  # the truth says nothing about when


def test_mistakes_are_counted_and_named(tmp_path: Path) -> None:
    clips: dict[str, list[list[str]]] = {"a": [["run"]], "b": [["run"]], "c": [["run"]], "d": [["tennis"]]}
    output = write_output(tmp_path, clips)
    found = score(output, truth_of(a=["run"], b=["studio"], c=["studio"], d=["run"]))
    assert found.metrics["top1"] == 0.25
    assert found.confusions == [("studio", "run", 2), ("run", "tennis", 1)]
    ((mean, accuracy, num),) = found.reliability
    assert (accuracy, num) == (0.25, 4)
    assert mean == pytest.approx(1, abs=1e-3)
    assert found.metrics["ece"] == pytest.approx(0.75, abs=1e-3)
    # Level 0: "sport" three times and "news" never; true is sport twice, news twice.
    assert found.metrics["f1_level_0"] == pytest.approx(2 * 2 / (4 + 4))


def test_a_label_inside_the_tree_counts_for_its_level_and_not_for_the_leaves(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["sport"]]})
    found = score(output, truth_of(a=["sport"]))
    assert found.metrics["f1_micro"] == 1.0
    assert {"top1", "top5", "map"}.isdisjoint(found.metrics)  # no leaf is true: these have no meaning
    assert found.num_scored == 1


def test_videos_without_truth_or_without_labels_are_left_out(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]], "unknown": [["run"]], "stranger": [["run"]]})
    found = score(output, truth_of(a=["run"], unknown=None, failed=["run"]))
    assert (found.num_scored, found.metrics["top1"]) == (1, 1.0)


def test_a_truth_that_knows_no_labelled_video_is_refused(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]], "b": [["run"]]})
    for truth in (truth_of(), truth_of(a=None, c=["run"])):
        with pytest.raises(ConfigError, match=r"^truth: none of the 2 labelled videos has labels in the manifest$"):
            score(output, truth)


def test_where_every_video_failed_there_is_no_figure_and_no_wrong_usage(tmp_path: Path) -> None:
    found = score(str(tmp_path / "none"), truth_of(a=["run"]))
    assert (found.num_scored, found.metrics, found.confusions, found.reliability) == (0, {}, [], [])
    assert found.not_measurable == tuple(metric_names(TREE))


def test_a_truth_outside_the_taxonomy_is_refused(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]]})
    with pytest.raises(TaxonomyError, match="label 'flying' is not in the taxonomy"):
        score(output, truth_of(a=["flying"]))


def test_parts_are_read_together_and_leftovers_of_killed_writers_are_not(tmp_path: Path) -> None:
    write_output(tmp_path, {"a": [["run"]]})
    output = write_output(tmp_path, {"b": [["studio"]]}, part=1)
    storage.write_bytes(f"{output}/predictions/.writing-abc", b"half a file")
    storage.write_bytes(f"{output}/predictions/notes.txt", b"not a table")
    assert score(output, truth_of(a=["run"], b=["run"])).metrics["top1"] == 0.5


def test_the_score_of_a_video_is_its_highest_over_the_clips(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"], ["studio"]]})
    scores_K = video_scores(output, TREE, Calibration())["a"]
    held = {"sport", "news", "run", "studio"}
    for i, node in enumerate(TREE.nodes):
        assert (scores_K[i] > 0.9) == (node.id in held)
    (row,) = tables.read_table(parts.table_uri(output, "labels", 0)).to_pylist()
    assert {x["label"]: x["score"] for x in row["labels"]} == {
        TREE.nodes[i].id: scores_K[i] for i in range(K) if scores_K[i] > 0.5
    }


def test_decisions_are_those_of_the_run(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]], "b": [["studio"]]})
    truth = truth_of(a=["run"], b=["run"])
    strict = Calibration(thresholds={node.id: 1.0 for node in TREE.nodes}, abstain_below=0.5)
    assert score(output, truth, strict).metrics["f1_micro"] == 0
    again = score_output(output, truth, TREE, strict, threshold=0.5).metrics
    assert again["f1_micro"] == again["f1_micro_at_0.5"] == 0.5
    assert (again["kept_share"], again["kept_top1"]) == (1.0, 0.5)
    careful = Calibration(clip=(Scaling(), Scaling(bias=-SURE)), abstain_below=0.6)
    assert score(output, truth, careful).metrics["kept_share"] == 0


def test_scores_are_calibrated_anew(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["news"]]})
    halved = Calibration(clip=(Scaling(bias=-SURE),))
    assert video_scores(output, TREE, halved)["a"][TREE.index("news")] == 0.5


# ---- retrieval ----------------------------------------------------------------------------------------------------


def test_recall_asks_whether_the_nearest_videos_share_a_class(tmp_path: Path) -> None:
    clips: dict[str, list[list[str]]] = {name: [["run"]] for name in ("a", "b", "c", "d")}
    where = {"a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.0, 1.0], "d": [0.6, 0.8]}
    output = write_output(tmp_path, clips, embeddings=where)
    # By angle they lie in the order a, b, d, c.
    found = score(output, truth_of(a=["run"], b=["run"], c=["studio"], d=["studio"]))
    # a → b right, b → d (0.96) wrong, d → b (0.96) wrong, c → d right.
    assert (found.metrics["recall_at_1"], found.metrics["recall_at_5"]) == (0.5, 1.0)
    # Without "c", "d" is the only one of its class: no query, but it is still searched, and is nearest to b.
    alone = score(output, truth_of(a=["run"], b=["run"], c=None, d=["studio"]))
    assert (alone.metrics["recall_at_1"], alone.metrics["recall_at_5"]) == (0.5, 1.0)


# ---- what cannot be measured --------------------------------------------------------------------------------------


def test_what_the_truth_does_not_settle_is_named(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["sport"]], "b": [["sport"]]})
    found = score(output, truth_of(a=["sport"], b=["sport"]))
    assert set(found.not_measurable) >= {"top1", "top5", "map", "top1_single_label", "recall_at_1", "recall_at_5"}
    assert set(found.not_measurable) >= {"segment_map", "segment_map_at_0.5"}
    assert set(found.not_measurable) | set(found.metrics) == set(metric_names(TREE))
    assert set(found.not_measurable).isdisjoint(found.metrics)


def test_a_truth_that_settles_all_leaves_nothing_unmeasured(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["tennis"]], "b": [["tennis"]], "c": [["studio"]]})
    rows = [timed(i, [x], (x, 0.0, 2.0)) for i, x in (("a", "tennis"), ("b", "tennis"), ("c", "studio"))]
    found = score(output, pa.Table.from_pylist(rows, schema=MANIFEST))
    assert found.not_measurable == ()
    assert sorted(found.metrics) == sorted(metric_names(TREE))
    assert len(metric_names(TREE)) == len(set(metric_names(TREE)))


def test_every_metric_is_explained() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "data-contracts.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([\w.]+)`", text.split("## Metrics")[1].split("\n## ")[0]))
    assert {re.sub(r"_level_\d+$", "_level_N", name) for name in metric_names(TREE)} - explained == set()


# ---- localization -------------------------------------------------------------------------------------------------


def timed(video_id: str, labels: list[str], *segments: tuple[str, float, float]) -> dict[str, Any]:
    rows = [{"label": label, "start_s": start_s, "end_s": end_s} for label, start_s, end_s in segments]
    return {"video_id": video_id, "uri": video_id, "labels": labels, "segments": rows}


def test_segments_are_compared_where_the_truth_knows_when(tmp_path: Path) -> None:
    clips: dict[str, list[list[str]]] = {"a": [["run"], [], ["studio"]], "b": [["run"]], "untimed": [["run"]]}
    output = write_output(tmp_path, clips)
    rows: list[dict[str, Any]] = [
        timed("a", ["run", "studio"], ("run", 0.0, 2.0), ("studio", 4.0, 6.0)),
        timed("b", ["run"], ("run", 0.0, 2.0)),
        {"video_id": "untimed", "uri": "u", "labels": ["run"], "segments": None},
    ]
    truth = pa.Table.from_pylist(rows, schema=MANIFEST)
    found = score(output, truth)
    assert (found.metrics["segment_map_at_0.5"], found.metrics["segment_map"]) == (1.0, 1.0)


def test_a_segment_that_is_off_counts_up_to_its_overlap(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]]})  # found: 0 to 2 s
    truth = pa.Table.from_pylist([timed("a", ["run"], ("run", 0.0, 3.0))], schema=MANIFEST)
    metrics = score(output, truth).metrics
    assert metrics["segment_map_at_0.5"] == 1.0
    assert metrics["segment_map"] == pytest.approx(0.4)  # an overlap of 2/3 is enough at 0.5, 0.55, 0.6 and 0.65


def test_a_segment_in_a_video_known_to_have_none_is_a_mistake(tmp_path: Path) -> None:
    output = write_output(tmp_path, {"a": [["run"]], "b": [["run"]]})
    rows = [timed("a", []), timed("b", ["run"], ("run", 0.0, 2.0))]
    metrics = score(output, pa.Table.from_pylist(rows, schema=MANIFEST)).metrics
    assert metrics["segment_map"] == 0.5  # of two equally sure segments the first is wrong


# ---- reliability --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), max_size=30))
def test_bins_hold_every_video_once(rows: list[tuple[float, float]]) -> None:
    scores, hits = np.array([s for s, _ in rows]), np.array([h for _, h in rows])
    bins = reliability(scores, hits)
    assert sum(num for _, _, num in bins) == len(rows)
    assert sum(mean * num for mean, _, num in bins) == pytest.approx(scores.sum())
    assert sum(accuracy * num for _, accuracy, num in bins) == pytest.approx(hits.sum())
    assert len(bins) <= RELIABILITY_BINS
    means = [mean for mean, _, _ in bins]
    assert means == sorted(means)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    low, high = reliability(np.array([1.0, 0.95, 0.1]), np.array([1.0, 0.0, 0.0]))
    assert low == (0.1, 0.0, 1)
    assert high[1:] == (0.5, 2)
    assert high[0] == pytest.approx(0.975)
