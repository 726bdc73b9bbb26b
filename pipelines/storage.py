"""Where bytes live: local files and ``s3://``. The only file that knows s3fs.

Reading hands out real file objects, because the decoder process receives a file descriptor; an S3 object is first
copied to an unnamed temporary file under the byte limit. Writing is atomic: a reader sees the old file or the new one.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError

COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a listing: its address, its name relative to what was listed, and what changes when it changes."""

    uri: str
    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file found, sorted by name, and how many hidden ones were passed over."""

    files: list[FoundFile]
    num_hidden: int


def is_remote(uri: str) -> bool:
    """Tell whether the address is in S3."""
    return uri.startswith("s3://")


def check_scheme(uri: str) -> None:
    """Refuse addresses FAL does not read.

    Raises:
        ConfigError: a scheme other than ``s3`` and ``file``.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme not in {"", "file", "s3"}:
        raise ConfigError([f"address: got {uri!r}; allowed are local paths, file:// and s3://"])


def local_path(uri: str) -> Path:
    """Turn a local address into a path; ``file://`` may hold percent-encoded bytes."""
    if uri.startswith("file://"):
        return Path(
            os.fsdecode(
                unquote(urlsplit(uri).path, encoding="utf-8", errors="surrogateescape").encode(
                    "utf-8", "surrogateescape"
                )
            )
        )
    return Path(uri)


def absolute(uri: str) -> str:
    """Make a local address independent of the working directory: workers on a cluster have another one."""
    return uri if "://" in uri else str(Path(uri).absolute())


def join(base: str, *parts: str) -> str:
    """Append names to a local path or an ``s3://`` prefix."""
    if is_remote(base):
        return "/".join([base.rstrip("/"), *parts])
    return str(Path(base, *parts))


def _s3() -> Any:
    """Open S3 with bounded retries; the endpoint and keys come from the standard AWS variables."""
    import s3fs

    retries = {"max_attempts": 6, "mode": "standard"}
    return s3fs.S3FileSystem(config_kwargs={"retries": retries, "connect_timeout": 10, "read_timeout": 60})


def list_files(place: str) -> Listing:
    """List every file under a folder, an ``s3://`` prefix, or matching a glob (``*``, ``?``, ``[``).

    Hidden files (a name that starts with a dot) are passed over and counted. Links to folders are not followed.

    Raises:
        ConfigError: the folder does not exist, or nothing matches.
    """
    if is_remote(place):
        return _list_s3(place)
    path = local_path(place)
    if path.is_dir():
        return _list_folder(path)
    if any(c in place for c in "*?["):
        root = Path(*_before_magic(path.parts))
        listing = _list_folder(root) if root.is_dir() else Listing([], 0)
        pattern = str(path)
        return Listing([f for f in listing.files if fnmatch.fnmatch(str(local_path(f.uri)), pattern)], 0)
    raise ConfigError([f"input: {place!r} is neither a folder, a glob, a manifest nor an s3:// prefix that exists"])


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if any(c in part for c in "*?["):
            break
        kept.append(part)
    return kept or ["."]


