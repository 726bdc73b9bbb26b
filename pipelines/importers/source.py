"""Fetch annotation files: one, or those of a folder that the format reads, from a folder or S3."""

from __future__ import annotations

from pipelines import listing, storage
from pipelines.importers.annotations import FormatError, Kind, Problem, TextFile
from pipelines.importers.formats import COMPANIONS, Format, is_wanted
from pipelines.importers.matching import is_video
from pipelines.importers.settings import ImportConfig
from pipelines.listing import Listing


def load(place: str, of: Format, settings: ImportConfig) -> tuple[list[TextFile], list[Problem]]:
    """Read what ``--annotations`` names.

    Args:
        place: A file, with which its companions (class lists) are read; or a folder, glob or ``s3://`` prefix.
        of: The format, which says which files of a folder are read.
        settings: Settings of the import.

    Returns:
        The files, by name, and the files of a folder that were passed over, videos aside.

    Raises:
        ConfigError: nothing is there.
        FormatError: nothing that the format reads, or a file that cannot be read.
    """
    found = listing.list_files(place) if _is_many(place) else _one(place, of)
    wanted = [f for f in found.files if not _is_many(place) or is_wanted(of, f.name, settings)]
    if not wanted:
        raise FormatError([f"--annotations: no file of the format {of.value} among {len(found.files)} at {place!r}"])
    passed = [f.name for f in found.files if f not in wanted and not is_video(f.name)]
    problems = [Problem(name, Kind.UNREAD_FILE, f"not read: not part of {of.value}") for name in passed]
    return [TextFile(f.name, _read(f.uri)) for f in wanted], problems


def _is_many(place: str) -> bool:
    if storage.is_remote(place):
        return place.endswith("/") or storage.is_glob(place) or "." not in place.rpartition("/")[2]
    return storage.is_glob(place) or storage.local_path(place).is_dir()


def _one(place: str, of: Format) -> Listing:
    """List a file and the companions that lie beside it."""
    if not storage.exists(place):
        raise FormatError([f"--annotations: no file at {place!r}"])
    folder, _, name = place.rpartition("/")
    beside = [storage.join(folder or "/", n) for n in COMPANIONS.get(of, ()) if n != name]
    uris = [place, *(uri for uri in beside if storage.exists(uri))]
    return Listing([listing.FoundFile(uri, uri.rpartition("/")[2]) for uri in uris], 0)


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        raise FormatError([f"--annotations: cannot read {uri!r}: {error.strerror or error}"]) from None
