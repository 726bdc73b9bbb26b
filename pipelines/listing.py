"""Which files are there: under a folder, under an ``s3://`` prefix, or matching a glob."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fal_model.errors import ConfigError
from pipelines import s3_listing, storage

OUTPUT_SIGN = "/_fal/"
"""What is in the path of the notes that every job keeps in its output folder."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a listing: its address, and its name relative to what was listed."""

    uri: str
    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file found, sorted by name, and how many hidden ones were passed over."""

    files: list[FoundFile]
    num_hidden: int


def list_files(place: str) -> Listing:
    """List every file under a folder, an ``s3://`` prefix, or matching a glob.

    In a glob ``*``, ``?`` and ``[…]`` stay within one folder; ``**`` as a whole part stands for any folders. Hidden
    files (a name that starts with a dot) are passed over and, unless it is a local glob, counted; local hidden
    folders are not looked into. Links to folders are not followed. What a job of FAL has left in a folder below is
    passed over, so that its output may lie in the folder that it reads.

    Raises:
        ConfigError: the folder does not exist or cannot be read, or nothing matches.
    """
    found = _list_all(place)
    outputs = {f.name.rpartition(OUTPUT_SIGN)[0] for f in found.files if OUTPUT_SIGN in f.name}
    return Listing([f for f in found.files if not _is_below(f.name, outputs)], found.num_hidden)


def _is_below(name: str, folders: set[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders)


def _list_all(place: str) -> Listing:
    if storage.is_remote(place):
        return _list_s3(place)
    path = storage.local_path(place)
    if path.is_dir():
        return _list_folder(path)
    if storage.is_glob(str(path)):
        return _list_glob(path)
    raise ConfigError([f"input: {place!r} is neither a folder, a glob, a manifest nor an s3:// prefix that exists"])


def _list_glob(path: Path) -> Listing:
    try:
        pattern = s3_listing.glob_pattern(str(path))
    except ValueError as error:
        raise ConfigError([f"input: {str(path)!r} is not a glob: {error}"]) from None
    root = Path(*_before_magic(path.parts))
    files = _list_folder(root).files if root.is_dir() else []
    matching = [f for f in files if pattern.match(str(storage.local_path(f.uri)))]
    if not matching:
        raise ConfigError([f"input: nothing matches {str(path)!r}"])
    return Listing(matching, 0)


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    """Keep the leading parts without wildcards."""
    first = next((i for i, part in enumerate(parts) if storage.is_glob(part)), len(parts))
    return list(parts[:first])


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
    try:
        paths = [p for p in storage.s3_paths(place) if not p.endswith("/")]
    except OSError as error:
        raise ConfigError([f"input: cannot list {place!r}: {error.strerror or error}"]) from None
    if not paths:
        raise ConfigError([f"input: nothing is at {place!r}"])
    path = place.removeprefix("s3://").rstrip("/")
    folder = path.rpartition("/")[0] if path in paths else "/".join(_before_magic(tuple(path.split("/"))))
    files = [FoundFile(f"s3://{p}", p.removeprefix(folder + "/")) for p in paths]
    shown = [f for f in files if not any(part.startswith(".") for part in f.name.split("/"))]
    return Listing(shown, len(files) - len(shown))
