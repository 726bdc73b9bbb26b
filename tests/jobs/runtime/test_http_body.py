"""Bodies reach a file without a name, and never grow beyond the limit."""

import asyncio
from collections.abc import Sequence

import pytest
from fastapi import Request
from starlette.types import Message

from jobs.runtime.http_body import FORM_EXTRA_BYTES, MAX_JSON_BYTES, Submission, read_submission
from jobs.runtime.http_problems import ApiError

LIMIT = 100_000


class Sender:
    """A client that sends pieces and notes how many were taken."""

    def __init__(self, media_type: str, pieces: Sequence[bytes], declared_bytes: int | None = None) -> None:
        self.headers = [(b"content-type", media_type.encode())]
        if declared_bytes is not None:
            self.headers.append((b"content-length", str(declared_bytes).encode()))
        self.pieces = list(pieces)
        self.num_taken = 0

    async def receive(self) -> Message:
        piece = self.pieces[self.num_taken]
        self.num_taken += 1
        return {"type": "http.request", "body": piece, "more_body": self.num_taken < len(self.pieces)}

    def submit(self, uri_prefix: str = "s3://") -> Submission:
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": self.headers}
        return asyncio.run(read_submission(Request(scope, self.receive), LIMIT, uri_prefix))


def form_of(video: bytes, name: str = "file", filename: str = "a.mp4") -> list[bytes]:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return [head.encode(), video, b"\r\n--xyz--\r\n"]


def refused(sender: Sender, status: int, kind: str) -> str:
    with pytest.raises(ApiError) as caught:
        sender.submit()
    assert (caught.value.status, caught.value.kind) == (status, kind)
    return caught.value.detail


@pytest.mark.parametrize("video", [b"", b"abc", bytes(range(256)) * 300])
def test_the_bytes_arrive_as_they_were_sent(video: bytes) -> None:
    half = len(video) // 2
    raw = Sender("video/mp4", [video[:half], video[half:]]).submit()
    form = Sender("multipart/form-data; boundary=xyz", form_of(video)).submit()
    for submission, name in ((raw, ""), (form, "a.mp4")):
        assert submission.file is not None
        with submission.file as file:
            assert file.read() == video
        assert (submission.uri, submission.name) == ("", name)


def test_a_raw_body_lies_in_a_file_with_a_descriptor_and_without_a_name() -> None:
    submission = Sender("video/mp4", [b"abc"]).submit()
    assert submission.file is not None
    with submission.file as file:
        assert isinstance(file.name, int)  # a path would be a text
        assert file.fileno() == file.name


def test_a_body_of_exactly_the_limit_passes() -> None:
    submission = Sender("video/mp4", [bytes(LIMIT)], LIMIT).submit()
    assert submission.file is not None
    with submission.file as file:
        assert len(file.read()) == LIMIT


@pytest.mark.parametrize("media_type", ["video/mp4", "multipart/form-data; boundary=xyz", "application/json"])
def test_a_declared_size_over_the_limit_is_refused_unread(media_type: str) -> None:
    sender = Sender(media_type, [b"x"], LIMIT + FORM_EXTRA_BYTES + 1)
    refused(sender, 413, "limit_exceeded")
    assert sender.num_taken == 0


@pytest.mark.parametrize(
    ("media_type", "start"),
    [("video/mp4", b""), ("multipart/form-data; boundary=xyz", form_of(b"")[0]), ("application/json", b"[")],
)
def test_an_undeclared_size_is_refused_as_soon_as_it_is_over(media_type: str, start: bytes) -> None:
    piece = bytes(LIMIT // 2)
    sender = Sender(media_type, [start, *[piece] * 1000])
    told = MAX_JSON_BYTES if media_type == "application/json" else LIMIT
    assert refused(sender, 413, "limit_exceeded") == f"the body is larger than the {told} bytes allowed"
    assert sender.num_taken <= 5


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "image/png", "videos"])
def test_other_media_types_are_named(media_type: str) -> None:
    detail = refused(Sender(media_type, [b"x"]), 415, "unsupported_format")
    assert repr(media_type) in detail
    assert "application/octet-stream" in detail


def test_a_form_without_the_field_is_refused() -> None:
    sender = Sender("multipart/form-data; boundary=xyz", form_of(b"x", name="film"))
    assert refused(sender, 400, "bad_request") == "form: got the fields ['film'], need a file 'file'"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff\xfe{", "the body is not JSON"),
        (b"[]", 'the body must be {"uri": "s3://…"}, got []'),
        (b'{"uri": 3}', 'got {"uri": 3}'),
        (b'{"uri": "s3://b/a", "extra": 1}', '"extra": 1'),
        (b'{"uri": "http://169.254.169.254/"}', "uri: got 'http://169.254.169.254/', must start with 's3://'"),
        (b'{"uri": "file:///etc/passwd"}', "must start with 's3://'"),
        (b'{"uri": "/etc/passwd"}', "must start with 's3://'"),
        (b'{"uri": " s3://bucket/a"}', "must start with 's3://'"),
    ],
)
def test_json_must_be_an_address_in_s3(body: bytes, words: str) -> None:
    assert words in refused(Sender("application/json", [body]), 400, "bad_request")


def test_addresses_can_be_narrowed_to_a_prefix() -> None:
    body = [b'{"uri": "s3://ours/a.mp4"}']
    assert Sender("application/json", body).submit("s3://ours/") == Submission(uri="s3://ours/a.mp4")
    with pytest.raises(ApiError, match="must start with 's3://theirs/'"):
        Sender("application/json", body).submit("s3://theirs/")
