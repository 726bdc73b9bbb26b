"""From manifest rows to batches of clips: open, hash, decode in a child process, gather. A failure becomes a record."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from fal_model.errors import FailureKind, VideoError, printable
from fal_model.spec import ClipSpec
from pipelines import pixels, receipts, storage
from pipelines.clip_batches import NOTHING_DECODED, BatchMeta, ClipArrays, ClipMeta, Failure, KnownVideo, VideoMeta
from pipelines.clips import Clip
from pipelines.isolation import ALL_WINDOWS, WORKER_MODULE, IsolatedPreparer
from pipelines.known import KnownFile
from pipelines.limits import DecodeLimits

THUMBNAIL_QUALITY = 70
MAX_ATTEMPTS = 2
RETRIED_KINDS = frozenset({FailureKind.DECODER_CRASH, FailureKind.STORAGE_ERROR})
"""What may pass: another video's damage to the decoder, a store in trouble. A video that hung once hangs again."""


INTERNAL_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What only a fault of FAL raises while one video is prepared. What stops the whole job is of other kinds."""


class BatchPreparer:
    """Prepare clips of many videos with one decoder process.

    Args:
        spec: Input contract of the model.
        limits: What a video may cost.
        batch_clips: Clips per batch.
        attempts: How often a video whose decoder crashed or whose store failed is tried in all.
        find_known: Finds by its hash a file whose predictions are there; such a one is not decoded.
        sign_of_life: Called after every clip and every video, and as a file is fetched and read.
        worker: The module that the decoder process runs.
    """

    def __init__(
        self,
        spec: ClipSpec,
        limits: DecodeLimits,
        batch_clips: int,
        attempts: int = MAX_ATTEMPTS,
        *,
        find_known: Callable[[str], KnownFile | None] = lambda _: None,
        sign_of_life: Callable[[], None] = lambda: None,
        worker: str = WORKER_MODULE,
    ) -> None:
        self.spec = spec
        self.limits = limits
        self.batch_clips = batch_clips
        self.attempts = attempts
        self._find_known = find_known
        self._sign_of_life = sign_of_life
        self._versions = receipts.decoding_versions()
        self._decoder = IsolatedPreparer(spec, limits, worker=worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder process."""
        self._decoder.close()

    def batches(
        self,
        rows: Sequence[Mapping[str, Any]],
        thumbnail_ids: frozenset[str] = frozenset(),
        windows: range = ALL_WINDOWS,
    ) -> Iterator[tuple[BatchMeta, ClipArrays, bool]]:
        """Yield the batches of these videos in order, the last one marked (and possibly without clips).

        Args:
            rows: Rows of the manifest.
            thumbnail_ids: Videos of which a picture is kept.
            windows: Which windows of each; the ``VideoMeta`` of a video that has more says so.

        Every video is reported exactly once over all batches: among ``meta.videos``, ``meta.known`` or
        ``meta.failures``. Clips of a video that failed half-way are reported too; whoever merges drops them.
        """
        meta, clips, start = BatchMeta(versions=self._versions), list[Clip](), time.monotonic()
        for row in rows:
            for item in self._video(row, windows):
                self._sign_of_life()
                if isinstance(item, Clip):
                    clips.append(item)
                    meta.clips.append(_clip_meta(row["video_id"], item))
                    if item.index == 0 and row["video_id"] in thumbnail_ids:
                        meta.thumbnails[row["video_id"]] = _thumbnail(item)
                elif isinstance(item, VideoMeta):
                    meta.videos.append(item)
                elif isinstance(item, KnownVideo):
                    meta.known.append(item)
                else:
                    meta.failures.append(item)
                if len(clips) == self.batch_clips:
                    meta.busy_s = time.monotonic() - start
                    yield meta, ClipArrays.from_clips(clips, self.spec), False
                    meta, clips, start = BatchMeta(versions=self._versions), [], time.monotonic()
        meta.busy_s = time.monotonic() - start
        yield meta, ClipArrays.from_clips(clips, self.spec), True

    def _video(self, row: Mapping[str, Any], windows: range) -> Iterator[Clip | VideoMeta | KnownVideo | Failure]:
        attempt, next_index, num_given = 0, 0, 0
        digests: list[str] = []
        while True:
            attempt += 1
            try:
                for item in self._one_pass(row, digests, windows):
                    # A second attempt goes on where the first one broke off: the same file gives the same clips.
                    if isinstance(item, VideoMeta):
                        _check_promise(item, num_given)
                        yield item
                    elif isinstance(item, KnownVideo):
                        yield item
                    elif item.index >= next_index:
                        next_index, num_given = item.index + 1, num_given + 1
                        yield item
            except VideoError as error:
                if error.kind in RETRIED_KINDS and attempt < self.attempts:
                    continue
                yield failure_of(row, error, attempt, windows.start)
            except INTERNAL_ERRORS as error:  # our own mistake about one video: the others are still labelled
                problem = VideoError(FailureKind.INTERNAL_ERROR, f"{type(error).__name__}: {printable(str(error))}")
                yield failure_of(row, problem, attempt, windows.start)
            return

    def _one_pass(
        self, row: Mapping[str, Any], digests: list[str], windows: range
    ) -> Iterator[Clip | VideoMeta | KnownVideo]:
        """Decode a video once; ``digests`` are those of earlier attempts, this one's is added."""
        with storage.open_video(row["uri"], self.limits.max_bytes, self._sign_of_life) as source:
            digest = storage.sha256_of(source, self._sign_of_life)
            storage.check_sha256(digest, row.get("sha256"))
            if digests and digests[-1] != digest:
                raise VideoError(
                    FailureKind.STORAGE_ERROR, "the file was changed between two attempts to read it", "open"
                )
            digests.append(digest)
            known = self._find_known(digest)
            if known is not None:
                yield KnownVideo(video_id=row["video_id"], uri=row["uri"], sha256=digest, part=known.part)
                return
            info, clips = self._decoder.prepare(source, windows)
            served, num_clips = info.served(windows), 0
            for clip in clips:
                num_clips += 1
                yield clip
            if num_clips == 0 and len(served) == info.num_clips:
                raise VideoError(FailureKind.NO_FRAMES, NOTHING_DECODED)
        yield VideoMeta(
            video_id=row["video_id"],
            uri=row["uri"],
            sha256=digest,
            duration_s=info.duration_s,
            num_windows=info.num_clips,
            first_window=served.start,
            next_window=served.stop,
            num_clips=num_clips,
        )


