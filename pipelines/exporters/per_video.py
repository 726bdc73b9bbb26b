"""Formats with a file per video: many small files, an index of them, and nothing left of an export before."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from pipelines import storage
from pipelines.exporters.media import file_name
from pipelines.exporters.text import json_text
from pipelines.exporters.video import Video

INDEX = "index.jsonl"
NUM_WRITERS = 16
MAX_WAITING = 256
Put = Callable[[Video, str], None]


@contextmanager
def files_in(folder: str, suffix: str) -> Iterator[Put]:
    """Write a text for each video, under a name made of its id, and ``index.jsonl``, which says which file is whose.

    Files that an earlier export left in the folder and this one does not have are deleted at the end.

    Args:
        folder: Where they go.
        suffix: What their names end in.

    Raises:
        OutputError: the folder cannot be written.
    """
    before = _indexed(folder)
    taken: set[str] = set()
    names: set[str] = set()
    waiting: deque[Future[None]] = deque()
    index_uri = storage.join(folder, INDEX)
    with ThreadPoolExecutor(NUM_WRITERS, thread_name_prefix="fal-export") as pool, storage.writing(index_uri) as index:

        def put(video: Video, text: str) -> None:
            name = file_name(video.video_id, taken) + suffix
            names.add(name)
            status = "labelled" if video.failure is None else "failed"
            row = {"video_id": video.video_id, "uri": video.uri, "status": status, "file": name}
            index.write((json_text(row) + "\n").encode())
            waiting.append(pool.submit(storage.write_bytes, storage.join(folder, name), text.encode()))
            while len(waiting) > MAX_WAITING:
                waiting.popleft().result()

        yield put
        while waiting:
            waiting.popleft().result()
        for name in sorted(before - names):
            storage.remove(storage.join(folder, name))


def _indexed(folder: str) -> set[str]:
    """Return the files that an earlier export wrote; where its index cannot be read, none: then nothing is deleted."""
    try:
        lines = storage.read_bytes(storage.join(folder, INDEX)).decode().splitlines()
        found = {json.loads(line)["file"] for line in lines if line}
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    there = set(storage.names_in(folder))  # names of files here, whatever an index may say
    return found & there
