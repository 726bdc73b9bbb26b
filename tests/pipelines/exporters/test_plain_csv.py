"""CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pipelines.exporters import plain_csv
from pipelines.exporters.video import Segment
from tests.helpers.exporting import ODD_IDS, about, failed, video, written


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_videos_labels_and_segments(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", 1.5, 2.25, 0.5)], is_abstained=True, split="val")
    files = written(plain_csv.writing, tmp_path, [found, failed(message="a, b")])
    assert list(files) == ["labels.csv", "segments.csv", "videos.csv"]
    first, second = rows_of(files["videos.csv"])
    assert {k: v for k, v in first.items() if v} == {
        "video_id": "a.mp4",
        "uri": "/videos/a.mp4",
        "status": "labelled",
        "split": "val",
        "duration_s": "10.0",
        "top_label": "run",
        "top_path": "sport|run",
        "top_score": "0.75",
        "is_abstained": "true",
        "num_labels": "2",
        "num_segments": "1",
        "coverage": "1.0",
        "sha256": "0" * 64,
    }
    assert {k: v for k, v in second.items() if v} == {
        "video_id": "z.mp4",
        "uri": "/videos/z.mp4",
        "status": "failed",
        "failure_stage": "decode",
        "failure_kind": "corrupt",
        "failure_message": "a, b",
    }
    assert files["labels.csv"] == (
        "video_id,uri,duration_s,label,name,path,level,score,is_abstained\r\n"
        "a.mp4,/videos/a.mp4,10.0,sport,Sport,sport,0,0.875,true\r\n"
        "a.mp4,/videos/a.mp4,10.0,run,Running,sport|run,1,0.75,true\r\n"
    )
    assert files["segments.csv"] == (
        "video_id,uri,duration_s,label,name,start_s,end_s,score\r\na.mp4,/videos/a.mp4,10.0,run,Running,1.5,2.25,0.5\r\n"
    )


def test_any_id_comes_back(tmp_path: Path) -> None:
    videos = [video(name, uri=name) for name in ODD_IDS]
    files = written(plain_csv.writing, tmp_path, videos, about(is_spreadsheet_safe=False))
    assert [row["video_id"] for row in rows_of(files["videos.csv"])] == list(ODD_IDS)
    assert [row["uri"] for row in rows_of(files["labels.csv"])] == [name for name in ODD_IDS for _ in range(2)]


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    risky = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]
    files = written(plain_csv.writing, tmp_path, [video(name, uri=name) for name in risky])
    for table in files.values():
        for row in rows_of(table):
            assert row["video_id"] == "'" + row["video_id"][1:]
            assert row["uri"][1:] in risky
    assert rows_of(files["videos.csv"])[0]["video_id"] == "'=1+1"
    (failure,) = rows_of(written(plain_csv.writing, tmp_path, [failed(message="=cmd|x")])["videos.csv"])
    assert failure["failure_message"] == "'=cmd|x"


def test_numbers_are_not_touched(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", -0.5, 1.0, 0.5)])  # some containers begin before zero
    (row,) = rows_of(written(plain_csv.writing, tmp_path, [found])["segments.csv"])
    assert row["start_s"] == "-0.5"
