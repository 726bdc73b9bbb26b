"""What the tests of the decoding process share."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path

from fal_model.spec import ClipSpec
from pipelines.isolation import IsolatedPreparer
from tests.helpers.video import read_number

SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16, flow_step_s=0.1, window_s=2.0)


def works(preparer: IsolatedPreparer, video: Path) -> bool:
    """Tell whether a good video of ten frames comes through."""
    with video.open("rb") as file:
        _, clips = preparer.prepare(file)
        (clip,) = clips
    return [read_number(frame) for frame in clip.frames_THWC] == [round(10 * t) for t in clip.frame_times_s]


def pid_of(preparer: IsolatedPreparer) -> int:
    """Return the process id of the child that there must be."""
    assert preparer.child_pid is not None
    return preparer.child_pid


def is_alive(pid: int) -> bool:
    """Tell whether a process is there, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


Descriptors = frozenset[tuple[int, int, int]]
"""Open descriptors as (number, device, inode): another file under an old number is another."""


def open_descriptors() -> Descriptors:
    """Return our open descriptors, without those that only wait to be collected."""
    gc.collect()
    found = set()
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            status = os.fstat(number)
            found.add((number, status.st_dev, status.st_ino))
    return frozenset(found)
