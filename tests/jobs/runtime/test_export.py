"""The job that exports labels, and the way back through the job that imports them."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fal_model.taxonomy import Node, Taxonomy
from jobs import export as script
from jobs import import_dataset
from pipelines import label_parts, manifest, storage
from tests.helpers.label_output import write_output
from tests.helpers.report_folder import TAXONOMY, failure_row, label_row
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

NAMES = ("sport/a b.mp4", "sport/ü,'1'.mp4", "news/a b.mp4", "news/broken.mp4")
FPS = 24.0


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Write four videos that are empty files, and what a labelling run found in them."""
    for name in NAMES:
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    uris = [str(tmp_path / "videos" / name) for name in NAMES]
    segments = [
        {"label": "run", "start_s": 1.0, "end_s": 2.5, "score": 0.5},
        {"label": "run", "start_s": 4.0, "end_s": 5.0, "score": 0.75},
    ]
    labels = [
        label_row(NAMES[0], "run", uri=uris[0], segments=segments),
        label_row(NAMES[1], "jump", uri=uris[1], segments=[]),
        label_row(NAMES[2], "studio", 0.25, uri=uris[2], is_abstained=True),
    ]
    splits = {NAMES[0]: "train", NAMES[1]: "val"}
    write_output(tmp_path / "labels", labels, [failure_row(NAMES[3]) | {"uri": uris[3]}], splits=splits)
    return tmp_path / "labels"


def run(folder: Path | str, output: Path | str, *options: str) -> int:
    return script.main(["--input", str(folder), "--output", str(output), *options])


def imported(tmp_path: Path, annotations: Path, of: str) -> list[dict[str, Any]]:
    """Import annotations with the other job and return the manifest."""
    output = tmp_path / f"{of}.jsonl"
    places = ["--annotations", str(annotations), "--videos", str(tmp_path / "videos"), "--output", str(output)]
    assert import_dataset.main(["--format", of, *places]) == 0
    rows: list[dict[str, Any]] = manifest.read_manifest(str(output)).to_pylist()
    return rows


