"""A head as two files, in a folder or in S3."""

from __future__ import annotations

from fal_model.class_head import HEAD_FILE, HEAD_FILES, ClassHead
from fal_model.errors import ModelLoadError
from pipelines import storage


def write_head(place: str, head: ClassHead) -> None:
    """Write a head; killed in between, what is there is refused when read.

    Raises:
        OutputError: the place cannot be written.
    """
    files = head.to_files()
    for name in sorted(files, key=lambda name: name == HEAD_FILE):  # the one that names the other comes last
        storage.write_bytes(storage.join(place, name), files[name])


def read_head(place: str) -> ClassHead:
    """Read a head.

    Raises:
        ModelLoadError: there is none, it is damaged, or the store failed.
    """
    files: dict[str, bytes] = {}
    for name in HEAD_FILES:
        try:
            files[name] = storage.read_bytes(storage.join(place, name))
        except (FileNotFoundError, NotADirectoryError):
            continue  # the head itself says what is missing
        except OSError as error:
            raise ModelLoadError(f"cannot read the head {place!r}: {error.strerror or error}") from error
    return ClassHead.from_files(files, place)
