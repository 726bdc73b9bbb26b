"""Where bytes live: local files and ``s3://``. The only file that knows s3fs.

Reading hands out real file objects, because the decoder process receives a file descriptor; an S3 object is first
copied to an unnamed temporary file under the byte limit. Writing is atomic: a reader sees the old file or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError
from pipelines import atomic_files

COPY_BYTES = 1 << 20
RANGE_BYTES = 1 << 20
NUM_REQUESTS = 32


def is_remote(uri: str) -> bool:
    """Tell whether the address is in S3."""
    return uri.startswith("s3://")


def check_scheme(uri: str) -> None:
    """Refuse addresses FAL does not read.

    Raises:
        ConfigError: a scheme other than ``s3`` and ``file``.
    """
    scheme, separator, rest = uri.partition("://")
    is_elsewhere = scheme == "file" and not rest.startswith("/")  # file://host/… is another machine
    if separator and (scheme not in {"file", "s3"} or is_elsewhere):
        raise ConfigError([f"address: got {uri!r}; allowed are local paths, file:///… and s3://"])


def local_path(uri: str) -> Path:
    """Turn a local address into a path; ``file://`` may hold percent-encoded bytes."""
    if uri.startswith("file://"):
        return Path(unquote(uri.removeprefix("file://"), encoding="utf-8", errors="surrogateescape"))
    return Path(uri)


def absolute(uri: str) -> str:
    """Make a local address independent of the working directory: workers on a cluster have another one.

    Raises:
        ConfigError: a scheme that FAL does not know; as a path it would name a folder nobody meant.
    """
    check_scheme(uri)
    return uri if is_remote(uri) else str(local_path(uri).absolute())


def join(base: str, *parts: str) -> str:
    """Append names to a local path or an ``s3://`` prefix."""
    if is_remote(base):
        return "/".join([base.rstrip("/"), *parts])
    return str(local_path(base).joinpath(*parts))


def _s3() -> Any:
    """Open S3 with bounded retries; the endpoint and keys come from the standard AWS variables."""
    import s3fs

    retries = {"max_attempts": 6, "mode": "standard"}
    return s3fs.S3FileSystem(config_kwargs={"retries": retries, "connect_timeout": 10, "read_timeout": 60})


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn what S3's client raises into ``OSError``, as s3fs does with most but not all of it."""
    from botocore.exceptions import BotoCoreError, ClientError
    from s3fs.core import S3_RETRYABLE_ERRORS

    try:
        yield
    except OSError:
        raise
    # What s3fs tried again until it gave up comes out as it was: a cut connection, a body that ends too early.
    except (BotoCoreError, ClientError, *S3_RETRYABLE_ERRORS) as error:
        raise OSError(errno.EIO, str(error)) from error
    except ValueError as error:  # s3fs: an address without a bucket, a pattern it cannot read
        raise OSError(errno.EINVAL, str(error)) from error


def s3_paths(place: str) -> list[str]:
    """Return ``bucket/key`` of every object under a prefix or matching a glob, as S3 has it now, sorted.

    Raises:
        OSError: there is no such bucket, or the store refused.
    """
    fs = _s3()
    fs.invalidate_cache()  # after this listing, fingerprints of what it found cost no further request
    with _as_os_error():
        return sorted(fs.glob(place) if is_glob(place) else fs.find(place))


