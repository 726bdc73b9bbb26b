"""The one path from a file to what a model sees: shards, corpus labelling and HTTP all call :func:`prepare_clips`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fal_model.flow_codec import encode_flow
from fal_model.spec import ClipSpec
from pipelines import pixels, sampling
from pipelines.camera_motion import estimate_camera
from pipelines.frame_table import FrameTable
from pipelines.limits import DecodeLimits
from pipelines.novelty import Novelty, cut_frames
from pipelines.optical_flow import MAX_GAP_STEPS, FlowEstimator
from pipelines.pictures import Picture, PictureReader, in_order

LOOK_SIZE_PX = 24
"""Size at which candidate frames are compared."""
MAX_LEAD_S = 60.0
"""Most seconds of a video that may be decoded in vain to reach a frame of it, for it to be done in ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What is known about a video before its clips are taken.

    Attributes:
        duration_s: From the first presented frame to the end of the last one, seconds, by the packets' times.
        width_px: Width of the upright picture.
        height_px: Height of the upright picture.
        rotation_deg: Clockwise turn that the container asked for and that was applied: 0, 90, 180 or 270.
        codec: Name of the decoder.
        container: Name of the demuxer.
        mean_fps: Presented frames per second.
        num_frames: Presented frames.
        num_clips: Windows the video is cut into; clips of which nothing could be decoded are not delivered.
        is_seekable: Whether windows far into the video can be decoded without what lies before them.
    """

    duration_s: float
    width_px: int
    height_px: int
    rotation_deg: int
    codec: str
    container: str
    mean_fps: float
    num_frames: int
    num_clips: int
    is_seekable: bool

    def served(self, windows: range | None) -> range:
        """Return the windows that are delivered when these are asked for, None for all."""
        everything = range(self.num_clips)
        return (
            everything if windows is None or not self.is_seekable else windows[: max(0, self.num_clips - windows.start)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One window of a video as the model sees it.

    Attributes:
        index: Number of the window in its video, from 0.
        start_s: Start of the window, seconds from the first presented frame of the video.
        end_s: End of the window, seconds, exclusive.
        frame_times_s: Presentation time of each frame, same clock; rising, and repeated where the window has
            fewer frames than asked for. The first may lie before ``start_s`` if that frame is still on screen.
        frames_THWC: RGB, ``T x size_px x size_px x 3``.
        flow_q_THWC: Bytes of ``fal_model.flow_codec``, ``T x flow_size_px x flow_size_px x 2``: right, down.
        flow_valid_T: Where flow could be measured; elsewhere it is 0.
        camera_T23: Motion of the camera, from the flow, as :func:`pipelines.camera_motion.estimate_camera` says;
            the flow itself still contains it. 0 where there is no flow.
        covered_s: Seconds of the window that were looked at, and not in a window before: the strata in which a frame
            was decoded, or at whose centre one was on screen. The sum over a video is what was looked at of it.
        num_substituted: Frames that are not what was filmed: theirs is damaged, and a neighbour stands in, or the
            decoder made up parts.
    """

    index: int
    start_s: float
    end_s: float
    frame_times_s: tuple[float, ...]
    frames_THWC: npt.NDArray[np.uint8]
    flow_q_THWC: npt.NDArray[np.int8]
    flow_valid_T: npt.NDArray[np.bool_]
    camera_T23: npt.NDArray[np.float32]
    covered_s: float
    num_substituted: int


def prepare_clips(
    source: BinaryIO,
    spec: ClipSpec,
    limits: DecodeLimits,
    *,
    with_flow: bool = True,
    windows: range | None = None,
) -> tuple[VideoInfo, Iterator[Clip]]:
    """Read a video into clips, in this process.

    Memory is bounded by one window. The first clip is made before this returns, so a video that gives nothing
    fails here. Untrusted files belong into :class:`pipelines.isolation.IsolatedPreparer`, which runs this function
    in a child process and enforces the limits on time and memory.

    Args:
        source: Readable, seekable; stays open until the clips are taken, and is never closed here.
        spec: What a clip is.
        limits: What the video may cost.
        with_flow: Whether to measure flow; a model without a flow stream needs none, and then ``flow_valid_T`` is
            False everywhere. The frames are the same.
        windows: Only these windows, one after the other; None for all. What is decoded of a whole video in ranges is
            the same, clip for clip. A video in which frames far on cannot be found without those before is done as a
            whole, see :meth:`VideoInfo.served`.

    Returns:
        Facts about the whole video, and the clips asked for in order. Of a video that is done in ranges a range may
        give no clip at all.

    Raises:
        VideoError: the video cannot be used; also while the clips are taken.
    """
    reader = PictureReader(source, limits)
    try:
        before = _info(reader, spec)
        served = before.served(windows)
        clips = clips_of(reader, spec, with_flow=with_flow, windows=served)
        first = _first(reader, clips, is_whole=len(served) == before.num_clips)
        info = _info(reader, spec)  # how the picture is turned is only known with the first one
    except BaseException:  # whatever it was travels on
        reader.close()
        raise
    return info, _closing(reader, first, clips)


