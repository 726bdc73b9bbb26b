"""The Ray Data graphs: how work is shared out, what is counted, and what is said when a stage breaks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fal_model.errors import ConfigError, FalError
from pipelines import graph, label_parts, manifest, shard_job
from pipelines.config import PrepareConfig, Resources
from pipelines.label_run import Progress
from pipelines.limits import DecodeLimits
from pipelines.splits import SplitConfig
from pipelines.standin import StandinCorpus
from pipelines.standin_files import CHUNK_VIDEOS, manifest_row
from pipelines.standin_files import write_videos as write_standin_files
from tests.helpers.corpus import SPEC, TAXONOMY, digests, write_broken, write_model, write_videos
from tests.helpers.label_plan import begin_run
from tests.helpers.processes import wait_until

NUM_CORES = os.cpu_count() or 1

# ---- arithmetic ---------------------------------------------------------------------------------------------------


CHAIN = """ray::MapWorker(MapBatches(WriteShards)).submit() (pid=1, ip=1.2.3.4)
  File "storage.py", line 1, in _write_local
FileExistsError: [Errno 17] File exists: '/out'

The above exception was the direct cause of the following exception:

  File "storage.py", line 2, in write_bytes
fal_model.errors.OutputError: cannot write '/out/a': File exists

The above exception was the direct cause of the following exception:

ray.exceptions.UserCodeException: UDF failed to process a data block.
To change retry attempts, configure this: or that.
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHAIN, "OutputError: cannot write '/out/a': File exists"),
        (CHAIN.split("The above", maxsplit=1)[0], "FileExistsError: [Errno 17] File exists: '/out'"),
        ("The actor died.\n\tclass_name: Stage\n", "RuntimeError: The actor died."),
        ("\n", "RuntimeError: no message"),
    ],
)
def test_the_sentence_that_helps_is_found_in_what_ray_says(text: str, message: str) -> None:
    assert graph._cause_of(RuntimeError(text)) == message


@pytest.mark.parametrize(
    ("asked", "num_spare", "num_parts", "num_nodes", "expected"),
    [
        (0, NUM_CORES + 92, 1000, 1, NUM_CORES),  # one machine: as many as it has cores, whatever Ray counts
        (0, 1, 1000, 1, 1),
        # A cluster: a decoder for every core the models leave, not for every core of its head.
        (0, NUM_CORES + 92, 1000, 2, NUM_CORES + 92),
        (0, -1, 1000, 1, 1),
        (0, 100, 5, 2, 5),
        (7, 3, 1000, 1, 7),
        (7, 3, 2, 1, 2),
    ],
)
def test_every_spare_core_decodes(asked: int, num_spare: int, num_parts: int, num_nodes: int, expected: int) -> None:
    nodes = [{"Alive": True}] * num_nodes + [{"Alive": False}]
    assert graph._num_decoders(Resources(decode_workers=asked), num_spare, num_parts, nodes) == expected


def test_a_pool_grows_only_where_that_is_asked_for() -> None:
    fixed, growing = graph._Pool(3).strategy(), graph._Pool(3, most=7, in_flight=1).strategy()
    assert (fixed.min_size, fixed.max_size, fixed.initial_size) == (3, 3, 3)
    assert (growing.min_size, growing.max_size, growing.initial_size) == (3, 7, 3)
    assert growing.max_tasks_in_flight_per_actor == 1


# ---- with Ray -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 3)
    write_broken(folder)
    return folder


TABLES = ("labels", "failures", "predictions")


@pytest.mark.ray
@pytest.mark.parametrize(("num_items", "most"), [(100, (5, 3)), (2, (2, 2))])
def test_workers_may_become_as_many_as_allowed_but_not_more_than_there_is_work(
    ray_local: tuple[str, ...], num_items: int, most: tuple[int, int]
) -> None:
    assert ray_local
    resources = Resources(decode_workers=1, max_decode_workers=5, model_workers=1, max_model_workers=3)
    workers = graph.label_workers(resources, num_items)
    assert (workers.num_decoders, workers.num_models) == (1, 1)
    assert (workers.max_decoders, workers.max_models) == most
    fixed = graph.label_workers(Resources(decode_workers=2, model_workers=2), 100)
    assert (fixed.max_decoders, fixed.max_models) == (fixed.num_decoders, fixed.num_models) == (2, 2)


@pytest.mark.ray
def test_only_missing_parts_are_done_and_they_come_out_the_same(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, tmp_path: Path
) -> None:
    plan, planned = begin_run(videos, tmp_path, model_dir, 2)
    everything = range(len(planned.names))
    seen: list[Progress] = []
    counts = graph.label_corpus(plan, Resources(), planned, everything, seen.append)
    whole = digests(tmp_path, *TABLES)

    assert sorted(counts) == list(everything)
    assert [counts[i].seen for i in everything] == planned.sizes
    assert sum(c.failed for c in counts.values()) == 3
    last = seen[-1]
    assert (last.num_videos, last.num_failed, last.num_clips, last.num_parts) == (6, 3, 6, len(planned.names))
    assert last.prepare_busy_s > 0
    assert last.predict_busy_s > 0
    assert [p.num_videos for p in seen] == sorted(p.num_videos for p in seen)

    # As after a crash: one part has its files but no mark, of another nothing is left, and a batch lies around.
    (tmp_path / "_fal" / "done" / f"{planned.names[0]}.json").unlink()
    for path in tmp_path.rglob(f"{planned.names[1]}.*"):
        path.unlink()
    stale = Path(label_parts.batch_uri(str(tmp_path), "run", planned.names[0], 0, 0))
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"half a file")
    redone = graph.label_corpus(plan, Resources(), planned, [0, 1], seen.append)

    assert [(redone[i].seen, redone[i].clips) for i in (0, 1)] == [(counts[i].seen, counts[i].clips) for i in (0, 1)]
    assert digests(tmp_path, *TABLES) == whole
    assert not stale.exists()
    assert ray_local


