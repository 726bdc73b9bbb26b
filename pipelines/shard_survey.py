"""What a folder of shards holds: counts, sizes, classes, and a sample of clips that shows as many classes as it can."""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pyarrow.parquet as pq

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from pipelines import storage
from pipelines.shards import Group, ShardSet

Row = dict[str, Any]
SPLITS = ("train", "val", "test")
NO_LABEL = ""
FACTS = ["video_id", "clip_index", "start_s", "end_s", "flow_valid", "labels", "frame_labels"]
"""Every column that is small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowConfig:
    """Which clips are shown.

    Attributes:
        clips: How many, over all splits.
        label: Only clips with this class; empty shows clips of as many classes as there is room for.
        seed: Another seed chooses other clips.
    """

    clips: Annotated[int, Range(ge=1, le=500)] = 24
    label: str = ""
    seed: Annotated[int, Range(ge=0, lt=2**31)] = 0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"show.{p}" for p in problems])


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a clip is; ``key`` is its place in the order of choosing."""

    key: bytes
    uri: str
    group: int
    row: int


@dataclass(slots=True, kw_only=True)
class Survey:
    """What one folder of shards holds.

    Attributes:
        name: What the folder is called: mostly a split.
        num_shards: Files.
        num_videos: Videos that have clips.
        num_clips: Clips.
        num_timed: Clips of which it is known at which frames each label holds.
        num_frames: Frames.
        num_flows: Frames with flow.
        clips_s: Length of all clips, seconds.
        file_bytes: Size of the files.
        column_bytes: Size of each column as stored.
        labels: Clips of each class; ``NO_LABEL`` those without any.
        chosen: Clips to show, as many classes as possible among them.
    """

    name: str
    num_shards: int = 0
    num_videos: int = 0
    num_clips: int = 0
    num_timed: int = 0
    num_frames: int = 0
    num_flows: int = 0
    clips_s: float = 0.0
    file_bytes: int = 0
    column_bytes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    chosen: list[Place] = field(default_factory=list)


def open_sets(place: str) -> dict[str, ShardSet]:
    """Open a folder of shards, or the folders of its splits, by name.

    Raises:
        ConfigError: no shards there, or shards of different settings.
    """
    if not any(n.endswith(".parquet") for n in storage.names_in(place)):
        folders = {name: storage.join(place, name) for name in SPLITS}
        found = {n: f for n, f in folders.items() if any(x.endswith(".parquet") for x in storage.names_in(f))}
    else:
        found = {place.rstrip("/").rpartition("/")[2]: place}
    if not found:
        raise ConfigError([f"shards: no .parquet files in {place!r}, nor in {', '.join(SPLITS)} below it"])
    sets = {name: ShardSet.open(folder) for name, folder in found.items() if _has_clips(folder)}
    if not sets:
        raise ConfigError([f"shards: {place!r} holds no clips"])
    if len({(s.spec.pipeline_id, s.taxonomy.taxonomy_id) for s in sets.values()}) > 1:
        raise ConfigError([f"shards: {', '.join(sets)} were made with different clip settings or taxonomies"])
    return sets


def _has_clips(folder: str) -> bool:
    """Tell whether a folder has clips; a split of which every video failed has shards without any."""
    try:
        ShardSet.open(folder)
    except ConfigError as error:
        if error.problems == [f"shards: {folder!r} holds no clips"]:
            return False
        raise
    return True


def survey(name: str, shards: ShardSet, config: ShowConfig, num: int, update: Callable[[int], None]) -> Survey:
    """Read the small columns of every shard and choose clips.

    Args:
        name: What the survey is called.
        shards: The shards.
        config: Which clips to choose.
        num: How many.
        update: Called with the number of clips read so far.
    """
    result = Survey(name=name)
    best: defaultdict[str, list[Place]] = defaultdict(list)
    by_uri: defaultdict[str, list[Group]] = defaultdict(list)
    for group in shards.groups:
        by_uri[group.uri].append(group)
    for uri, groups in by_uri.items():
        with _opened(uri) as (file, size):
            _add_sizes(result, file, size)
            last = ""
            for group in groups:
                for index, row in enumerate(file.read_row_group(group.index, columns=FACTS).to_pylist()):
                    _add_row(result, row)
                    result.num_videos += row["video_id"] != last  # the clips of a video follow on each other
                    last = row["video_id"]
                    key = hashlib.sha256(f"{config.seed}/{last}/{row['clip_index']}".encode()).digest()
                    for label in row["labels"] or [NO_LABEL]:
                        if config.label in {"", label}:
                            bisect.insort(best[label], Place(key, uri, group.index, index))
                            del best[label][num:]
                update(result.num_clips)
    result.chosen = _choose(best, num, config.seed)
    return result


def _add_sizes(result: Survey, file: pq.ParquetFile, size: int) -> None:
    result.num_shards += 1
    result.file_bytes += size
    for group in range(file.metadata.num_row_groups):
        for index in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(index)
            result.column_bytes[column.path_in_schema.partition(".")[0]] += column.total_compressed_size


def _add_row(result: Survey, row: Row) -> None:
    result.num_clips += 1
    result.num_timed += row["frame_labels"] is not None
    result.num_frames += len(row["flow_valid"])
    result.num_flows += sum(row["flow_valid"])
    result.clips_s += row["end_s"] - row["start_s"]
    result.labels.update(row["labels"] or [NO_LABEL])


def _choose(best: dict[str, list[Place]], num: int, seed: int) -> list[Place]:
    """Take one clip of each class in turn, until there are enough."""
    order = sorted(best, key=lambda label: hashlib.sha256(f"{seed}/{label}".encode()).digest())
    chosen: dict[tuple[str, int, int], Place] = {}
    for turn in range(num):
        for label in order:
            if len(chosen) < num and turn < len(best[label]):
                place = best[label][turn]
                chosen.setdefault((place.uri, place.group, place.row), place)
    return list(chosen.values())


def read_clip(place: Place) -> Row:
    """Read one row whole."""
    with _opened(place.uri) as (file, _):
        row: Row = file.read_row_group(place.group).slice(place.row, 1).to_pylist()[0]
        return row


@contextmanager
def _opened(uri: str) -> Iterator[tuple[pq.ParquetFile, int]]:
    with storage.open_ranged(uri) as source:
        size = source.seek(0, 2)
        source.seek(0)
        yield pq.ParquetFile(source), size


def facts_of(sets: dict[str, ShardSet]) -> tuple[ClipSpec, Taxonomy]:
    """Return what all the shards were made with."""
    first = next(iter(sets.values()))
    return first.spec, first.taxonomy
