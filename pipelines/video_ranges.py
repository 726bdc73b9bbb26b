"""Long videos are done in ranges of windows by several workers: the ranges become one video again, or a failure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fal_model.errors import FailureKind, FalError
from pipelines.clip_batches import NOTHING_DECODED, Failure, VideoMeta


@dataclass(frozen=True, slots=True)
class Joined:
    """Whole videos, and those that failed, by id."""

    videos: dict[str, VideoMeta]
    failures: dict[str, Failure]


def join_ranges(ranges: Iterable[VideoMeta], failures: Iterable[Failure], lost: Iterable[Failure]) -> Joined:
    """Put the ranges of each video together.

    A video of which one range failed has failed: half a video would be labelled as if it were the whole. Of several
    failures the one that comes first in the video is kept, whichever worker was the first to meet one.

    Args:
        ranges: Every range that was prepared, whole videos included, in any order.
        failures: What failed while it was prepared.
        lost: What no worker survived.

    Raises:
        FalError: a range is missing or was done twice, which would lose or repeat clips.
    """
    failed: dict[str, Failure] = {}
    for failure in sorted([*failures, *lost], key=lambda f: f.first_window):
        failed.setdefault(failure.video_id, failure)
    by_video: dict[str, list[VideoMeta]] = {}
    for video in ranges:
        by_video.setdefault(video.video_id, []).append(video)
    videos: dict[str, VideoMeta] = {}
    for video_id, of_video in by_video.items():
        if video_id in failed and not _is_whole(of_video):
            continue
        joined = _join(sorted(of_video, key=lambda v: v.first_window))
        if isinstance(joined, Failure):
            failed[video_id] = joined
        else:
            videos[video_id] = joined
    return Joined(videos, failed)


def _is_whole(ranges: Sequence[VideoMeta]) -> bool:
    """Tell whether a single range is the whole video; it cannot also have failed, which whoever merges must notice."""
    return len(ranges) == 1 and ranges[0].next_window - ranges[0].first_window == ranges[0].num_windows


def _join(ranges: Sequence[VideoMeta]) -> VideoMeta | Failure:
    first = ranges[0]
    if any(
        (r.sha256, r.num_windows, r.duration_s) != (first.sha256, first.num_windows, first.duration_s) for r in ranges
    ):
        return _failure(first, FailureKind.STORAGE_ERROR, "the file was changed while its parts were read", "open")
    starts = [r.first_window for r in ranges]
    if [0, *(r.next_window for r in ranges)] != [*starts, first.num_windows]:
        raise FalError(
            f"video {first.video_id!r}: ranges from windows {starts[:5]} do not make up its {first.num_windows} windows"
        )
    whole = replace(first, next_window=first.num_windows, num_clips=sum(r.num_clips for r in ranges))
    return whole if whole.num_clips else _failure(first, FailureKind.NO_FRAMES, NOTHING_DECODED, "decode")


def _failure(video: VideoMeta, kind: FailureKind, message: str, stage: str) -> Failure:
    return Failure(video_id=video.video_id, uri=video.uri, stage=stage, kind=kind.value, message=message)
