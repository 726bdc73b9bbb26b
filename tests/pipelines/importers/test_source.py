from __future__ import annotations

from pathlib import Path

import pytest
import s3fs

from fal_model.errors import ConfigError
from pipelines.importers import source
from pipelines.importers.annotations import FormatError
from pipelines.importers.formats import Format
from pipelines.importers.settings import ImportConfig
from tests.helpers.importing import said

CONFIG = ImportConfig()
FILES = {"classInd.txt": b"1 a", "testlist01.txt": b"a/b.avi", "testlist02.txt": b"", "UCF/a/b.avi": b"", "notes": b""}


def write(folder: Path) -> Path:
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_of_a_folder_the_files_of_the_format_are_read_and_the_others_named(tmp_path: Path) -> None:
    files, passed = source.load(str(write(tmp_path)), Format.UCF101, CONFIG)
    assert [(f.name, f.data) for f in files] == [("classInd.txt", b"1 a"), ("testlist01.txt", b"a/b.avi")]
    assert said(passed) == [
        ("notes", "unread_file", "not read: not part of ucf101"),
        ("testlist02.txt", "unread_file", "not read: not part of ucf101"),
    ]


def test_of_a_file_the_companions_are_read_too(tmp_path: Path) -> None:
    files, passed = source.load(str(write(tmp_path) / "testlist02.txt"), Format.UCF101, CONFIG)
    assert [f.name for f in files] == ["testlist02.txt", "classInd.txt"]
    assert passed == []
    assert [f.name for f in source.load(str(tmp_path / "notes"), Format.KINETICS, CONFIG)[0]] == ["notes"]


def test_a_glob_names_files(tmp_path: Path) -> None:
    files, _ = source.load(str(write(tmp_path) / "test*.txt"), Format.UCF101, CONFIG)
    assert [f.name for f in files] == ["testlist01.txt"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--annotations: '.*none\.csv' is neither a folder, a glob, a manifest nor"):
        source.load(str(tmp_path / "none.csv"), Format.KINETICS, CONFIG)
    with pytest.raises(FormatError, match=r"--annotations: no file of the format kinetics among 5 at '"):
        source.load(str(write(tmp_path)), Format.KINETICS, CONFIG)
    with pytest.raises(ConfigError, match="--annotations: nothing matches"):
        source.load(str(tmp_path / "*.nothing"), Format.KINETICS, CONFIG)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "broken.csv")
    with pytest.raises(
        FormatError, match=r"--annotations: cannot read '.*broken\.csv': Too many levels of symbolic links"
    ):
        source.load(str(tmp_path), Format.KINETICS, CONFIG)


def test_files_in_s3_are_read(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    for name, data in FILES.items():
        s3_client.pipe_file(f"{bucket}/set/{name}", data)
    for place in (f"{bucket}/set/", f"{bucket}/set"):
        files, passed = source.load(place, Format.UCF101, CONFIG)
        assert [f.name for f in files] == ["classInd.txt", "testlist01.txt"]
        assert [p.place for p in passed] == ["notes", "testlist02.txt"]
    files, _ = source.load(f"{bucket}/set/testlist02.txt", Format.UCF101, CONFIG)
    assert [f.name for f in files] == ["testlist02.txt", "classInd.txt"]
