"""A file per video."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fal_model.errors import OutputError
from pipelines.exporters.per_video import files_in
from pipelines.exporters.video import Video
from tests.helpers.exporting import ODD_IDS, failed, video


def write(folder: Path, videos: list[Video]) -> list[dict[str, str]]:
    with files_in(str(folder), ".txt") as put:
        for one in videos:
            put(one, one.video_id)
    return [json.loads(line) for line in (folder / "index.jsonl").read_bytes().split(b"\n")[:-1]]


def test_each_video_has_its_file_and_the_index_says_which(tmp_path: Path) -> None:
    index = write(tmp_path, [*map(video, ODD_IDS), failed()])
    assert [row["video_id"] for row in index] == [*ODD_IDS, "z.mp4"]
    assert [row["status"] for row in index] == ["labelled"] * len(ODD_IDS) + ["failed"]
    for row in index:
        assert (tmp_path / row["file"]).read_bytes().decode() == row["video_id"]
    assert len(list(tmp_path.iterdir())) == len(index) + 1


def test_more_files_than_wait_at_once(tmp_path: Path) -> None:
    assert len(write(tmp_path, [video(f"{n:04}") for n in range(600)])) == 600
    assert len(list(tmp_path.iterdir())) == 601


def test_what_an_earlier_export_left_goes_and_what_others_have_stays(tmp_path: Path) -> None:
    write(tmp_path, [video("a"), video("b")])
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    write(tmp_path, [video("b"), video("c")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.txt", "c.txt", "index.jsonl", "mine.txt"]


@pytest.mark.parametrize("index", ["{not json", '{"name": "b.txt"}', '["b.txt"]', '{"file": "../b.txt"}'])
def test_an_index_that_is_none_deletes_nothing(tmp_path: Path, index: str) -> None:
    folder = tmp_path / "out"
    write(folder, [video("a")])
    (tmp_path / "b.txt").touch()
    (folder / "index.jsonl").write_text(index + "\n", encoding="utf-8")
    write(folder, [video("c")])
    assert (tmp_path / "b.txt").exists()
    assert (folder / "a.txt").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "file", [video("a")])


def test_a_failed_write_leaves_no_index(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()  # a folder stands where a file must go
    with pytest.raises(OutputError, match=r"cannot write '.*a\.txt'"):
        write(tmp_path, [video("a")])
    assert not (tmp_path / "index.jsonl").exists()
