"""Local files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PREFIX = ".writing-"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write piece by piece: it takes its place once the block ends, and never if the block fails.

    Args:
        path: Where it goes; its folder is made.

    Yields:
        The file, under another name in the same folder.

    Raises:
        OSError: no permission, no space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:  # whatever stopped the write, the half-written file goes and the error travels on
        Path(name).unlink(missing_ok=True)
        raise


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, in place of what has it; tell whether the file system allows it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    name = target.parent / f"{PREFIX}{uuid.uuid4().hex}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, name)
        name.replace(target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        return False
    finally:
        name.unlink(missing_ok=True)  # a name of the file that has the target's already is not renamed, but left
    return True


def clear_leftovers(folder: Path) -> None:
    """Delete what killed writers left half written in a folder."""
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink(missing_ok=True)
