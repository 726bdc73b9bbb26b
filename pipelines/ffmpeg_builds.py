"""Which FFmpeg is inside PyAV, what it can read and write, and whether it has the fixes that strangers' files need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import av

LEAST_VERSIONS = ((7, 1, 5), (8, 0, 3), (8, 1, 2))
"""First release of each branch without the holes known today (CVE-2026-8461 and others); later branches are fine."""
RISK_VARIABLE = "FAL_ALLOW_OLD_FFMPEG"
"""Set to 1, this environment variable lets an older FFmpeg decode: for whoever knows where the videos come from."""


@dataclass(frozen=True, slots=True)
class FFmpegBuild:
    """The FFmpeg that decodes.

    Attributes:
        version: As FFmpeg calls itself.
        pyav: Version of PyAV.
        libraries: Versions of its parts, such as ``libavcodec`` ``62.28.102``.
    """

    version: str
    pyav: str
    libraries: dict[str, str]


def build_in_use() -> FFmpegBuild:
    """Ask PyAV which FFmpeg it brought along."""
    libraries = {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    return FFmpegBuild(str(av.ffmpeg_version_info), av.__version__, libraries)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Read a release number such as ``8.1.2``, ``n8.1`` or ``7.1.5-1ubuntu2``; None for a build between releases."""
    found = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?(?![\d.])", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def why_unsafe(version: str) -> str:
    """Say what is wrong with a version of FFmpeg; nothing if it has every fix we know, or cannot be told."""
    parsed = parse_version(version)
    least = {known[:2]: known for known in LEAST_VERSIONS}
    if parsed is None or parsed[:2] > max(least) or (parsed[:2] in least and parsed >= least[parsed[:2]]):
        return ""
    wanted = ", ".join(".".join(map(str, known)) for known in LEAST_VERSIONS)
    return f"FFmpeg {version} has known security holes; the first versions without them are {wanted}"


def check_build(build: FFmpegBuild) -> None:
    """Refuse to decode with an FFmpeg that is known to be unsafe.

    Args:
        build: What :func:`build_in_use` gives.

    Raises:
        RuntimeError: it is, and nobody has accepted the risk by :data:`RISK_VARIABLE`.
    """
    problem = why_unsafe(build.version)
    if problem and os.environ.get(RISK_VARIABLE) != "1":
        raise RuntimeError(f"{problem}: install a newer PyAV (av), or set {RISK_VARIABLE}=1 to accept the risk")


def missing(names: Iterable[str], kind: str) -> list[str]:
    """Return those that this build does not have.

    Args:
        names: As FFmpeg calls them.
        kind: ``demuxer``, ``decoder`` or ``encoder``.
    """
    return [name for name in names if not _exists(name, kind)]


def _exists(name: str, kind: str) -> bool:
    try:
        if kind == "demuxer":
            return bool(av.format.ContainerFormat(name, "r").is_input)
        av.codec.Codec(name, "w" if kind == "encoder" else "r")
    except ValueError:  # PyAV's errors for unknown names are such
        return False
    return True
