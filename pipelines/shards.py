"""Training shards: Parquet rows of compressed clips, written once, read in an order that any worker count shares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from pipelines import pixels, storage, tables
from pipelines.clip_batches import ClipArrays
from pipelines.clips import Clip
from pipelines.records import CLIP_SPEC_KEY, SCHEMA_VERSION, SHARD, TAXONOMY_KEY, VERSION_KEY

Row = dict[str, Any]
PREFETCH_BATCHES = 2
MAX_OPEN_SHARDS = 16
MAX_SHIFT_SHARE = 0.1
MAX_GAIN = 0.2
MAX_OFFSET = 20.0


# ---- writing ------------------------------------------------------------------------------------------------------


def shard_row(video: Mapping[str, Any], clip: Clip, jpeg_quality: int) -> Row:
    """Make the shard row of one clip of a labelled video.

    A label with segments holds in a clip if it holds at one of its frames; a label of a video without segments holds
    in all its clips, and at which frames is unknown.
    """
    segments = video["segments"]
    frame_labels = None if segments is None else [_active(segments, t) for t in clip.frame_times_s]
    timed = {s["label"] for s in segments or []}
    untimed = [label for label in video["labels"] if label not in timed]
    seen = sorted({label for labels in frame_labels or [] for label in labels} | set(untimed))
    return {
        "video_id": video["video_id"],
        "clip_index": clip.index,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "frame_times_s": list(clip.frame_times_s),
        "frames_jpeg": [pixels.encode_jpeg(frame, jpeg_quality) for frame in clip.frames_THWC],
        "flow_q": clip.flow_q_THWC.tobytes(),
        "flow_valid": clip.flow_valid_T.tolist(),
        "camera": clip.camera_T23.ravel().tolist(),
        "labels": seen,
        "frame_labels": None if untimed else frame_labels,
    }


def _active(segments: Sequence[Mapping[str, Any]], time_s: float) -> list[str]:
    return sorted({s["label"] for s in segments if s["start_s"] <= time_s < s["end_s"]})


def write_shard(uri: str, rows: Sequence[Row], spec: ClipSpec, taxonomy: Taxonomy, group_clips: int) -> None:
    """Write one shard atomically; the clip specification and the taxonomy travel in its metadata.

    Raises:
        OutputError: the place cannot be written.
    """
    metadata = {
        VERSION_KEY: str(SCHEMA_VERSION).encode(),
        CLIP_SPEC_KEY: json.dumps(spec.to_dict()).encode(),
        TAXONOMY_KEY: json.dumps(taxonomy.to_dict()).encode(),
    }
    table = pa.Table.from_pylist(list(rows), schema=SHARD.with_metadata(metadata))
    tables.write_table(uri, table, row_group_rows=group_clips)


# ---- reading ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """One Parquet row group: what is read at once."""

    uri: str
    index: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of a folder, all made with one clip specification and one taxonomy."""

    spec: ClipSpec
    taxonomy: Taxonomy
    groups: tuple[Group, ...]

    @property
    def num_clips(self) -> int:
        """Count the clips."""
        return sum(g.num_rows for g in self.groups)

    @classmethod
    def open(cls, folder: str) -> ShardSet:
        """Read the footers of every shard of a folder.

        Raises:
            ConfigError: no shards or no clips, not shards of this version, or made with different settings.
        """
        uris = [storage.join(folder, n) for n in storage.names_in(folder) if n.endswith(".parquet")]
        if not uris:
            raise ConfigError([f"shards: no .parquet files in {folder!r}"])
        groups: list[Group] = []
        headers: dict[tuple[bytes, bytes], str] = {}
        problems: list[str] = []
        for uri in uris:
            try:
                with storage.open_ranged(uri) as source:
                    file = pq.read_metadata(source)
            except (OSError, pa.ArrowException) as error:
                problems.append(f"shards: {uri!r} cannot be read: {error}")
                continue
            metadata = file.metadata or {}
            if metadata.get(VERSION_KEY) != str(SCHEMA_VERSION).encode() or CLIP_SPEC_KEY not in metadata:
                problems.append(f"shards: {uri!r} is not a shard of schema version {SCHEMA_VERSION}")
                continue
            headers.setdefault((metadata[CLIP_SPEC_KEY], metadata[TAXONOMY_KEY]), uri)
            groups += [Group(uri, i, file.row_group(i).num_rows) for i in range(file.num_row_groups)]
        if len(headers) > 1:
            problems.append(f"shards: made with different clip settings or taxonomies: {', '.join(headers.values())}")
        if not problems and not sum(g.num_rows for g in groups):
            problems.append(f"shards: {folder!r} holds no clips")
        if problems:
            raise ConfigError(problems)
        (spec, taxonomy), _ = next(iter(headers.items()))
        return cls(ClipSpec.from_dict(json.loads(spec)), Taxonomy.from_json(taxonomy.decode()), tuple(groups))


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """Clips with their truth: class ids true in the clip, and at each frame (None where unknown)."""

    arrays: ClipArrays
    labels: list[list[str]]
    frame_labels: list[list[list[str]] | None]
    video_ids: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """Which rows one worker reads.

    The order of an epoch depends on seed and epoch only. A global batch is cut evenly over the workers, so step s
    trains on the same clips however many workers there are, and any step can be resumed.

    Attributes:
        batch_clips: Clips of a global batch.
        rank: This worker.
        num_workers: All workers; must divide ``batch_clips``.
        seed: Seed of order and augmentation.
        is_augmented: Shift and re-light clips at random.
        is_mirrored: Also mirror half of the augmented clips: only where no class tells left from right.
        is_shuffled: False reads in file order, keeping the short last batch.
    """

    batch_clips: int
    rank: int = 0
    num_workers: int = 1
    seed: int = 0
    is_augmented: bool = False
    is_mirrored: bool = False
    is_shuffled: bool = True

    def __post_init__(self) -> None:
        if not self.is_shuffled and self.num_workers > 1:
            raise ConfigError([f"unshuffled reading: got {self.num_workers} workers, must be one"])
        if self.batch_clips % self.num_workers:
            raise ConfigError(
                [f"loop.batch_clips: got {self.batch_clips}, must be a multiple of loop.workers ({self.num_workers})"]
            )


