"""A local file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import atomic_files


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a"
    with atomic_files.writing(path) as file:
        file.write(b"one ")
        (half,) = path.parent.iterdir()
        assert half.name.startswith(atomic_files.PREFIX)
        file.write(b"two")
    assert [p.name for p in path.parent.iterdir()] == ["a"]
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_files.writing(path) as file:
        file.write(b"x" * (file.write(b"half") // 0))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), atomic_files.writing(tmp_path / "file" / "a"):
        pytest.fail("there is nothing to write into")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), atomic_files.writing(tmp_path / "folder") as file:
        file.write(b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_leftovers_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{atomic_files.PREFIX}abc").write_bytes(b"half")
    (tmp_path / "whole").write_bytes(b"all")
    atomic_files.clear_leftovers(tmp_path)
    atomic_files.clear_leftovers(tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["whole"]


def test_a_file_gets_a_second_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    target = tmp_path / "deep" / "b"
    assert atomic_files.link(tmp_path / "a", target)
    assert atomic_files.link(tmp_path / "a", target)  # it has it already
    assert target.samefile(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"two")
    assert atomic_files.link(tmp_path / "c", target)  # in place of what has it
    assert (target.read_bytes(), (tmp_path / "a").read_bytes()) == (b"two", b"one")
    assert [p.name for p in target.parent.iterdir()] == ["b"]


def test_where_no_second_name_can_be_given_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert not atomic_files.link(tmp_path / "folder", tmp_path / "b")  # of folders no system allows it
    with pytest.raises(FileNotFoundError):
        atomic_files.link(tmp_path / "none", tmp_path / "b")
