"""Objects in S3 as files: a download that goes on where it was cut, and a file of which only some parts are fetched."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from pipelines.s3 import Info, Store, check_same, described, range_of
from pipelines.s3_patience import BrokenReadError, ShortBodyError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1 << 20
TAIL_BYTES = 256 << 10
BUFFER_BYTES = 64 << 10
BYTES_PER_TRY = 32 << 20


class Download:
    """One object from its first byte to its last, in one request as long as nothing goes wrong.

    Size and entity tag are known before the first byte is asked for; after a cut only the rest is fetched, and only
    of the same version of the object.

    Args:
        store: Where it is.
        uri: The object.

    Raises:
        OSError: as the methods of :class:`pipelines.s3.Store` do.
    """

    def __init__(self, store: Store, uri: str) -> None:
        self._store = store
        self._bucket, self._key = store.split(uri)
        self._body: Any = None
        self._position = 0
        self._tries = store.tries()
        self.info = Info(0, "")
        self._begin()
        self._tries.expect(self.info.num_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes, at most ``CHUNK_BYTES`` at a time.

        Raises:
            OSError: the store was given up; ``BrokenReadError`` if what was yielded is of no use, since the object is
                another one now or its checksum differs.
        """
        while self._position < self.info.num_bytes:
            if self._body is None:
                self._begin()
            chunk, num_bytes = bytearray(), min(CHUNK_BYTES, self.info.num_bytes - self._position)
            try:
                self._store.wait(partial(_fill, self._body, chunk, num_bytes), self._tries)
            except Exception as error:  # noqa: BLE001 - ``failed`` raises what is no answer of the store as it is
                self._drop()
                self._tries.failed(error, num_more=self._position // BYTES_PER_TRY)
            # What came before a cut is good: the rest is asked for by its place.
            self._position += len(chunk)
            if chunk:
                yield bytes(chunk)
        self._finish()

    def _finish(self) -> None:
        """Read on to the end of the body, where the client compares checksums if the store keeps one."""
        if self._body is None:
            return
        try:
            self._store.wait(self._body.read, self._tries)
        except Exception as error:
            raise BrokenReadError(errno.EIO, f"what was read is not what is stored: {error}") from error

    def _begin(self) -> None:
        asked = {"Bucket": self._bucket, "Key": self._key} | range_of(self._position, None)
        if self._position and self.info.etag:
            asked["IfMatch"] = self.info.etag
        while self._body is None:
            try:
                answer = self._store.wait(lambda: self._store.request("get_object", asked), self._tries)
                start, info = described(answer)
                self._body = answer["Body"]
                self._check(start, info)
            except Exception as error:  # noqa: BLE001 - ``failed`` raises what is no answer of the store as it is
                self._drop()
                self._tries.failed(error)
        self.info = info

    def _check(self, start: int, info: Info) -> None:
        if self._position:
            check_same(info, self.info)
        if start != self._position:
            raise ShortBodyError(f"asked for bytes from {self._position}, got them from {start}")

    def _drop(self) -> None:
        if self._body is not None:
            self._store.close_later(self._body)
            self._body = None


async def _fill(body: Any, chunk: bytearray, num_bytes: int) -> None:
    while len(chunk) < num_bytes:  # and not to the end of the body: there checksums are compared
        data = await body.read(num_bytes - len(chunk))
        if not data:
            raise ShortBodyError("the body ended too early")
        chunk.extend(data)


class RangedFile(io.RawIOBase):
    """An object as a seekable file. Opening it fetches its end, where Parquet keeps what it holds; else what is read.

    Args:
        store: Where it is.
        uri: The object.

    Raises:
        OSError: as the methods of :class:`pipelines.s3.Store` do; reading raises ``ChangedError`` if the object is
            another one by then.
    """

    def __init__(self, store: Store, uri: str) -> None:
        super().__init__()
        self._store, self._uri = store, uri
        self._tail = b""
        self._info = Info(0, "")
        self._position = 0
        try:
            part = store.part(uri, -TAIL_BYTES, None)
        except OSError as error:
            if error.errno != errno.EINVAL or store.info(uri).num_bytes:  # an empty object has no last bytes
                raise
        else:
            self._tail, self._info = part.data, part.info

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read from any place on."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.num_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer as far as the object goes."""
        target = memoryview(buffer).cast("B")
        stop = min(self._info.num_bytes, self._position + len(target))
        if stop <= self._position:
            return 0
        data = self._between(self._position, stop)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Read the rest at once."""
        start, self._position = self._position, max(self._position, self._info.num_bytes)
        return self._between(start, self._position) if start < self._position else b""

    def _between(self, start: int, stop: int) -> bytes:
        tail_start = self._info.num_bytes - len(self._tail)
        if start >= tail_start:
            return self._tail[start - tail_start : stop - tail_start]
        part = self._store.part(self._uri, start, min(stop, tail_start), self._info.etag)
        check_same(part.info, self._info)
        data = part.data[start - part.start :][: stop - start]
        rest = self._tail[: stop - tail_start] if stop > tail_start else b""
        return data + rest


def open_ranged(store: Store, uri: str) -> BinaryIO:
    """Open an object of which only some parts are needed."""
    return io.BufferedReader(RangedFile(store, uri), BUFFER_BYTES)
