"""The search job answers what people ask, and says why where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import search
from jobs.runtime.config import load_config
from jobs.runtime.label import key_of
from pipelines import label_parts, run_record, tables
from pipelines.predict import ClipPredictor
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.label_output import key_of as key_of_run
from tests.helpers.label_output import write_output
from tests.helpers.report_folder import failure_row, label_row
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

EMBEDDINGS = {"a": [1.0, 0.0], "b": [0.9, 0.1], "c": [0.0, 1.0], "d": [-1.0, 0.0]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    labels = [label_row(i, "jump" if i == "c" else "run", embedding=e) for i, e in EMBEDDINGS.items()]
    write_output(tmp_path / "run", labels, [failure_row("broken")])
    return tmp_path / "run"


def asked(run: Path, *arguments: str) -> int:
    return search.main(["--input", str(run), *arguments])


def problem(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert asked(run, *arguments) == 2
    return capsys.readouterr().err


def found(output: Path) -> list[str]:
    lines = (output / "search.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["video_id"] for line in lines]


def test_the_nearest_videos_are_told_and_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert asked(run, "--video", "a", "--output", str(output), "search.k=2") == 0
    assert found(output) == ["b", "c"]
    said = capsys.readouterr().out
    assert "nearest to video a, each of 5 videos compared" in said
    assert "   1  +0.9939  b  run (0.90)  /videos/b" in said
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["found"], summary["searched"], summary["is_exact"]) == (2, 5, True)
    assert "no picture kept" in (output / "search.html").read_text(encoding="utf-8")


def test_more_than_there_are_are_all(run: Path, tmp_path: Path) -> None:
    assert asked(run, "--video", "a", "--output", str(tmp_path / "out")) == 0
    assert found(tmp_path / "out") == ["b", "c", "d"]


def test_a_class_is_asked_about_by_its_id(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(run, "--label", "jump", "--output", str(tmp_path / "out"), "search.k=1") == 0
    assert found(tmp_path / "out") == ["c"]
    assert "nearest to class jump (1 videos carry it)" in capsys.readouterr().out


def test_an_index_answers_the_same_and_is_kept(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("one", "two"):
        output = tmp_path / folder
        assert asked(run, "--video", "a", "--output", str(output), "search.exact_rows=2", "search.k=2") == 0
        assert found(output) == ["b", "c"]
    assert "by an index of 5 videos, its best 30 compared" in capsys.readouterr().out
    assert len(list((run / "_fal" / "search").iterdir())) == 1
    assert asked(run, "--video", "a", "--index", str(tmp_path / "index"), "search.exact_rows=2") == 0
    assert len(list((tmp_path / "index").iterdir())) == 1


@pytest.mark.parametrize("arguments", [[], ["--video", "a", "--label", "run"]])
def test_one_question_at_a_time(run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    got = "--video and --label" if arguments else "none of them"
    assert f"search takes one of --video, --file and --label; got {got}" in problem(run, capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--video", "bb"], "--video: no video 'bb' in this run; did you mean 'b'?"),
        (["--video", "zzz"], "--video: no video 'zzz' in this run\n"),
        (["--video", "broken"], "--video: 'broken' could not be labelled, so it has no embedding; see failures/"),
        (["--label", "runs"], "--label: no labelled video carries 'runs'; did you mean 'run'?"),
        (["--label", "chess"], "--label: no labelled video carries 'chess'; carried are, for example, jump, run"),
        (["--file", "x.mp4"], "--file: the video must be embedded by the model that labelled the others; give --model"),
        (["--video", "a", "search.k=0"], "search.k: got 0"),
    ],
)
def test_questions_without_an_answer(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in problem(run, capsys, *arguments)


def test_what_is_no_finished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no output folder of label_corpus" in problem(tmp_path, capsys, "--video", "a")
    write_output(tmp_path / "half", [label_row(i) for i in "abcdef"], unfinished={0})
    assert "or take what there is with search.is_partial=true" in problem(tmp_path / "half", capsys, "--label", "run")


def test_the_summary_of_the_run_itself_is_not_replaced(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["--input", str(run), "--label", "run", "--output", str(run)]) == 2
    assert "is the output folder of another job; take another one" in capsys.readouterr().err


def test_a_video_of_which_nothing_is_known_is_near_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_output(tmp_path / "run", [label_row("a"), label_row("b", embedding=[1.0, 0.0])])
    assert "zero or holds no numbers, so nothing is near it" in problem(tmp_path / "run", capsys, "--video", "a")


def labelled(folder: Path, model: Path) -> Path:
    """Write a run as that model would leave it."""
    predictor = ClipPredictor.load(str(model), "cpu")
    dim = predictor.model.config.embedding_dim
    key = key_of(predictor.model.meta(), load_config(None))
    rows: list[Any] = [label_row(i, embedding=[float(i == "a")] + [1.0] * (dim - 1)) for i in "ab"]
    write_output(folder, rows, key=key, dim=dim)
    return folder


def test_a_file_is_embedded_by_the_model_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, other = write_model(tmp_path / "model"), write_model(tmp_path / "other", seed=1)
    write_videos(tmp_path / "videos", 1)
    write_broken(tmp_path / "videos")
    (video,) = (tmp_path / "videos").glob("test*.mp4")
    run = labelled(tmp_path / "run", model)
    output = tmp_path / "out"
    assert asked(run, "--file", str(video), "--model", str(model), "--output", str(output)) == 0
    assert sorted(found(output)) == ["a", "b"]
    said = problem(run, capsys, "--file", str(video), "--model", str(other))
    assert "has other weights or another preprocessing than the model of this run" in said
    broken = str(tmp_path / "videos" / "text.mp4")
    assert "cannot be used: not_a_video: " in problem(run, capsys, "--file", broken, "--model", str(model))


def test_a_large_run_in_s3_needs_a_folder_for_its_index(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_output(tmp_path / "run", [label_row("a", embedding=[1.0, 0.0])])
    output, key = f"{bucket}/run", key_of_run()
    record = run_record.last_run(str(tmp_path / "run"))
    rows = tables.read_table(record.manifest)
    parts = label_parts.PlannedParts(rows, [rows["part"][0].as_py()], [1])
    run_record.begin(output, key, label_parts.write_manifest(output, parts), record.settings)
    for table in ("labels", "failures"):
        held = tables.read_table(label_parts.table_uri(str(tmp_path / "run"), table, parts.names[0]))
        tables.write_table(label_parts.table_uri(output, table, parts.names[0]), held)
    mark = label_parts.read_mark(str(tmp_path / "run"), parts.names[0])
    assert mark is not None
    label_parts.mark_finished(output, parts.names[0], mark)
    assert search.main(["--input", output, "--label", "run"]) == 0
    assert search.main(["--input", output, "--label", "run", "search.exact_rows=0"]) == 2
    assert "--index: the run lies in S3 and is large; give a local folder" in capsys.readouterr().err
