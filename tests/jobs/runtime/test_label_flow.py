"""A model that does not keep up holds the decoders back: pixels never fill the store, and none go to disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.label_memory import RAYLET, store_bytes
from bench.processes import commands_below, pids_below
from fal_model.model import FALModel
from fal_model.spec import ClipSpec
from pipelines import tables
from tests.helpers.corpus import TAXONOMY, write_videos
from tests.helpers.processes import ROOT, wait_until
from tests.helpers.serving import TINY

SPEC = ClipSpec(num_frames=8, size_px=192, flow_size_px=8, window_s=2.0)
CLIP_BYTES = SPEC.num_frames * 3 * SPEC.size_px**2
STORE_MIB, NUM_VIDEOS = 100, 200
SETTINGS = (
    *("ray.address=local", "ray.num_cpus=4", f"ray.object_store_mib={STORE_MIB}", "tracking.is_enabled=false"),
    *("label.part_videos=8", "label.batch_clips=4", "label.thumbnails=0", "resources.decode_workers=1"),
)
STILL_LOOKS = 100
"""How often in a row nothing may have moved, every ``POLL_S``, for a process to be called idle: two seconds."""


def cpu_ticks(pids: list[int]) -> int:
    """Return the processor time that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in pids]
    return sum(int(values[11]) + int(values[12]) for values in fields)


class Idle:
    """Says whether processes have used no processor time for a while; asked again and again."""

    def __init__(self, pids: list[int]) -> None:
        self._pids, self._ticks, self._num_still = pids, -1, 0

    def __call__(self) -> bool:
        ticks = cpu_ticks(self._pids)
        # Threads of Ray look around once in a while.
        self._num_still = self._num_still + 1 if ticks <= self._ticks + 2 else 0
        self._ticks = ticks if self._num_still == 0 else self._ticks
        return self._num_still >= STILL_LOOKS


@pytest.mark.ray
@pytest.mark.slow
def test_a_model_that_stands_still_stops_the_decoders_before_the_store_is_full(tmp_path: Path) -> None:
    torch.manual_seed(0)
    FALModel(replace(TINY, clip=SPEC), TAXONOMY).save_pretrained(tmp_path / "model")
    (row,) = write_videos(tmp_path / "one", 1)
    (tmp_path / "videos").mkdir()
    for number in range(NUM_VIDEOS):
        (tmp_path / "videos" / f"{number:03d}.mp4").hardlink_to(tmp_path / "one" / row["uri"])
    assert NUM_VIDEOS * CLIP_BYTES > 1.5 * (STORE_MIB << 20)
    places = ["--input", tmp_path / "videos", "--output", tmp_path / "out", "--model", tmp_path / "model"]
    command = [sys.executable, ROOT / "jobs" / "label_corpus.py", *places, *SETTINGS]

    with subprocess.Popen([str(word) for word in command], start_new_session=True) as job:
        try:
            wait_until(lambda: job.poll() is not None or any((tmp_path / "out" / "_fal" / "done").glob("*.json")))
            (model,) = pids_below(job.pid, "PredictBatches")
            os.kill(model, signal.SIGSTOP)
            (decoder,) = pids_below(job.pid, "PrepareItems")
            wait_until(Idle([decoder, *commands_below(decoder)]))
            (raylet,) = [p for p, words in commands_below(job.pid).items() if words.split("\0")[0].endswith(RAYLET)]
            held = store_bytes(raylet)
            os.kill(model, signal.SIGCONT)
            assert job.wait() == 0
        finally:
            job.kill()

    assert 0 < held < STORE_MIB << 19  # the store spills to disk when it is full; it was not even half full
    labels = tables.read_folder(str(tmp_path / "out" / "labels"))
    assert labels is not None
    assert labels.num_rows == NUM_VIDEOS
