"""The same in S3, against a real server."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import s3fs

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError
from pipelines import storage


def failure(uri: str, max_bytes: int = 100) -> VideoError:
    with pytest.raises(VideoError) as raised:
        storage.open_video(uri, max_bytes)
    assert raised.value.stage == "open"
    return raised.value


def test_an_object_is_fetched_into_a_real_file(bucket: str) -> None:
    data = os.urandom(3_000_001)  # more than one read
    storage.write_bytes(f"{bucket}/a b/ü#1.mp4", data)
    alive: list[int] = []
    with storage.open_video(f"{bucket}/a b/ü#1.mp4", len(data), lambda: alive.append(1)) as file:
        assert os.pread(file.fileno(), len(data) + 1, 0) == data
        assert file.tell() == 0
        assert len(alive) == 3  # a large one takes long, and must not be taken for dead
        storage.sha256_of(file, lambda: alive.append(1))
        assert len(alive) > 3


def test_no_room_for_a_copy_is_no_fault_of_the_video(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{bucket}/a.mp4", b"bytes")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        storage.open_video(f"{bucket}/a.mp4", 5)


def test_a_missing_object(bucket: str) -> None:
    error = failure(f"{bucket}/none.mp4")
    message = f"no object '{bucket}/none.mp4': The specified key does not exist. (NoSuchKey)"
    assert (error.kind, error.message) == (FailureKind.NOT_FOUND, message)
    elsewhere = failure("s3://no-such-bucket/none.mp4")
    assert elsewhere.kind is FailureKind.NOT_FOUND
    assert "The specified bucket does not exist (NoSuchBucket)" in elsewhere.message


def test_a_prefix_is_not_an_object(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/deep/a.mp4", b"x")
    error = failure(f"{bucket}/deep")
    assert (error.kind, error.message) == (FailureKind.NOT_A_FILE, f"'{bucket}/deep' is a prefix, not an object")


def test_an_object_without_bytes(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a.mp4", b"")
    error = failure(f"{bucket}/a.mp4")
    assert (error.kind, error.message) == (FailureKind.EMPTY_FILE, "the file has no bytes")


def test_an_object_over_the_limit_is_not_fetched(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a.mp4", b"x" * 101)
    error = failure(f"{bucket}/a.mp4", max_bytes=100)
    assert (error.kind, error.message) == (FailureKind.LIMIT_EXCEEDED, "the file has 101 bytes, allowed are 100")


@pytest.mark.usefixtures("s3_environment")
@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://UPPER_case!/key"])
def test_an_address_that_cannot_be(uri: str) -> None:
    error = failure(uri)
    assert error.kind in {FailureKind.STORAGE_ERROR, FailureKind.NOT_FOUND}
    assert repr(uri) in error.message


def test_without_credentials_nothing_is_read_or_written(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    error = failure(f"{bucket}/a.mp4")
    assert error.kind is FailureKind.STORAGE_ERROR
    assert "Unable to locate credentials" in error.message
    with pytest.raises(OutputError, match=r"cannot write 's3://.*': Unable to locate credentials"):
        storage.check_writable(bucket)
    with pytest.raises(OutputError, match=r"cannot delete 's3://.*': Unable to locate credentials"):
        storage.remove(f"{bucket}/a")
    for read in (storage.read_bytes, storage.open_ranged, storage.exists, storage.names_in):
        with pytest.raises(OSError, match="Unable to locate credentials"):
            read(f"{bucket}/a")
    with pytest.raises(ConfigError, match=r"^input: cannot ask S3 for the videos: Unable to locate credentials"):
        storage.fingerprints([f"{bucket}/a"])
    storage.remove_folder(f"{bucket}/a")


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_that_is_not_there_takes_no_output() -> None:
    with pytest.raises(OutputError, match=r"cannot write 's3://no-such-bucket/\.fal-write-probe': .*does not exist"):
        storage.check_writable("s3://no-such-bucket")


def test_what_is_written_is_read(bucket: str) -> None:
    uri = storage.join(bucket, "deep", "file.bin")
    assert not storage.exists(uri)
    for data in (b"first", b"", bytes(range(256))):
        storage.write_bytes(uri, data)
        assert storage.exists(uri)
        assert storage.read_bytes(uri) == data
    with storage.open_ranged(uri) as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"\xfd\xfe\xff"


def test_reading_what_is_not_there(bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{bucket}/none")
    with pytest.raises(FileNotFoundError):
        storage.open_ranged(f"{bucket}/none").read()


def test_a_writable_place_is_left_as_it_was(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    storage.check_writable(f"{bucket}/out")
    assert s3_client.find(bucket) == []


def test_removing_is_done_when_nothing_is_left(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a", b"x")
    storage.remove(f"{bucket}/a")
    storage.remove(f"{bucket}/a")
    assert not storage.exists(f"{bucket}/a")


def test_a_folder_is_removed_with_what_is_in_it(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    for name in ("out/a", "out/deep/b", "outer/c"):
        storage.write_bytes(f"{bucket}/{name}", b"x")
    storage.remove_folder(f"{bucket}/out")
    storage.remove_folder(f"{bucket}/out")
    assert s3_client.find(bucket) == [f"{bucket}/outer/c".removeprefix("s3://")]


def test_names_are_those_of_objects_as_they_are_now(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    for name in ("out/b", "out/a", "out/.hidden", "out/sub/c"):
        storage.write_bytes(f"{bucket}/{name}", b"x")
    assert storage.names_in(f"{bucket}/out") == ["a", "b"]
    assert storage.names_in(f"{bucket}/none") == []
    s3_client.pipe_file(f"{bucket}/out/c", b"from another process")
    assert storage.exists(f"{bucket}/out/c")
    assert storage.names_in(f"{bucket}/out/") == ["a", "b", "c"]


def test_a_fingerprint_changes_with_the_content(bucket: str) -> None:
    uri = f"{bucket}/a"
    assert storage.fingerprint(uri) == ""
    storage.write_bytes(uri, b"one")
    first = storage.fingerprint(uri)
    assert first.startswith("3:")
    storage.write_bytes(uri, b"two")
    assert storage.fingerprint(uri) != first
    storage.write_bytes(uri, b"one")
    assert storage.fingerprint(uri) == first


def test_fingerprints_of_many_come_in_order(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    for i in range(5):
        storage.write_bytes(f"{bucket}/{i}", b"x" * i)
    uris = [f"{bucket}/{i}" for i in (3, 1, 4, 0, 2)] + [str(tmp_path / "local"), f"{bucket}/none"]
    assert storage.fingerprints(uris) == [storage.fingerprint(uri) for uri in uris]


def test_a_fingerprint_after_a_listing_takes_no_request(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    storage.write_bytes(f"{bucket}/videos/a", b"x")
    assert storage.s3_paths(f"{bucket}/videos") == [f"{bucket}/videos/a".removeprefix("s3://")]
    listed = storage.fingerprint(f"{bucket}/videos/a")
    s3_client.rm_file(f"{bucket}/videos/a")
    assert storage.fingerprint(f"{bucket}/videos/a") == listed  # known from the listing: nobody asked
