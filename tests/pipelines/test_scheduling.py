"""Real-time scheduling, which an encoder takes where it may."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.scheduling import ordinary_scheduling
from pipelines.video_writer import write_video

IN_A_PROCESS = """
import os, threading
from pipelines.scheduling import ordinary_scheduling
stop = threading.Event()
def wait():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    started.set()
    stop.wait()
    kept.append(os.sched_getscheduler(0))
started, kept = threading.Event(), []
other = threading.Thread(target=wait)
with ordinary_scheduling():
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    other.start()
    started.wait()
stop.set()
other.join()
print(os.sched_getscheduler(0), kept)
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
with ordinary_scheduling():
    pass
print(os.sched_getscheduler(0))
"""


@pytest.fixture
def real_time() -> None:
    """Skip where the system allows nobody real-time scheduling."""
    check = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    if subprocess.run([sys.executable, "-c", check], check=False, capture_output=True).returncode:
        pytest.skip("this user may not have real-time scheduling")


def test_every_thread_gets_it_back_unless_somebody_chose_it(real_time: None) -> None:  # noqa: ARG001 - may skip
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == [f"{os.SCHED_OTHER} [{os.SCHED_OTHER}]", str(os.SCHED_FIFO)]


def test_an_error_travels_on() -> None:
    with pytest.raises(KeyError), ordinary_scheduling():
        raise KeyError


@pytest.mark.parametrize("codec", ["libsvtav1", "libx264"])
def test_no_encoder_leaves_a_real_time_thread_behind(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    found = policies()

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for i in range(8):
            found.update(policies())
            yield np.full((64, 64, 3), 20 * i, np.uint8)

    write_video(tmp_path / "a.mp4", frames(), fps=10, codec=codec)
    assert found | policies() == {os.SCHED_OTHER}


def policies() -> set[int]:
    return {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}
