"""A video that kills its worker, not only its decoder: found, tried alone, then a failure; the rest is labelled."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jobs import label_corpus
from pipelines import tables
from pipelines.label_run import MAX_ATTEMPTS
from tests.helpers.corpus import write_model, write_videos

NUM_VIDEOS = 5
POISON_BYTES = 3 << 30
"""So many zeros, of which the disk holds none, take seconds to hash: the one who kills sees the file open."""
POLL_S = 0.02


class Killer(threading.Thread):
    """Kills, with SIGKILL, every worker of Ray that has a file open."""

    def __init__(self, poison: Path) -> None:
        super().__init__(daemon=True)
        self.kills = 0
        self._poison = poison
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(POLL_S):
            for pid in _holders(self._poison):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1

    def end(self) -> None:
        self._over.set()
        self.join()


def _holders(path: Path) -> set[int]:
    """Return the actors that decode and have a file open; this process is none of them."""
    held: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"PrepareItems" in (folder / "cmdline").read_bytes():
                links = [str(link.readlink()) for link in (folder / "fd").iterdir()]
                if str(path) in links:
                    held.add(int(folder.name))
    return held


@contextmanager
def killing(poison: Path) -> Iterator[Killer]:
    killer = Killer(poison)
    killer.start()
    try:
        yield killer
    finally:
        killer.end()


@pytest.mark.ray
@pytest.mark.slow
def test_a_video_that_kills_its_worker_is_a_failure_and_the_others_are_labelled(
    tmp_path: Path, ray_local: tuple[str, ...]
) -> None:
    model = write_model(tmp_path / "model")
    write_videos(tmp_path / "videos", NUM_VIDEOS)
    poison = tmp_path / "videos" / "poison.mp4"
    with poison.open("wb") as file:
        file.truncate(POISON_BYTES)
    settings = (*ray_local, "label.part_videos=100", "label.max_failed_share=0.5", "tracking.is_enabled=false")

    with killing(poison) as killer:
        code = label_corpus.main(
            ["--input", str(poison.parent), "--output", str(tmp_path / "out"), "--model", str(model), *settings]
        )

    assert code == 0
    assert killer.kills >= MAX_ATTEMPTS
    failures, labels = (tables.read_folder(str(tmp_path / "out" / name)) for name in ("failures", "labels"))
    assert failures is not None
    assert labels is not None
    (row,) = failures.to_pylist()
    assert (row["video_id"], row["kind"], row["attempts"]) == ("poison.mp4", "decoder_crash", MAX_ATTEMPTS)
    assert "the worker process died 3 times while it had this video, the last times alone" in row["message"]
    assert labels.num_rows == NUM_VIDEOS
