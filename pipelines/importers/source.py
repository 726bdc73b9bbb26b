"""Fetch annotation files: one, or those of a folder that the format reads, from a folder or S3."""

from __future__ import annotations

from fal_model.errors import ConfigError
from pipelines import listing, storage
from pipelines.importers.annotations import FormatError, Kind, Problem, TextFile
from pipelines.importers.formats import Format, companions_of, is_wanted
from pipelines.importers.matching import is_video
from pipelines.importers.settings import ImportConfig
from pipelines.listing import FoundFile, Listing


def listed(place: str, option: str) -> Listing:
    """List the files that an option names.

    Raises:
        ConfigError: nothing is there, said of the option.
    """
    try:
        return listing.list_files(place)
    except ConfigError as error:
        raise ConfigError([f"{option}: {p.removeprefix('input: ')}" for p in error.problems]) from None


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
    is_file = not storage.is_remote(place) and storage.local_path(place).is_file()
    found = [] if is_file else listed(place, "--annotations").files
    if is_file or [f.uri for f in found] == [place]:
        return [TextFile(f.name, _read(f.uri)) for f in _with_companions(place, of)], []
    wanted = [f for f in found if is_wanted(of, f.name, settings)]
    if not wanted:
        raise FormatError([f"--annotations: no file of the format {of.value} among {len(found)} at {place!r}"])
    passed = [f.name for f in found if f not in wanted and not is_video(f.name)]
    problems = [Problem(name, Kind.UNREAD_FILE, f"not read: not part of {of.value}") for name in passed]
    return [TextFile(f.name, _read(f.uri)) for f in wanted], problems


def _with_companions(place: str, of: Format) -> list[FoundFile]:
    """Name a file and those of its companions that lie beside it."""
    folder, _, name = place.rpartition("/")
    beside = [storage.join(folder or "/", n) for n in companions_of(of) if n != name]
    uris = [place, *(uri for uri in beside if storage.exists(uri))]
    return [FoundFile(uri, uri.rpartition("/")[2]) for uri in uris]


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        raise FormatError([f"--annotations: cannot read {uri!r}: {error.strerror or error}"]) from None