def is_glob(text: str) -> bool:
    """Tell whether an address has wildcards."""
    return any(c in text for c in "*?[")


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob by the rules that globs in S3 follow, so that both find the same.

    Raises:
        ValueError: ``**`` is only a part of a name.
    """
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(glob))


def open_video(uri: str, max_bytes: int) -> BinaryIO:
    """Open a video for the decoder, as a real file with a descriptor.

    Raises:
        VideoError: missing, not a regular file, unreadable, empty, over ``max_bytes``, or the store failed.
    """
    if is_remote(uri):
        return _fetch_s3(uri, max_bytes)
    try:
        # O_NONBLOCK: opening a named pipe must fail here, not wait for a writer.
        descriptor = os.open(local_path(uri), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _open_failure(uri, error) from None
    file = os.fdopen(descriptor, "rb") if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise VideoError(FailureKind.NOT_A_FILE, f"{uri!r} is not a regular file", "open")
    try:
        _check_size(os.fstat(descriptor).st_size, max_bytes)
    except VideoError:
        file.close()
        raise
    return file


def _open_failure(uri: str, error: Exception) -> VideoError:
    code = error.errno if isinstance(error, OSError) else None
    kinds = {
        errno.ENOENT: FailureKind.NOT_FOUND,
        errno.ENOTDIR: FailureKind.NOT_FOUND,
        errno.ELOOP: FailureKind.NOT_FOUND,
        errno.ENAMETOOLONG: FailureKind.NOT_FOUND,
        errno.EACCES: FailureKind.PERMISSION_DENIED,
        errno.EPERM: FailureKind.PERMISSION_DENIED,
        errno.EISDIR: FailureKind.NOT_A_FILE,
        errno.ENXIO: FailureKind.NOT_A_FILE,
    }
    kind = kinds.get(code, FailureKind.STORAGE_ERROR) if code is not None else FailureKind.NOT_FOUND
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return VideoError(kind, f"cannot open {uri!r}: {reason}", "open")


def _check_size(num_bytes: int, max_bytes: int) -> None:
    if num_bytes == 0:
        raise VideoError(FailureKind.EMPTY_FILE, "the file has no bytes", "open")
    if num_bytes > max_bytes:
        message = f"the file has {num_bytes} bytes, allowed are {max_bytes}"
        raise VideoError(FailureKind.LIMIT_EXCEEDED, message, "open")


def _check_is_object(uri: str, info: dict[str, Any]) -> None:
    if info["type"] != "file":
        raise VideoError(FailureKind.NOT_A_FILE, f"{uri!r} is a prefix, not an object", "open")


def _fetch_s3(uri: str, max_bytes: int) -> BinaryIO:
    fs = _s3()
    try:
        with ExitStack() as opened, _as_os_error():
            target = opened.enter_context(tempfile.TemporaryFile(prefix="fal-"))
            info = fs.info(uri)
            _check_is_object(uri, info)
            _check_size(int(info["size"]), max_bytes)
            with fs.open(uri, "rb", cache_type="readahead", block_size=8 << 20) as source:
                while chunk := source.read(COPY_BYTES):
                    target.write(chunk)
                    _check_size(target.tell(), max_bytes)
            opened.pop_all()  # the caller closes it
    except FileNotFoundError:
        raise VideoError(FailureKind.NOT_FOUND, f"no object {uri!r}", "open") from None
    except PermissionError as error:
        raise VideoError(FailureKind.PERMISSION_DENIED, f"cannot read {uri!r}: {error}", "open") from None
    except OSError as error:
        raise VideoError(FailureKind.STORAGE_ERROR, f"cannot read {uri!r}: {error}", "open") from None
    target.seek(0)
    return target


def sha256_of(file: BinaryIO) -> str:
    """Hash a whole open video and put its position back to the start.

    Raises:
        VideoError: the file cannot be read to its end.
    """
    digest = hashlib.sha256()
    try:
        file.seek(0)
        while chunk := file.read(COPY_BYTES):
            digest.update(chunk)
        file.seek(0)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise VideoError(FailureKind.STORAGE_ERROR, message, "open") from None
    return digest.hexdigest()


def check_sha256(digest: str, expected: str | None) -> None:
    """Check the hash of a video against the one its manifest gives, if it gives one.

    Raises:
        VideoError: they differ.
    """
    if expected and expected.lower() != digest:
        message = f"the manifest says sha256 {expected}, the file has {digest}"
        raise VideoError(FailureKind.CORRUPT, message, "open")


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there.

    Raises:
        OSError: the store cannot be asked.
    """
    if is_remote(uri):
        with _as_os_error():
            return bool(_s3().exists(uri))
    return local_path(uri).exists()


def read_bytes(uri: str) -> bytes:
    """Read a small file whole.

    Raises:
        OSError: it cannot be read; ``FileNotFoundError`` if it is not there.
    """
    if is_remote(uri):
        with _as_os_error():
            data: bytes = _s3().cat_file(uri)
            return data
    return local_path(uri).read_bytes()


