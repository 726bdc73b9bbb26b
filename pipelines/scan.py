"""Look at one video without decoding it whole: facts from its packets, and a few pictures spread over it.

Untrusted files belong into :class:`pipelines.isolated_scan.IsolatedScanner`, which runs this in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from fal_model.spec import ClipSpec, Sampling
from pipelines import pixels
from pipelines.clips import Clip, clips_of
from pipelines.frame_stream import FrameStream
from pipelines.frame_table import Floats, FrameTable
from pipelines.limits import DecodeLimits
from pipelines.pictures import Picture, PictureReader

NUM_PICTURES = 8
PICTURE_PX = 96
PICTURES = ClipSpec(
    num_frames=NUM_PICTURES, size_px=PICTURE_PX, flow_size_px=4, window_s=600.0, sampling=Sampling.UNIFORM
)
"""The pictures of a scan travel as a clip does, without flow."""
MAX_EXTRA_PIXELS = 64 * 1280 * 720
"""Pixels decoded, at most, to see more of a video than its keyframes show."""
MAX_IN_ORDER_FRAMES = 512
"""Frames decoded, at most, of a video that can only be read from its start."""
IRREGULAR_SHARE = 0.01
IRREGULAR_GAP = 0.2
CLOCK_S = 1.5e-3
"""Containers count in milliseconds at worst: times that differ by no more are the same."""
COUNT_EVERY = 64
"""Frames between two signs of life of a deep scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What a scan finds out about a video.

    Attributes:
        container: Name of the demuxer.
        codec: Name of the decoder.
        pixel_format: FFmpeg's name of the decoder's pixels; empty where it is not known.
        width_px: Width of the upright picture.
        height_px: Height of the upright picture.
        rotation_deg: Clockwise turn that the container asks for: 0, 90, 180 or 270.
        bit_depth: Bits per component.
        is_hdr: Whether the transfer curve is PQ or HLG.
        duration_s: From the first presented frame to the end of the last one, seconds, by the packets' times.
        mean_fps: Presented frames per second.
        is_variable_rate: Whether more than one gap between frames in a hundred is 20 % off the usual one.
        num_frames: Presented frames.
        num_keyframes: Frames at which decoding can start.
        longest_gap_s: Longest time between the beginnings of two frames.
        stream_bytes: Compressed size of the video stream.
        num_streams: Streams in the container.
        has_audio: Whether one of them is sound.
        num_pictures: Different pictures that were made, 1 to ``NUM_PICTURES``.
        num_damaged_pictures: Those of which the decoder had to make up a part, or that stand in for another.
    """

    container: str
    codec: str
    pixel_format: str
    width_px: int
    height_px: int
    rotation_deg: int
    bit_depth: int
    is_hdr: bool
    duration_s: float
    mean_fps: float
    is_variable_rate: bool
    num_frames: int
    num_keyframes: int
    longest_gap_s: float
    stream_bytes: int
    num_streams: int
    has_audio: bool
    num_pictures: int
    num_damaged_pictures: int


@dataclass(frozen=True, slots=True)
class DeepCount:
    """What decoding every frame gave so far: frames out of the decoder, and those it had to make up in part."""

    num_decoded: int
    num_damaged: int


def scan_video(source: BinaryIO, limits: DecodeLimits) -> tuple[VideoFacts, Clip]:
    """Find out about a video, in this process.

    Args:
        source: Readable, seekable; never closed here.
        limits: What the video may cost.

    Returns:
        The facts, and pictures in the order of their times; the last one is repeated where there are fewer than
        ``NUM_PICTURES``.

    Raises:
        VideoError: the video cannot be used: just where no clip could be made of it.
    """
    pixels.use_one_thread()
    reader = PictureReader(source, limits)
    try:
        height_px, width_px = reader.video.size_px
        found = reader.pictures(choose_pictures(reader.table, height_px * width_px), PICTURE_PX)
        clip = _as_clip([found[frame] for frame in sorted(found)], reader.table.duration_s) if found else None
        clip = clip or _first_clip(source, limits)
        if clip is None:
            raise reader.nothing_decoded()
        return _facts(reader, clip), clip
    finally:
        reader.close()


def choose_pictures(table: FrameTable, frame_pixels: int) -> list[int]:
    """Choose what to look at: keyframes evenly spread, and the frames between them where they are few and it is cheap.

    Args:
        table: Every frame of the video.
        frame_pixels: Pixels of a picture.

    Returns:
        Rising indices into the table, 1 to ``NUM_PICTURES``.
    """
    span_s = table.duration_s
    nearest = _nearest_keyframes(table, span_s)
    while len(nearest) > 1 and table.cost(nearest) > NUM_PICTURES + MAX_IN_ORDER_FRAMES:
        span_s /= 2
        nearest = _nearest_keyframes(table, span_s)
    if len(nearest) < min(NUM_PICTURES, len(table)):
        even = np.searchsorted(table.times_s, _targets_s(table.duration_s) + CLOCK_S, side="right") - 1
        if (table.cost(even) - len(nearest)) * frame_pixels <= MAX_EXTRA_PIXELS:
            return sorted({int(frame) for frame in even})
    return sorted(nearest)


def _targets_s(span_s: float) -> Floats:
    return span_s * np.arange(NUM_PICTURES) / NUM_PICTURES


def _nearest_keyframes(table: FrameTable, span_s: float) -> set[int]:
    keys = np.flatnonzero(table.is_key)
    if len(keys) == 0:
        return {0}
    return {int(keys[np.argmin(np.abs(table.times_s[keys] - time_s))]) for time_s in _targets_s(span_s)}


def count_frames(source: BinaryIO, limits: DecodeLimits) -> Iterator[DeepCount]:
    """Decode every frame, and say again and again how many there were; the last count is the result."""
    reader = PictureReader(source, limits)
    try:
        num_decoded = num_damaged = 0
        for decoded in FrameStream(reader.video, 0).frames(len(reader.video.packets) - 1, None):
            num_decoded += 1
            num_damaged += decoded.is_damaged
            if num_decoded % COUNT_EVERY == 0:
                yield DeepCount(num_decoded, num_damaged)
        yield DeepCount(num_decoded, num_damaged)
    finally:
        reader.close()


def _first_clip(source: BinaryIO, limits: DecodeLimits) -> Clip | None:
    """Look for pictures in the way labelling does, where those that were chosen could not be made."""
    reader = PictureReader(source, limits)
    try:
        return next(clips_of(reader, PICTURES, with_flow=False), None)
    finally:
        reader.close()


def _as_clip(pictures: Sequence[Picture], duration_s: float) -> Clip:
    """Pack one to ``NUM_PICTURES`` pictures."""
    packed = [*pictures, *[pictures[-1]] * (NUM_PICTURES - len(pictures))]
    return Clip(
        index=0,
        start_s=0.0,
        end_s=duration_s,
        frame_times_s=tuple(picture.time_s for picture in packed),
        frames_THWC=np.stack([picture.rgb_HWC for picture in packed]),
        flow_q_THWC=np.zeros((NUM_PICTURES, PICTURES.flow_size_px, PICTURES.flow_size_px, 2), np.int8),
        flow_valid_T=np.zeros(NUM_PICTURES, np.bool_),
        camera_T23=np.zeros((NUM_PICTURES, 2, 3), np.float32),
        covered_s=0.0,
        num_substituted=sum(not picture.is_exact for picture in pictures),
    )


def _facts(reader: PictureReader, clip: Clip) -> VideoFacts:
    table, stated = reader.table, reader.video.facts
    height_px, width_px = reader.video.size_px
    gaps_s = np.diff(table.times_s)
    return VideoFacts(
        container=reader.video.container,
        codec=reader.video.codec,
        pixel_format=stated.pixel_format,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=reader.video.rotation_deg,
        bit_depth=stated.bit_depth,
        is_hdr=stated.is_hdr,
        duration_s=table.duration_s,
        mean_fps=len(table) / table.duration_s,
        is_variable_rate=is_irregular(gaps_s),
        num_frames=len(table),
        num_keyframes=int(np.count_nonzero(table.is_key)),
        longest_gap_s=float(gaps_s.max(initial=0.0)),
        stream_bytes=int(reader.video.packets.size_bytes.sum()),
        num_streams=stated.num_streams,
        has_audio=stated.has_audio,
        num_pictures=len(set(clip.frame_times_s)),
        num_damaged_pictures=clip.num_substituted,
    )


def is_irregular(gaps_s: Floats) -> bool:
    """Tell whether frames come at a variable rate: more than one gap in a hundred is 20 % off the usual one."""
    if len(gaps_s) == 0:
        return False
    usual_s = float(np.median(gaps_s))
    is_off = np.abs(gaps_s - usual_s) > max(IRREGULAR_GAP * usual_s, CLOCK_S)
    return bool(is_off.mean() > IRREGULAR_SHARE)
