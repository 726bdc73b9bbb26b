"""Batches become the final tables of a part: complete, in order, always the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from fal_model.calibration import Calibration
from fal_model.errors import FalError, OutputError
from pipelines import label_parts, manifest, merge, storage, tables
from pipelines.clip_batches import ClipArrays
from pipelines.label_parts import Mark, PartCounts, mark_finished
from pipelines.labels import VideoPredictions
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.prepare import BatchPreparer
from pipelines.receipts import Receipt
from pipelines.records import FAILURES, RECEIPT_KEY, labels_schema, predictions_schema
from tests.helpers.merging import (
    BATCH_CLIPS,
    BATCHES,
    KEY,
    LABELLER,
    TABLES,
    VERSIONS,
    D,
    K,
    L,
    Made,
    T,
    Write,
    begin,
    clips_of,
    marks,
    merge_all,
    merged,
    part_of,
    read,
    tables_of,
    uri_of,
    write_batches,
)
from tests.helpers.model import SPEC, micro_model
from tests.helpers.video import numbered_video


@pytest.fixture(scope="module")
def predictor() -> ClipPredictor:
    return ClipPredictor(micro_model())


@pytest.fixture
def write(predictor: ClipPredictor) -> Write:
    return lambda plan, batches: write_batches(plan, batches, predictor)


# ---- the tables ---------------------------------------------------------------------------------------------------


RECEIPT = Receipt(
    decoding={"ffmpeg": ["8"]},
    prediction={"device": ["abacus"], "torch": ["2"]},
    batch_clips=BATCH_CLIPS,
    weights_id="w",
    pipeline_id=SPEC.pipeline_id,
)


def test_tables_match_their_schemas_exactly(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    merged(plan, write)
    schemas = {"labels": labels_schema(D), "failures": FAILURES, "predictions": predictions_schema(K, L, T, D)}
    for name, schema in schemas.items():
        found = read(plan, name).schema
        assert found == schema, name
        expected = schema.metadata if name == "failures" else schema.metadata | {RECEIPT_KEY: RECEIPT.to_json()}
        assert found.metadata == expected, name


def test_every_video_is_in_exactly_one_table_in_the_order_of_the_manifest(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "y", "b", "x", "a")
    counts = merged(plan, write)
    assert read(plan, "labels")["video_id"].to_pylist() == ["b", "a"]
    assert read(plan, "failures")["video_id"].to_pylist() == ["y", "x"]
    assert read(plan, "predictions")["video_id"].to_pylist() == ["b", "b", "a", "a"]  # nothing of the failed "x"
    assert counts == PartCounts(
        seen=4,
        labelled=2,
        failed=2,
        clips=4,
        failures_by_kind={"corrupt": 2},
        prepare_busy_s=0.375,
        predict_busy_s=0.75,
    )


def test_frames_that_were_substituted_are_counted_for_labelled_videos(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x")
    damaged = [
        (name, replace(clip, num_substituted=count))
        for (name, clip), count in zip(
            [*clips_of("a", 0, 1), *clips_of("b", 0, 1), *clips_of("x", 0)], (1, 3, 0, 0, 2), strict=True
        )
    ]
    counts = merged(plan, write, [Made(clips=damaged, videos=["a", "b"], failures=["x"])])
    assert (counts.substituted, counts.videos_substituted) == (4, 1)
    assert read(plan, "predictions")["num_substituted"].to_pylist() == [1, 3, 0, 0]


def test_videos_of_which_the_model_is_not_sure_are_counted(tmp_path: Path, write: Write) -> None:
    careful = replace(LABELLER, calibration=Calibration(abstain_below=1.0))
    plan = begin(str(tmp_path), "a", "b", "x", "y", labeller=careful)
    assert merged(plan, write).abstained == 2
    assert read(plan, "labels")["is_abstained"].to_pylist() == [True, True]


def test_rows_say_what_the_batches_said(tmp_path: Path, write: Write, predictor: ClipPredictor) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    merged(plan, write)
    clips = [clip for _, clip in clips_of("b", 0, 1)]
    # The clips were in two batches with others; in a batch of the same size by themselves they give the same bits.
    outs = predictor.predict(ClipArrays.from_clips(clips, SPEC), BATCH_CLIPS)
    rows = read(plan, "predictions").slice(2, 2)
    np.testing.assert_array_equal(tables.matrix(rows["logits"]), outs.logits_BK)
    np.testing.assert_array_equal(tables.matrix(rows["frame_logits"]), outs.frame_logits_BTK.reshape(2, T * K))
    np.testing.assert_array_equal(tables.matrix(rows["offsets"]), outs.offsets_BTL2.reshape(2, T * L * 2))
    np.testing.assert_array_equal(tables.matrix(rows["embedding"]), outs.embedding_BD)
    assert rows["clip_index"].to_pylist() == [0, 1]
    assert rows["frame_times_s"].to_pylist() == [list(clip.frame_times_s) for clip in clips]
    assert rows["sha256"].to_pylist() == ["hash of b"] * 2

    expected = LABELLER.row(
        "b",
        "/b",
        "hash of b",
        VideoPredictions(
            logits_NK=outs.logits_BK,
            frame_logits_NTK=outs.frame_logits_BTK,
            offsets_NTL2=outs.offsets_BTL2,
            embedding_ND=outs.embedding_BD,
            windows_s=[(0.0, 2.0), (2.0, 4.0)],
            frame_times_s=[clip.frame_times_s for clip in clips],
            covered_s=4.0,
            duration_s=4.0,
        ),
    )
    assert read(plan, "labels").slice(1, 1).equals(pa.Table.from_pylist([expected], schema=labels_schema(D)))
    assert expected["labels"]
    assert read(plan, "failures").to_pylist()[0] == {
        "video_id": "x",
        "uri": "/x",
        "stage": "decode",
        "kind": "corrupt",
        "message": "damaged",
        "attempts": 2,
    }


def test_parents_never_score_below_their_children(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    merged(plan, write)
    for row in read(plan, "labels").to_pylist():
        scores = {label["label"]: label["score"] for label in row["labels"]}
        for label in row["labels"]:
            assert [scores[i] for i in label["path"]] == sorted((scores[i] for i in label["path"]), reverse=True)


@pytest.mark.parametrize(
    "batches",
    [
        [Made(failures=["a", "b"])],
        [Made(), Made(failures=["b", "a"]), Made()],
        [Made(clips_of("a", 0), [], ["a", "b"])],
    ],
)
def test_a_part_without_any_good_video_has_empty_tables(tmp_path: Path, write: Write, batches: list[Made]) -> None:
    plan = begin(str(tmp_path), "a", "b")
    counts = merged(plan, write, batches)
    assert (counts.seen, counts.labelled, counts.failed, counts.clips) == (2, 0, 2, 0)
    assert [read(plan, name).num_rows for name in TABLES] == [0, 2, 0]
    assert read(plan, "predictions").schema == predictions_schema(K, L, T, D)


def test_the_same_batches_give_the_same_bytes(tmp_path: Path, write: Write) -> None:
    first, second = (begin(str(tmp_path / name), "a", "b", "x", "y") for name in ("1", "2"))
    merged(first, write)
    write(second, BATCHES)
    write(second, BATCHES[:2])  # a worker that died was run again
    merge_all(second, 3)
    assert tables_of(first) == tables_of(second)


# ---- bookkeeping --------------------------------------------------------------------------------------------------


def test_a_merged_part_is_marked_and_its_batches_are_gone(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    counts = merged(plan, write)
    assert marks(plan) == {part_of(plan): counts}
    assert not (tmp_path / "_fal" / "batches" / "run" / part_of(plan)).exists()
    assert json.loads(storage.read_bytes(label_parts.thumbnails_uri(plan.output, part_of(plan)))) == {"a": "picture"}


def test_merging_a_finished_part_again_changes_nothing(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    counts = merged(plan, write)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert merge_all(plan, 3) == counts
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_merging_in_s3_is_the_same(bucket: str, s3_client: s3fs.S3FileSystem, tmp_path: Path, write: Write) -> None:
    plans = [begin(place, "a", "b", "x", "y") for place in (str(tmp_path), f"{bucket}/out")]
    assert merged(plans[0], write) == merged(plans[1], write)
    assert tables_of(plans[0]) == tables_of(plans[1])
    assert s3_client.find(f"{plans[1].output}/_fal/batches") == []


# ---- what must never happen ---------------------------------------------------------------------------------------

INCOMPLETE = [
    (
        ["a", "b", "x", "y", "z"],
        BATCHES,
        r"part-[0-9a-f]+: videos in no table: \['z'\]; in both tables: \[\]; not of this part: \[\]",
    ),
    (
        ["a", "b", "x", "y"],
        [*BATCHES[:2], Made(failures=["x", "a"])],
        r"part-[0-9a-f]+: videos in no table: \[\]; in both tables: \['a'\]",
    ),
    (
        ["a", "b", "x"],
        BATCHES,
        r"part-[0-9a-f]+: videos in no table: \[\]; in both tables: \[\]; not of this part: \['y'\]",
    ),
]


@pytest.mark.parametrize(("video_ids", "batches", "message"), INCOMPLETE)
def test_a_video_in_no_table_or_in_both_is_refused(
    tmp_path: Path, write: Write, video_ids: list[str], batches: list[Made], message: str
) -> None:
    plan = begin(str(tmp_path), *video_ids)
    with pytest.raises(FalError, match=message):
        merged(plan, write, batches)
    assert marks(plan) == {}
    assert all(storage.names_in(storage.join(plan.output, name)) == [] for name in TABLES)


def test_a_video_whose_clips_are_not_all_there_is_refused(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a")
    with pytest.raises(FalError, match=r"part-[0-9a-f]+: video 'a' has 1 of its 2 clips"):
        merged(plan, write, [Made(clips_of("a", 1), ["a"])])


def test_a_clip_that_came_twice_is_refused(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a")
    with pytest.raises(FalError, match=r"part-[0-9a-f]+: video 'a' has 2 of its 2 clips, numbered \[1, 1\]"):
        merged(plan, write, [Made(clips_of("a", 1, 1), ["a"])])


def test_a_missing_batch_is_refused(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    write(plan, BATCHES)
    with pytest.raises(OutputError, match=r"cannot read '.*/_fal/batches/run/part-[0-9a-f]+/000000-000003\.parquet': "):
        merge_all(plan, 4)


def test_predictions_that_do_not_fit_their_clips_are_refused(
    tmp_path: Path, write: Write, predictor: ClipPredictor
) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    write(plan, BATCHES)
    none = predictor.predict(ClipArrays.from_clips([], SPEC))
    merge.write_batch(uri_of(plan, 1), BATCHES[1].meta(), none, 0.0, VERSIONS)
    with pytest.raises(OutputError, match=r"part-[0-9a-f]+: 3 predictions for 5 clips"):
        merge_all(plan, 3)


def test_an_output_that_is_gone_is_an_error_and_the_part_stays_open(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    write(plan, BATCHES)
    (tmp_path / "failures").write_bytes(b"a file where a folder should be")
    with pytest.raises(OutputError, match="cannot write"):
        merge_all(plan, 3)
    assert marks(plan) == {}
    (tmp_path / "failures").unlink()
    assert merge_all(plan, 3).seen == 4


# ---- from files to labels -----------------------------------------------------------------------------------------


def test_real_videos_become_labels_whatever_the_batch_size(tmp_path: Path, predictor: ClipPredictor) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    numbered_video(videos / "one.mp4", 10)
    numbered_video(videos / "three.mp4", 60)
    (videos / "empty.mp4").touch()
    table, _ = manifest.load_input(str(videos))
    seen: list[list[list[float]]] = []
    for batch_clips in (2, 3):
        planned = label_parts.plan_parts(table, [""] * table.num_rows, KEY.prediction_id, 100)
        plan = begin(str(tmp_path / f"out-{batch_clips}"))
        plan = replace(plan, manifest=label_parts.write_manifest(plan.output, planned), batch_clips=batch_clips)
        rows = label_parts.read_part(plan.manifest, 0)
        with BatchPreparer(SPEC, DecodeLimits(), batch_clips) as preparer:
            made = list(preparer.batches(rows))
        for i, (meta, arrays, _) in enumerate(made):
            merge.write_batch(uri_of(plan, i), meta, predictor.predict(arrays, batch_clips), 0.0, predictor.versions())
        counts = merge_all(plan, len(made))
        assert (counts.seen, counts.labelled, counts.failures_by_kind) == (3, 2, {"empty_file": 1})
        labels = read(plan, "labels")
        assert labels["video_id"].to_pylist() == ["one.mp4", "three.mp4"]
        assert labels["coverage"].to_pylist() == [1, 1]
        seen.append(labels["frame_times_s"].to_pylist())
    assert seen[0] == seen[1]


@pytest.mark.parametrize("table", TABLES)
def test_a_marked_part_that_lost_a_table_is_written_again(tmp_path: Path, write: Write, table: str) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    merged(plan, write)
    before = tables_of(plan)
    storage.remove(label_parts.table_uri(plan.output, table, part_of(plan)))
    merged(plan, write)
    assert tables_of(plan) == before


def test_a_video_of_which_the_model_says_no_number_is_a_failure(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    write(plan, BATCHES)
    uri = uri_of(plan, 1)  # the second clip of "b", and one of "x", which failed anyway
    batch = tables.read_table(uri)
    logits_NK = tables.matrix(batch["logits"]).copy()
    logits_NK[:, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits_NK.ravel()), K)
    place = batch.schema.get_field_index("logits")
    tables.write_table(uri, batch.set_column(place, batch.schema.field("logits"), column))
    counts = merge_all(plan, len(BATCHES))
    assert (counts.seen, counts.labelled, counts.failed) == (4, 1, 3)
    assert counts.failures_by_kind == {"corrupt": 2, "internal_error": 1}
    assert read(plan, "labels")["video_id"].to_pylist() == ["a"]
    (failure,) = [row for row in read(plan, "failures").to_pylist() if row["kind"] == "internal_error"]
    assert (failure["video_id"], failure["stage"]) == ("b", "predict")
    assert failure["message"] == "the model gives values that are no numbers for 1 of 2 clips, first 1"


@pytest.mark.parametrize("label_id", ["other", KEY.label_id])
def test_killed_between_labels_and_mark_a_part_has_labels_of_no_run(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, label_id: str
) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    counts = merged(plan, write)

    def last_mark_is_not_written(output: str, part: str, mark: Mark) -> None:
        if mark.label_id:
            raise KeyboardInterrupt
        mark_finished(output, part, mark)

    monkeypatch.setattr(label_parts, "mark_finished", last_mark_is_not_written)
    with pytest.raises(KeyboardInterrupt):
        merge.label_again(replace(plan, label_id=label_id), part_of(plan))
    monkeypatch.undo()
    mark = label_parts.read_mark(plan.output, part_of(plan))
    assert mark == Mark(plan.prediction_id, "", counts)
    assert merge.label_again(plan, part_of(plan)) == counts


def test_a_part_is_the_same_however_many_clips_are_written_at_once(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = (begin(str(tmp_path / name), "a", "b", "x", "y") for name in ("whole", "pieces"))
    counts = merged(whole, write)
    monkeypatch.setattr(merge, "GROUP_CLIPS", 1)
    assert merged(pieces, write) == counts
    assert all(read(pieces, name).equals(read(whole, name), check_metadata=True) for name in TABLES)
    uri = label_parts.table_uri(pieces.output, "predictions", part_of(pieces))
    assert pq.read_metadata(uri).num_row_groups == 2
