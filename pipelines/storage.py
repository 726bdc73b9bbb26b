"""Where bytes live: local files and ``s3://``.

Reading hands out real file objects, because the decoder process receives a file descriptor; an S3 object is first
copied to an unnamed temporary file under the byte limit. Writing is atomic: a reader sees the old file or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError
from pipelines import atomic_files, s3, s3_files, s3_listing
from pipelines.s3_patience import BrokenReadError, StoreError
from pipelines.sniff import check_head

COPY_BYTES = 1 << 20


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


def s3_paths(place: str) -> list[str]:
    """Return ``bucket/key`` of every object under a prefix or matching a glob, as S3 has it now, sorted.

    Raises:
        OSError: there is no such bucket, or the store refused.
    """
    return s3_listing.paths(s3.store(), place)


def is_glob(text: str) -> bool:
    """Tell whether an address has wildcards."""
    return any(c in text for c in "*?[")


def open_video(uri: str, max_bytes: int, sign_of_life: Callable[[], None] = lambda: None) -> BinaryIO:
    """Open a video for the decoder, as a real file with a descriptor.

    Args:
        uri: Where it is.
        max_bytes: The largest file that is opened.
        sign_of_life: Called while a file is fetched, as bytes arrive: a large one takes long.

    Raises:
        VideoError: missing, not a regular file, unreadable, empty, over ``max_bytes``, or the store failed.
    """
    if is_remote(uri):
        return _fetch_s3(uri, max_bytes, sign_of_life)
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
    missing = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
    kinds = dict.fromkeys(missing, FailureKind.NOT_FOUND)
    kinds |= dict.fromkeys((errno.EACCES, errno.EPERM), FailureKind.PERMISSION_DENIED)
    kinds |= dict.fromkeys((errno.EISDIR, errno.ENXIO), FailureKind.NOT_A_FILE)
    kind = kinds.get(code, FailureKind.STORAGE_ERROR) if code is not None else FailureKind.NOT_FOUND
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return VideoError(kind, f"cannot open {uri!r}: {reason}", "open")


def _check_size(num_bytes: int, max_bytes: int) -> None:
    if num_bytes == 0:
        raise VideoError(FailureKind.EMPTY_FILE, "the file has no bytes", "open")
    if num_bytes > max_bytes:
        message = f"the file has {num_bytes} bytes, allowed are {max_bytes}"
        raise VideoError(FailureKind.LIMIT_EXCEEDED, message, "open")


def _fetch_s3(uri: str, max_bytes: int, sign_of_life: Callable[[], None]) -> BinaryIO:
    with ExitStack() as opened:
        # No room for the copy is no fault of the video: that error is not turned into one.
        target = opened.enter_context(tempfile.TemporaryFile(prefix="fal-"))
        try:
            target.writelines(_chunks_of_s3(uri, max_bytes, sign_of_life))
        except BrokenReadError:  # once more from the start
            target.seek(0)
            target.truncate()
            try:
                target.writelines(_chunks_of_s3(uri, max_bytes, sign_of_life))
            except BrokenReadError as error:
                text = f"cannot read {uri!r}: {error.strerror}, twice"
                raise VideoError(FailureKind.STORAGE_ERROR, text, "open") from None
        target.seek(0)
        opened.pop_all()  # the caller closes it
    return target


def _chunks_of_s3(uri: str, max_bytes: int, sign_of_life: Callable[[], None]) -> Iterator[bytes]:
    store = s3.store()
    try:
        with s3_files.Download(store, uri) as download:
            _check_size(download.info.num_bytes, max_bytes)
            for number, chunk in enumerate(download):
                if number == 0:  # what is plainly no video is not worth the rest of it
                    check_head(chunk, download.info.num_bytes)
                sign_of_life()
                yield chunk
    except BrokenReadError:
        raise
    except FileNotFoundError as error:
        raise _missing_in_s3(store, uri, error) from None
    except PermissionError as error:
        raise VideoError(FailureKind.PERMISSION_DENIED, f"cannot read {uri!r}: {error.strerror}", "open") from None
    except OSError as error:
        raise VideoError(FailureKind.STORAGE_ERROR, f"cannot read {uri!r}: {error.strerror}", "open") from None


def _missing_in_s3(store: s3.Store, uri: str, error: OSError) -> VideoError:
    try:
        is_prefix = store.is_prefix(uri)
    except OSError:  # who may not list is told what the store said first
        is_prefix = False
    if is_prefix:
        return VideoError(FailureKind.NOT_A_FILE, f"{uri!r} is a prefix, not an object", "open")
    return VideoError(FailureKind.NOT_FOUND, f"no object {uri!r}: {error.strerror}", "open")


def sha256_of(file: BinaryIO, sign_of_life: Callable[[], None] = lambda: None) -> str:
    """Hash a whole open video and put its position back to the start.

    Args:
        file: The video.
        sign_of_life: Called as bytes are read.

    Raises:
        VideoError: the file cannot be read to its end.
    """
    digest = hashlib.sha256()
    try:
        file.seek(0)
        while chunk := file.read(COPY_BYTES):
            digest.update(chunk)
            sign_of_life()
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
        return s3.store().exists(uri)
    return local_path(uri).exists()


def read_bytes(uri: str) -> bytes:
    """Read a small file whole.

    Raises:
        OSError: it cannot be read; ``FileNotFoundError`` if it is not there.
    """
    if is_remote(uri):
        return s3.store().read(uri)
    return local_path(uri).read_bytes()


def fetch(uri: str, path: Path) -> None:
    """Copy an object of S3, of any size, into a local file.

    Raises:
        OSError: it cannot be read whole, or the file cannot be written.
    """
    with s3_files.Download(s3.store(), uri) as download, path.open("wb") as file:
        file.writelines(download)


def open_ranged(uri: str) -> BinaryIO:
    """Open a file of which only some parts are needed: from S3 only those parts are fetched.

    Raises:
        OSError: it cannot be read; ``FileNotFoundError`` if it is not there.
    """
    if is_remote(uri):
        return s3_files.open_ranged(s3.store(), uri)
    return local_path(uri).open("rb")


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file as :func:`writing` does, with its errors."""
    with writing(uri) as file:
        file.write(data)


