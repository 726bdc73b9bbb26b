"""Addresses, local files: opening with a precise reason, writing all or nothing, deleting."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError
from pipelines import storage

needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


def failure(uri: str | Path, max_bytes: int = 100) -> VideoError:
    with pytest.raises(VideoError) as raised:
        storage.open_video(str(uri), max_bytes)
    assert raised.value.stage == "open"
    return raised.value


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["a.mp4", "/a/b.mp4", "s3://bucket/key", "file:///a/b.mp4", "a:b.mp4"])
def test_local_paths_and_s3_are_read(uri: str) -> None:
    storage.check_scheme(uri)


@pytest.mark.parametrize(
    "uri", ["http://x/a.mp4", "https://[x", "rtsp://cam", "S3://b/k", "gs://b/k", "file://host/a.mp4", "concat://a|b"]
)
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as raised:
        storage.check_scheme(uri)
    assert raised.value.problems == [f"address: got {uri!r}; allowed are local paths, file:///… and s3://"]


FILE_NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in {b".", b".."}
)


@settings(deadline=None, max_examples=100)
@given(FILE_NAMES)
def test_a_file_address_leads_back_to_its_path_whatever_the_bytes(raw: bytes) -> None:
    path = Path("/videos", os.fsdecode(raw))
    assert storage.local_path(path.as_uri()) == path
    assert storage.local_path("file:///videos/" + quote(raw)) == path


@pytest.mark.parametrize("uri", ["gs://bucket/out", "https://host/out"])
def test_an_address_of_another_kind_is_not_taken_for_a_folder(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed are local paths, file:///… and s3://"):
        storage.absolute(uri)


def test_an_absolute_address_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/b") == str(tmp_path / "a" / "b")
    assert storage.absolute("/x") == "/x"
    assert storage.absolute("s3://b/k") == "s3://b/k"
    assert storage.absolute("file:///x/a%20b") == "/x/a b"


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("/out", "/out/labels/a.parquet"),
        ("out/", "out/labels/a.parquet"),
        ("", "labels/a.parquet"),
        ("s3://b", "s3://b/labels/a.parquet"),
        ("s3://b/out/", "s3://b/out/labels/a.parquet"),
        ("file:///o%20ut", "/o ut/labels/a.parquet"),
    ],
)
def test_names_are_joined_to_folders_and_prefixes(base: str, joined: str) -> None:
    assert storage.join(base, "labels", "a.parquet") == joined


@pytest.mark.parametrize(("text", "is_glob"), [("a/b.mp4", False), ("a/*.mp4", True), ("a?b", True), ("[ab]", True)])
def test_wildcards_make_a_glob(text: str, is_glob: bool) -> None:
    assert storage.is_glob(text) is is_glob


# ---- opening videos -----------------------------------------------------------------------------------------------


def test_a_video_is_opened_as_a_real_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"0123456789")
    with storage.open_video(str(tmp_path / "a.mp4"), 10) as file:
        assert os.pread(file.fileno(), 100, 0) == b"0123456789"
        assert not os.get_inheritable(file.fileno())


def test_a_missing_file(tmp_path: Path) -> None:
    error = failure(tmp_path / "none.mp4")
    assert error.kind is FailureKind.NOT_FOUND
    assert error.message == f"cannot open '{tmp_path}/none.mp4': No such file or directory"


@pytest.mark.parametrize("name", ["file.txt/below.mp4", "loop.mp4", "x" * 300 + ".mp4", "nul\0.mp4"])
def test_names_that_lead_nowhere_are_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_bytes(b"x")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    error = failure(f"{tmp_path}/{name}")
    assert error.kind is FailureKind.NOT_FOUND
    assert error.message.startswith("cannot open ")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    error = failure(tmp_path)
    assert (error.kind, error.message) == (FailureKind.NOT_A_FILE, f"'{tmp_path}' is not a regular file")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure(tmp_path / "pipe.mp4").kind is FailureKind.NOT_A_FILE


def test_devices_and_sockets_are_not_files(tmp_path: Path) -> None:
    assert failure("/dev/zero").kind is FailureKind.NOT_A_FILE
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert failure(tmp_path / "s").kind is FailureKind.NOT_A_FILE


def test_a_file_without_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    error = failure(tmp_path / "a.mp4")
    assert (error.kind, error.message) == (FailureKind.EMPTY_FILE, "the file has no bytes")


def test_a_file_over_the_limit_is_refused_and_closed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x" * 101)
    before = inside(Path("/proc/self/fd"))
    error = failure(tmp_path / "a.mp4", max_bytes=100)
    assert (error.kind, error.message) == (FailureKind.LIMIT_EXCEEDED, "the file has 101 bytes, allowed are 100")
    assert inside(Path("/proc/self/fd")) == before


@needs_no_root
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.mp4").chmod(0)
    error = failure(tmp_path / "a.mp4")
    assert error.kind is FailureKind.PERMISSION_DENIED
    assert error.message.endswith("Permission denied")


def test_every_error_of_the_system_has_a_kind() -> None:
    # Some cannot be caused at will on every machine: a failing disk, or a missing permission when tests run as root.
    kinds = {
        errno.EACCES: FailureKind.PERMISSION_DENIED,
        errno.EPERM: FailureKind.PERMISSION_DENIED,
        errno.EIO: FailureKind.STORAGE_ERROR,
        errno.ESTALE: FailureKind.STORAGE_ERROR,
    }
    for code, kind in kinds.items():
        error = storage._open_failure("a.mp4", OSError(code, os.strerror(code)))
        assert (error.kind, error.message) == (kind, f"cannot open 'a.mp4': {os.strerror(code)}")


def test_a_hash_is_of_the_whole_file_from_anywhere(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8200  # more than is read at once
    (tmp_path / "a").write_bytes(data)
    with storage.open_video(str(tmp_path / "a"), 10**9) as file:
        file.seek(77)
        assert storage.sha256_of(file) == hashlib.sha256(data).hexdigest()
        assert file.tell() == 0


def test_a_file_that_cannot_be_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    # A descriptor that may only write fails on reading as a broken disk does.
    with os.fdopen(os.open(tmp_path / "a", os.O_WRONLY), "rb") as file, pytest.raises(VideoError) as raised:
        storage.sha256_of(file)
    assert raised.value.kind is FailureKind.STORAGE_ERROR
    assert raised.value.message == "the file cannot be read: Bad file descriptor"


def test_a_hash_is_checked_where_one_is_given() -> None:
    for expected in (None, "", "ab12", "AB12"):
        storage.check_sha256("ab12", expected)
    with pytest.raises(VideoError) as raised:
        storage.check_sha256("ab12", "cd")
    assert raised.value.kind is FailureKind.CORRUPT
    assert raised.value.message == "the manifest says sha256 cd, the file has ab12"


# ---- small files --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=1000), st.binary(max_size=1000))
def test_what_is_written_is_read(tmp_path: Path, first: bytes, second: bytes) -> None:
    uri = str(tmp_path / "deep" / "er" / "file.bin")
    for data in (first, second):
        storage.write_bytes(uri, data)
        assert storage.read_bytes(uri) == data
        with storage.open_ranged(uri) as file:
            file.seek(len(data) // 2)
            assert file.read() == data[len(data) // 2 :]
    assert inside(tmp_path / "deep" / "er") == ["file.bin"]
    assert (Path(uri).stat().st_mode & 0o777) == 0o644


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    assert not storage.exists(str(tmp_path / "none"))
    for read in (storage.read_bytes, storage.open_ranged):
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / "none"))


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    storage.write_bytes(uri, b"old")
    with storage.open_ranged(uri) as reader:
        storage.write_bytes(uri, b"newer")
        assert reader.read() == b"old"  # the old file lives on for whoever has it open
    assert storage.read_bytes(uri) == b"newer"


def test_a_file_written_in_pieces_is_there_at_the_end_or_never(tmp_path: Path, bucket: str) -> None:
    for uri in (str(tmp_path / "deep" / "a"), f"{bucket}/deep/a"):
        with storage.writing(uri) as file:
            file.write(b"one ")
            assert not storage.exists(uri)
            file.write(b"two")
        assert storage.read_bytes(uri) == b"one two"
        with pytest.raises(ZeroDivisionError), storage.writing(uri) as file:
            file.write(b"x" * (file.write(b"other") // 0))
        assert storage.read_bytes(uri) == b"one two"
    assert inside(tmp_path / "deep") == ["a"]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"cannot write '.*/out/a': (File exists|Not a directory)"):
        storage.write_bytes(str(tmp_path / "out" / "a"), b"x")


def test_a_folder_in_the_place_of_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match=r"cannot write '.*/a': Is a directory"):
        storage.write_bytes(str(tmp_path / "a"), b"x")
    assert inside(tmp_path) == ["a"]


def test_a_place_that_takes_no_files() -> None:
    with pytest.raises(OutputError, match=r"cannot write '/proc/fal/\.fal-write-probe': No such file or directory"):
        storage.check_writable("/proc/fal")


def test_a_writable_place_is_left_as_it_was(tmp_path: Path) -> None:
    storage.check_writable(str(tmp_path / "new"))
    assert inside(tmp_path / "new") == []


@needs_no_root
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            storage.check_writable(str(tmp_path))
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    uri = str(small_disk / "labels.parquet")
    storage.write_bytes(uri, b"old" * 1000)
    with pytest.raises(OutputError) as raised:
        storage.write_bytes(uri, b"x" * 200_000)
    assert str(raised.value) == f"cannot write {uri!r}: No space left on device"
    assert storage.read_bytes(uri) == b"old" * 1000
    assert inside(small_disk) == ["labels.parquet"]


def test_a_disk_that_may_only_be_read(small_disk: Path) -> None:
    storage.write_bytes(str(small_disk / "old"), b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"cannot write '.*': Read-only file system"):
        storage.check_writable(str(small_disk))
    with pytest.raises(OutputError, match=r"cannot delete '.*/old': Read-only file system"):
        storage.remove(str(small_disk / "old"))


def test_removing_is_done_when_nothing_is_left(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "a"), b"x")
    storage.remove(str(tmp_path / "a"))
    storage.remove(str(tmp_path / "a"))
    assert inside(tmp_path) == []


def test_a_folder_cannot_be_removed_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot delete '.*': Is a directory"):
        storage.remove(str(tmp_path))


def test_a_folder_is_removed_with_what_is_in_it(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "out" / "deep" / "a"), b"x")
    storage.remove_folder(str(tmp_path / "out"))
    storage.remove_folder(str(tmp_path / "out"))
    assert inside(tmp_path) == []


def test_names_in_a_folder_are_its_visible_files_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", ".writing-x1", "sub/c"):
        storage.write_bytes(str(tmp_path / name), b"x")
    assert storage.names_in(str(tmp_path)) == ["a", "b"]
    assert storage.names_in(str(tmp_path / "none")) == []
    assert storage.names_in(str(tmp_path / "a")) == []


def test_a_fingerprint_changes_with_size_and_time_only(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 1_000))
    first = storage.fingerprint(str(path))
    assert first == "3:1000"
    os.utime(path, ns=(9, 1_000))
    assert storage.fingerprint(str(path)) == first
    os.utime(path, ns=(9, 1_001))
    assert storage.fingerprint(str(path)) != first
    path.write_bytes(b"three")
    os.utime(path, ns=(9, 1_000))
    assert storage.fingerprint(str(path)) != first


@pytest.mark.parametrize("name", ["none", "nul\0", "x" * 300])
def test_what_is_missing_has_no_fingerprint(tmp_path: Path, name: str) -> None:
    assert storage.fingerprint(f"{tmp_path}/{name}") == ""


def test_fingerprints_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    uris = [str(tmp_path / name) for name in ("b", "a", "none")]
    for size, uri in enumerate(uris[:2]):
        Path(uri).write_bytes(b"x" * size)
    assert storage.fingerprints(uris) == [storage.fingerprint(uri) for uri in uris]
    assert storage.fingerprints([]) == []


def test_what_killed_writers_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".writing-abc").write_bytes(b"half")
    (tmp_path / "whole.parquet").write_bytes(b"all")
    storage.clear_leftovers(str(tmp_path))
    storage.clear_leftovers(str(tmp_path / "none"))
    assert [p.name for p in tmp_path.iterdir()] == ["whole.parquet"]


def test_a_copy_on_one_file_system_is_the_file_itself(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(b"one")
    storage.copy(str(source), target.as_uri())
    assert target.samefile(source)
    storage.write_bytes(str(target), b"two")  # takes the name, and leaves the file
    assert (source.read_bytes(), target.read_bytes()) == (b"one", b"two")
    with pytest.raises(FileNotFoundError):
        storage.copy(str(tmp_path / "none"), str(target))
