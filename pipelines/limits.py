"""What one video may cost before it is refused: a failure with a reason, never a clean bill."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeLimits:
    """Limits on one video; all but the times and the memory are checked before pixels are made.

    Attributes:
        max_bytes: Largest file, bytes.
        max_pixels_per_frame: Largest coded picture, pixels; the default lets 8K pass.
        max_duration_s: Longest video by its time stamps, seconds.
        max_frames: Most packets in the video stream.
        max_streams: Most streams in the container.
        wall_time_s: Longest wait for one step (opening and the first clip, then each clip), seconds.
        total_wall_time_s: Longest wait for a whole video, seconds, before its length is counted in.
        wall_time_per_video_s: Added to the total for each second of video.
        memory_bytes: Address space of the decoding process.
    """

    max_bytes: Annotated[int, Range(ge=1, le=2**50)] = 64 * 2**30
    max_pixels_per_frame: Annotated[int, Range(ge=1, le=2**30)] = 8192 * 4608
    max_duration_s: Annotated[float, Range(gt=0, le=1e7)] = 6 * 3600.0
    max_frames: Annotated[int, Range(ge=1, le=10**8)] = 2_000_000
    max_streams: Annotated[int, Range(ge=1, le=1000)] = 64
    wall_time_s: Annotated[float, Range(gt=0, le=1e6)] = 60.0
    total_wall_time_s: Annotated[float, Range(gt=0, le=1e7)] = 120.0
    wall_time_per_video_s: Annotated[float, Range(ge=0, le=1e3)] = 1.0
    memory_bytes: Annotated[int, Range(ge=2**29, le=2**45)] = 6 * 2**30

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"limits.{p}" for p in problems])

    def total_wall_s(self, duration_s: float) -> float:
        """Return the longest wait for a video of this length, seconds."""
        return self.total_wall_time_s + self.wall_time_per_video_s * min(duration_s, self.max_duration_s)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DecodeLimits:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: an unknown field, or a value out of range.
        """
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise ConfigError([f"limits.{name}: unknown field" for name in unknown])
        return cls(**data)
