"""Workers of a running job are killed: it goes on, and its tables are those of a job that nobody disturbed."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bench.processes import own_pids
from jobs import label_corpus
from tests.helpers.corpus import digests, write_broken, write_model, write_videos

TABLES = ("labels", "failures", "predictions")
NUM_VIDEOS = 12
POLL_S = 0.01


class Assassin(threading.Thread):
    """Kills one worker of each stage, as soon as it has begun to work."""

    def __init__(self, *stages: str) -> None:
        super().__init__(daemon=True)
        self.killed: list[str] = []
        self._waiting = list(stages)
        self._over = threading.Event()

    def run(self) -> None:
        while self._waiting and not self._over.wait(POLL_S):
            stage = self._waiting[0]
            for pid in own_pids(f"MapBatches({stage})).submit"):  # Ray writes the task that it is at behind its name
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(stage)
                    self._waiting.pop(0)
                    break

    def end(self) -> None:
        self._over.set()
        self.join()


class Census(threading.Thread):
    """Counts how many processes of a kind there are at once, at most."""

    def __init__(self, word: str) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._word = word
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(POLL_S):
            self.most = max(self.most, len(own_pids(self._word)))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.most


@pytest.mark.ray
@pytest.mark.slow
def test_workers_may_be_killed_and_nothing_is_lost_or_twice(tmp_path: Path, ray_local: tuple[str, ...]) -> None:
    model, videos = write_model(tmp_path / "model"), tmp_path / "videos"
    write_videos(videos, NUM_VIDEOS)
    write_broken(videos)
    settings = [*ray_local, "label.part_videos=2", "label.batch_clips=2", "label.max_failed_share=0.3"]

    def run(name: str) -> int:
        places = ["--input", str(videos), "--output", str(tmp_path / name), "--model", str(model)]
        return label_corpus.main([*places, "tracking.is_enabled=false", *settings])

    census = Census("ray::merge_part")
    census.start()
    assert run("clean") == 0
    assert 1 <= census.end() <= 2  # six parts and more complete almost together; each would start a process
    assassin = Assassin("PredictBatches", "PrepareItems")
    assassin.start()
    try:
        assert run("disturbed") == 0
    finally:
        assassin.end()

    assert assassin.killed == ["PredictBatches", "PrepareItems"]
    assert digests(tmp_path / "disturbed", *TABLES) == digests(tmp_path / "clean", *TABLES)
