"""A labelled corpus becomes shards: parts, splits, failures, and going on after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ManifestError, OutputError
from fal_model.taxonomy import Taxonomy
from pipelines import manifest, shard_job, shards, storage, tables
from pipelines.clips import prepare_clips
from pipelines.config import PrepareConfig
from pipelines.limits import DecodeLimits
from pipelines.records import FAILURES, MANIFEST
from pipelines.shard_job import ShardCounts, ShardPlan, ShardWriter
from pipelines.shard_writing import shard_row
from pipelines.shards import ReadPlan, ShardSet
from pipelines.splits import SplitConfig, assign_splits
from tests.helpers.model import SPEC, TREE
from tests.helpers.video import numbered_video

LIMITS = DecodeLimits()


def table_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"uri": row["video_id"], "labels": ["run"]} | row for row in rows], schema=MANIFEST)


def plan_of(output: Path | str, **changes: Any) -> ShardPlan:
    prepare = PrepareConfig(group_clips=2, part_videos=3)
    return replace(ShardPlan(output=str(output), spec=SPEC, limits=LIMITS, prepare=prepare, taxonomy=TREE), **changes)


# ---- parts --------------------------------------------------------------------------------------------------------

ROWS = st.lists(
    st.fixed_dictionaries(
        {"video_id": st.text(min_size=1, max_size=6), "split": st.sampled_from(["train", "val", "test", None])}
    ),
    max_size=20,
    unique_by=lambda row: str(row["video_id"]),
)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, part_videos=st.integers(1, 5), seed=st.integers(0, 9), keeps_given=st.booleans())
def test_every_video_is_in_one_part_of_its_split(
    rows: list[dict[str, Any]], part_videos: int, seed: int, keeps_given: bool
) -> None:
    split = SplitConfig(seed=seed, keeps_given=keeps_given)
    planned = shard_job.plan_parts(table_of(*rows), PrepareConfig(part_videos=part_videos), split)
    found = {video["video_id"]: video["split"] for part in planned for video in part}
    assert found == assign_splits(table_of(*rows).to_pylist(), split).split_of
    assert not keeps_given or all(found[row["video_id"]] == row["split"] for row in rows if row["split"])
    assert sum(map(len, planned)) == len(rows)
    assert all(1 <= len(part) <= part_videos for part in planned)
    assert all(len({video["split"] for video in part}) == 1 for part in planned)
    names = [part[0]["split"] for part in planned]
    assert names == sorted(names, key=shard_job.SPLITS.index)


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, dice=st.randoms(use_true_random=False))
def test_parts_do_not_depend_on_the_order_of_the_manifest(rows: list[dict[str, Any]], dice: Any) -> None:
    config = PrepareConfig(part_videos=4)
    shuffled = list(rows)
    dice.shuffle(shuffled)
    split = SplitConfig()
    again = shard_job.plan_parts(table_of(*shuffled), config, split)
    assert again == shard_job.plan_parts(table_of(*rows), config, split)


def test_a_part_is_a_mix_of_the_corpus() -> None:
    rows = [{"video_id": f"{name}/{i}", "split": "train"} for name in "ab" for i in range(50)]
    planned = shard_job.plan_parts(table_of(*rows), PrepareConfig(part_videos=20), SplitConfig())
    assert all(len({video["video_id"][0] for video in part}) == 2 for part in planned)


def test_a_manifest_without_truth_or_with_other_splits_is_refused() -> None:
    rows: list[dict[str, Any]] = [
        {"video_id": "a", "labels": None},
        {"video_id": "b", "labels": None},
        {"video_id": "c", "labels": [], "split": "training"},
        {"video_id": "d", "split": "training"},
    ]
    with pytest.raises(ManifestError) as raised:
        shard_job.plan_parts(table_of(*rows), PrepareConfig(), SplitConfig())
    assert raised.value.problems == [
        "2 videos have no labels, first 'a'; [] says that none holds",
        "split 'training' (2 videos): must be one of train, val, test",
    ]


def test_a_group_that_was_given_two_splits_is_refused_but_not_where_every_split_is_given() -> None:
    rows = [{"video_id": "a", "split": "train", "group": "g"}, {"video_id": "b", "split": "test", "group": "g"}]
    with pytest.raises(ManifestError, match=r"^2 videos of one group or content were given different splits: "):
        shard_job.plan_parts(table_of(*rows, {"video_id": "c"}), PrepareConfig(), SplitConfig())
    planned = shard_job.plan_parts(table_of(*rows), PrepareConfig(), SplitConfig())
    assert [video["split"] for part in planned for video in part] == ["train", "test"]


def test_a_flat_taxonomy_is_made_of_the_labels() -> None:
    taxonomy = shard_job.flat_taxonomy(
        table_of({"video_id": "a", "labels": ["run", "jump"]}, {"video_id": "b", "labels": None}, {"video_id": "c"})
    )
    assert [(node.id, node.parent) for node in taxonomy.nodes] == [("jump", None), ("run", None)]
    with pytest.raises(ManifestError, match=r"^no video of the manifest has a label$"):
        shard_job.flat_taxonomy(table_of({"video_id": "a", "labels": []}))


# ---- the output folder --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, count in (("one.mp4", 10), ("three.mp4", 60), ("other.mp4", 20)):
        numbered_video(folder / name, count)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 100)
    return folder


def planned_of(corpus: Path) -> list[list[dict[str, Any]]]:
    segments = [{"label": "tennis", "start_s": 0.0, "end_s": 2.0}]
    rows: list[dict[str, Any]] = [
        {"video_id": "one.mp4", "split": "train", "labels": ["run"]},
        {"video_id": "three.mp4", "split": "train", "labels": ["tennis"], "segments": segments},
        {"video_id": "empty.mp4", "split": "train"},
        {"video_id": "other.mp4", "split": "val", "labels": ["studio"]},
        {"video_id": "text.mp4", "split": "test"},
        {"video_id": "missing.mp4", "split": "test"},
    ]
    rows = [row | {"uri": str(corpus / row["video_id"])} for row in rows]
    return shard_job.plan_parts(table_of(*rows), plan_of(".").prepare, SplitConfig())


def test_a_run_is_recognised_and_others_are_refused(tmp_path: Path, corpus: Path) -> None:
    plan, planned = plan_of(tmp_path), planned_of(corpus)
    for _ in range(2):
        shard_job.open_output(str(tmp_path), plan, planned)
    found = manifest.read_taxonomy(str(tmp_path / "taxonomy.json"))
    assert found.to_dict() == TREE.to_dict()
    others = {
        "settings": replace(plan, prepare=replace(plan.prepare, jpeg_quality=50)),
        "pipeline": replace(plan, spec=replace(SPEC, window_s=3.0)),
        "taxonomy": replace(plan, taxonomy=Taxonomy(TREE.nodes[:2])),
    }
    for name, other in others.items():
        with pytest.raises(OutputError, match=f"was made by another run: {name} differ"):
            shard_job.open_output(str(tmp_path), other, planned)
    for changed in (planned[1:], [[planned[0][0] | {"labels": ["x"]}, *planned[0][1:]], *planned[1:]]):
        with pytest.raises(OutputError, match="was made by another run: manifest differ"):
            shard_job.open_output(str(tmp_path), plan, changed)


def test_a_video_that_has_changed_makes_another_run(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    planned = shard_job.plan_parts(
        table_of({"video_id": "a", "uri": str(tmp_path / "a.mp4")}), PrepareConfig(part_videos=1), SplitConfig()
    )
    plan = plan_of(tmp_path / "out")
    shard_job.open_output(plan.output, plan, planned)
    (tmp_path / "a.mp4").write_bytes(b"other")
    with pytest.raises(OutputError, match="was made by another run: manifest differ"):
        shard_job.open_output(plan.output, plan, planned)


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path, corpus: Path) -> None:
    shard_job.open_output(str(tmp_path), plan_of(tmp_path), planned_of(corpus))
    for name in ("train", "failures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".writing-abc").write_bytes(b"half a shard")
    shard_job.open_output(str(tmp_path), plan_of(tmp_path), planned_of(corpus))
    assert [*(tmp_path / "train").iterdir(), *(tmp_path / "failures").iterdir()] == []


def test_shards_that_fal_did_not_begin_are_left_alone(tmp_path: Path, corpus: Path) -> None:
    storage.write_bytes(str(tmp_path / "val" / "mine.parquet"), b"x")
    with pytest.raises(OutputError, match="already holds 'val' that this FAL did not begin"):
        shard_job.open_output(str(tmp_path), plan_of(tmp_path), planned_of(corpus))


# ---- writing ------------------------------------------------------------------------------------------------------


def write_all(plan: ShardPlan, corpus: Path) -> list[ShardCounts]:
    planned = planned_of(corpus)
    shard_job.open_output(plan.output, plan, planned)
    with ShardWriter(plan) as writer:
        return [writer.write(i) for i in range(len(planned))]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Path, list[ShardCounts]]:
    output = tmp_path_factory.mktemp("shards")
    return output, write_all(plan_of(output), corpus)


def test_counts_add_up(written: tuple[Path, list[ShardCounts]]) -> None:
    output, counts = written
    assert counts == [
        ShardCounts(split="train", seen=3, failed=1, clips=4, failures_by_kind={"empty_file": 1}),
        ShardCounts(split="val", seen=1, failed=0, clips=1, failures_by_kind={}),
        ShardCounts(split="test", seen=2, failed=2, clips=0, failures_by_kind={"not_a_video": 1, "not_found": 1}),
    ]
    assert shard_job.finished(str(output)) == dict(enumerate(counts))


def test_shards_hold_the_clips_of_their_split(written: tuple[Path, list[ShardCounts]], corpus: Path) -> None:
    output, _ = written
    train = ShardSet.open(str(output / "train"))
    (batch,) = shards.read_batches(train, ReadPlan(batch_clips=9, is_shuffled=False))
    assert Counter(batch.video_ids) == {"one.mp4": 1, "three.mp4": 3}
    by_place = dict(zip(zip(batch.video_ids, range(4), strict=True), batch.labels, strict=True))
    assert sorted((video_id, labels) for (video_id, _), labels in by_place.items()) == [
        ("one.mp4", ["run"]),
        ("three.mp4", []),
        ("three.mp4", []),
        ("three.mp4", ["tennis"]),
    ]
    assert ShardSet.open(str(output / "val")).num_clips == 1
    row = tables.read_table(str(output / "val" / "part-00001.parquet")).to_pylist()[0]
    with (corpus / "other.mp4").open("rb") as file:
        _, clips = prepare_clips(file, SPEC, LIMITS)
        video = {"video_id": "other.mp4", "labels": ["studio"], "segments": None}
        assert row == shard_row(video, next(clips), plan_of(".").prepare.jpeg_quality)


def test_failures_are_rows(written: tuple[Path, list[ShardCounts]], corpus: Path) -> None:
    output, _ = written
    table = tables.read_folder(str(output / "failures"))
    assert table is not None
    assert table.schema.equals(FAILURES, check_metadata=True)
    rows = {row["video_id"]: row for row in table.to_pylist()}
    assert {i: row["kind"] for i, row in rows.items()} == {
        "empty.mp4": "empty_file",
        "text.mp4": "not_a_video",
        "missing.mp4": "not_found",
    }
    assert rows["empty.mp4"] == {
        "video_id": "empty.mp4",
        "uri": str(corpus / "empty.mp4"),
        "stage": "open",
        "kind": "empty_file",
        "message": "the file has no bytes",
        "attempts": 1,
    }


def test_the_same_corpus_gives_the_same_bytes(
    written: tuple[Path, list[ShardCounts]], corpus: Path, tmp_path: Path
) -> None:
    output, counts = written
    assert write_all(plan_of(tmp_path), corpus) == counts
    names = [p.relative_to(output) for p in output.rglob("*.parquet")]
    assert len(names) == 6
    for name in names:
        assert (tmp_path / name).read_bytes() == (output / name).read_bytes(), name


def test_a_part_written_again_is_the_same(written: tuple[Path, list[ShardCounts]]) -> None:
    output, counts = written
    before = (output / "train" / "part-00000.parquet").read_bytes()
    with ShardWriter(plan_of(output)) as writer:
        assert writer.write(0) == counts[0]
    assert (output / "train" / "part-00000.parquet").read_bytes() == before


def test_an_output_that_is_gone_is_an_error(corpus: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "out")
    shard_job.open_output(plan.output, plan, planned_of(corpus))
    (tmp_path / "out" / "val").write_bytes(b"a file where a folder should be")
    with ShardWriter(plan) as writer, pytest.raises(OutputError, match=r"cannot write '.*/val/part-00001\.parquet'"):
        writer.write(1)
    assert shard_job.finished(plan.output) == {}


def test_content_other_than_the_manifest_says_is_a_failure(corpus: Path, tmp_path: Path) -> None:
    right = hashlib.sha256((corpus / "one.mp4").read_bytes()).hexdigest()
    rows = [
        {"video_id": digest[:4], "uri": str(corpus / "one.mp4"), "split": "train", "sha256": digest}
        for digest in (right, "0" * 64)
    ]
    plan = plan_of(tmp_path)
    shard_job.open_output(plan.output, plan, shard_job.plan_parts(table_of(*rows), plan.prepare, SplitConfig()))
    with ShardWriter(plan) as writer:
        assert writer.write(0).failures_by_kind == {"corrupt": 1}
    (row,) = tables.read_table(str(tmp_path / "failures" / "part-00000.parquet")).to_pylist()
    assert row["message"] == f"the manifest says sha256 {'0' * 64}, the file has {right}"


def test_counts_are_kept_as_json() -> None:
    counts = ShardCounts(split="val", seen=3, failed=1, clips=9, failures_by_kind={"timeout": 1})
    assert ShardCounts.from_json(counts.to_json()) == counts
    assert json.loads(counts.to_json()) == asdict(counts)


def test_a_corpus_in_s3_becomes_shards_in_s3(bucket: str, corpus: Path) -> None:
    storage.write_bytes(f"{bucket}/videos/one.mp4", (corpus / "one.mp4").read_bytes())
    rows = [{"video_id": name, "uri": f"{bucket}/videos/{name}", "split": "val"} for name in ("one.mp4", "none.mp4")]
    plan = plan_of(f"{bucket}/shards")
    planned = shard_job.plan_parts(table_of(*rows), plan.prepare, SplitConfig())
    for _ in range(2):
        shard_job.open_output(plan.output, plan, planned)
    with ShardWriter(plan) as writer:
        counts = writer.write(0)
    assert (counts.clips, counts.failures_by_kind) == (1, {"not_found": 1})
    assert shard_job.finished(plan.output) == {0: counts}
    assert ShardSet.open(f"{bucket}/shards/val").num_clips == 1
