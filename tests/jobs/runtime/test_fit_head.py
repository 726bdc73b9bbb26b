"""Classes fitted to a stored run, and the run labelled with them: through both jobs' own command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.relabel_corpus import write_run
from jobs import fit_head, relabel, verify
from pipelines import tables
from pipelines.config import LabelConfig
from pipelines.label_parts import TABLES
from tests.helpers.corpus import digests, write_model, write_videos
from tests.helpers.label_plan import label_in_process
from tests.helpers.model import TREE

NUM_VIDEOS, CLIPS, DIM = 400, 2, 8
QUIET = ("tracking.is_enabled=false",)
SPLIT = "split.shares={train: 0.6, val: 0.2, test: 0.2}"
OWN_TREE = "nodes: [{id: place}, {id: indoor, parent: place}, {id: outdoor, parent: place}, {id: nowhere}]\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run, and the truth about classes of its own that the embeddings tell, to be learned."""
    folder = tmp_path_factory.mktemp("made")
    config = LabelConfig(part_videos=64)
    write_run(str(folder / "run"), TREE, NUM_VIDEOS, clips_per_video=CLIPS, config=config, embedding_dim=DIM)
    (folder / "tree.yaml").write_text(OWN_TREE, encoding="utf-8")
    write_truth(folder / "truth.jsonl", folder / "run")
    return folder