def _check_promise(video: VideoMeta, num_given: int) -> None:
    """Refuse a decoder that gave other clips of the same bytes the second time: they would not be counted right."""
    if video.num_clips != num_given:
        text = f"two attempts gave {num_given} clips in all, the last one {video.num_clips}"
        raise VideoError(FailureKind.DECODER_CRASH, text)


def failure_of(row: Mapping[str, Any], error: VideoError, attempts: int, first_window: int = 0) -> Failure:
    """Make the record of a video that could not be used."""
    return Failure(
        video_id=row["video_id"],
        uri=row["uri"],
        stage=error.stage,
        kind=error.kind.value,
        message=error.message,
        attempts=attempts,
        first_window=first_window,
    )


def _clip_meta(video_id: str, clip: Clip) -> ClipMeta:
    return ClipMeta(
        video_id=video_id,
        clip_index=clip.index,
        start_s=clip.start_s,
        end_s=clip.end_s,
        covered_s=clip.covered_s,
        num_substituted=clip.num_substituted,
        input_sha256=receipts.input_digest(clip.frames_THWC, clip.flow_q_THWC, clip.flow_valid_T),
        frame_times_s=list(clip.frame_times_s),
    )


def _thumbnail(clip: Clip) -> str:
    """Put every second frame side by side as one small JPEG, in base64 for JSON."""
    strip = np.concatenate(list(clip.frames_THWC[::2]), axis=1)
    return base64.b64encode(pixels.encode_jpeg(strip, THUMBNAIL_QUALITY)).decode("ascii")
