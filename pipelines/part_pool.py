"""Do something with every part of an output folder, several at once on this machine. Needs no cluster.

Threads, not processes: reading, decompressing, array work, writing and syncing run without Python's lock, and a process
would import everything anew, which takes longer than a thousand videos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

MAX_THREADS = 8
"""Beyond, they wait for each other."""

NUM_AHEAD = 2
"""So many parts for each thread are handed out at a time: one to do and one to go on with. Were all of them, then
threads could do thousands more before the caller hears of the first that went wrong."""

Plan = TypeVar("Plan")
Found = TypeVar("Found")


def each_part(
    work: Callable[[Plan, str], Found], plan: Plan, names: Sequence[str], max_threads: int = 0
) -> Iterator[tuple[str, Found]]:
    """Yield every part with what is found out about it, in the order in which they become ready.

    What the work raises comes out as it is; by then no more than ``NUM_AHEAD`` parts for each thread are begun that
    were not yielded, and no further one is.

    Args:
        work: Given the plan and the name of a part.
        plan: What every part is told.
        names: The parts.
        max_threads: So many at once; 0 means one for each core, up to ``MAX_THREADS``.
    """
    num = max_threads or min(len(os.sched_getaffinity(0)), MAX_THREADS)
    pool = ThreadPoolExecutor(num, thread_name_prefix="fal-parts")
    left = iter(names)
    pending: dict[Future[Found], str] = {}
    try:
        while True:
            ahead = islice(left, NUM_AHEAD * num - len(pending))
            pending |= {pool.submit(work, plan, name): name for name in ahead}
            if not pending:
                return
            future = next(iter(wait(pending, return_when=FIRST_COMPLETED).done))
            yield pending.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)
