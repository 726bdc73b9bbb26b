"""The broken files are broken as promised, the same every time, and left alone once they are there."""

from __future__ import annotations

from pathlib import Path

import pytest
import s3fs

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.standin_broken import write_broken_files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_broken_files_fail_as_promised(tmp_path: Path) -> None:
    expected = write_broken_files(str(tmp_path / "broken"))

    found = {}
    for name in expected:
        with (tmp_path / "broken" / name).open("rb") as source, pytest.raises(VideoError) as caught:
            list(prepare_clips(source, ClipSpec(size_px=32, flow_size_px=8), DecodeLimits())[1])
        found[name] = caught.value.kind
    assert found == expected
    assert set(contents(tmp_path / "broken")) == set(expected)
    assert len(set(expected.values())) >= 6


def test_broken_files_are_reproducible_and_those_that_are_there_are_kept(tmp_path: Path) -> None:
    for name in "ab":
        write_broken_files(str(tmp_path / name))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")

    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    (tmp_path / "a" / "empty.mp4").unlink()
    write_broken_files(str(tmp_path / "a"))
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert {name for name in before if after[name] != before[name]} <= {"empty.mp4"}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_broken_files_go_to_s3(tmp_path: Path, bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    names = write_broken_files(f"{bucket}/broken")
    write_broken_files(str(tmp_path))

    assert {name: s3_client.cat_file(f"{bucket}/broken/{name}") for name in names} == contents(tmp_path)
