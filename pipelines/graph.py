"""The Ray Data graphs: which stage runs where, with how much, and why. The only file that knows ray.data.

A stage is a plain class from the files beside this one; resources are said here, at the call.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError

from fal_model.errors import ConfigError, FalError, printable
from pipelines import clip_batches, merge, parts, scan_job, shard_job, standin_files, storage
from pipelines.clip_batches import BatchMeta
from pipelines.config import Resources
from pipelines.labels import Labeller
from pipelines.limits import DecodeLimits
from pipelines.parts import PredictPlan
from pipelines.predict import ClipPredictor
from pipelines.prepare import BatchPreparer
from pipelines.scan_job import ScanCounts, ScanPlan
from pipelines.shard_job import ShardCounts, ShardPlan
from pipelines.standin import StandinCorpus

ACKS = pa.schema(
    [
        ("part_index", pa.int32()),
        ("batch_index", pa.int32()),
        ("is_last", pa.bool_()),
        ("num_videos", pa.int32()),
        ("num_failed", pa.int32()),
        ("num_clips", pa.int32()),
    ]
)
# A video that kills its decoder kills a child process, never an actor; where an actor dies anyway (out of memory) its
# part is tried again this often, then the job ends with an error instead of retrying for ever.
MAX_TASK_RETRIES = 2
OBJECT_STORE_BLOCK_BYTES = 64 << 20
NO_PROGRESS_TIMEOUT_S = 1800
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception)\b.*: ")
_OUR_ERRORS = "fal_model.errors."


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: videos reported so far (those of finished parts included)."""

    num_videos: int
    num_failed: int
    num_clips: int


Report = Callable[[Progress], None]


class PrepareParts:
    """Stage: part indices in, one row per model batch out (1:N). Holds one decoder process."""

    def __init__(self, plan: PredictPlan) -> None:
        self.plan = plan
        self.preparer = BatchPreparer(plan.spec, plan.limits, plan.label.batch_clips)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Prepare the parts named in ``batch``."""
        for part_index in batch["part_index"].to_pylist():
            rows = parts.read_part(self.plan.output, part_index)
            pictured = frozenset(r["video_id"] for r in rows if _hash_share(r["video_id"]) < self.plan.thumbnail_share)
            for i, (meta, arrays, is_last) in enumerate(self.preparer.batches(rows, pictured)):
                yield clip_batches.to_row(part_index, i, is_last=is_last, meta=meta, arrays=arrays)


class PredictBatches:
    """Stage: batches in, one acknowledgement each out (1:1); pixels end here, predictions go to the output folder."""

    def __init__(self, plan: PredictPlan) -> None:
        self.plan = plan
        self.predictor = ClipPredictor.load(plan.model_dir)
        found = self.predictor.model.model_id
        if found != plan.model_id:
            raise FalError(f"model {plan.model_dir!r} is {found} on this worker, the job began with {plan.model_id}")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict the batches of ``batch``, one after the other."""
        acks = [self._one(row) for row in batch.to_pylist()]
        return pa.Table.from_pylist(acks, schema=ACKS)

    def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        start = time.monotonic()
        meta = BatchMeta.from_json(row["meta"])
        outputs = self.predictor.predict(clip_batches.arrays_of(row, self.plan.spec))
        busy_s = time.monotonic() - start
        merge.write_batch(self.plan.output, row["part_index"], row["batch_index"], meta, outputs, busy_s)
        return {
            "part_index": row["part_index"],
            "batch_index": row["batch_index"],
            "is_last": row["is_last"],
            "num_videos": len(meta.videos) + len(meta.failures),
            "num_failed": len(meta.failures),
            "num_clips": len(meta.clips),
        }


def predict_corpus(
    plan: PredictPlan, resources: Resources, labeller: Labeller, num_parts: int, report: Report
) -> list[parts.PartCounts]:
    """Label every part that is not finished yet, and return the counts of all parts.

    Raises:
        FalError: a stage failed for a reason that is not a video's fault.
    """
    done = parts.finished_parts(plan.output)
    todo = [i for i in range(num_parts) if i not in done]
    if todo:
        collector = _PartCollector(plan.output, labeller, done, report)
        for ack in _acks(plan, resources, todo):
            collector.add(ack)
        collector.finish(todo)
        done = collector.done
        for table in ("labels", "failures", "predictions"):
            storage.clear_leftovers(storage.join(plan.output, table))
    return [done[i] for i in range(num_parts)]


