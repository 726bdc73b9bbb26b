"""The evaluation job: labels, compared with the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fal_model.errors import ConfigError
from jobs import evaluate as script
from jobs.runtime.config import TrackingSection, load_config
from jobs.runtime.evaluate import evaluate, metric_lines, truth_of
from jobs.runtime.tracking import Tracker, open_tracker
from pipelines.records import MANIFEST
from pipelines.score import Score
from tests.helpers.corpus import TAXONOMY, write_manifest, write_model


def test_the_truth_for_the_report_leaves_out_what_is_unknown() -> None:
    segment = {"label": "x", "start_s": 0.0, "end_s": 1.0}
    rows = [
        {"video_id": "a", "uri": "a", "labels": ["x"], "segments": [segment]},
        {"video_id": "b", "uri": "b", "labels": [], "segments": None},
        {"video_id": "c", "uri": "c", "labels": None, "segments": None},
    ]
    score = Score(
        metrics={"top1": 1.0},
        not_measurable=(),
        confusions=[("x", "y", 2)],
        reliability=[(0.5, 0.6, 7)],
        num_scored=2,
    )
    truth = truth_of(pa.Table.from_pylist(rows, schema=MANIFEST), score)
    assert truth.labels == {"a": ["x"], "b": []}
    assert truth.segments == {"a": [segment]}
    assert (truth.metrics, truth.confusions, truth.reliability) == ({"top1": 1.0}, [("x", "y", 2)], [(0.5, 0.6, 7)])


def test_a_folder_holds_no_truth(tmp_path: Path) -> None:
    options = {"input": str(tmp_path), "output": str(tmp_path / "out"), "model": "m"}
    with pytest.raises(ConfigError, match=r"the truth is in a manifest: \.parquet, \.csv, \.jsonl"):
        evaluate(options, load_config(None))
    assert not (tmp_path / "out").exists()


def test_clip_settings_other_than_the_models_are_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"uri": "a.mp4", "labels": [TAXONOMY.nodes[0].id]}), encoding="utf-8")
    model = write_model(tmp_path / "model")
    options = {"input": str(manifest), "output": str(tmp_path / "out"), "model": str(model)}
    with pytest.raises(ConfigError, match=r"clip: the model decides .* got sampling 'uniform'"):
        evaluate(options, load_config(None, ["clip.sampling=uniform"]))
    assert not (tmp_path / "out").exists()


def test_what_could_not_be_measured_is_said() -> None:
    score = Score(
        metrics={"top1": 0.5}, not_measurable=("map", "recall_at_1"), confusions=[], reliability=[], num_scored=1
    )
    assert metric_lines(score) == ["                top1 0.5000", "not measurable: map, recall_at_1"]
    assert metric_lines(replace(score, not_measurable=())) == ["                top1 0.5000"]


@pytest.mark.ray
def test_labels_are_scored_reported_and_tracked(
    tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path / "corpus", {"test": 4})
    lines = manifest.read_text(encoding="utf-8").splitlines()
    unknown = {k: v for k, v in json.loads(lines[3]).items() if k in {"video_id", "uri"}}
    manifest.write_text(
        "\n".join([*lines[:3], json.dumps(unknown), '{"uri": "gone.mp4", "labels": []}']), encoding="utf-8"
    )
    output = tmp_path / "out"
    places = ["--input", str(manifest), "--output", str(output), "--model", str(write_model(tmp_path / "model"))]

    assert script.main([*places, *ray_local, "label.max_failed_share=0.5"]) == 0

    out = capfd.readouterr().out
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["job"], summary["seen"], summary["failed"], summary["num_scored"]) == ("evaluate", 5, 1, 3)
    metrics = summary["metrics"]
    assert metrics.keys() >= {"top1", "top5", "map", "ece", "f1_micro", "segment_map"}
    assert all(0 <= value <= 1 for value in metrics.values())
    for name, value in metrics.items():
        assert f"{name} {value:.4f}" in out
    assert summary["not_measurable"]
    assert f"not measurable: {', '.join(summary['not_measurable'])}\n" in out
    assert "not_found" in (output / "report.html").read_text(encoding="utf-8")

    reader = open_tracker(TrackingSection(), str(output), "reader")
    assert isinstance(reader, Tracker)
    experiment = reader._client.get_experiment_by_name("fal")
    (run,) = reader._client.search_runs([experiment.experiment_id], "attributes.run_name = 'evaluate'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["top1"] == pytest.approx(metrics["top1"])
    assert (run.data.metrics["seen"], run.data.metrics["failed_not_found"]) == (5, 1)
    assert run.data.params["config.label.max_failed_share"] == "0.5"
    assert [f.path for f in reader._client.list_artifacts(run.info.run_id)] == ["report.html"]
