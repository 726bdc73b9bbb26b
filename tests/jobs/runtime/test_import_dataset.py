"""The job that imports annotation files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import s3fs

from fal_model.open_fal_500 import open_fal_500
from jobs import import_dataset as script
from jobs import prepare_corpus
from jobs.runtime.import_dataset import MAX_LINES, _problem_lines
from pipelines import manifest, storage
from pipelines.class_map import open_fal_500_of
from pipelines.importers.annotations import Kind, Problem
from tests.helpers.corpus import CLIP_SETTINGS
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

KINETICS = (
    "label,youtube_id,time_start,time_end,split\n"
    "making tea,aaaaaaaaaaa,0,10,train\n"
    "walking,bbbbbbbbbbb,5,15,validate\n"
    "walking,ccccccccccc,5,15,train\n"
)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def kinetics(tmp_path: Path) -> tuple[str, ...]:
    """Write a small set with two of its three videos and one of nobody's; give the arguments that import it."""
    (tmp_path / "train.csv").write_text(KINETICS, encoding="utf-8")
    for name in ("making_tea/aaaaaaaaaaa_000000_000010.mp4", "walking/bbbbbbbbbbb_000005_000015.mp4", "other.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    places = ("--annotations", str(tmp_path / "train.csv"), "--videos", str(tmp_path / "videos"))
    return ("--format", "kinetics", *places, "--output", str(tmp_path / "out" / "set.jsonl"))


def test_manifest_taxonomy_problems_and_summary_are_written(
    kinetics: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*kinetics, "importing.max_left_out_share=0.4"]) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "set.jsonl",
        "set.problems.jsonl",
        "set.summary.json",
        "set.taxonomy.json",
    ]
    table = manifest.read_manifest(str(out / "set.jsonl"))
    assert table["video_id"].to_pylist() == [
        "making_tea/aaaaaaaaaaa_000000_000010.mp4",
        "walking/bbbbbbbbbbb_000005_000015.mp4",
    ]
    assert all(Path(uri).is_file() for uri in table["uri"].to_pylist())
    taxonomy = manifest.read_taxonomy(str(out / "set.taxonomy.json"))
    manifest.check_labels(table, taxonomy)
    assert [node.id for node in taxonomy.nodes] == ["making tea", "walking"]
    missing = "no video ccccccccccc_000005_000015 or ccccccccccc"
    assert lines_of(out / "set.problems.jsonl") == [
        {"place": "train.csv, line 4", "kind": "missing_video", "what": missing},
        {"place": "other.mp4", "kind": "unnamed_video", "what": "no row of the annotations names this video"},
    ]
    summary = json.loads((out / "set.summary.json").read_text(encoding="utf-8"))
    assert summary.pop("wall_s") >= 0
    assert summary == {
        "job": "import_dataset",
        "format": "kinetics",
        "classes": "native",
        "rows_read": 3,
        "rows_in_manifest": 2,
        "rows_merged": 0,
        "rows_left_out": {"missing_video": 1},
        "left_out_share": 0.333333,
        "segments_read": 3,
        "segments_in_manifest": 0,
        "segments_merged": 0,
        "segments_left_out": {"file_is_cut": 2, "row_left_out": 1},
        "videos_on_disk": 3,
        "videos_unnamed": 1,
        "videos_without_truth": 0,
        "videos_by_split": {"train": 1, "val": 1},
        "num_classes": 2,
        "problems_by_kind": {"missing_video": 1, "unnamed_video": 1},
        "manifest": str(out / "set.jsonl"),
        "problems": str(out / "set.problems.jsonl"),
        "taxonomy": str(out / "set.taxonomy.json"),
        "exit_code": 0,
    }
    shown = capsys.readouterr().out
    assert f"missing_video 1\n  train.csv, line 4: {missing}\n" in shown
    assert "rows read 3 = in the manifest 2 + merged into these 0 + left out 1 (missing_video 1)\n" in shown
    assert "segments read 3 = in the manifest 0 + merged 0 + left out 3 (file_is_cut 2, row_left_out 1)\n" in shown
    assert "videos found 3, named by no row 1\n" in shown
    assert "in the manifest without truth 0; splits: train 1, val 1\n" in shown


