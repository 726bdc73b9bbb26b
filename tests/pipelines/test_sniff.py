from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import FailureKind, VideoError
from pipelines.sniff import DEMUXERS, NamelessFile, check_head, looks_like_container, read_head


@pytest.mark.parametrize(
    ("head", "kind", "says"),
    [
        (b"", FailureKind.EMPTY_FILE, "the file is empty"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", FailureKind.UNSUPPORTED_FORMAT, "an HLS playlist"),
        (b"\xef\xbb\xbf\n #extm3u\n", FailureKind.UNSUPPORTED_FORMAT, "an HLS playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", FailureKind.UNSUPPORTED_FORMAT, "an ffconcat list"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", FailureKind.UNSUPPORTED_FORMAT, "an SDP description"),
        (b"[playlist]\nFile1=x\n", FailureKind.UNSUPPORTED_FORMAT, "a PLS playlist"),
        (b"<?xml version='1.0'?>\n<MPD xmlns='x'>", FailureKind.UNSUPPORTED_FORMAT, "an XML playlist"),
        (b"version https://git-lfs.github.com/spec/v1\n", FailureKind.NOT_A_VIDEO, "a Git LFS pointer"),
        (b"PK\x03\x04\x14\x00", FailureKind.NOT_A_VIDEO, "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", FailureKind.NOT_A_VIDEO, "a PNG image"),
        (b"Dear diary,\n", FailureKind.NOT_A_VIDEO, "the file is text, 12 bytes of it"),
        (b"Good morning,\n", FailureKind.NOT_A_VIDEO, "the file is text, 14 bytes of it"),  # as MPEG-TS does
    ],
)
def test_what_is_no_video_is_named(head: bytes, kind: FailureKind, says: str) -> None:
    with pytest.raises(VideoError) as caught:
        check_head(head, len(head))
    assert caught.value.kind is kind
    assert caught.value.stage == "open"
    assert says in caught.value.message


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
        b"\x1aE\xdf\xa3\x01\x00",
        b"RIFF\x00\x10\x00\x00AVI LIST",
        b"OggS\x00\x02",
    ],
)
def test_containers_pass(head: bytes) -> None:
    check_head(head, len(head))
    assert looks_like_container(head)


@given(st.binary(max_size=64))
@settings(deadline=None, max_examples=200)
def test_any_bytes_pass_or_get_a_reason(head: bytes) -> None:
    kinds = {FailureKind.EMPTY_FILE, FailureKind.UNSUPPORTED_FORMAT, FailureKind.NOT_A_VIDEO}
    assert _kind_of(head) in kinds | {None}


def _kind_of(head: bytes) -> FailureKind | None:
    try:
        check_head(head, len(head))
    except VideoError as error:
        return error.kind
    return None


def test_no_allowed_demuxer_can_refer_to_other_files() -> None:
    refer = {"hls", "dash", "concat", "concatf", "sdp", "rtsp", "image2", "imf", "webm_dash_manifest", "lavfi", "tty"}
    assert refer.isdisjoint(DEMUXERS.split(","))


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(VideoError, match="limit_exceeded: 11 bytes, at most 10 are allowed"):
        read_head(io.BytesIO(b"x" * 11), 10)


class _FailingFile(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__(b"x" * 100)
        self._error = error

    def read(self, _size: int | None = -1, /) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (IsADirectoryError(21, "Is a directory"), "not_a_file: the path is a directory"),
        (OSError(5, "Input/output error"), "storage_error: reading failed: .*Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(error: OSError, says: str) -> None:
    with pytest.raises(VideoError, match=says):
        read_head(_FailingFile(error), 1000)


def test_the_bytes_ffmpeg_gets_have_no_name_and_remember_failures() -> None:
    error = OSError(5, "Input/output error")
    file = NamelessFile(_FailingFile(error))
    assert not hasattr(file, "name")
    assert file.seek(3) == file.tell() == 3
    assert file.read(1) == b""
    assert file.failure is error
    assert file.seek(-5) == -1
