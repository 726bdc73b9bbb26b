"""Read training shards, in an order that any worker count shares. :mod:`pipelines.shard_writing` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.boundary_targets import Span
from fal_model.errors import ConfigError, FalError
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from fal_model.timeline import Timeline
from pipelines import pixels, storage
from pipelines.augmentation import Augmentation
from pipelines.clip_batches import ClipArrays
from pipelines.records import CLIP_SPEC_KEY, SCHEMA_VERSION, TAXONOMY_KEY, VERSION_KEY
from pipelines.shard_writing import Row

PREFETCH_BATCHES = 2
MAX_OPEN_SHARDS = 16
COLUMNS = [
    *("video_id", "start_s", "end_s", "frame_times_s", "frames_jpeg", "flow_q", "flow_valid"),
    *("labels", "frame_labels", "segments"),
]
"""What training needs of a row."""


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
    """Clips with their truth: class ids true in the clip, those at each frame, and from where to where they hold.

    The last two are None where unknown.
    """

    arrays: ClipArrays
    labels: list[list[str]]
    frame_labels: list[list[list[str]] | None]
    spans: list[list[Span] | None]
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
        threads: Threads that decode; the clips are the same.
        max_open_shards: Files that stay open at once.
    """

    batch_clips: int
    rank: int = 0
    num_workers: int = 1
    seed: int = 0
    is_augmented: bool = False
    is_mirrored: bool = False
    is_shuffled: bool = True
    threads: int = 1
    max_open_shards: int = MAX_OPEN_SHARDS

    def __post_init__(self) -> None:
        if self.max_open_shards < 1:
            raise ConfigError([f"max_open_shards: got {self.max_open_shards}, must be at least 1"])
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
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="fal-shards"))
        decoders = ThreadPoolExecutor(plan.threads, thread_name_prefix="fal-jpeg") if plan.threads > 1 else None
        reader = _Reader(shards, plan, per_epoch, stack.enter_context(decoders) if decoders else None)
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

    def __init__(self, shards: ShardSet, plan: ReadPlan, per_epoch: int, pool: ThreadPoolExecutor | None) -> None:
        self.shards, self.plan, self.per_epoch, self._pool = shards, plan, per_epoch, pool
        self._cache: dict[int, _GroupRows] = {}
        self._files: dict[str, pq.ParquetFile] = {}
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def batch(self, step: int) -> ShardBatch:
        epoch, step_in_epoch = divmod(step, self.per_epoch)
        first = step_in_epoch * self.plan.batch_clips
        everyone = self._rows_of_epoch(epoch)[first : first + self.plan.batch_clips]
        share = -(-len(everyone) // self.plan.num_workers)
        first_of_mine = self.plan.rank * share
        mine = everyone[first_of_mine : first_of_mine + share]
        groups = [self._group(int(group)) for group in mine[:, 0]]
        indices = [int(index) for index in mine[:, 1]]
        arrays = _empty_arrays(len(mine), self.shards.spec)

        def decode(at: int) -> None:
            # Seeded by the place in the global batch: the same pixels however many workers share it.
            change = self._augmentation(epoch, first + first_of_mine + at)
            groups[at].decode(indices[at], change, arrays.frames_BTHWC[at], arrays.flow_q_BTHWC[at])

        list(self._pool.map(decode, range(len(mine))) if self._pool else map(decode, range(len(mine))))
        facts = [group.facts[index] for group, index in zip(groups, indices, strict=True)]
        for at, row in enumerate(facts):
            arrays.flow_valid_BT[at] = row["flow_valid"]
        return ShardBatch(
            arrays,
            [row["labels"] for row in facts],
            [row["frame_labels"] for row in facts],
            [spans_of(row, self.shards.taxonomy) for row in facts],
            [row["video_id"] for row in facts],
        )

    def _augmentation(self, epoch: int, place: int) -> Augmentation | None:
        if not self.plan.is_augmented:
            return None
        dice = np.random.default_rng([self.plan.seed, epoch, place])
        return Augmentation.draw(dice, self.shards.spec.flow_size_px, can_mirror=self.plan.is_mirrored)

    def _file(self, uri: str) -> pq.ParquetFile:
        """Open a shard; the last few stay open, so that its footer is not read again for each row group."""
        if uri not in self._files:
            while len(self._files) >= self.plan.max_open_shards:
                self._files.pop(next(iter(self._files))).close(force=True)
            source = storage.open_ranged(uri) if storage.is_remote(uri) else storage.local_path(uri)
            self._files[uri] = pq.ParquetFile(source)
        return self._files[uri]

    def _rows_of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self.shards.groups, self.plan, epoch))
        return self._order[1]

    def _group(self, index: int) -> _GroupRows:
        if index not in self._cache:
            group = self.shards.groups[index]
            table = self._file(group.uri).read_row_group(group.index, columns=COLUMNS, use_threads=False)
            keep = max(4, 2 * self.plan.batch_clips // max(1, group.num_rows))
            while len(self._cache) >= keep:
                self._cache.pop(next(iter(self._cache)))
            self._cache[index] = _GroupRows(group, table, self.shards.spec)
        return self._cache[index]


class _GroupRows:
    """The rows of a row group: pictures stay compressed where Arrow has them, the rest becomes Python objects."""

    def __init__(self, group: Group, table: pa.Table, spec: ClipSpec) -> None:
        self._group, self._spec = group, spec
        self._frames, self._flow = table["frames_jpeg"], table["flow_q"]
        self.facts: list[Row] = table.drop_columns(["frames_jpeg", "flow_q"]).to_pylist()

    def decode(
        self,
        index: int,
        change: Augmentation | None,
        frames_THWC: npt.NDArray[np.uint8],
        flow_q_THWC: npt.NDArray[np.int8],
    ) -> None:
        """Decode a clip into its place of the batch, changed at random or not.

        Raises:
            FalError: the row does not hold what the clip specification says.
        """
        try:
            for data, out_HWC in zip(self._frames[index].values, frames_THWC, strict=True):
                image_HWC = pixels.decode_jpeg(np.frombuffer(data.as_buffer(), np.uint8))
                _check_shape(image_HWC, out_HWC)
                if change:
                    change.picture(image_HWC, out_HWC, self._spec.flow_size_px)
                else:
                    out_HWC[:] = image_HWC
            flow_q = np.frombuffer(self._flow[index].as_buffer(), np.int8).reshape(flow_q_THWC.shape)
            if change:
                change.flow(flow_q, flow_q_THWC)
            else:
                flow_q_THWC[:] = flow_q
        except ValueError as error:
            where = f"{self._group.uri!r}, row group {self._group.index}, row {index}"
            raise FalError(f"shard {where}: damaged, write it again: {error}") from error


def _check_shape(image_HWC: npt.NDArray[np.uint8], out_HWC: npt.NDArray[np.uint8]) -> None:
    if image_HWC.shape != out_HWC.shape:
        raise ValueError(f"got a frame of {image_HWC.shape}, the clip specification says {out_HWC.shape}")


def spans_of(row: Row, taxonomy: Taxonomy) -> list[Span] | None:
    """Return where in its window each segment of a shard row lies; None where the row does not know.

    Augmentation keeps time as it is, so these hold for an augmented clip as well.
    """
    if row["segments"] is None:
        return None
    timeline = Timeline(row["frame_times_s"], row["start_s"], row["end_s"])
    return [
        Span(taxonomy.index(s["label"]), *timeline.places([s["start_s"], s["end_s"]]).tolist()) for s in row["segments"]
    ]


def _empty_arrays(num_clips: int, spec: ClipSpec) -> ClipArrays:
    size, grid, num = spec.size_px, spec.flow_size_px, spec.num_frames
    return ClipArrays(
        np.empty((num_clips, num, size, size, 3), np.uint8),
        np.empty((num_clips, num, grid, grid, 2), np.int8),
        np.empty((num_clips, num), np.bool_),
    )


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