def steps_per_epoch(shards: ShardSet, plan: ReadPlan) -> int:
    """Count the steps of an epoch: whole batches only when shuffled.

    Raises:
        ConfigError: fewer clips than one batch.
    """
    if not plan.is_shuffled:
        return -(-shards.num_clips // plan.batch_clips)
    if shards.num_clips < plan.batch_clips:
        raise ConfigError(
            [f"loop.batch_clips: got {plan.batch_clips}, but the training shards hold only {shards.num_clips} clips"]
        )
    return shards.num_clips // plan.batch_clips


def read_batches(
    shards: ShardSet, plan: ReadPlan, start_step: int = 0, stop_step: int | None = None
) -> Iterator[ShardBatch]:
    """Yield this worker's share of each global step in ``[start_step, stop_step)``, reading ahead in a thread.

    Steps count over epochs. Without ``stop_step`` it is one epoch's number of steps; unshuffled reading ends with the
    pass it is in.
    """
    per_epoch = steps_per_epoch(shards, plan)
    stop = start_step + per_epoch if stop_step is None else stop_step
    if not plan.is_shuffled:
        stop = min(stop, (start_step // per_epoch + 1) * per_epoch)
    reader = _Reader(shards, plan, per_epoch)
    with ThreadPoolExecutor(1, thread_name_prefix="fal-shards") as pool:
        waiting = [
            pool.submit(reader.batch, step) for step in range(start_step, min(stop, start_step + PREFETCH_BATCHES))
        ]
        for step in range(start_step, stop):
            batch = waiting.pop(0).result()
            if step + PREFETCH_BATCHES < stop:
                waiting.append(pool.submit(reader.batch, step + PREFETCH_BATCHES))
            yield batch


class _Reader:
    """Read the rows of one step; keeps the last row groups, because neighbouring steps share them."""

    def __init__(self, shards: ShardSet, plan: ReadPlan, per_epoch: int) -> None:
        self.shards, self.plan, self.per_epoch = shards, plan, per_epoch
        self._cache: dict[int, list[Row]] = {}
        self._files: dict[str, pq.ParquetFile] = {}
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def batch(self, step: int) -> ShardBatch:
        epoch, step_in_epoch = divmod(step, self.per_epoch)
        first = step_in_epoch * self.plan.batch_clips
        everyone = self._rows_of_epoch(epoch)[first : first + self.plan.batch_clips]
        share = -(-len(everyone) // self.plan.num_workers)
        mine = everyone[self.plan.rank * share : (self.plan.rank + 1) * share]
        rows = [self._row(int(group), int(index)) for group, index in mine]
        clips = [decode_row(row, self.shards.spec) for row in rows]
        if self.plan.is_augmented:
            # Seeded by the place in the global batch: the same pixels however many workers share it.
            places = range(first + self.plan.rank * share, first + self.plan.rank * share + len(clips))
            dice = (np.random.default_rng([self.plan.seed, epoch, place]) for place in places)
            clips = [
                augment(*clip, rng, can_mirror=self.plan.is_mirrored) for clip, rng in zip(clips, dice, strict=True)
            ]
        return ShardBatch(
            ClipArrays(
                np.stack([c[0] for c in clips]),
                np.stack([c[1] for c in clips]),
                np.stack([r["flow_valid"] for r in rows]),
            ),
            [row["labels"] for row in rows],
            [row["frame_labels"] for row in rows],
            [row["video_id"] for row in rows],
        )

    def _file(self, uri: str) -> pq.ParquetFile:
        """Open a shard; the last few stay open, so that its footer is not read again for each row group."""
        if uri not in self._files:
            while len(self._files) >= MAX_OPEN_SHARDS:
                self._files.pop(next(iter(self._files))).close(force=True)
            source = storage.open_ranged(uri) if storage.is_remote(uri) else storage.local_path(uri)
            self._files[uri] = pq.ParquetFile(source)
        return self._files[uri]

    def _rows_of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self.shards.groups, self.plan, epoch))
        return self._order[1]

    def _row(self, group_index: int, row_index: int) -> Row:
        if group_index not in self._cache:
            group = self.shards.groups[group_index]
            rows = self._file(group.uri).read_row_group(group.index).to_pylist()
            keep = max(4, 2 * self.plan.batch_clips // max(1, group.num_rows))
            while len(self._cache) >= keep:
                self._cache.pop(next(iter(self._cache)))
            self._cache[group_index] = rows
        return self._cache[group_index][row_index]


def epoch_order(groups: Sequence[Group], plan: ReadPlan, epoch: int) -> npt.NDArray[np.int64]:
    """Order the rows of an epoch as pairs (group, row), shape [num_clips, 2]: groups shuffled, rows within too."""
    indices = np.arange(len(groups))
    rng = np.random.default_rng([plan.seed, epoch])
    if plan.is_shuffled:
        rng.shuffle(indices)
    pairs = []
    for group in indices:
        rows = np.arange(groups[int(group)].num_rows)
        if plan.is_shuffled:
            rng.shuffle(rows)
        pairs.append(np.stack([np.full(len(rows), group), rows], axis=1))
    return np.concatenate(pairs).astype(np.int64)


def decode_row(row: Row, spec: ClipSpec) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]:
    """Decode frames [T, H, W, 3] and flow bytes [T, h, w, 2] of a shard row."""
    frames = np.stack([pixels.decode_jpeg(data) for data in row["frames_jpeg"]])
    grid = spec.flow_size_px
    return frames, np.frombuffer(row["flow_q"], np.int8).reshape(-1, grid, grid, 2)


def augment(
    frames_THWC: npt.NDArray[np.uint8],
    flow_q_THWC: npt.NDArray[np.int8],
    rng: np.random.Generator,
    *,
    can_mirror: bool = False,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]:
    """Shift the picture and its flow together, change brightness and contrast, and mirror half of the clips if allowed.

    Time is kept: order is what some classes are about.
    """
    size, grid = frames_THWC.shape[1], flow_q_THWC.shape[1]
    most = int(grid * MAX_SHIFT_SHARE)
    down, right = (int(v) for v in rng.integers(-most, most + 1, size=2))
    rows, columns = (np.clip(np.arange(size) + round(d * size / grid), 0, size - 1) for d in (down, right))
    flow_rows, flow_columns = (np.clip(np.arange(grid) + d, 0, grid - 1) for d in (down, right))
    gain, offset = 1 + rng.uniform(-MAX_GAIN, MAX_GAIN), rng.uniform(-MAX_OFFSET, MAX_OFFSET)
    table = np.clip(np.arange(256) * gain + offset, 0, 255).astype(np.uint8)
    frames, flow_q = table[frames_THWC[:, rows][:, :, columns]], flow_q_THWC[:, flow_rows][:, :, flow_columns]
    if can_mirror and rng.random() < 1 / 2:
        return frames[:, :, ::-1], flow_q[:, :, ::-1] * np.array([-1, 1], np.int8)
    return frames, flow_q
