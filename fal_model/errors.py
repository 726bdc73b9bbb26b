"""Every error FAL raises on purpose; each video failure has a stable ``kind``.

The same ``kind`` appears in failure rows, HTTP answers, metrics and ``docs/operations.md``.
"""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """Why a video could not be labelled. Values are a public contract: never rename one."""

    NOT_FOUND = "not_found"
    NOT_A_FILE = "not_a_file"
    PERMISSION_DENIED = "permission_denied"
    STORAGE_ERROR = "storage_error"
    EMPTY_FILE = "empty_file"
    NOT_A_VIDEO = "not_a_video"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_CODEC = "unsupported_codec"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_FRAMES = "no_frames"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    LIMIT_EXCEEDED = "limit_exceeded"
    TIMEOUT = "timeout"
    DECODER_CRASH = "decoder_crash"
    INTERNAL_ERROR = "internal_error"


class FalError(Exception):
    """Base of every error that FAL raises on purpose."""


class ConfigError(FalError):
    """What the user asked for is wrong; the message lists every problem found."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.problems,)  # Ray carries errors between processes


class TaxonomyError(ConfigError):
    """A label tree is not a tree; the message lists every problem found."""


class ManifestError(ConfigError):
    """A manifest cannot be used; the message lists every problem found."""


class ModelLoadError(FalError):
    """A model directory is missing something, damaged, or from a newer version."""


class OutputError(FalError):
    """The output place cannot be written, or belongs to another run."""


class VideoError(FalError):
    """One video cannot be used. It becomes one failure row (or one HTTP 4xx), never a stopped job.

    Args:
        kind: The stable reason.
        message: One sentence for a person; control characters are dropped and it is cut to 500 characters.
        stage: Where it happened: ``open``, ``probe``, ``decode`` or ``predict``.
    """

    def __init__(self, kind: FailureKind, message: str, stage: str = "decode") -> None:
        self.kind = kind
        self.stage = stage
        self.message = printable(message)
        super().__init__(f"{kind.value}: {self.message}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[FailureKind, str, str]]:
        return type(self), (self.kind, self.message, self.stage)  # Ray carries errors between processes


def printable(text: str, max_chars: int = 500) -> str:
    """Make text from a decoder or a file safe for logs and tables: printable, one line, short."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"