def _acks(plan: PredictPlan, resources: Resources, todo: list[int]) -> Iterator[dict[str, Any]]:
    _configure_ray_data(_longest_part_s(plan.label.part_videos, plan.limits))
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    if resources.model_gpus and not num_gpus:
        raise ConfigError([f"resources.model_gpus: got {resources.model_gpus:g}, but Ray sees no GPU"])
    gpus_each = resources.model_gpus or (1.0 if num_gpus else 0.0)
    num_models = resources.model_workers or (int(num_gpus / gpus_each) if gpus_each else 1)
    num_spare = num_cpus - int(num_models * resources.model_cpus) - 1
    num_decoders = _num_decoders(resources, num_spare, len(todo), ray.nodes())
    # 1:N, one core each: decoding is single-threaded by choice, many processes beat many threads.
    batches = _actors(_items(todo), PrepareParts, plan, size=num_decoders, num_cpus=1)
    # 1:1, a GPU each where there is one: a row is already a whole model batch.
    dataset = _actors(batches, PredictBatches, plan, size=num_models, num_cpus=resources.model_cpus, num_gpus=gpus_each)
    yield from _rows_of(dataset, "labelling")


def _longest_part_s(part_videos: int, limits: DecodeLimits) -> float:
    """Return how long a part may go without a sign of life: each of its videos has its own clock in the decoder."""
    return NO_PROGRESS_TIMEOUT_S + part_videos * limits.total_wall_s(limits.max_duration_s)


def _num_decoders(resources: Resources, num_spare: int, num_parts: int, nodes: Sequence[Mapping[str, Any]]) -> int:
    """Choose how many decode: as asked, else one for each spare core, but never more than there are parts."""
    is_one_machine = sum(node["Alive"] for node in nodes) == 1
    # A private Ray on a small machine counts more logical cores than there are real ones.
    num_real = os.cpu_count() or 1
    by_itself = max(1, min(num_spare, num_real) if is_one_machine else num_spare)
    return min(resources.decode_workers or by_itself, num_parts)


def prepare_corpus(plan: ShardPlan, resources: Resources, num_parts: int, report: Report) -> list[ShardCounts]:
    """Write the shards of every part that is not written yet, and return the counts of all parts.

    Raises:
        FalError: a stage failed for a reason that is not a video's fault.
    """
    _configure_ray_data(_longest_part_s(plan.prepare.part_videos, plan.limits))
    done = shard_job.finished(plan.output)
    for row in _rows_of_parts(WriteShards, plan, resources, sorted(set(range(num_parts)) - set(done)), "preparing"):
        done[row["part_index"]] = ShardCounts.from_json(row["counts"])
        report(_progress_of(done.values()))
    return [done[i] for i in range(num_parts)]


def scan_corpus(plan: ScanPlan, resources: Resources, num_parts: int, report: Report) -> list[ScanCounts]:
    """Scan every part that is not finished yet, and return the counts of all parts.

    Raises:
        FalError: a stage failed for a reason that is not a video's fault.
    """
    _configure_ray_data(_longest_part_s(plan.scan.part_videos, plan.limits))
    done = scan_job.finished(plan.output)
    for row in _rows_of_parts(ScanParts, plan, resources, sorted(set(range(num_parts)) - set(done)), "scanning"):
        done[row["part_index"]] = ScanCounts.from_json(row["counts"])
        seen, failed = sum(c.seen for c in done.values()), sum(c.failed for c in done.values())
        report(Progress(num_videos=seen, num_failed=failed, num_clips=0))
    return [done[i] for i in range(num_parts)]


def _rows_of_parts(
    stage: type, plan: object, resources: Resources, todo: list[int], what: str
) -> Iterator[dict[str, Any]]:
    """Run a stage that makes one row of each part, one core each: decoding is single-threaded."""
    if todo:
        num_cpus = int(ray.cluster_resources().get("CPU", 1))
        num_decoders = _num_decoders(resources, num_cpus - 1, len(todo), ray.nodes())
        yield from _rows_of(_actors(_items(todo), stage, plan, size=num_decoders, num_cpus=1), what)


class ScanParts:
    """Stage: part indices in, the counts of a scanned part out (1:1)."""

    def __init__(self, plan: ScanPlan) -> None:
        self.scanner = scan_job.PartScanner(plan)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Scan the parts named in ``batch``."""
        indices = batch["part_index"].to_pylist()
        counts = [self.scanner.write(i).to_json() for i in indices]
        return pa.table({"part_index": pa.array(indices, pa.int32()), "counts": counts})


class WriteShards:
    """Stage: part indices in, the counts of a written shard out (1:1)."""

    def __init__(self, plan: ShardPlan) -> None:
        self.writer = shard_job.ShardWriter(plan)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write the parts named in ``batch``."""
        indices = batch["part_index"].to_pylist()
        counts = [self.writer.write(i).to_json() for i in indices]
        return pa.table({"part_index": pa.array(indices, pa.int32()), "counts": counts})


def _progress_of(counts: Iterable[ShardCounts]) -> Progress:
    known = list(counts)
    return Progress(
        num_videos=sum(c.seen for c in known),
        num_failed=sum(c.failed for c in known),
        num_clips=sum(c.clips for c in known),
    )


