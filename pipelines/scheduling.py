"""Keep a process out of real-time scheduling, into which an encoder puts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS = Path("/proc/self/task")


@contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Give every thread of this process its ordinary scheduling back once the block ends.

    Where it may (as root, so in most containers) SVT-AV1 makes its threads, and the one that opens it, real-time ones
    of the highest priority. Every process started later inherits that, a whole Ray among them. The kernel never takes
    the processor from such a process: two that wait for each other stop the machine.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield  # no such scheduling, or somebody has chosen it
        return
    try:
        yield
    finally:
        for thread in THREADS.iterdir():
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(int(thread.name)) != os.SCHED_OTHER:
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