def _first(reader: PictureReader, clips: Iterator[Clip], *, is_whole: bool) -> Clip | None:
    """Return the first clip; a whole video that has none is an error."""
    first = next(clips, None)
    if first is None and is_whole:
        raise reader.nothing_decoded()
    return first


def _info(reader: PictureReader, spec: ClipSpec) -> VideoInfo:
    height_px, width_px = reader.video.size_px
    duration_s = reader.table.duration_s
    return VideoInfo(
        duration_s=duration_s,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=reader.video.rotation_deg,
        codec=reader.video.codec,
        container=reader.video.container,
        mean_fps=len(reader.table) / duration_s,
        num_frames=len(reader.table),
        # Cuts move borders, not their number.
        num_clips=sampling.count_windows(duration_s, spec.window_s, spec.window_overlap),
        is_seekable=reader.longest_lead_s() <= MAX_LEAD_S,
    )


def _closing(reader: PictureReader, first: Clip | None, rest: Iterator[Clip]) -> Iterator[Clip]:
    with closing(reader):
        if first is not None:
            yield first
        yield from rest


def clips_of(
    reader: PictureReader, spec: ClipSpec, *, with_flow: bool = True, windows: range | None = None
) -> Iterator[Clip]:
    """Take the clips of an opened video, in order.

    Args:
        reader: The video; not closed here.
        spec: What a clip is.
        with_flow: See :func:`prepare_clips`.
        windows: The windows to take, None for all.

    Yields:
        Clips of the windows of which something could be decoded.

    Raises:
        VideoError: decoding went over a limit, or reading failed.
    """
    pixels.use_one_thread()
    table, flow, seen = reader.table, FlowEstimator(spec), Seen()
    for plan, pictures in _decoded(reader, _plans(table, spec, windows, with_flow=with_flow), spec.size_px):
        frames = _settle(plan.strata, pictures, table)
        if any(frame in pictures for frame in frames):
            neighbours = [plan.neighbour_of[frame] for frame in frames]
            until_s = table.until_s[frames]
            clip, looked_at = _assemble(plan, frames, neighbours, pictures, until_s=until_s, spec=spec, flow=flow)
            covered_s = seen.add(plan.window[0], looked_at)
            if looked_at and (windows is None or plan.index in windows):
                yield replace(clip, covered_s=covered_s)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be decoded for one window: candidates of each stratum, and the neighbours of those."""

    index: int
    window: tuple[float, float]
    strata: sampling.Strata
    neighbour_of: dict[int, int | None]

    def frames(self) -> set[int]:
        return {*self.neighbour_of, *(n for n in self.neighbour_of.values() if n is not None)}


def _plans(table: FrameTable, spec: ClipSpec, asked: range | None, *, with_flow: bool) -> Iterator[_Plan]:
    """Plan the windows asked for, and those before them that have time in common with the first of these."""
    cuts, novelty = cut_frames(table), Novelty(table)
    max_gap_s = MAX_GAP_STEPS * spec.flow_step_s
    windows = sampling.cut_windows(table.duration_s, spec.window_s, table.times_s[cuts].tolist(), spec.window_overlap)
    first, stop = (asked.start, asked.stop) if asked is not None else (0, len(windows))
    begins_s = windows[first][0] if first < len(windows) else math.inf
    for index, window in enumerate(windows[:stop]):
        if (index < first and window[1] <= begins_s) or _shows_nothing(table, window, spec.num_frames):
            continue
        strata = sampling.plan_frames(table, novelty, window, spec.num_frames, spec.sampling)
        candidates = sorted({frame for stratum in strata for frame in stratum})
        nearest: list[int | None] = [None] * len(candidates)
        if with_flow:
            nearest = sampling.choose_neighbours(table, candidates, window, spec.flow_step_s, max_gap_s, cuts)
        yield _Plan(index, window, strata, dict(zip(candidates, nearest, strict=True)))


def _decoded(reader: PictureReader, plans: Iterable[_Plan], size_px: int) -> Iterator[tuple[_Plan, dict[int, Picture]]]:
    """Yield each plan with its pictures; what later windows share with it is decoded along: no frame is met twice."""
    held: dict[int, Picture] = {}
    tried: set[int] = set()
    for plan, later in _with_overlapping(plans):
        mine, last = plan.frames(), max(plan.frames())
        shared = {frame for other in later for frame in other.frames()}
        wanted = (mine | {frame for frame in shared if frame <= last}) - tried
        held |= reader.pictures(sorted(wanted), size_px)
        yield plan, in_order({frame: held[frame] for frame in sorted(mine & set(held))})
        held = {frame: picture for frame, picture in held.items() if frame in shared}
        tried = (tried | wanted) & shared


def _with_overlapping(plans: Iterable[_Plan]) -> Iterator[tuple[_Plan, tuple[_Plan, ...]]]:
    """Yield each plan with the later ones whose windows begin before its own ends."""
    waiting: deque[_Plan] = deque()
    for plan in plans:
        while waiting and plan.window[0] >= waiting[0].window[1]:
            yield waiting.popleft(), tuple(waiting)
        waiting.append(plan)
    while waiting:
        yield waiting.popleft(), tuple(waiting)


class Seen:
    """The time of a video that was looked at until now, windows in order."""

    def __init__(self) -> None:
        self._spans_s: list[tuple[float, float]] = []

    def add(self, window_start_s: float, spans_s: Sequence[tuple[float, float]]) -> float:
        """Add what was looked at in the next window.

        Args:
            window_start_s: Where the window begins, seconds; no earlier than the one before.
            spans_s: Start and end of each stratum that was looked at, rising, seconds.

        Returns:
            How much of it was not looked at in windows before, seconds.
        """
        # Windows begin later and later: what ended before this one begins is never met again. What was looked at may
        # begin later than the window does, where its first frames are damaged.
        self._spans_s = [span for span in self._spans_s if span[1] > window_start_s]
        fresh_s = 0.0
        for start_s, end_s in spans_s:
            again_s = sum(max(0.0, min(end_s, b) - max(start_s, a)) for a, b in self._spans_s)
            fresh_s += end_s - start_s - again_s
        self._spans_s = _joined([*self._spans_s, *spans_s])
        return max(0.0, fresh_s)


def _joined(spans_s: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans_s):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return joined


def _shows_nothing(table: FrameTable, window: tuple[float, float], num_frames: int) -> bool:
    """Tell whether no frame begins in a window and the one before has left the screen: a hole, no clip is made of it.

    Recordings that start at every movement have holes of hours, and to decode the frame before for each window is dear.
    """
    first, stop = np.searchsorted(table.times_s, window)
    first_centre_s = window[0] + (window[1] - window[0]) / num_frames / 2
    return bool(first == stop and table.until_s[first - 1] <= first_centre_s)


def _settle(strata: sampling.Strata, pictures: dict[int, Picture], table: FrameTable) -> list[int]:
    if all(len(candidates) == 1 for candidates in strata):
        return [candidates[0] for candidates in strata]
    candidates = {frame for stratum in strata for frame in stratum} & set(pictures)  # not what flow needs beside them
    looks = {frame: pixels.thumbnail(pictures[frame].rgb_HWC, LOOK_SIZE_PX) for frame in candidates}
    return sampling.settle(strata, looks, table.times_s)


def _assemble(
    plan: _Plan,
    frames: list[int],
    neighbours: list[int | None],
    pictures: dict[int, Picture],
    *,
    until_s: npt.NDArray[np.float64],
    spec: ClipSpec,
    flow: FlowEstimator,
) -> tuple[Clip, list[tuple[float, float]]]:
    """Return the clip, and start and end of each stratum that was looked at."""
    decoded = sorted(set(frames) & set(pictures))
    shown = [pictures[min(decoded, key=lambda d: abs(d - frame))] for frame in frames]
    edges_s = np.linspace(*plan.window, spec.num_frames + 1).tolist()
    flow_q_THWC = np.zeros((spec.num_frames, spec.flow_size_px, spec.flow_size_px, 2), np.int8)
    flow_valid_T = np.zeros(spec.num_frames, np.bool_)
    camera_T23 = np.zeros((spec.num_frames, 2, 3), np.float32)
    looked_at: list[tuple[float, float]] = []
    num_substituted = 0
    for t, (frame, neighbour, picture) in enumerate(zip(frames, neighbours, shown, strict=True)):
        is_exact = frame in pictures and picture.is_exact
        num_substituted += not is_exact
        is_on_screen = is_exact and until_s[t] > (edges_s[t] + edges_s[t + 1]) / 2
        if is_on_screen or edges_s[t] <= picture.time_s < edges_s[t + 1]:
            looked_at.append((edges_s[t], edges_s[t + 1]))
        other = pictures.get(neighbour) if neighbour is not None else None
        # A picture that is another frame, or that the decoder made up in part, shows no motion of the scene.
        if is_exact and other is not None and other.is_exact and other.time_s != picture.time_s:
            flow_HWC = flow(picture.rgb_HWC, other.rgb_HWC, other.time_s - picture.time_s)
            if flow_HWC is not None:
                flow_q_THWC[t], flow_valid_T[t] = encode_flow(flow_HWC), True
                camera_T23[t] = estimate_camera(flow_HWC)
    clip = Clip(
        index=plan.index,
        start_s=plan.window[0],
        end_s=plan.window[1],
        frame_times_s=tuple(picture.time_s for picture in shown),
        frames_THWC=np.stack([picture.rgb_HWC for picture in shown]),
        flow_q_THWC=flow_q_THWC,
        flow_valid_T=flow_valid_T,
        camera_T23=camera_T23,
        covered_s=sum(end_s - start_s for start_s, end_s in looked_at),
        num_substituted=num_substituted,
    )
    return clip, looked_at
