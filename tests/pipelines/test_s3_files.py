"""Objects as files, against a real server and one that answers wrongly; cuts on the way are in test_storage_faults."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from pipelines import s3, storage
from pipelines.s3 import Info
from pipelines.s3_files import CHUNK_BYTES, TAIL_BYTES, Download, RangedFile, open_ranged
from pipelines.s3_patience import ChangedError, Patience, Tries
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

DATA = random.Random(0).randbytes(CHUNK_BYTES + TAIL_BYTES + 12_345)


@pytest.fixture
def uri(bucket: str) -> str:
    """Return the address of an object of more than one chunk."""
    storage.write_bytes(f"{bucket}/a", DATA)
    return f"{bucket}/a"


def test_a_download_is_the_object_in_chunks(uri: str) -> None:
    with Download(s3.store(), uri) as download:
        assert download.info.num_bytes == len(DATA)
        chunks = list(download)
    assert b"".join(chunks) == DATA
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES, TAIL_BYTES + 12_345]


class Answering:
    """A store whose answers are given; it waits for nothing."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def split(self, uri: str) -> tuple[str, str]:
        return "bucket", uri

    def tries(self) -> Tries:
        return Tries(Patience(total_s=1, num_tries=1))

    def wait(self, start: Any, _: Tries) -> Any:
        coroutine = start()
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits")

    async def request(self, _: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(arguments)
        return self.answers.pop(0)

    def close_later(self, body: Any) -> None:
        body.close()


class Body:
    """A body with these bytes."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, num_bytes: int = -1) -> bytes:
        return self._file.read(num_bytes)

    def close(self) -> None:
        self._file.close()


def test_bytes_from_another_place_are_not_taken() -> None:
    wrong = {"ContentRange": "bytes 5-9/10", "ContentLength": 5, "ETag": "e", "Body": Body(b"56789")}
    store: Any = Answering(wrong)
    with pytest.raises(OSError, match=r"asked for bytes from 0, got them from 5; given up after 1 try in "):
        Download(store, "a")


def test_a_body_that_ends_too_early_is_not_taken_for_the_whole() -> None:
    store: Any = Answering({"ContentLength": 10, "ETag": "e", "Body": Body(b"01234")})
    with Download(store, "a") as download, pytest.raises(OSError, match="the body ended too early; given up after"):
        list(download)


def test_a_ranged_file_reads_like_any_other(uri: str) -> None:
    dice = random.Random(1)
    with open_ranged(s3.store(), uri) as file:
        for _ in range(20):
            start, num = dice.randrange(len(DATA)), dice.randrange(1, 200_000)
            file.seek(start)
            assert file.read(num) == DATA[start : start + num]
        assert file.seek(-100, io.SEEK_END) == len(DATA) - 100
        assert file.read() == DATA[-100:]
        assert file.read() == b""
        file.seek(10)
        file.seek(5, io.SEEK_CUR)
        assert (file.tell(), file.readable(), file.seekable()) == (15, True, True)
        assert file.read() == DATA[15:]


def test_an_empty_object_has_no_end_to_fetch(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/empty", b"")
    with open_ranged(s3.store(), f"{bucket}/empty") as file:
        assert file.read() == b""
    with pytest.raises(FileNotFoundError):
        open_ranged(s3.store(), f"{bucket}/none")


def test_an_object_that_changed_since_it_was_opened_is_refused(uri: str) -> None:
    file = RangedFile(s3.store(), uri)
    storage.write_bytes(uri, DATA[::-1])
    with pytest.raises(ChangedError, match="the object was changed while it was read"):
        file.read(10)


def test_a_store_that_ignores_ranges_and_tags_is_seen_through() -> None:
    class Whole:
        """Gives the whole object whatever was asked for."""

        etag = "one"

        def part(self, *_: object) -> s3.Part:
            return s3.Part(DATA, 0, Info(len(DATA), self.etag))

    store: Any = Whole()
    file = RangedFile(store, "a")
    file.seek(100)
    assert file.read(50) == DATA[100:150]
