"""Every part is done once, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from fal_model.errors import OutputError
from pipelines import part_pool

NAMES = [f"part-{number}" for number in range(20)]


def test_every_part_is_done_once() -> None:
    done: list[str] = []

    def work(plan: int, name: str) -> int:
        done.append(name)
        return plan + len(name)

    assert dict(part_pool.each_part(work, 10, NAMES)) == {name: 10 + len(name) for name in NAMES}
    assert sorted(done) == sorted(NAMES)
    assert not list(part_pool.each_part(work, 10, []))


def test_parts_are_done_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=60)

    def meet(place: str, name: str) -> str:
        barrier.wait()
        return place + name

    assert dict(part_pool.each_part(meet, "at ", NAMES[:3], 3)) == {name: f"at {name}" for name in NAMES[:3]}


@pytest.mark.parametrize("num_threads", [1, 3])
def test_what_goes_wrong_comes_out_and_no_more_is_begun(num_threads: int) -> None:
    begun: list[str] = []

    def fail(plan: str, name: str) -> None:
        begun.append(name)
        raise OutputError(f"{name}: {plan}")

    with pytest.raises(OutputError, match=r"part-\d+: the disk is full"):
        list(part_pool.each_part(fail, "the disk is full", NAMES, num_threads))
    assert 1 <= len(begun) <= part_pool.NUM_AHEAD * num_threads


def test_a_caller_that_stops_leaves_no_part_begun() -> None:
    begun: list[str] = []
    parts = part_pool.each_part(lambda _plan, name: begun.append(name), None, NAMES, 1)
    assert isinstance(parts, Generator)
    next(parts)
    parts.close()
    num_begun = len(begun)
    assert num_begun <= part_pool.NUM_AHEAD
    assert not list(parts)
    assert len(begun) == num_begun
