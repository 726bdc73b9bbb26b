"""The Ray Data graphs: how work is shared out, what is counted, and what is said when a stage breaks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fal_model.errors import ConfigError, FalError
from fal_model.model import FALModel
from fal_model.pretrained import read_meta
from pipelines import graph, manifest, parts, shard_job
from pipelines.config import LabelConfig, PrepareConfig, Resources
from pipelines.graph import Progress
from pipelines.labels import Labeller
from pipelines.limits import DecodeLimits
from pipelines.parts import PredictPlan
from pipelines.splits import SplitConfig
from pipelines.standin import StandinCorpus
from pipelines.standin_files import CHUNK_VIDEOS, manifest_row
from pipelines.standin_files import write_videos as write_standin_files
from tests.helpers.corpus import SPEC, TAXONOMY, digests, write_broken, write_model, write_videos

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


def test_the_pictured_share_of_videos_is_fixed_and_even() -> None:
    points = [graph._hash_share(f"video-{i}") for i in range(2000)]
    assert points == [graph._hash_share(f"video-{i}") for i in range(2000)]
    assert all(0 <= p < 1 for p in points)
    assert sum(p < 0.25 for p in points) / 2000 == pytest.approx(0.25, abs=0.03)


NUM_CORES = os.cpu_count() or 1


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


@pytest.fixture(scope="module")
def model(model_dir: Path) -> FALModel:
    return FALModel.from_pretrained(model_dir)


def claimed(videos: Path, output: Path, model: FALModel, part_videos: int) -> int:
    table, _ = manifest.load_input(str(videos))
    key = parts.RunKey("m", model.model_id, model.taxonomy.taxonomy_id, SPEC.pipeline_id, "s")
    return parts.open_output(str(output), key, table, part_videos)


def plan_of(output: Path, model_dir: Path, thumbnail_share: float = 0.0) -> PredictPlan:
    return PredictPlan(
        output=str(output),
        model_dir=str(model_dir),
        model_id=read_meta(model_dir).model_id,
        spec=SPEC,
        limits=DecodeLimits(),
        label=LabelConfig(batch_clips=4),
        thumbnail_share=thumbnail_share,
    )


def labeller_of(model: FALModel) -> Labeller:
    return Labeller(model.taxonomy, model.calibration, LabelConfig(), model.model_id, SPEC.pipeline_id)


@pytest.mark.ray
def test_only_missing_parts_are_done_and_they_come_out_the_same(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, model: FALModel, tmp_path: Path
) -> None:
    num_parts = claimed(videos, tmp_path / "out", model, 2)
    seen: list[Progress] = []
    plan = plan_of(tmp_path / "out", model_dir)
    counts = graph.predict_corpus(plan, Resources(), labeller_of(model), num_parts, seen.append)
    whole = digests(tmp_path / "out", "labels", "failures", "predictions")

    assert [c.seen for c in counts] == [2, 2, 2]
    assert [c.labelled + c.failed for c in counts] == [2, 2, 2]
    assert sum(c.failed for c in counts) == 3
    assert seen[-1] == Progress(num_videos=6, num_failed=3, num_clips=6)
    assert [p.num_videos for p in seen] == sorted(p.num_videos for p in seen)

    # As after a crash: one part has its files but no marker, of another nothing is left, and a batch lies around.
    (tmp_path / "out" / "_fal" / "done" / "part-00000.json").unlink()
    for path in (tmp_path / "out").rglob("part-00002.*"):
        if path.name != "manifest.parquet":
            path.unlink()
    stale = Path(parts.batch_uri(str(tmp_path / "out"), 0, 0))
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half a file")
    again: list[Progress] = []
    redone = graph.predict_corpus(plan, Resources(), labeller_of(model), num_parts, again.append)

    assert [(c.seen, c.labelled, c.clips) for c in redone] == [(c.seen, c.labelled, c.clips) for c in counts]
    assert again[0].num_videos > 2, "what was finished before is counted"
    assert digests(tmp_path / "out", "labels", "failures", "predictions") == whole
    assert not stale.exists()
    assert ray_local

    finished = graph.predict_corpus(plan, Resources(), labeller_of(model), num_parts, again.append)
    assert finished == redone


@pytest.mark.ray
def test_a_stage_that_breaks_ends_the_run_with_the_reason(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, model: FALModel, tmp_path: Path
) -> None:
    num_parts = claimed(videos, tmp_path / "out", model, 100)
    plan = replace(plan_of(tmp_path / "out", model_dir), model_dir=str(tmp_path / "gone"))
    with pytest.raises(FalError, match=r"labelling stopped: .*gone: no such directory"):
        graph.predict_corpus(plan, Resources(), labeller_of(model), num_parts, print)
    assert ray_local


@pytest.mark.ray
def test_a_worker_with_another_model_and_a_gpu_that_is_not_there_are_refused(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, model: FALModel, tmp_path: Path
) -> None:
    num_parts = claimed(videos, tmp_path / "out", model, 100)
    plan = plan_of(tmp_path / "out", model_dir)
    with pytest.raises(FalError, match=r"is [0-9a-f]{16} on this worker, the job began with another"):
        graph.predict_corpus(replace(plan, model_id="another"), Resources(), labeller_of(model), num_parts, print)
    with pytest.raises(ConfigError, match=r"resources\.model_gpus: got 1, but Ray sees no GPU"):
        graph.predict_corpus(plan, Resources(model_gpus=1), labeller_of(model), num_parts, print)
    assert ray_local


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
def test_an_acknowledgement_counts_once_and_a_missing_part_is_noticed(
    ray_local: tuple[str, ...], videos: Path, model_dir: Path, model: FALModel, tmp_path: Path
) -> None:
    output = str(tmp_path / "out")
    assert claimed(videos, tmp_path / "out", model, 3) == 2
    acks: list[dict[str, Any]] = []
    preparing = graph.PrepareParts(plan_of(tmp_path / "out", model_dir, thumbnail_share=1.0))
    predicting = graph.PredictBatches(plan_of(tmp_path / "out", model_dir))
    for row in preparing(pa.table({"part_index": [0]})):
        acks += predicting(row).to_pylist()
    preparing.preparer.close()
    assert [a["is_last"] for a in acks] == [False] * (len(acks) - 1) + [True]

    seen: list[Progress] = []
    collector = graph._PartCollector(output, labeller_of(model), {}, seen.append)
    # The last one first, and every one twice, also after its part was merged.
    for ack in [*reversed(acks), *acks]:
        collector.add(ack)
    collector.finish([0])
    for ack in acks:
        collector.add(ack)
    collector.finish([0])

    assert collector.done[0].seen == 3
    assert seen[-1].num_videos == 3
    with pytest.raises(FalError, match="1 of 2 parts did not finish, first 1; run the job again"):
        collector.finish([0, 1])
    assert ray_local


@pytest.mark.ray
def test_a_part_that_cannot_be_merged_ends_the_run_with_the_reason(
    ray_local: tuple[str, ...], model: FALModel, tmp_path: Path
) -> None:
    collector = graph._PartCollector(str(tmp_path / "nothing"), labeller_of(model), {}, print)
    ack = {"part_index": 0, "batch_index": 0, "is_last": True, "num_videos": 1, "num_failed": 0, "num_clips": 1}

    def take() -> None:
        collector.add(ack)
        collector.finish([0])

    with pytest.raises(FalError, match=r"merging stopped: .*nothing"):
        take()
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
