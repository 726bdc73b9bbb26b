"""Pixels of clips through shared memory, from the decoding process to its parent.

Both ends compute from the specification where each array lies; nothing about sizes is ever sent. The parent owns the
memory and has sealed its size, so that the child can neither cut it off under the parent's hands nor make it grow.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fal_model.spec import ClipSpec
from pipelines.clips import Clip

NUM_SLOTS = 2
"""Clips that may be under way: the child decodes one while its parent takes the other."""
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where one array of a clip lies in its slot.

    Attributes:
        name: Field of :class:`pipelines.clips.Clip`.
        dtype: Type of its elements.
        shape: Its shape.
        at: First byte, from the start of the slot.
    """

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]
    at: int

    @property
    def num_bytes(self) -> int:
        """Return the size of the array, bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def places(spec: ClipSpec) -> list[Place]:
    """Lay out the arrays of one clip."""
    num_frames, size_px, grid_px = spec.num_frames, spec.size_px, spec.flow_size_px
    table: tuple[tuple[str, type[np.generic], tuple[int, ...]], ...] = (
        ("frames_THWC", np.uint8, (num_frames, size_px, size_px, 3)),
        ("flow_q_THWC", np.int8, (num_frames, grid_px, grid_px, 2)),
        ("flow_valid_T", np.bool_, (num_frames,)),
        ("camera_T23", np.float32, (num_frames, 2, 3)),
    )
    found: list[Place] = []
    at = 0
    for name, dtype, shape in table:
        found.append(Place(name, dtype, shape, at))
        at += _aligned(found[-1].num_bytes, ALIGNMENT_BYTES)
    return found


def slot_bytes(spec: ClipSpec) -> int:
    """Return the size of one slot, bytes."""
    last = places(spec)[-1]
    return _aligned(last.at + last.num_bytes, mmap.PAGESIZE)


def _aligned(num_bytes: int, step: int) -> int:
    return -(-num_bytes // step) * step


class RingWriter:
    """The child's end. A slot is written only after the parent has said that it took what was there before.

    Args:
        descriptor: What :attr:`RingReader.descriptor` was in the parent; closed here, the memory stays.
        spec: The same as the parent's.
    """

    def __init__(self, descriptor: int, spec: ClipSpec) -> None:
        self._slot_bytes = slot_bytes(spec)
        self._places = places(spec)
        self._memory = mmap.mmap(descriptor, NUM_SLOTS * self._slot_bytes)
        os.close(descriptor)

    def put(self, clip: Clip, number: int) -> None:
        """Write the arrays of the ``number``-th clip of a video, from 0."""
        for place in self._places:
            at = number % NUM_SLOTS * self._slot_bytes + place.at
            _view(self._memory, place, place.dtype, at)[...] = getattr(clip, place.name)


class RingReader:
    """The parent's end: owner of the memory, which is freed with the last reference to this object.

    Args:
        spec: What a clip is.

    Attributes:
        descriptor: To be handed to the child and then closed by who made this object; the memory stays.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self._slot_bytes = slot_bytes(spec)
        self._places = places(spec)
        num_bytes = NUM_SLOTS * self._slot_bytes
        self.descriptor = os.memfd_create("fal-clips", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, num_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = mmap.mmap(self.descriptor, num_bytes, prot=mmap.PROT_READ)
        except BaseException:  # whatever it was travels on
            os.close(self.descriptor)
            raise

    def take(self, number: int) -> dict[str, npt.NDArray[Any]]:
        """Copy the arrays of the ``number``-th clip of a video, from 0, by the names of their fields in ``Clip``.

        The child may write what it likes at any time: sizes and types are ours, and values that are no numbers are
        found by :func:`are_numbers` in the copy.
        """
        taken: dict[str, npt.NDArray[Any]] = {}
        for place in self._places:
            is_bool = place.dtype is np.bool_
            at = number % NUM_SLOTS * self._slot_bytes + place.at
            array = _view(self._memory, place, np.uint8 if is_bool else place.dtype, at)
            taken[place.name] = array != 0 if is_bool else array.copy()
        return taken


def are_numbers(arrays: dict[str, npt.NDArray[Any]]) -> bool:
    """Tell whether no floating point array has an infinity or a "not a number"."""
    return all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")


def _view(memory: mmap.mmap, place: Place, dtype: type[np.generic], at: int) -> npt.NDArray[Any]:
    return np.frombuffer(memory, dtype, math.prod(place.shape), at).reshape(place.shape)
