"""Do something with every part of an output folder, several at once on this machine. Needs no cluster.

Threads, not processes: reading, decompressing, array work, writing and syncing run without Python's lock, and a process
would import everything anew, which takes longer than a thousand videos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

MAX_THREADS = 8
"""Beyond, they wait for each other."""

Plan = TypeVar("Plan")
Found = TypeVar("Found")


def each_part(
    work: Callable[[Plan, str], Found], plan: Plan, names: Sequence[str], max_threads: int = 0
) -> Iterator[tuple[str, Found]]:
    """Yield every part with what is found out about it, in the order in which they become ready.

    What the work raises comes out as it is, and no further part is begun.

    Args:
        work: Given the plan and the name of a part.
        plan: What every part is told.
        names: The parts.
        max_threads: So many at once; 0 means one for each core, up to ``MAX_THREADS``.
    """
    num = max_threads or min(len(os.sched_getaffinity(0)), MAX_THREADS)
    pool = ThreadPoolExecutor(num, thread_name_prefix="fal-parts")
    try:
        futures = {pool.submit(work, plan, name): name for name in names}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)