def copy(source: str, target: str) -> None:
    """Put a file that nobody writes into any more at another place too, there whole or not at all.

    On one file system it is linked, and costs nothing; within S3 the store copies, and nothing is fetched.

    Raises:
        OSError: the source cannot be read.
        OutputError: the target cannot be written.
    """
    if is_remote(source) and is_remote(target):
        with _as_output_error("write", target):
            s3.store().copy(source, target)
    elif is_remote(source) or is_remote(target) or not atomic_files.link(local_path(source), local_path(target)):
        write_bytes(target, read_bytes(source))


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
            s3.store().put(Path(copy.name), uri)


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
            s3.store().delete(uri)  # S3 takes it as done if there is nothing
        else:
            local_path(uri).unlink(missing_ok=True)


def names_in(folder: str) -> list[str]:
    """Return the names of the files directly in a folder, sorted, without hidden ones; empty if it is not there.

    Hidden ones are among others what a killed writer left behind.
    """
    if is_remote(folder):
        names = s3_listing.names_in(s3.store(), folder)
    else:
        path = local_path(folder)
        names = [p.name for p in path.iterdir() if p.is_file()] if path.is_dir() else []
    return sorted(name for name in names if name and not name.startswith("."))


def fingerprints(uris: Sequence[str]) -> list[str]:
    """Return the :func:`fingerprint` of each file, asking S3 for many at a time.

    Raises:
        ConfigError: S3 cannot be used at all: no valid credentials, or nobody answers.
    """
    if not any(map(is_remote, uris)):
        return [fingerprint(uri) for uri in uris]
    with ThreadPoolExecutor(s3.NUM_CONNECTIONS, thread_name_prefix="fal-s3") as pool:
        try:
            return list(pool.map(fingerprint, uris))
        except StoreError as error:  # it concerns every video: not one more is asked for
            pool.shutdown(cancel_futures=True)
            raise ConfigError([f"input: cannot ask S3 for the videos: {error.strerror}"]) from error


def fingerprint(uri: str) -> str:
    """Tell cheaply whether a file changed: size and modification time, or S3's entity tag.

    Empty if it is missing or cannot be asked about; whoever opens it says why.

    Raises:
        StoreError: S3 cannot be used at all.
    """
    try:
        if is_remote(uri):
            return s3.store().info(uri).fingerprint
        info = local_path(uri).stat()
    except StoreError:
        raise
    except (OSError, ValueError):
        return ""
    return f"{info.st_size}:{info.st_mtime_ns}"


def remove_folder(folder: str) -> None:
    """Delete a folder of FAL's own and everything in it, if it is there."""
    if is_remote(folder):
        # What cannot be deleted stays: nothing depends on it.
        with suppress(OSError):
            s3.store().delete_below(folder)
    else:
        shutil.rmtree(local_path(folder), ignore_errors=True)


def clear_leftovers(folder: str) -> None:
    """Delete what killed writers left half written in a local folder; S3 keeps nothing of an unfinished put."""
    if not is_remote(folder):
        atomic_files.clear_leftovers(local_path(folder))
