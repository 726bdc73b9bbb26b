"""Scan videos in a child process that may crash, hang or bloat without taking anything else along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from pipelines import answers
from pipelines.decode_worker import Operation
from pipelines.isolation import WORKER_MODULE, IsolatedDecoder
from pipelines.limits import DecodeLimits
from pipelines.scan import PICTURES, DeepCount, VideoFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is known of a scanned video.

    Attributes:
        facts: What its packets tell.
        times_s: When each picture is shown, seconds, rising.
        pictures_NHWC: The different pictures that were made, RGB.
        count: What decoding every frame gave; None unless the scan was deep.
    """

    facts: VideoFacts
    times_s: tuple[float, ...]
    pictures_NHWC: npt.NDArray[np.uint8]
    count: DeepCount | None


class IsolatedScanner(IsolatedDecoder):
    """Scan videos in a child process. One video at a time; one object per thread.

    Args:
        limits: What one video may cost.
        is_deep: Decode every frame, to count those that are damaged.
        worker: The module that the child runs.
    """

    def __init__(self, limits: DecodeLimits, *, is_deep: bool = False, worker: str = WORKER_MODULE) -> None:
        super().__init__(PICTURES, limits, Operation.DEEP_SCAN if is_deep else Operation.SCAN, worker=worker)

    def scan(self, source: BinaryIO) -> Scan:
        """Scan a video.

        Args:
            source: A file with a descriptor (``fileno``); its position is neither used nor moved.

        Raises:
            VideoError: the video cannot be used. ``decoder_crash``, ``timeout`` and ``limit_exceeded`` are also what
                became of the child.
            RuntimeError: the child could not be started at all, or FFmpeg is too old; no video is to blame for that.
        """
        child, clock = self._begin(source)
        with self._ending_on_error():
            facts = answers.read_facts(self._next_header(child, clock), self._limits)
            clock.video_duration_s = facts.duration_s
            clip = answers.read_clip(self._next_header(child, clock), self._spec, range(1))
            pictures_NHWC = child.take(0, clock)["frames_THWC"]
            count = None
            while (header := self._next_header(child, clock))["type"] != "end":
                count = answers.read_count(header, self._limits, count or DeepCount(0, 0))
        self._is_busy = False
        times_s = clip["frame_times_s"]
        kept = [i for i, time_s in enumerate(times_s) if i == 0 or time_s > times_s[i - 1]]
        return Scan(
            facts=facts, times_s=tuple(times_s[i] for i in kept), pictures_NHWC=pictures_NHWC[kept], count=count
        )
