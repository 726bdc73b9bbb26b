"""The Ray Data graphs: which stage runs where, with how much, and why. The only file that knows ray.data.

A stage is a plain class from the files beside this one; resources are said here, at the call.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError

from fal_model.errors import ConfigError, FalError, printable
from pipelines import merge, scan_job, shard_job, standin_files, storage
from pipelines.clip_batches import Failure
from pipelines.config import Resources
from pipelines.label_parts import PartCounts, PlannedParts
from pipelines.label_run import Item, LabelRun, Workers
from pipelines.label_run import Report as LabelReport
from pipelines.label_stages import LabelPlan, PrepareItems
from pipelines.limits import DecodeLimits
from pipelines.predict_stage import PredictBatches
from pipelines.scan_job import ScanCounts, ScanPlan
from pipelines.shard_job import ShardCounts, ShardPlan
from pipelines.standin import StandinCorpus

# A video that kills its decoder kills a child process, never an actor; where an actor dies anyway (out of memory) its
# part is tried again this often, then the job ends with an error instead of retrying for ever.
MAX_TASK_RETRIES = 2
CPUS_PER_MERGE = 8
"""A merge is a small part of what it takes to decode and predict its videos."""
IN_FLIGHT = 2
"""Tasks that a worker has at once: one in work, one that waits."""
MAX_INIT_DEATHS = 3
"""Workers in a row that may die while they start; more than that, and none of them can start at all."""
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


def label_corpus(
    plan: LabelPlan, resources: Resources, parts: PlannedParts, todo: Sequence[int], report: LabelReport
) -> dict[int, PartCounts]:
    """Label the parts that are not finished, and return the counts of these.

    A work item that does not arrive, because a worker died on it or the node that held it, is done again: first its
    videos one by one, which finds the one to blame; a video that is alone with a dead worker twice is a failure.

    Raises:
        FalError: something failed that is no video's fault.
    """
    _configure_ray_data(NO_PROGRESS_TIMEOUT_S + 2 * plan.stall_s)
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    run = LabelRun(plan.merge, parts, todo, _Merges(max(2, num_cpus // CPUS_PER_MERGE), plan.stall_s), report)
    while items := run.missing():
        for ack in _acks(plan, resources, items):
            run.add(ack)
        run.end_round()
    return run.finish()


class _Merges:
    """Merges as tasks of Ray: started as parts complete, looked after between acknowledgements.

    They claim no core, for they must not wait until the decoders are done. So only some run at once: Ray would start a
    process for each, and where many small parts complete together these would cost more than the merges.

    Args:
        max_running: How many run at once.
        stall_s: How long none of them may be done, once there is nothing else to wait for, seconds.
    """

    def __init__(self, max_running: int, stall_s: float) -> None:
        self._merge = ray.remote(num_cpus=0, max_retries=MAX_TASK_RETRIES)(merge.merge_part)
        self._max_running = max_running
        self._stall_s = stall_s
        self._running: dict[Any, int] = {}
        self._waiting: deque[tuple[merge.MergePlan, int, str, Sequence[merge.Batch], Sequence[Failure]]] = deque()

    def start(
        self,
        plan: merge.MergePlan,
        part_index: int,
        part: str,
        batches: Sequence[merge.Batch],
        lost: Sequence[Failure],
    ) -> None:
        """Start the merge of a part, or let it wait for its turn."""
        self._waiting.append((plan, part_index, part, batches, lost))
        self._fill_up()

    def _fill_up(self) -> None:
        while self._waiting and len(self._running) < self._max_running:
            task = self._waiting.popleft()
            self._running[self._merge.remote(*task)] = task[1]

    def ready(self, *, is_last: bool) -> Iterator[tuple[int, PartCounts]]:
        """Yield the merges that are done; all of them, waited for, when no more will be started.

        Raises:
            FalError: a merge failed, or none of them gets on.
        """
        while self._running:
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=self._stall_s if is_last else 0)
            if not done and is_last:
                raise FalError(
                    f"merging stopped: none of {len(self._running)} parts was done for {self._stall_s:.0f} s; look at "
                    "the place of the output, then run again"
                )
            if not done:
                return
            part_index = self._running.pop(done[0])
            self._fill_up()
            try:
                yield part_index, ray.get(done[0])
            except ray.exceptions.RayError as error:
                raise FalError(f"merging stopped: {_cause_of(error)}") from error


def label_workers(resources: Resources, num_items: int) -> Workers:
    """Choose how many workers the labelling stages have: as asked, else as many as there is room for.

    Raises:
        ConfigError: a GPU is asked for where there is none.
    """
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    if resources.model_gpus and not num_gpus:
        raise ConfigError([f"resources.model_gpus: got {resources.model_gpus:g}, but Ray sees no GPU"])
    gpus_each = resources.model_gpus or (1.0 if num_gpus else 0.0)
    num_models = resources.model_workers or (int(num_gpus / gpus_each) if gpus_each else 1)
    num_spare = num_cpus - int(num_models * resources.model_cpus) - 1
    num_decoders = _num_decoders(resources, num_spare, num_items, ray.nodes())
    return Workers(
        num_decoders=num_decoders,
        num_models=num_models,
        gpus_each=gpus_each,
        max_decoders=max(num_decoders, min(resources.max_decode_workers, num_items)),
        max_models=max(num_models, min(resources.max_model_workers, num_items)),
    )


def _acks(plan: LabelPlan, resources: Resources, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    workers = label_workers(resources, len(items))
    rows = [asdict(item) for item in items]
    source = ray.data.from_items(rows, override_num_blocks=len(rows))
    # What a dying worker takes along is missed and done again; Ray would begin a whole part anew, or end the job.
    source.context.max_errored_blocks = -1
    # Alone on its worker, a video that kills it takes no other along.
    in_flight = 1 if any(item.attempt > 1 for item in items) else IN_FLIGHT
    # 1:N, one core each: decoding is single-threaded by choice, many processes beat many threads.
    batches = _actors(
        source,
        PrepareItems,
        plan,
        _Pool(workers.num_decoders, workers.max_decoders, in_flight),
        num_cpus=1,
        max_task_retries=0,
    )
    # 1:1, a GPU each where there is one: a row is already a whole model batch.
    dataset = _actors(
        batches,
        PredictBatches,
        plan,
        _Pool(workers.num_models, workers.max_models, in_flight),
        num_cpus=resources.model_cpus,
        num_gpus=workers.gpus_each,
        max_task_retries=0,
    )
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
        yield from _rows_of(_actors(_items(todo), stage, plan, _Pool(num_decoders), num_cpus=1), what)


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


@dataclass(frozen=True, slots=True)
class _Pool:
    """How many actors a stage begins with, how many it may become, and how many rows each is handed ahead."""

    size: int
    most: int = 0
    in_flight: int = IN_FLIGHT

    def strategy(self) -> ray.data.ActorPoolStrategy:
        """Return what Ray calls this; actors are added while all are busy and rows wait."""
        return ray.data.ActorPoolStrategy(
            min_size=self.size,
            max_size=max(self.size, self.most),
            initial_size=self.size,
            max_tasks_in_flight_per_actor=self.in_flight,
        )


def _actors(
    dataset: ray.data.Dataset,
    stage: type,
    plan: object,
    pool: _Pool,
    *,
    num_cpus: float,
    num_gpus: float = 0.0,
    max_task_retries: int = MAX_TASK_RETRIES,
) -> ray.data.Dataset:
    """Append a stage of actors that take one row at a time."""
    with warnings.catch_warnings():
        # How often a task is retried has no named parameter in Ray 2.60, and the default is for ever.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        return dataset.map_batches(
            stage,
            fn_constructor_args=(plan,),
            batch_size=1,
            batch_format="pyarrow",
            compute=pool.strategy(),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_task_retries=max_task_retries,
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
    # A traceback for every task of a worker that died; what is missing is said, and done again, by the driver.
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.CRITICAL)
    # Said where a dead worker has left the stage after it without anything to do.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = math.ceil(no_progress_s)
    context.max_consecutive_actor_init_deaths = MAX_INIT_DEATHS
    context.target_max_block_size = OBJECT_STORE_BLOCK_BYTES