def _list_folder(root: Path) -> Listing:
    found: list[FoundFile] = []
    num_hidden = 0
    for folder, names, files in os.walk(root, onerror=_raise_unreadable):
        names[:] = sorted(n for n in names if not n.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                num_hidden += 1
                continue
            path = Path(folder, name)
            found.append(FoundFile(_uri_of(path), _text_of(path.relative_to(root).as_posix())))
    return Listing(sorted(found, key=lambda f: f.name), num_hidden)


def _raise_unreadable(error: OSError) -> None:
    raise ConfigError([f"input: cannot list {error.filename!r}: {error.strerror}"])


def _uri_of(path: Path) -> str:
    """Give a path as text; one whose name is not UTF-8 becomes a percent-encoded ``file://`` address."""
    text = str(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return text


def _text_of(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _list_s3(place: str) -> Listing:
    fs = _s3()
    paths = fs.glob(place) if any(c in place for c in "*?[") else fs.find(place)
    prefix = place.removeprefix("s3://").rstrip("/") + "/"
    files = [FoundFile(f"s3://{p}", p.removeprefix(prefix)) for p in sorted(paths) if not p.endswith("/")]
    shown = [f for f in files if not f.name.rsplit("/", 1)[-1].startswith(".")]
    return Listing(shown, len(files) - len(shown))


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


def _fetch_s3(uri: str, max_bytes: int) -> BinaryIO:
    from botocore.exceptions import BotoCoreError, ClientError

    fs = _s3()
    target = tempfile.TemporaryFile(prefix="fal-")  # noqa: SIM115 - handed to the caller
    try:
        _check_size(int(fs.info(uri)["size"]), max_bytes)
        with fs.open(uri, "rb", cache_type="readahead", block_size=8 << 20) as source:
            while chunk := source.read(COPY_BYTES):
                target.write(chunk)
                _check_size(target.tell(), max_bytes)
    except VideoError:
        target.close()
        raise
    except FileNotFoundError:
        target.close()
        raise VideoError(FailureKind.NOT_FOUND, f"no object {uri!r}", "open") from None
    except PermissionError as error:
        target.close()
        raise VideoError(FailureKind.PERMISSION_DENIED, f"cannot read {uri!r}: {error}", "open") from None
    except (OSError, ClientError, BotoCoreError, TimeoutError) as error:
        target.close()
        raise VideoError(FailureKind.STORAGE_ERROR, f"cannot read {uri!r}: {error}", "open") from None
    target.seek(0)
    return target


def sha256_of(file: BinaryIO) -> str:
    """Hash a whole open file and put its position back to the start."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(COPY_BYTES):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there."""
    if is_remote(uri):
        return bool(_s3().exists(uri))
    return local_path(uri).exists()


def read_bytes(uri: str) -> bytes:
    """Read a small file whole.

    Raises:
        FileNotFoundError: it is not there.
    """
    if is_remote(uri):
        data: bytes = _s3().cat_file(uri)
        return data
    return local_path(uri).read_bytes()


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing: write, fsync, rename; one put on S3.

    Raises:
        OutputError: no permission, no space, or the store refused.
    """
    try:
        if is_remote(uri):
            _s3().pipe_file(uri, data)
        else:
            _write_local(local_path(uri), data)
    except OSError as error:
        raise OutputError(f"cannot write {uri!r}: {error.strerror or error}") from error


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:  # whatever stopped the write, the half-written file goes and the error travels on
        Path(name).unlink(missing_ok=True)
        raise


def check_writable(folder: str) -> None:
    """Prove that files can be made in a folder, before hours of work depend on it.

    Raises:
        OutputError: they cannot.
    """
    probe = join(folder, ".fal-write-probe")
    write_bytes(probe, b"FAL was here\n")
    remove(probe)


def remove(uri: str) -> None:
    """Delete a file if it is there."""
    if is_remote(uri):
        fs = _s3()
        if fs.exists(uri):
            fs.rm_file(uri)
    else:
        local_path(uri).unlink(missing_ok=True)


def names_in(folder: str) -> Iterator[str]:
    """Yield the names of the files directly in a folder, sorted; nothing if it is not there."""
    if is_remote(folder):
        fs = _s3()
        if fs.exists(folder):
            yield from sorted(p.rsplit("/", 1)[-1] for p in fs.ls(folder, detail=False))
    elif local_path(folder).is_dir():
        yield from sorted(p.name for p in local_path(folder).iterdir() if p.is_file())


def fingerprint(uri: str) -> str:
    """Tell cheaply whether a file changed: size and modification time, or S3's entity tag; empty if it is missing."""
    if is_remote(uri):
        fs = _s3()
        info = fs.info(uri) if fs.exists(uri) else {}
        return f"{info.get('size', '')}:{info.get('ETag', '')}" if info else ""
    try:
        info_local = local_path(uri).stat()
    except (OSError, ValueError):
        return ""
    return f"{info_local.st_size}:{info_local.st_mtime_ns}"


def remove_folder(folder: str) -> None:
    """Delete a folder of FAL's own and everything in it, if it is there."""
    if is_remote(folder):
        fs = _s3()
        if fs.exists(folder):
            fs.rm(folder, recursive=True)
    else:
        shutil.rmtree(local_path(folder), ignore_errors=True)