def open_ranged(uri: str) -> BinaryIO:
    """Open a file of which only some parts are needed: from S3 only those parts are fetched.

    Raises:
        OSError: it cannot be read; ``FileNotFoundError`` if it is not there.
    """
    if is_remote(uri):
        with _as_os_error():
            file: BinaryIO = _s3().open(uri, "rb", cache_type="readahead", block_size=RANGE_BYTES)
            return file
    return local_path(uri).open("rb")


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file as :func:`writing` does, with its errors."""
    with writing(uri) as file:
        file.write(data)


@contextmanager
def writing(uri: str) -> Iterator[BinaryIO]:
    """Open a file to write so that a reader sees all of it or nothing: write, fsync, rename; one put on S3.

    Raises:
        OutputError: no permission, no space, or the store refused.
    """
    with _as_output_error("write", uri):
        if not is_remote(uri):
            with atomic_files.writing(local_path(uri)) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(prefix="fal-") as copy:
            yield cast(BinaryIO, copy)
            copy.flush()
            with _as_os_error():
                _s3().put_file(copy.name, uri)


@contextmanager
def _as_output_error(doing: str, uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot {doing} {uri!r}: {error.strerror or error}") from error


def check_writable(folder: str) -> None:
    """Prove that files can be made in a folder, before hours of work depend on it.

    Raises:
        OutputError: they cannot.
    """
    probe = join(folder, ".fal-write-probe")
    write_bytes(probe, b"FAL was here\n")
    remove(probe)


def remove(uri: str) -> None:
    """Delete a file if it is there.

    Raises:
        OutputError: it cannot be deleted.
    """
    with _as_output_error("delete", uri):
        if is_remote(uri):
            with _as_os_error():
                _s3().rm_file(uri)  # S3 takes it as done if there is nothing
        else:
            local_path(uri).unlink(missing_ok=True)


def names_in(folder: str) -> list[str]:
    """Return the names of the files directly in a folder, sorted, without hidden ones; empty if it is not there.

    Hidden ones are among others what a killed writer left behind.
    """
    if is_remote(folder):
        fs = _s3()
        try:
            with _as_os_error():
                found = fs.ls(folder, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        fs.invalidate_cache(folder)  # other processes write here: the next look must ask again
        prefix = folder.removeprefix("s3://").rstrip("/") + "/"
        names = [info["name"].removeprefix(prefix) for info in found if info["type"] == "file"]
    else:
        path = local_path(folder)
        names = [p.name for p in path.iterdir() if p.is_file()] if path.is_dir() else []
    return sorted(name for name in names if name and not name.startswith("."))


def fingerprints(uris: Sequence[str]) -> list[str]:
    """Return the :func:`fingerprint` of each file, asking S3 for many at a time."""
    if not any(map(is_remote, uris)):
        return [fingerprint(uri) for uri in uris]
    fs = _s3()  # once: s3fs would open a client for each thread
    with ThreadPoolExecutor(NUM_REQUESTS, thread_name_prefix="fal-s3") as pool:
        return list(pool.map(lambda uri: _fingerprint_s3(uri, fs) if is_remote(uri) else fingerprint(uri), uris))


def fingerprint(uri: str) -> str:
    """Tell cheaply whether a file changed: size and modification time, or S3's entity tag.

    Empty if it is missing or cannot be asked about; whoever opens it says why.
    """
    if is_remote(uri):
        return _fingerprint_s3(uri, _s3())
    try:
        info_local = local_path(uri).stat()
    except (OSError, ValueError):
        return ""
    return f"{info_local.st_size}:{info_local.st_mtime_ns}"


def _fingerprint_s3(uri: str, fs: Any) -> str:
    try:
        with _as_os_error():
            info = fs.info(uri)
    except OSError:
        return ""
    return f"{info['size']}:{info.get('ETag', '')}"


def remove_folder(folder: str) -> None:
    """Delete a folder of FAL's own and everything in it, if it is there."""
    if is_remote(folder):
        # What cannot be deleted stays: nothing depends on it.
        with suppress(OSError), _as_os_error():
            _s3().rm(folder, recursive=True)
    else:
        shutil.rmtree(local_path(folder), ignore_errors=True)


def clear_leftovers(folder: str) -> None:
    """Delete what killed writers left half written in a local folder; S3 keeps nothing of an unfinished put."""
    if not is_remote(folder):
        atomic_files.clear_leftovers(local_path(folder))
