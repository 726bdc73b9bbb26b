"""How a tool reaches a video, and what a file about it is called."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from fal_model.errors import ConfigError
from pipelines import storage
from pipelines.exporters.settings import ExportConfig
from pipelines.exporters.video import Video

MAX_NAME_BYTES = 180
DIGEST_CHARS = 12
PLAIN = "!$&'()+,;=@[]^{}~ "
"""What a file name may hold besides letters, digits and ``_.-`` on every system."""


def media_address(video: Video, config: ExportConfig) -> str:
    """Return the address under which a tool finds a video: ``url_prefix`` and the rest percent-encoded.

    Raises:
        ConfigError: the video does not lie below ``export.media_root``.
    """
    return config.url_prefix + quote(_below(video, config), safe="/") if config.url_prefix else video.uri


def media_path(video: Video, config: ExportConfig) -> str:
    """Return the same for tools that read files: nothing is percent-encoded.

    Raises:
        ConfigError: the video does not lie below ``export.media_root``.
    """
    if config.url_prefix:
        return config.url_prefix + _below(video, config)
    return video.uri if storage.is_remote(video.uri) else str(storage.local_path(video.uri))


def _below(video: Video, config: ExportConfig) -> str:
    """Return the name of a video below the folder that ``url_prefix`` stands for."""
    if not config.media_root:
        return video.video_id
    root = config.media_root.rstrip("/") + "/"
    if not video.uri.startswith(root):
        raise ConfigError([f"export.media_root: got {config.media_root!r}, but {video.uri!r} does not lie below it"])
    return video.uri.removeprefix(root)


def file_name(video_id: str, taken: set[str]) -> str:
    """Make a file name of an id, without folders, that no other id has on any system.

    Whatever is not plain is percent-encoded; a name that is too long, or differs from one before only in capitals,
    gets a hash.

    Args:
        video_id: The id.
        taken: Names of this folder so far, in lower case; this one is added.
    """
    name = quote(video_id, safe=PLAIN)
    if name[:1] in {".", ""}:
        name = "%2E" + name[1:]  # hidden, or a folder
    if name[-1] in ". ":
        name = name[:-1] + f"%{ord(name[-1]):02X}"  # some systems drop these
    if len(name) > MAX_NAME_BYTES or name.casefold() in taken or name.partition(".")[0].upper() in _RESERVED:
        digest = hashlib.sha256(video_id.encode()).hexdigest()[:DIGEST_CHARS]
        name = f"{digest}-{name[:MAX_NAME_BYTES]}"
    taken.add(name.casefold())
    return name


_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{device}{n}" for device in ("COM", "LPT") for n in range(1, 10))}
)
"""What Windows takes for a device, whatever the suffix."""