def test_formats_are_written_and_counted(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(labelled, out, "export.format=csv,jsonl,label-studio", "export.min_score=0.3") == 0
    assert sorted(path.name for path in out.iterdir()) == ["csv", "jsonl", "label-studio", "summary.json"]
    told = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    counts = {name: told[name] for name in ("seen", "exported", "failed", "left_out", "abstained", "remote")}
    assert counts == {"seen": 4, "exported": 2, "failed": 1, "left_out": 1, "abstained": 0, "remote": 0}
    assert (told["formats"], told["is_partial"], told["exit_code"]) == (["csv", "jsonl", "label-studio"], False, 0)
    lines = capsys.readouterr().out.splitlines()
    assert "seen 4 = exported 2 + failed 1 + left out by the filters 1" in lines
    assert "labels 4, left out 2; segments 2, left out 1" in lines
    assert "Label Studio opens no local paths (3 videos): see export.url_prefix" in lines
    assert f"csv: {out}/csv" in lines


def names_in(output: Path) -> set[str]:
    with (output / "csv" / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"] for row in csv.DictReader(file)}


def test_names_come_from_the_tree_that_is_given_or_kept(labelled: Path, tmp_path: Path) -> None:
    names = {"Sport", "News", "Running", "Jumping", "Studio"}
    tree = tmp_path / "taxonomy.json"
    tree.write_text(json.dumps(TAXONOMY.to_dict()), encoding="utf-8")
    assert run(labelled, tmp_path / "given", "--taxonomy", str(tree), "export.format=csv") == 0
    assert names_in(tmp_path / "given") == names
    kept = Path(label_parts.taxonomy_uri(str(labelled)))
    assert run(labelled, tmp_path / "none", "export.format=csv") == 0
    assert names_in(tmp_path / "none").isdisjoint(names)
    kept.write_text(tree.read_text(encoding="utf-8"), encoding="utf-8")
    assert run(labelled, tmp_path / "kept", "export.format=csv") == 0
    assert names_in(tmp_path / "kept") == names
    other = Taxonomy([Node("sport", "Something else")])
    kept.write_text(json.dumps(other.to_dict()), encoding="utf-8")  # of another run
    assert run(labelled, tmp_path / "other", "export.format=csv") == 0
    assert names_in(tmp_path / "other").isdisjoint(names)


def annotated(task: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a task as Label Studio exports it after a person submitted these results."""
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": results}
    return {"id": 9, **task, "annotations": [annotation | {"parent_prediction": 3, "lead_time": 4.5}]}


def test_corrections_made_in_label_studio_come_back_as_a_manifest(labelled: Path, tmp_path: Path) -> None:
    prefix = "export.url_prefix=/data/local-files/?d=videos/"
    assert run(labelled, tmp_path / "out", "export.format=label-studio", prefix) == 0
    tasks = json.loads((tmp_path / "out" / "label-studio" / "tasks.json").read_text(encoding="utf-8"))
    by_id = {task["data"]["video_id"]: task for task in tasks}
    assert list(by_id) == sorted(NAMES)

    results = copy.deepcopy(by_id[NAMES[0]]["predictions"][0]["result"])
    kept, moved, tree = results
    moved["value"]["ranges"] = [{"start": 121, "end": 156}]  # moved by a person, and another class
    moved["value"]["timelinelabels"] = ["jump"]
    added = copy.deepcopy(moved) | {"id": "new", "origin": "manual"}
    added["value"] = {"ranges": [{"start": 193, "end": 204}], "timelinelabels": ["run"]}
    tree["value"]["taxonomy"] += [["news", "studio"]]
    accepted = by_id[NAMES[1]]["predictions"][0]["result"]
    done = [
        annotated(by_id[NAMES[0]], [kept, moved, added, tree]),
        annotated(by_id[NAMES[1]], accepted),
        annotated(by_id[NAMES[2]], []),  # everything deleted
        by_id[NAMES[3]],  # nobody looked at it
    ]
    (tmp_path / "corrected.json").write_text(json.dumps(done), encoding="utf-8")

    rows = {row["video_id"]: row for row in imported(tmp_path, tmp_path / "corrected.json", "label-studio")}
    assert list(rows) == sorted(NAMES)
    assert all(row["uri"] == str(tmp_path / "videos" / name) for name, row in rows.items())
    assert rows[NAMES[0]]["labels"] == ["run", "jump", "studio"]
    assert [(s["label"], s["start_s"], s["end_s"]) for s in rows[NAMES[0]]["segments"]] == [
        ("run", 1.0, 2.5),
        ("jump", 5.0, 6.5),
        ("run", 8.0, 8.5),
    ]
    assert rows[NAMES[1]]["labels"] == ["jump"]
    assert (rows[NAMES[2]]["labels"], rows[NAMES[2]]["segments"]) == ([], None)
    assert rows[NAMES[3]]["labels"] is None


def test_activitynet_comes_back(labelled: Path, tmp_path: Path) -> None:
    assert run(labelled, tmp_path / "out", "export.format=activitynet") == 0
    rows = imported(tmp_path, tmp_path / "out" / "activitynet" / "activitynet.json", "activitynet")
    assert [(r["video_id"], r["labels"], r["split"]) for r in rows] == [
        (NAMES[2], ["news", "studio"], "val"),
        (NAMES[0], ["sport", "run"], "train"),
        (NAMES[1], ["sport", "jump"], "val"),
    ]
    assert [(s["label"], s["start_s"], s["end_s"]) for s in rows[1]["segments"]] == [
        ("run", 1.0, 2.5),
        ("run", 4.0, 5.0),
    ]


def test_segments_in_csv_come_back(labelled: Path, tmp_path: Path) -> None:
    assert run(labelled, tmp_path / "out", "export.format=csv") == 0
    rows = imported(tmp_path, tmp_path / "out" / "csv" / "segments.csv", "csv")
    assert [(r["video_id"], [(s["start_s"], s["end_s"]) for s in r["segments"]]) for r in rows] == [
        (NAMES[2], [(2.0, 5.0)]),
        (NAMES[0], [(1.0, 2.5), (4.0, 5.0)]),
    ]


def test_an_unfinished_run_is_exported_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = write_output(tmp_path / "in", [label_row(f"{n}") for n in range(8)], unfinished=[0])
    (tmp_path / "in" / "labels" / "stranger.parquet").touch()
    assert run(tmp_path / "in", tmp_path / "out", "export.format=jsonl") == 2
    assert f"is not finished: {len(parts.names) - 1} of {len(parts.names)} parts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "in", tmp_path / "out", "export.format=jsonl", "export.is_partial=true") == 0
    told = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (told["is_partial"], told["videos_not_done"]) == (True, parts.sizes[0])
    out = capsys.readouterr().out
    assert f"not labelled yet, so not here: {parts.sizes[0]} videos; run label_corpus again" in out
    assert "files beside the tables that are not of this run, not read: 1" in out


def test_wrong_usage_is_said_in_one_message(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def problem(folder: Path, output: Path, *options: str) -> str:
        assert run(folder, output, *options) == 2
        return capsys.readouterr().err.splitlines()[1].strip()

    formats = "activitynet, csv, fiftyone, jsonl, label-studio, rekognition, rekognition-timestamps, webvtt"
    out = tmp_path / "out"
    assert problem(labelled, out) == f"export.format: missing; one or several of {formats}"
    assert problem(labelled, out, "export.format=coco") == f"export.format: got 'coco', allowed are {formats}"
    assert problem(tmp_path, out, "export.format=csv") == (
        f"--input: '{tmp_path}' is no output folder of label_corpus: there is no _fal/run.json"
    )
    assert problem(labelled, labelled, "export.format=csv") == (
        f"--output: '{labelled}' is the output folder of another job; take another one"
    )
    assert problem(labelled, out, "export.format=csv", "export.labels=sprot").startswith(
        "export.labels: got 'sprot', which is none of the 5 classes"
    )
    assert problem(labelled, out, "export.format=csv", "--taxonomy", str(out / "none.json")).startswith(
        "taxonomy: no file at"
    )
    outside = ("export.format=label-studio", "export.url_prefix=x/", "export.media_root=/elsewhere")
    assert problem(labelled, out, *outside).startswith("export.media_root: got '/elsewhere', but ")
    assert not (out / "label-studio" / "tasks.json").exists()


def test_a_place_that_cannot_be_written(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(labelled, tmp_path / "file", "export.format=csv") == 1
    assert "cannot write" in capsys.readouterr().err


def test_numbers_that_are_none_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output(tmp_path / "in", [label_row("a", score=float("nan"))])
    assert run(tmp_path / "in", tmp_path / "out", "export.format=webvtt") == 0
    said = "labels and segments not exported, whose score or time is no number: 3"
    assert said in capsys.readouterr().out.splitlines()


def test_from_s3_and_to_s3(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = label_row("x/a b.mp4", uri="s3://videos/x/a b.mp4")
    write_output(tmp_path / "in", [row])
    for path in (tmp_path / "in").rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{bucket}/in/{path.relative_to(tmp_path / 'in')}", path.read_bytes())
    assert run(f"{bucket}/in", f"{bucket}/out", "export.format=webvtt,rekognition,fiftyone,csv") == 0
    assert "FiftyOne opens no s3:// addresses (1 videos): see export.url_prefix" in capsys.readouterr().out
    assert storage.names_in(f"{bucket}/out/webvtt") == ["index.jsonl", "x%2Fa b.mp4.vtt"]
    answer = json.loads(storage.read_bytes(f"{bucket}/out/rekognition/x%2Fa b.mp4.json"))
    assert answer["Video"] == {"S3Object": {"Bucket": "videos", "Name": "x/a b.mp4"}}
    assert json.loads(storage.read_bytes(f"{bucket}/out/summary.json"))["remote"] == 1
    assert storage.names_in(f"{bucket}/out/csv") == ["labels.csv", "segments.csv", "videos.csv"]