def write_standin(
    corpus: StandinCorpus, split: str, folder: str, report: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Write the videos of a split that are not there, one core each, and return all manifest rows in order.

    Raises:
        FalError: a file could not be written, or the folder holds videos of another corpus.
    """
    _configure_ray_data(NO_PROGRESS_TIMEOUT_S)
    chunks = standin_files.chunks_of(corpus, split, folder)

    def write(batch: pa.Table) -> pa.Table:
        index = batch["chunk"][0].as_py()
        rows = standin_files.write_chunk(corpus, chunks[index], folder)
        return pa.table({"chunk": [index], "rows": [json.dumps(rows)]})

    done: dict[int, list[dict[str, Any]]] = {}
    num_done = 0
    if chunks:
        dataset = ray.data.from_items([{"chunk": i} for i in range(len(chunks))], override_num_blocks=len(chunks))
        for row in _rows_of(dataset.map_batches(write, batch_size=1, batch_format="pyarrow", num_cpus=1), "generating"):
            done[row["chunk"]] = json.loads(row["rows"])
            num_done += len(done[row["chunk"]])
            report(num_done)
        storage.clear_leftovers(folder)
    return [row for index in range(len(chunks)) for row in done[index]]


def _items(part_indices: Sequence[int]) -> ray.data.Dataset:
    """Make a dataset of parts, a block each, so that parts spread over workers."""
    return ray.data.from_items([{"part_index": i} for i in part_indices], override_num_blocks=len(part_indices))


def _actors(
    dataset: ray.data.Dataset, stage: type, plan: object, *, size: int, num_cpus: float, num_gpus: float = 0.0
) -> ray.data.Dataset:
    """Append a stage of ``size`` actors that take one row at a time."""
    with warnings.catch_warnings():
        # How often a task is retried has no named parameter in Ray 2.60, and the default is for ever.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        return dataset.map_batches(
            stage,
            fn_constructor_args=(plan,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_task_retries=MAX_TASK_RETRIES,
        )


def _rows_of(dataset: ray.data.Dataset, what: str) -> Iterator[dict[str, Any]]:
    try:
        yield from dataset.iter_rows()
    except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
        raise FalError(f"{what} stopped: {_cause_of(error)}") from error


def _cause_of(error: BaseException) -> str:
    """Find the sentence that helps in what Ray says, which is a chain of tracebacks from other processes as text."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = [x for x in lines if _ERROR_LINE.match(x) and not x.startswith("ray.exceptions.")]
    ours = [x for x in named if x.startswith(_OUR_ERRORS)]
    if named:
        return printable((ours or named)[-1].removeprefix(_OUR_ERRORS))
    return f"{type(error).__name__}: {printable(lines[0]) if lines else 'no message'}"


def _configure_ray_data(no_progress_s: float) -> None:
    # Its plan and timing lines are for Ray's developers; warnings still come through.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = math.ceil(no_progress_s)
    context.target_max_block_size = OBJECT_STORE_BLOCK_BYTES


def _hash_share(video_id: str) -> float:
    """Give each video a fixed point in [0, 1): which ones the report shows does not depend on the run."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") / 2**64


class _PartCollector:
    """Count acknowledgements; hand a part to a merge task when its last batch is in."""

    def __init__(self, output: str, labeller: Labeller, done: dict[int, parts.PartCounts], report: Report) -> None:
        self.done = dict(done)
        self._output = output
        self._labeller = labeller
        self._report = report
        self._batches: dict[int, set[int]] = {}
        self._num_batches: dict[int, int] = {}
        self._merges: dict[Any, int] = {}
        self._videos = sum(c.seen for c in done.values())
        self._failed = sum(c.failed for c in done.values())
        self._clips = sum(c.clips for c in done.values())
        self._merge = ray.remote(num_cpus=0, max_retries=2)(merge.merge_part)

    def add(self, ack: dict[str, Any]) -> None:
        """Count one batch; one that comes again, from a task tried again, changes nothing."""
        part = ack["part_index"]
        seen = self._batches.setdefault(part, set())
        if ack["batch_index"] in seen:
            return
        seen.add(ack["batch_index"])
        self._videos += ack["num_videos"]
        self._failed += ack["num_failed"]
        self._clips += ack["num_clips"]
        if ack["is_last"]:
            self._num_batches[part] = ack["batch_index"] + 1
        if len(seen) == self._num_batches.get(part):
            self._merges[self._merge.remote(self._output, part, len(seen), self._labeller)] = part
        self._collect(timeout_s=0)
        self._report(Progress(num_videos=self._videos, num_failed=self._failed, num_clips=self._clips))

    def finish(self, todo: list[int]) -> None:
        """Wait for the last merges, and prove that no part is missing."""
        while self._merges:
            self._collect(timeout_s=10)
        missing = sorted(set(todo) - set(self.done))
        if missing:
            raise FalError(f"{len(missing)} of {len(todo)} parts did not finish, first {missing[0]}; run the job again")

    def _collect(self, timeout_s: float) -> None:
        if not self._merges:
            return
        ready, _ = ray.wait(list(self._merges), num_returns=1, timeout=timeout_s)
        for ref in ready:
            try:
                self.done[self._merges.pop(ref)] = ray.get(ref)
            except ray.exceptions.RayError as error:
                raise FalError(f"merging stopped: {_cause_of(error)}") from error
