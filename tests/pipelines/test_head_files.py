"""Heads in folders and in S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_model.class_head import HEAD_FILES
from fal_model.errors import ModelLoadError
from pipelines import head_files, storage
from tests.fal_model.test_class_head import head
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]


def test_a_head_in_a_folder(tmp_path: Path) -> None:
    head_files.write_head(str(tmp_path / "head"), head())
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == sorted(HEAD_FILES)
    assert head_files.read_head(str(tmp_path / "head")).head_id == head().head_id


def test_a_head_in_s3(bucket: str) -> None:
    head_files.write_head(f"{bucket}/head", head())
    assert head_files.read_head(f"{bucket}/head").to_files() == head().to_files()


def test_no_head_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no head is there: it has no head\.json and no head\.safetensors"):
        head_files.read_head(str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelLoadError, match="no head is there"):
        head_files.read_head(str(tmp_path / "file"))


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    head_files.write_head(str(tmp_path), head())
    (tmp_path / HEAD_FILES[0]).unlink()
    (tmp_path / HEAD_FILES[0]).mkdir()
    with pytest.raises(ModelLoadError, match=r"cannot read the head .*: Is a directory"):
        head_files.read_head(str(tmp_path))


def test_a_head_half_written_over_another_is_refused(tmp_path: Path) -> None:
    head_files.write_head(str(tmp_path), head())
    other = head(bias_K=head().bias_K + 1).to_files()
    storage.write_bytes(str(tmp_path / HEAD_FILES[1]), other[HEAD_FILES[1]])
    with pytest.raises(ModelLoadError, match=r"head\.safetensors: damaged, or of another head\.json"):
        head_files.read_head(str(tmp_path))