def test_too_many_lost_rows_are_exit_code_3(
    kinetics: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(list(kinetics)) == 3
    assert json.loads((tmp_path / "out" / "set.summary.json").read_text(encoding="utf-8"))["exit_code"] == 3
    shown = capsys.readouterr().out
    assert "left out: 33.3% of the rows, more than importing.max_left_out_share allows\n" in shown


def test_one_split_as_csv_and_parquet(kinetics: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("val.csv", "val.parquet"):
        output = str(tmp_path / name)
        assert script.main([*kinetics[:-1], output, "--split", "val"]) == 0
        table = manifest.read_manifest(output)
        assert (table["labels"].to_pylist(), table["split"].to_pylist()) == ([["walking"]], ["val"])
    assert pq.read_metadata(tmp_path / "val.parquet").num_rows == 1


def test_every_option_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--format",
        "avi",
        "--videos",
        str(tmp_path),
        "--output",
        "x.txt",
        "--classes",
        "all",
        "--split",
        "dev",
    ]
    assert script.main(arguments) == 2
    shown = capsys.readouterr().err
    for problem in (
        "--format: got 'avi', allowed are folders, csv, ",
        "--output: got 'x.txt'; must be a manifest: .parquet, .csv, .jsonl",
        "--classes: got 'all', allowed are native, open-fal-500",
        "--split: got 'dev', allowed are train, val, test",
    ):
        assert f"  {problem}" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--format", "folders", "--annotations", "x"], "--annotations: is not read with --format folders"),
        (["--format", "kinetics"], "--annotations: is missing with --format kinetics"),
        (["--format", "folders", "--columns", "uri=a"], "--columns: the format folders takes none"),
        (["--format", "kinetics", "--annotations", "none.csv"], "none.csv' is neither a folder, a glob"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*arguments, "--videos", str(tmp_path), "--output", str(tmp_path / "out.jsonl")]) == 2
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_format_is_one_message(
    kinetics: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--format", "charades", *kinetics[2:]]) == 2
    text = "train.csv: no column id, subject, actions, length; the first line has: label, youtube_id, "
    assert capsys.readouterr().err.startswith(f"1 problem:\n  {text}")
    assert not (tmp_path / "out").exists()


def test_nothing_to_import_and_nowhere_to_look_are_said(
    kinetics: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").write_text(KINETICS.partition("\n")[0], encoding="utf-8")
    assert script.main(list(kinetics)) == 2
    assert "--format kinetics: there is not one row to import" in capsys.readouterr().err
    assert script.main([*kinetics, "--videos", str(tmp_path / "nowhere")]) == 2
    assert "--videos: '" in capsys.readouterr().err


def test_folders_need_no_annotations_and_give_a_tree(tmp_path: Path) -> None:
    for name in ("ball/tennis/a.mp4", "ball/golf/b.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    output = tmp_path / "videos" / "all.jsonl"
    assert script.main(["--format", "folders", "--videos", str(tmp_path / "videos"), "--output", str(output)]) == 0
    assert lines_of(output) == [
        {"video_id": "ball/golf/b.mp4", "uri": "ball/golf/b.mp4", "labels": ["ball/golf"]},
        {"video_id": "ball/tennis/a.mp4", "uri": "ball/tennis/a.mp4", "labels": ["ball/tennis"]},
    ]
    taxonomy = manifest.read_taxonomy(str(output.with_name("all.taxonomy.json")))
    assert taxonomy.path(taxonomy.index("ball/golf")) == ["ball", "ball/golf"]


def test_videos_without_truth_leave_no_taxonomy(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("uri\na.mp4\n", encoding="utf-8")
    (tmp_path / "a.mp4").write_bytes(b"")
    places = ["--annotations", str(tmp_path / "test.csv"), "--videos", str(tmp_path)]
    assert script.main(["--format", "csv", *places, "--output", str(tmp_path / "x.jsonl")]) == 0
    assert not (tmp_path / "x.taxonomy.json").exists()
    summary = json.loads((tmp_path / "x.summary.json").read_text(encoding="utf-8"))
    assert (summary["videos_without_truth"], "taxonomy" in summary) == (1, False)


def test_an_empty_manifest_is_exit_code_3(
    kinetics: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([*kinetics, "--split", "test"]) == 3
    assert "left out: every row; the manifest is empty\n" in capsys.readouterr().out
    assert (tmp_path / "out" / "set.jsonl").read_bytes() == b""


def test_labels_may_be_translated_to_open_fal_500(kinetics: tuple[str, ...], tmp_path: Path) -> None:
    annotations = tmp_path / "train.csv"
    annotations.write_text(KINETICS.replace("walking", "no such class"), encoding="utf-8")
    assert script.main([*kinetics, "--classes", "open-fal-500", "importing.max_left_out_share=0.7"]) == 0
    table = manifest.read_manifest(str(tmp_path / "out" / "set.jsonl"))
    assert table["labels"].to_pylist() == [list(open_fal_500_of("kinetics-700", "making tea"))]
    manifest.check_labels(table, open_fal_500())
    assert not (tmp_path / "out" / "set.taxonomy.json").exists()
    summary = json.loads((tmp_path / "out" / "set.summary.json").read_text(encoding="utf-8"))
    assert (summary["taxonomy"], summary["rows_left_out"]) == ("open-fal-500", {"unknown_class": 2})
    what = "class 'no such class' (2 rows) is unknown to the class map"
    place = "class no such class"
    assert lines_of(tmp_path / "out" / "set.problems.jsonl")[0] == {
        "place": place,
        "kind": "unknown_class",
        "what": what,
    }


def test_everything_may_be_in_s3(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    s3_client.pipe_file(f"{bucket}/set/train.csv", KINETICS.encode())
    s3_client.pipe_file(f"{bucket}/set/videos/walking/ccccccccccc_000005_000015.mp4", b"")
    places = ["--annotations", f"{bucket}/set/train.csv", "--videos", f"{bucket}/set/videos/"]
    output = f"{bucket}/out/set.jsonl"
    assert script.main(["--format", "kinetics", *places, "--output", output, "importing.max_left_out_share=1"]) == 0
    table = manifest.read_manifest(output)
    assert table["uri"].to_pylist() == [f"{bucket}/set/videos/walking/ccccccccccc_000005_000015.mp4"]
    names = ["set.jsonl", "set.problems.jsonl", "set.summary.json", "set.taxonomy.json"]
    assert storage.names_in(f"{bucket}/out") == names


def test_of_many_problems_each_kind_is_shown_with_its_first() -> None:
    problems = [Problem(f"line {i}", Kind.BAD_ROW, "x" * 300) for i in range(1200)]
    problems += [Problem("here", kind, "odd") for kind in Kind for _ in range(2) if kind is not Kind.BAD_ROW]
    lines = _problem_lines(problems)
    assert lines[0] == "bad_row 1,200"
    assert [len(line) for line in lines[1:4]] == [160] * 3
    assert lines[4:7] == ["ambiguous_video 2", "  here: odd", "  here: odd"]
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "… and more kinds: see the file of problems"


@pytest.mark.real
@pytest.mark.ray
def test_real_videos_with_overlapping_segments_can_be_prepared(
    real_videos: Path, tmp_path: Path, ray_local: tuple[str, ...]
) -> None:
    folder, output = real_videos / "falls", tmp_path / "falls.jsonl"
    places = ["--annotations", str(folder / "annotations.json"), "--videos", str(folder), "--output", str(output)]
    assert script.main(["--format", "activitynet", *places, "--columns", "group=subject", "--split", "test"]) == 0
    table = manifest.read_manifest(str(output))
    assert set(table["group"].to_pylist()) == {"1"}
    rows = {row["video_id"]: row for row in table.to_pylist()}
    assert rows["subject1__ADL__10.mp4"]["segments"] == [
        {"label": "Reading", "start_s": 0.0, "end_s": 2.5},
        {"label": "Walking", "start_s": 0.0, "end_s": 3.0},
    ]
    taxonomy = str(tmp_path / "falls.taxonomy.json")
    manifest.check_labels(table, manifest.read_taxonomy(taxonomy))
    arguments = ["--input", str(output), "--output", str(tmp_path / "shards"), "--taxonomy", taxonomy]
    assert prepare_corpus.main([*arguments, *CLIP_SETTINGS, *ray_local]) == 0
    summary = json.loads((tmp_path / "shards" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seen"], summary["failed"]) == (len(rows), 0)
    assert summary["clips_by_split"]["test"] > 0


@pytest.mark.real
def test_real_files_of_four_sets_are_imported_whole(real_videos: Path, tmp_path: Path) -> None:
    def run(name: str, file: str, *arguments: str) -> dict[str, Any]:
        folder = real_videos / name
        places = ["--annotations", str(folder / file), "--videos", str(folder), "--output", str(tmp_path / "x.jsonl")]
        assert script.main([*arguments, *places]) == 0
        summary: dict[str, Any] = json.loads((tmp_path / "x.summary.json").read_text(encoding="utf-8"))
        return summary

    falls = run("falls", "annotations.json", "--format", "activitynet")
    assert (falls["rows_in_manifest"], falls["segments_in_manifest"], falls["problems_by_kind"]) == (13, 27, {})
    captions = run("activitynet", "activitynet_captions_segments.json", "--format", "activitynet-captions")
    assert (captions["videos_by_split"], captions["videos_without_truth"]) == ({"train": 1, "val": 1}, 2)
    assert captions["problems_by_kind"] == {"not_a_class": 2, "unnamed_video": 1}
    fights = run("surveillance-fights", "split.csv", "--format", "csv", "--columns", "uri=file,group=source")
    assert (fights["rows_in_manifest"], fights["num_classes"], fights["problems_by_kind"]) == (196, 2, {})
    aircraft = run("infrared-aircraft", "split.csv", "--format", "csv", "--columns", "uri=file")
    assert (aircraft["rows_in_manifest"], aircraft["num_classes"], aircraft["problems_by_kind"]) == (128, 4, {})


@pytest.mark.real
@pytest.mark.ray
def test_real_videos_of_activitynet_go_from_its_json_to_shards(
    real_videos: Path, tmp_path: Path, ray_local: tuple[str, ...]
) -> None:
    def node(number: int, name: str, parent: int | None) -> dict[str, Any]:
        return {"nodeId": number, "nodeName": name, "parentId": parent, "parentName": None}

    tree = [node(0, "Root", None), node(1, "Sports", 0), node(2, "Household", 0)]
    tree += [node(3, "Clean and jerk", 1), node(4, "Long jump", 1), node(5, "Walking the dog", 2)]
    database = {
        "GGSY1Qvo990": {
            "subset": "training",
            "duration": 18.16,
            "annotations": [{"label": "Clean and jerk", "segment": [0.36, 18.07]}],
        },
        "ZNVhz7ctTq0": {
            "subset": "training",
            "duration": 14.05,
            "annotations": [{"label": "Walking the dog", "segment": [1.9, 14.2]}],
        },
        "gone1234567": {
            "subset": "training",
            "duration": 9,
            "annotations": [{"label": "Long jump", "segment": [1, 2]}],
        },
    }
    annotations = tmp_path / "activity_net.v1-3.min.json"
    annotations.write_text(json.dumps({"taxonomy": tree, "database": database}), encoding="utf-8")
    output = tmp_path / "anet.jsonl"
    places = ["--annotations", str(annotations), "--videos", str(real_videos / "activitynet"), "--output", str(output)]
    assert script.main(["--format", "activitynet", *places]) == 3
    kinds = [line["kind"] for line in lines_of(tmp_path / "anet.problems.jsonl")]
    assert kinds == ["missing_video", "segment_cut", "unnamed_video"]
    taxonomy = str(tmp_path / "anet.taxonomy.json")
    arguments = ["--input", str(output), "--output", str(tmp_path / "shards"), "--taxonomy", taxonomy]
    assert prepare_corpus.main([*arguments, *CLIP_SETTINGS, *ray_local]) == 0
    summary = json.loads((tmp_path / "shards" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seen"], summary["failed"]) == (2, 0)
