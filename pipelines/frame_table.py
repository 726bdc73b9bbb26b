"""What is known of a video's frames without decoding any: times, sizes, and what it takes to see each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNWANTED_SHARE = 0.5
"""Share of B-frames that nothing refers to, which are not decoded unless wanted; two of three in a usual pyramid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTable:
    """Every frame a video presents, in presentation order, known without decoding.

    Attributes:
        times_s: Presentation times, seconds, non-decreasing; the first is 0.
        sizes_bytes: Compressed size of each frame.
        is_key: Whether decoding can start at the frame.
        packet_index: Position of each frame's packet in decoding order.
        start_index: Where decoding must start to see the frame, in decoding order; at most ``packet_index``.
        skippable_before: For each packet in decoding order, and for their end, how many B-frames come before it:
            frames presented before one that was decoded earlier, which a decoder can mostly leave out.
        until_s: How long each frame counts as being on screen: until the next one, but not beyond what its packet
            says (or a second, where packets say less), so that a hole in a damaged file does not count as seen.
        duration_s: End of the last frame, seconds, > 0.
    """

    times_s: Floats
    sizes_bytes: Floats
    is_key: npt.NDArray[np.bool_]
    packet_index: Ints
    start_index: Ints
    skippable_before: Ints
    until_s: Floats
    duration_s: float

    def __len__(self) -> int:
        return len(self.times_s)

    def cost_of(self, frame: int) -> int:
        """Return how many packets must be decoded to see one frame."""
        return int(self.packet_index[frame] - self.start_index[frame]) + 1

    def runs(self, frames: Iterable[int]) -> list[Run]:
        """Group wanted frames so that no packet is decoded twice and none without need.

        Args:
            frames: Indices into this table.

        Returns:
            Runs in decoding order that share no packet. A frame joins the run before it unless its keyframe lies
            beyond that run's end.
        """
        runs: list[Run] = []
        for frame in sorted(set(frames), key=lambda f: int(self.packet_index[f])):
            run = Run(int(self.start_index[frame]), int(self.packet_index[frame]), (frame,))
            while runs and run.start <= runs[-1].last:
                before = runs.pop()
                run = Run(min(before.start, run.start), run.last, before.frames + run.frames)
            runs.append(run)
        return runs

    def cost(self, frames: Iterable[int]) -> float:
        """Return about how many frames must be decoded to see all of these; unwanted B-frames count half."""
        total = 0.0
        for run in self.runs(frames):
            skippable = int(self.skippable_before[run.last + 1] - self.skippable_before[run.start])
            wanted = sum(self.is_skippable(frame) for frame in run.frames)
            total += run.last - run.start + 1 - UNWANTED_SHARE * (skippable - wanted)
        return total

    def are_skippable(self) -> npt.NDArray[np.bool_]:
        """Tell of each frame whether it is a B-frame."""
        return self.skippable_before[self.packet_index + 1] > self.skippable_before[self.packet_index]

    def is_skippable(self, frame: int) -> bool:
        """Tell whether a frame is a B-frame."""
        packet = self.packet_index[frame]
        return bool(self.skippable_before[packet + 1] > self.skippable_before[packet])


@dataclass(frozen=True, slots=True)
class Run:
    """Packets to decode in one go: ``[start, last]`` in decoding order, and the frames wanted from them."""

    start: int
    last: int
    frames: tuple[int, ...]
