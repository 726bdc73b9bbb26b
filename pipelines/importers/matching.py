"""Which file on disk is the video that an annotation names. The listing is made once; nothing is asked again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.listing import FoundFile

VIDEO_SUFFIXES = frozenset(
    {
        "mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "mpe", "m2v", "ts", "mts", "m2ts", "flv", "f4v",
        "wmv", "asf", "ogv", "ogg", "3gp", "3g2", "rm", "rmvb", "vob", "dv", "mxf",
    }
)  # fmt: skip
"""What a video's name ends in; other files beside the videos are none of an importer's business."""


@dataclass(frozen=True, slots=True)
class Match:
    """What was found under some names.

    Attributes:
        files: The files; one if all is well, none, or several that cannot be told apart.
        name: The name that led to them.
        is_respelled: Found only with other capitals or another Unicode form.
    """

    files: tuple[FoundFile, ...]
    name: str = ""
    is_respelled: bool = False


class VideoIndex:
    """Finds videos by names that may lack folders, suffix, or the right capitals.

    Args:
        files: Every file of a listing; those that no video's suffix has are passed over.
    """

    def __init__(self, files: Iterable[FoundFile]) -> None:
        self.videos = [f for f in files if is_video(f.name)]
        self._exact = _by_key(self.videos, _same)

    @cached_property
    def _by_folded(self) -> dict[str, list[FoundFile]]:
        return _by_key(self.videos, _folded)

    def find(self, names: Sequence[str], folders: Sequence[str] = ()) -> Match:
        """Find the video of the first name that any file has.

        A name with folders is that of a file whose path ends so. A file with another suffix will do where none has the
        right one: many convert their videos. Where several files have one name, the one in a folder named in
        ``folders`` is meant.

        Args:
            names: Names, best first, with or without folders and suffix.
            folders: Folders that would tell files of one name apart, as that of their class.
        """
        every = [*names, *(without_suffix(n) for n in names if is_video(n))]
        return _find(self._exact, every, folders, _same) or _find(self._by_folded, every, folders, _folded) or Match(())


def is_video(name: str) -> bool:
    """Tell by its suffix whether a file is a video."""
    return name.rpartition(".")[2].lower() in VIDEO_SUFFIXES and "." in name


def without_suffix(name: str) -> str:
    """Take off the suffix of a video's name, if it has one."""
    return name.rpartition(".")[0] if is_video(name) else name


def _by_key(files: Iterable[FoundFile], respell: Callable[[str], str]) -> dict[str, list[FoundFile]]:
    found: dict[str, list[FoundFile]] = {}
    for file in files:
        for key in _keys(file.name):
            found.setdefault(respell(key), []).append(file)
    return found


def _find(
    lookup: Mapping[str, Sequence[FoundFile]],
    names: Sequence[str],
    folders: Sequence[str],
    respell: Callable[[str], str],
) -> Match | None:
    for name in names:
        wanted = respell(name.strip("/"))
        found = [f for f in lookup.get(wanted.rpartition("/")[2], ()) if _ends_so(respell(f.name), wanted)]
        if found:
            whole = [f for f in found if respell(f.name) == wanted]
            return Match(tuple(whole) or _told_apart(found, folders), name, respell is _folded)
    return None


def _keys(name: str) -> tuple[str, str]:
    last = name.rpartition("/")[2]
    return last, without_suffix(last)


def _ends_so(path: str, wanted: str) -> bool:
    """Tell whether a path, with or without its suffix, ends in the wanted folders and name."""
    return any(p == wanted or p.endswith("/" + wanted) for p in (path, without_suffix(path)))


def _told_apart(found: list[FoundFile], folders: Sequence[str]) -> tuple[FoundFile, ...]:
    if len(found) > 1 and folders:
        meant = {_folder_form(f) for f in folders}
        inside = [f for f in found if meant & {_folder_form(part) for part in f.name.split("/")[:-1]}]
        if len(inside) == 1:
            return (inside[0],)
    return tuple(found)


def _folder_form(name: str) -> str:
    return _folded(name).replace("_", " ")


def _same(name: str) -> str:
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
