from __future__ import annotations

import fcntl
import mmap
import os
import resource
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.spec import ClipSpec
from pipelines.clip_ring import ALIGNMENT_BYTES, NUM_SLOTS, RingReader, RingWriter, are_numbers, places, slot_bytes
from pipelines.clips import Clip

SPEC = ClipSpec(num_frames=3, size_px=18, flow_size_px=5)


def random_array(place_shape: tuple[int, ...], dtype: type[np.generic], seed: int) -> npt.NDArray[np.generic]:
    random = np.random.default_rng(seed)
    if issubclass(dtype, np.floating):
        return random.standard_normal(place_shape).astype(dtype)
    return random.integers(0, 2, place_shape).astype(dtype)


def made_clip(seed: int, spec: ClipSpec = SPEC) -> Clip:
    values: dict[str, object] = {place.name: random_array(place.shape, place.dtype, seed) for place in places(spec)}
    other = {field.name: 0 for field in fields(Clip) if field.name not in values}
    return Clip(**(other | values))  # type: ignore[arg-type] # only the arrays matter here


def ring(spec: ClipSpec = SPEC) -> tuple[RingWriter, RingReader]:
    reader = RingReader(spec)
    return RingWriter(reader.descriptor, spec), reader


def is_equal(taken: dict[str, npt.NDArray[np.generic]], clip: Clip) -> bool:
    return all(
        taken[place.name].dtype == place.dtype and np.array_equal(taken[place.name], getattr(clip, place.name))
        for place in places(SPEC)
    )


def test_clips_arrive_as_they_were_sent() -> None:
    writer, reader = ring()
    for number in range(5):
        clip = made_clip(number)
        writer.put(clip, number)
        assert is_equal(reader.take(number), clip)


def test_the_child_may_be_ahead_by_one_clip() -> None:
    writer, reader = ring()
    clips = [made_clip(number) for number in range(NUM_SLOTS)]
    for number, clip in enumerate(clips):
        writer.put(clip, number)
    taken = [reader.take(number) for number in range(NUM_SLOTS)]
    assert all(is_equal(arrays, clip) for arrays, clip in zip(taken, clips, strict=True))
    writer.put(made_clip(99), NUM_SLOTS)
    assert is_equal(taken[0], clips[0])  # what was taken is a copy


def test_every_array_of_a_clip_travels() -> None:
    """A new array in ``Clip`` needs a line in the table."""
    names = {name for name, hint in Clip.__annotations__.items() if "NDArray" in str(hint)}
    assert {place.name for place in places(SPEC)} == names


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 256), st.integers(16, 1024), st.integers(4, 16))
def test_arrays_lie_side_by_side(num_frames: int, size_px: int, flow_size_px: int) -> None:
    spec = ClipSpec(num_frames=num_frames, size_px=size_px, flow_size_px=flow_size_px)
    end = 0
    for place in places(spec):
        assert place.at >= end
        assert place.at % ALIGNMENT_BYTES == 0
        end = place.at + place.num_bytes
    assert end <= slot_bytes(spec) < end + mmap.PAGESIZE
    assert slot_bytes(spec) % mmap.PAGESIZE == 0


def test_the_memory_cannot_be_cut_short_or_made_to_grow() -> None:
    reader = RingReader(SPEC)
    with os.fdopen(reader.descriptor, "rb+", buffering=0) as file:
        for num_bytes in (0, NUM_SLOTS * slot_bytes(SPEC) + 1):
            with pytest.raises(PermissionError, match="Operation not permitted"):
                file.truncate(num_bytes)
        with pytest.raises(PermissionError, match="Operation not permitted"):
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        assert not os.get_inheritable(file.fileno())


def test_the_parent_cannot_write_by_mistake() -> None:
    reader = RingReader(SPEC)
    os.close(reader.descriptor)
    with pytest.raises(TypeError, match=r"read-only|readonly"):
        reader._memory[0] = 1


def test_whatever_the_child_writes_truth_values_are_truth_values() -> None:
    writer, reader = ring()
    writer._memory[: 2 * slot_bytes(SPEC)] = b"\xff" * (2 * slot_bytes(SPEC))
    valid_T = reader.take(0)["flow_valid_T"]
    assert valid_T.dtype == np.bool_
    assert valid_T.tobytes() == b"\1\1\1"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found(value: float) -> None:
    good: dict[str, npt.NDArray[Any]] = {"a": np.zeros(3, np.float32), "b": np.full(3, 255, np.uint8)}
    assert are_numbers(good)
    assert not are_numbers({**good, "a": np.array([0, value, 1], np.float32)})


def test_memory_goes_with_its_last_reference() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names only
    writer, reader = ring()
    del writer, reader
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - same


def test_a_ring_that_cannot_be_made_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names only
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # the kernel then refuses to make any file larger
    try:
        with pytest.raises(OSError, match="File too large"):
            RingReader(SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - same