@pytest.mark.ray
def test_a_stage_that_breaks_ends_the_run_with_the_reason(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, tmp_path: Path
) -> None:
    plan, planned = begin_run(videos, tmp_path, model_dir, 100)
    with pytest.raises(FalError, match=r"^labelling stopped: .*gone: no such directory"):
        graph.label_corpus(replace(plan, model_dir=str(tmp_path / "gone")), Resources(), planned, [0], print)
    with pytest.raises(FalError, match=r"is [0-9a-f]{16} on this worker, the job began with another"):
        graph.label_corpus(replace(plan, model_id="another"), Resources(), planned, [0], print)
    with pytest.raises(ConfigError, match=r"resources\.model_gpus: got 1, but Ray sees no GPU"):
        graph.label_corpus(plan, Resources(model_gpus=1), planned, [0], print)
    assert ray_local


@pytest.mark.ray
def test_a_part_that_cannot_be_merged_ends_the_run_with_the_reason(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, tmp_path: Path
) -> None:
    plan, planned = begin_run(videos, tmp_path, model_dir, 100)
    (tmp_path / "failures").write_bytes(b"in the way")
    with pytest.raises(FalError, match=r"^merging stopped: OutputError: cannot write '.*failures"):
        graph.label_corpus(plan, Resources(), planned, [0], print)
    assert ray_local


@pytest.mark.ray
@pytest.mark.slow
def test_merges_that_hang_end_the_run_with_the_reason(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, tmp_path: Path
) -> None:
    plan, parts = begin_run(videos, tmp_path / "out", model_dir, 100)
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer, as a store that has gone away does
    merges = graph._Merges(2, stall_s=0.5)
    merges.start(replace(plan.merge, manifest=str(tmp_path / "pipe")), 0, parts.names[0], [], [])
    assert list(merges.ready(is_last=False)) == []
    with pytest.raises(FalError, match="merging stopped: none of 1 parts was done for 0 s; look at the place"):
        list(merges.ready(is_last=True))
    wait_until(lambda: is_read(tmp_path / "pipe"))  # and let it go
    assert ray_local


def is_read(pipe: Path) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@pytest.mark.ray
def test_shards_that_cannot_be_written_end_the_run_with_the_reason(ray_local: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    rows = [{"video_id": "a", "uri": str(tmp_path / "c" / "a.mp4"), "labels": ["disc"], "split": "train"}]
    manifest.write_manifest(str(tmp_path / "m.jsonl"), rows)
    table, _ = manifest.load_input(str(tmp_path / "m.jsonl"))
    output = tmp_path / "out"
    plan = shard_job.ShardPlan(
        output=str(output), spec=SPEC, limits=DecodeLimits(), prepare=PrepareConfig(), taxonomy=TAXONOMY
    )
    shard_job.open_output(str(output), plan, shard_job.plan_parts(table, PrepareConfig(), SplitConfig()))
    (output / "train").write_bytes(b"in the way")
    with pytest.raises(FalError, match=r"preparing stopped: .*cannot write"):
        graph.prepare_corpus(plan, Resources(), 1, print)
    assert ray_local


@pytest.mark.ray
def test_stand_in_videos_come_back_in_order_and_what_is_there_is_kept(
    ray_local: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = StandinCorpus(classes=17, videos_per_class=4, difficulty="easy", picture="tiny")
    plans = corpus.videos("train")
    assert len(plans) == CHUNK_VIDEOS + 2
    done: list[int] = []
    rows = graph.write_standin(corpus, "train", str(tmp_path / "new"), done.append)
    assert rows == [manifest_row(p) for p in plans]
    assert sorted(done) in ([2, len(plans)], [CHUNK_VIDEOS, len(plans)])
    whole = digests(tmp_path / "new")
    write_standin_files(plans, str(tmp_path / "alone"))  # in this process, one after the other
    assert whole == digests(tmp_path / "alone")

    for name in sorted(whole)[::5]:
        (tmp_path / "new" / name).unlink()
    (tmp_path / "new" / ".writing-left").write_bytes(b"half a video")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir() if not path.name.startswith(".")}
    assert graph.write_standin(corpus, "train", str(tmp_path / "new"), done.append) == rows
    assert digests(tmp_path / "new") == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    only_train = StandinCorpus(classes=2, videos_per_class=1)
    assert graph.write_standin(only_train, "val", str(tmp_path / "none"), done.append) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FalError, match=r"generating stopped: .*cannot write"):
        graph.write_standin(only_train, "train", str(tmp_path / "file" / "train"), done.append)
    assert ray_local
