"""Objects in S3: each request is tried again and given up by one rule. The only file that knows s3fs.

The client's own retries are off: two rules one inside the other would wait for hours. See
:mod:`pipelines.s3_patience` for the one rule.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines.s3_patience import ChangedError, Patience, ShortBodyError, Tries, patience

NUM_CONNECTIONS = 32
PUT_BYTES = 64 << 20
MAX_PARTS = 9000
PART_SUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256")
DELETED_AT_ONCE = 1000
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of an object: its size in bytes and its entity tag (empty if the store gives none)."""

    num_bytes: int
    etag: str

    @property
    def fingerprint(self) -> str:
        """Return a text that changes with the content."""
        return f"{self.num_bytes}:{self.etag}"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an object from ``start`` on, and the object they are of."""

    data: bytes
    start: int
    info: Info


def store() -> Store:
    """Return the store that the standard AWS variables name, with what this process knows of it."""
    environment = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))
    return _store_of(os.getpid(), environment, patience())


@lru_cache(maxsize=8)
def _store_of(pid: int, environment: tuple[tuple[str, str], ...], limits: Patience) -> Store:  # noqa: ARG001 - a child process and other credentials need clients of their own
    return Store(limits)


class Store:
    """S3 as the environment names it: endpoint, region and keys come from the standard AWS variables.

    All methods may be called from several threads. What they raise is always an ``OSError``:
    ``FileNotFoundError`` for an object or bucket that is not there, ``PermissionError`` where the store refuses,
    ``StoreError`` where it cannot be used at all, ``ChangedError``, or another.
    """

    def __init__(self, limits: Patience) -> None:
        import s3fs

        config = {
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "connect_timeout": limits.connect_s,
            "read_timeout": limits.stall_s,
            "max_pool_connections": NUM_CONNECTIONS,
        }
        self._fs = s3fs.S3FileSystem(config_kwargs=config, skip_instance_cache=True, use_listings_cache=False)
        self._limits = limits
        self._is_connected = False
        self._has_answered = False
        self.listed: dict[str, Info] = {}
        """What the last listing told of each ``bucket/key``."""

    def split(self, uri: str) -> tuple[str, str]:
        """Split an address into bucket and key."""
        bucket, key, _ = self._fs.split_path(uri)
        return bucket, key

    def tries(self, num_bytes: int = 0) -> Tries:
        """Begin the tries of one operation. Making a client is not the store's time."""
        if not self._is_connected:
            self._is_connected = True
            self._insist(self._fs.set_session)
        return Tries(self._limits, num_bytes, is_known=self._has_answered)

    def wait(self, start: Callable[[], Awaitable[T]], tries: Tries) -> T:
        """Try once, for the time that is left."""
        from fsspec.asyn import sync

        result: T = sync(self._fs.loop, start, timeout=tries.left_s)
        self._has_answered = start != self._fs.set_session or self._has_answered
        return result

    def call(self, method: str, uri: str, num_bytes: int = 0, **arguments: Any) -> Any:
        """Make a request of S3 until it is answered."""
        bucket, key = self.split(uri)
        is_for_many = not key or "Prefix" in arguments or "Delete" in arguments
        asked = {"Bucket": bucket} | ({} if is_for_many else {"Key": key}) | arguments
        try:
            return self._insist(lambda: self.request(method, asked), num_bytes)
        except OSError as error:
            error.filename = uri  # as of local files: "Forbidden" alone does not say what
            raise

    async def request(self, method: str, arguments: dict[str, Any]) -> Any:
        """Make one request of S3, once."""
        client = await self._fs.set_session()
        return await getattr(client, method)(**arguments)

    def close_later(self, body: Any) -> None:
        """Close a body of which no more is wanted, in the thread that reads it."""
        self._fs.loop.call_soon_threadsafe(body.close)

    def _insist(self, start: Callable[[], Awaitable[T]], num_bytes: int = 0) -> T:
        tries = self.tries(num_bytes)
        while True:
            try:
                return self.wait(start, tries)
            except Exception as error:  # noqa: BLE001 - ``failed`` raises what is no answer of the store as it is
                tries.failed(error)

    def info(self, uri: str) -> Info:
        """Ask for size and entity tag of an object, or take what the last listing told."""
        bucket, key = self.split(uri)
        found = self.listed.get(f"{bucket}/{key}")
        if found is not None:
            return found
        try:
            answer = self.call("head_object", uri)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EINVAL):
                raise
            # The answer to HEAD has no body, so 400 and 403 come without their reason; the answer to GET has one.
            return self.part(uri, 0, 1).info
        return Info(int(answer["ContentLength"]), answer.get("ETag", ""))

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object, or a prefix with objects below."""
        try:
            if self.split(uri)[1]:
                self.call("head_object", uri)
                return True
        except FileNotFoundError:
            pass
        return self.is_prefix(uri)

    def is_prefix(self, uri: str) -> bool:
        """Tell whether objects are below an address; for a bucket, whether it is there."""
        key = self.split(uri)[1]
        try:
            page = self.call("list_objects_v2", uri, Prefix=f"{key.rstrip('/')}/" if key else "", MaxKeys=1)
        except FileNotFoundError:
            return False
        return not key or bool(page.get("Contents"))

    def read(self, uri: str) -> bytes:
        """Read an object whole; its checksum is verified if the store keeps one."""
        return self.part(uri, 0, None).data

    def part(self, uri: str, start: int, stop: int | None, etag: str = "") -> Part:
        """Read the bytes from ``start`` (from the end if negative, then without ``stop``) up to ``stop``.

        Args:
            uri: The object.
            start: First byte.
            stop: Byte after the last one; None for the end.
            etag: The object must still be this one.
        """
        bucket, key = self.split(uri)
        asked = {"Bucket": bucket, "Key": key} | range_of(start, stop)
        if etag:
            asked["IfMatch"] = etag
        tries, is_size_known = self.tries(), False
        while True:
            try:
                answer = self.wait(lambda: self.request("get_object", asked), tries)
                if not is_size_known:
                    tries.expect(answer["ContentLength"])
                    is_size_known = True
                return self._part_of(answer, tries)
            except Exception as error:  # noqa: BLE001 - ``failed`` raises what is no answer of the store as it is
                tries.failed(error)

    def _part_of(self, answer: Any, tries: Tries) -> Part:
        try:
            start, info = described(answer)
            data = self.wait(answer["Body"].read, tries)
        finally:
            self.close_later(answer["Body"])
        if len(data) != answer["ContentLength"]:
            raise ShortBodyError(f"got {len(data)} of {answer['ContentLength']} bytes")
        return Part(data, start, info)

    def pages(self, uri: str, **arguments: Any) -> Iterator[Any]:
        """List what is below a prefix, page by page."""
        page = self.call("list_objects_v2", uri, **arguments)
        yield page
        while page.get("IsTruncated"):
            page = self.call("list_objects_v2", uri, ContinuationToken=page["NextContinuationToken"], **arguments)
            yield page

    def put(self, path: Path, uri: str, part_bytes: int = PUT_BYTES) -> None:
        """Write a local file as an object, there whole or not at all; in parts if it is larger than one part."""
        num_bytes = path.stat().st_size
        if num_bytes > part_bytes:
            self._put_parts(path, uri, max(part_bytes, -(-num_bytes // MAX_PARTS)))
        else:
            self.call("put_object", uri, num_bytes, Body=path.read_bytes())

    def _put_parts(self, path: Path, uri: str, part_bytes: int) -> None:
        upload = {"UploadId": self.call("create_multipart_upload", uri)["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            with path.open("rb") as file:
                while data := file.read(part_bytes):
                    number = len(parts) + 1
                    done = self.call("upload_part", uri, len(data), Body=data, PartNumber=number, **upload)
                    sums = {name: done[name] for name in PART_SUMS if name in done}
                    parts.append({"ETag": done["ETag"], "PartNumber": number} | sums)
            self._complete(uri, upload, parts, path.stat().st_size)
        except BaseException:
            with suppress(OSError):  # what was wrong first is what counts
                self.call("abort_multipart_upload", uri, **upload)  # else its parts are kept and paid for
            raise

    def _complete(self, uri: str, upload: dict[str, str], parts: list[dict[str, Any]], num_bytes: int) -> None:
        try:
            self.call("complete_multipart_upload", uri, num_bytes, MultipartUpload={"Parts": parts}, **upload)
        except FileNotFoundError:
            # The store had done it when the answer was cut, and knows of no such upload any more.
            there = self.part(uri, 0, 1).info
            if there.num_bytes != num_bytes or not there.etag.strip('"').endswith(f"-{len(parts)}"):
                raise

    def copy(self, source: str, target: str) -> None:
        """Let the store copy an object."""
        bucket, key = self.split(source)
        self.call("copy_object", target, CopySource={"Bucket": bucket, "Key": key})

    def delete(self, uri: str) -> None:
        """Delete an object; the store takes it as done if there is none."""
        self.call("delete_object", uri)

    def delete_below(self, uri: str) -> None:
        """Delete every object below a prefix."""
        key = self.split(uri)[1].rstrip("/")
        for page in self.pages(uri, Prefix=f"{key}/", MaxKeys=DELETED_AT_ONCE):
            names = [{"Key": found["Key"]} for found in page.get("Contents", [])]
            if names:
                self.call("delete_objects", uri, Delete={"Objects": names, "Quiet": True})


def range_of(start: int, stop: int | None) -> dict[str, str]:
    """Return the argument that asks for some bytes; nothing for all."""
    if start == 0 and stop is None:
        return {}
    if stop is None:
        return {"Range": f"bytes={start}-" if start > 0 else f"bytes={start}"}
    return {"Range": f"bytes={start}-{stop - 1}"}


def described(answer: Any) -> tuple[int, Info]:
    """Return where the bytes of an answer start in the object, and what the object is."""
    place = RANGE.fullmatch(answer.get("ContentRange") or "")
    etag = answer.get("ETag", "")
    if place is None:  # the whole object; some stores give that whatever was asked for
        return 0, Info(int(answer["ContentLength"]), etag)
    start, last, total = (int(n) for n in place.groups())
    if last - start + 1 != answer["ContentLength"] or last >= total:
        raise ShortBodyError(f"got {answer['ContentLength']} bytes for {place[0]!r}")
    return start, Info(total, etag)


def check_same(info: Info, first: Info) -> None:
    """Refuse bytes of another version of an object.

    Raises:
        ChangedError: they are.
    """
    if info != first:
        raise ChangedError("the object was changed while it was read")