def write_truth(path: Path, run: Path) -> None:
    predictions = tables.read_folder(f"{run}/predictions")
    assert predictions is not None
    first: dict[str, list[dict[str, Any]]] = {}
    for row in predictions.to_pylist():
        label = "indoor" if row["embedding"][0] > 0 else "outdoor"
        segment = {"label": label, "start_s": row["start_s"], "end_s": row["end_s"]}
        first.setdefault(row["video_id"], []).append(segment)
    rows = [
        {"video_id": i, "uri": f"/{i}", "labels": sorted({s["label"] for s in segments}), "segments": segments}
        for i, segments in first.items()
    ]
    rows.append({"video_id": "elsewhere", "uri": "/elsewhere", "labels": ["indoor"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def fit(made: Path, output: Path, *more: str) -> int:
    places = ["--input", str(made / "run"), "--manifest", str(made / "truth.jsonl")]
    return fit_head.main(
        [*places, "--taxonomy", str(made / "tree.yaml"), "--output", str(output), *QUIET, SPLIT, *more]
    )


def relabelled(source: Path, output: Path, *more: str) -> int:
    return relabel.main(["--input", str(source), "--output", str(output), *QUIET, *more])


def labels_of(folder: Path) -> list[dict[str, Any]]:
    table = tables.read_folder(f"{folder}/labels")
    assert table is not None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_classes_of_ones_own_are_learned_and_given_to_every_video(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(made, tmp_path / "head") == 0
    said = capsys.readouterr().out
    assert "1 labelled videos of the manifest are not among the labelled ones of the run" in said
    assert "1 classes have no video to learn from: nowhere" in said
    summary = json.loads((tmp_path / "head" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["job"], summary["measured_on"], summary["classes"]) == ("fit_head", "test", 4)
    assert summary["metrics"]["map"] > 0.97
    assert summary["metrics"]["top1"] > 0.9
    assert relabelled(made / "run", tmp_path / "new", "--head", str(tmp_path / "head")) == 0
    truth = {row["video_id"]: row for row in map(json.loads, (made / "truth.jsonl").read_text().splitlines())}
    hits = []
    for row in labels_of(tmp_path / "new"):
        listed = {label["label"] for label in row["labels"]}
        assert "place" in listed or not listed
        hits.append(listed - {"place"} == set(truth[row["video_id"]]["labels"]))
        for segment in row["segments"]:  # a head sees whole windows
            assert segment["start_s"] % 10 == segment["end_s"] % 10 == 0
    assert len(hits) == NUM_VIDEOS * 49 // 50
    assert np.mean(hits) > 0.85


def test_the_same_examples_give_the_same_head_and_the_same_labels(tmp_path: Path, made: Path) -> None:
    for name in ("one", "two"):
        assert fit(made, tmp_path / name, "head.penalties=[0.001]") == 0
        assert relabelled(made / "run", tmp_path / f"new-{name}", "--head", str(tmp_path / name)) == 0
    heads = [json.loads((tmp_path / name / "head.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert heads[0] == heads[1]
    assert digests(tmp_path / "new-one", *TABLES) == digests(tmp_path / "new-two", *TABLES)


def test_what_is_labelled_with_a_head_goes_on_with_it_and_finds_back(tmp_path: Path, made: Path) -> None:
    assert fit(made, tmp_path / "head", "head.penalties=[0.001]") == 0
    with_head = ["--head", str(tmp_path / "head")]
    assert relabelled(made / "run", tmp_path / "new", *with_head) == 0
    assert relabelled(tmp_path / "new", tmp_path / "again", "label.threshold=0.9") == 0
    assert relabelled(made / "run", tmp_path / "direct", *with_head, "label.threshold=0.9") == 0
    assert digests(tmp_path / "again", *TABLES) == digests(tmp_path / "direct", *TABLES)
    # Other classes may follow from those of the head, and it may be calibrated anew.
    (tmp_path / "inner.yaml").write_text("nodes: [{id: place}]\n", encoding="utf-8")
    assert relabelled(tmp_path / "new", tmp_path / "inner", "--taxonomy", str(tmp_path / "inner.yaml")) == 0
    assert {row["top_label"] for row in labels_of(tmp_path / "inner")} == {"place"}
    calibration = json.loads((tmp_path / "head" / "head.json").read_text(encoding="utf-8"))["calibration"]
    (tmp_path / "never.json").write_text(json.dumps(calibration | {"abstain_below": 1.0}), encoding="utf-8")
    assert relabelled(tmp_path / "new", tmp_path / "never", "--calibration", str(tmp_path / "never.json")) == 0
    abstained = [sum(row["is_abstained"] for row in labels_of(tmp_path / name)) for name in ("new", "never")]
    assert abstained[0] == 0 < abstained[1]
    ids = [{row["model_id"] for row in labels_of(tmp_path / name)} for name in ("new", "again", "inner", "never")]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_a_head_gone_or_changed_within_the_output_is_said(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(made, tmp_path / "head", "head.penalties=[0.001]") == 0
    assert fit(made, tmp_path / "other", "head.penalties=[1000]") == 0
    assert relabelled(made / "run", tmp_path / "new", "--head", str(tmp_path / "head")) == 0
    kept = tmp_path / "new" / "_fal" / "head"
    for name in ("head.json", "head.safetensors"):
        (kept / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert relabelled(tmp_path / "new", tmp_path / "again") == 1
    assert "labelling.json' is damaged: it names the head " in capsys.readouterr().err
    (kept / "head.json").unlink()
    assert relabelled(tmp_path / "new", tmp_path / "again") == 1
    assert "no head is there: it has no head.json; run label_corpus again" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["model", "calibration"])
def test_a_head_takes_no_calibration_from_elsewhere(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    assert relabelled(made / "run", tmp_path / "new", "--head", "a", f"--{other}", "b") == 2
    assert f"it has classes and calibration of its own; give one of --head and --{other}" in capsys.readouterr().err


def test_the_summary_of_the_run_itself_is_not_replaced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(made, made / "run") == 2
    assert "is the output folder of another job; take another one" in capsys.readouterr().err


def test_few_videos_are_measured_on_those_that_calibrated(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(made, tmp_path / "head", "split.shares={train: 0.8, val: 0.2}", "head.penalties=[0.001]") == 0
    assert "measured on the videos that chose and calibrated it" in capsys.readouterr().out


def test_labels_of_another_tree_are_said(tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree.yaml").write_text("nodes: [{id: indoor}]\n", encoding="utf-8")
    places = ["--input", str(made / "run"), "--manifest", str(made / "truth.jsonl"), "--output", str(tmp_path / "x")]
    assert fit_head.main([*places, "--taxonomy", str(tmp_path / "tree.yaml"), *QUIET]) == 2
    assert "label 'outdoor' (" in capsys.readouterr().err


def test_labels_of_a_head_can_be_verified_and_a_head_of_another_model_is_refused(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model")
    write_videos(tmp_path / "videos", 6)
    label_in_process(tmp_path / "videos", tmp_path / "run", tmp_path / "model", LabelConfig())
    assert fit(made, tmp_path / "foreign", "head.penalties=[0.001]") == 0
    assert relabelled(tmp_path / "run", tmp_path / "no", "--head", str(tmp_path / "foreign")) == 2
    assert "it was fitted on embeddings of weights and configuration made up, those of " in capsys.readouterr().err
    (tmp_path / "tree.yaml").write_text(OWN_TREE, encoding="utf-8")
    write_truth(tmp_path / "truth.jsonl", tmp_path / "run")
    assert fit(tmp_path, tmp_path / "head", "split.shares={train: 0.5, val: 0.5}") == 0
    assert relabelled(tmp_path / "run", tmp_path / "new", "--head", str(tmp_path / "head")) == 0
    places = ["--input", str(tmp_path / "new"), "--model", str(tmp_path / "model")]
    assert verify.main([*places, "verify.is_strict=true"]) == 0
    assert "6 videos made again: 6 same, 0 close, 0 different" in capsys.readouterr().out
