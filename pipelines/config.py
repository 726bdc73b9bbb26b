"""Settings of the pipelines: plain dataclasses, each with its unit and its range."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """How a corpus is labelled.

    Attributes:
        part_videos: About how many videos share a part, the unit of resuming and of output files; at most twice as many
            parts are made as this asks for.
        batch_clips: Clips per model batch.
        piece_windows: Most windows of one video that one worker does; a longer video is shared out among workers, and
            each of them fetches it and reads its packets. As it is, an hour of windows of ten seconds.
        threshold: Lowest calibrated score of a label in the output; None takes those that were fitted for each class.
        segment_threshold: Lowest calibrated score of a frame that belongs to a segment; None takes the fitted ones.
        max_labels: Most labels per video in the output, best first.
        max_segments: Most segments per video in the output, the best; the output says how many are left out.
        max_failed_share: Largest share of failed videos with which the job still counts as a success.
        limit: Label only the first so many videos of the manifest; 0 means all. The output folder then holds these and
            no others, whatever it held before.
        thumbnails: Videos of which the report keeps pictures.
    """

    part_videos: Annotated[int, Range(ge=1, le=100_000)] = 64
    batch_clips: Annotated[int, Range(ge=1, le=4096)] = 16
    piece_windows: Annotated[int, Range(ge=1, le=1_000_000)] = 360
    threshold: Annotated[float, Range(ge=0, le=1)] | None = None
    segment_threshold: Annotated[float, Range(ge=0, le=1)] | None = None
    max_labels: Annotated[int, Range(ge=1, le=10_000)] = 50
    max_segments: Annotated[int, Range(ge=1, le=1_000_000)] = 1000
    max_failed_share: Annotated[float, Range(ge=0, le=1)] = 0.1
    limit: Annotated[int, Range(ge=0)] = 0
    thumbnails: Annotated[int, Range(ge=0, le=100_000)] = 2000

    def __post_init__(self) -> None:
        _raise_problems("label", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """How training shards are written.

    Attributes:
        group_clips: Clips per Parquet row group: what training reads at once.
        jpeg_quality: Quality of the stored frames.
        part_videos: Videos per part; a part becomes one shard and is the unit of resuming.
        max_failed_share: Largest share of failed videos with which the job still counts as a success.
    """

    group_clips: Annotated[int, Range(ge=1, le=4096)] = 8
    jpeg_quality: Annotated[int, Range(ge=30, le=100)] = 90
    part_videos: Annotated[int, Range(ge=1, le=100_000)] = 64
    max_failed_share: Annotated[float, Range(ge=0, le=1)] = 0.1

    def __post_init__(self) -> None:
        _raise_problems("prepare", self)


class Duplicates(StrEnum):
    """What becomes of files with the very same bytes.

    Attributes:
        DROP: Only the first by id stays in the clean manifest.
        KEEP: All stay, in one group.
    """

    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanConfig:
    """How a corpus is scanned.

    Attributes:
        part_videos: Videos per part; a part is the unit of resuming and of output files.
        is_deep: Decode every frame, and count those that are damaged; else only a few pictures of each video.
        has_pictures: Keep three small pictures of each video, about 5 kB, for the report.
        duplicates: What becomes of files with the very same bytes.
        max_distance: Bits in which the hashes of like pictures may differ.
        min_share: Part of the pictures of a video that must be like another's for the two to be near-duplicates.
        duration_tolerance_s: How far the manifest may be off a file's length without a warning, seconds.
        max_failed_share: Largest share of failed videos with which the job still counts as a success.
    """

    part_videos: Annotated[int, Range(ge=1, le=100_000)] = 64
    is_deep: bool = False
    has_pictures: bool = True
    duplicates: Duplicates = Duplicates.DROP
    max_distance: Annotated[int, Range(ge=0, le=6)] = 6
    min_share: Annotated[float, Range(ge=0, le=1)] = 0.25
    duration_tolerance_s: Annotated[float, Range(ge=0, le=1e6)] = 1.0
    max_failed_share: Annotated[float, Range(ge=0, le=1)] = 0.1

    def __post_init__(self) -> None:
        _raise_problems("scan", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What each stage may use.

    Attributes:
        decode_workers: Decode actors, one core each; 0 means one for each core the model workers leave.
        max_decode_workers: So many decode actors may it become while there is more work than they can do, which makes a
            cluster that can grow do so; 0 means none are added.
        model_workers: Model actors; 0 means one per GPU, or one on a machine without.
        max_model_workers: So many model actors may it become; 0 means none are added.
        model_cpus: Cores of each model actor. Without a GPU it computes on one, so that every run gives the same bits;
            to use more cores take more actors.
        model_gpus: GPUs of each model actor; 0 runs on the CPU.
        stall_s: How long a worker may give no sign of life before it is ended and its work done again, seconds; longer
            than any single step may take: a wait for the decoder, an object fetched from S3, a batch of the model.
    """

    decode_workers: Annotated[int, Range(ge=0, le=100_000)] = 0
    max_decode_workers: Annotated[int, Range(ge=0, le=100_000)] = 0
    model_workers: Annotated[int, Range(ge=0, le=10_000)] = 0
    max_model_workers: Annotated[int, Range(ge=0, le=10_000)] = 0
    model_cpus: Annotated[float, Range(ge=0, le=256)] = 1.0
    model_gpus: Annotated[float, Range(ge=0, le=8)] = 0.0
    stall_s: Annotated[float, Range(ge=1, le=86_400)] = 1800.0

    def __post_init__(self) -> None:
        _raise_problems("resources", self)


def _raise_problems(section: str, config: object) -> None:
    problems = range_problems(config)
    if problems:
        raise ConfigError([f"{section}.{p}" for p in problems])
