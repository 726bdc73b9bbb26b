"""Batches become the final tables of a part: complete, in order, always the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import s3fs

from fal_model.calibration import Calibration
from fal_model.errors import FalError, OutputError
from pipelines import manifest, merge, parts, storage, tables
from pipelines.clip_batches import BatchMeta, ClipArrays, ClipMeta, Failure, VideoMeta
from pipelines.clips import Clip
from pipelines.config import LabelConfig
from pipelines.labels import Labeller, VideoPredictions
from pipelines.limits import DecodeLimits
from pipelines.parts import RunKey
from pipelines.predict import ClipOutputs, ClipPredictor
from pipelines.prepare import BatchPreparer
from pipelines.records import FAILURES, MANIFEST, labels_schema, predictions_schema
from tests.helpers.model import MICRO, SPEC, TREE, micro_model, random_clip
from tests.helpers.video import numbered_video

KEY = RunKey(manifest_id="a", model_id="m", taxonomy_id="t", pipeline_id="p", settings_id="s")
LABELLER = Labeller(TREE, Calibration(), LabelConfig(threshold=0.01, segment_threshold=0.01), "m", SPEC.pipeline_id)
TABLES = ("labels", "failures", "predictions")
D, K, L, T = MICRO.embedding_dim, len(TREE), len(TREE.leaves), SPEC.num_frames


@pytest.fixture(scope="module")
def predictor() -> ClipPredictor:
    return ClipPredictor(micro_model())


@dataclass(slots=True)
class Made:
    """One batch, by hand: what the decode workers would have sent."""

    clips: list[tuple[str, Clip]] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    thumbnails: dict[str, str] = field(default_factory=dict)

    def meta(self) -> BatchMeta:
        return BatchMeta(
            clips=[
                ClipMeta(
                    video_id=video_id,
                    clip_index=clip.index,
                    start_s=clip.start_s,
                    end_s=clip.end_s,
                    covered_s=clip.covered_s,
                    num_substituted=clip.num_substituted,
                    frame_times_s=list(clip.frame_times_s),
                )
                for video_id, clip in self.clips
            ],
            videos=[
                VideoMeta(video_id=i, uri=f"/{i}", sha256=f"hash of {i}", duration_s=4.0, num_clips=2)
                for i in self.videos
            ],
            failures=[
                Failure(video_id=i, uri=f"/{i}", stage="decode", kind="corrupt", message="damaged", attempts=2)
                for i in self.failures
            ],
            thumbnails=self.thumbnails,
            busy_s=0.125,
        )


def clips_of(video_id: str, *indices: int) -> list[tuple[str, Clip]]:
    return [(video_id, random_clip(sum(video_id.encode()) + i, i)) for i in indices]


def begin(output: str, *video_ids: str) -> str:
    rows = [{"video_id": i, "uri": f"/{i}"} for i in video_ids]
    parts.open_output(output, KEY, pa.Table.from_pylist(rows, schema=MANIFEST), 100)
    return output


Write = Callable[[str, Sequence[Made]], None]


@pytest.fixture
def write(predictor: ClipPredictor) -> Write:
    def write_batches(output: str, batches: Sequence[Made]) -> None:
        for i, made in enumerate(batches):
            out = predictor.predict(ClipArrays.from_clips([clip for _, clip in made.clips], SPEC))
            merge.write_batch(output, 0, i, made.meta(), out, busy_s=0.25)

    return write_batches


# Video "b" goes over two batches; "x" failed half-way and left a clip behind; the last batch is empty.
BATCHES = [
    Made(clips=[*clips_of("a", 0, 1), *clips_of("b", 0)], videos=["a"], failures=["y"], thumbnails={"a": "picture"}),
    Made(clips=[*clips_of("b", 1), *clips_of("x", 0)], videos=["b"]),
    Made(failures=["x"]),
]


def merged(output: str, write: Write, batches: Sequence[Made] = BATCHES) -> parts.PartCounts:
    write(output, batches)
    return merge.merge_part(output, 0, len(batches), LABELLER)


def read(output: str, table: str) -> pa.Table:
    return tables.read_table(parts.table_uri(output, table, 0))


# ---- the tables ---------------------------------------------------------------------------------------------------


def test_tables_match_their_schemas_exactly(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    merged(output, write)
    schemas = {"labels": labels_schema(D), "failures": FAILURES, "predictions": predictions_schema(K, L, T, D)}
    for name, schema in schemas.items():
        found = read(output, name).schema
        assert (found, found.metadata) == (schema, schema.metadata), name


def test_every_video_is_in_exactly_one_table_in_the_order_of_the_manifest(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "y", "b", "x", "a")
    counts = merged(output, write)
    assert read(output, "labels")["video_id"].to_pylist() == ["b", "a"]
    assert read(output, "failures")["video_id"].to_pylist() == ["y", "x"]
    assert read(output, "predictions")["video_id"].to_pylist() == ["b", "b", "a", "a"]  # nothing of the failed "x"
    assert counts == parts.PartCounts(
        seen=4,
        labelled=2,
        failed=2,
        clips=4,
        failures_by_kind={"corrupt": 2},
        prepare_busy_s=0.375,
        predict_busy_s=0.75,
    )


def test_frames_that_were_substituted_are_counted_for_labelled_videos(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x")
    damaged = [
        (name, replace(clip, num_substituted=count))
        for (name, clip), count in zip(
            [*clips_of("a", 0, 1), *clips_of("b", 0, 1), *clips_of("x", 0)], (1, 3, 0, 0, 2), strict=True
        )
    ]
    counts = merged(output, write, [Made(clips=damaged, videos=["a", "b"], failures=["x"])])
    assert (counts.substituted, counts.videos_substituted) == (4, 1)
    assert read(output, "predictions")["num_substituted"].to_pylist() == [1, 3, 0, 0]


def test_videos_of_which_the_model_is_not_sure_are_counted(tmp_path: Path, write: Write) -> None:
    write(begin(str(tmp_path), "a", "b", "x", "y"), BATCHES)
    careful = replace(LABELLER, calibration=Calibration(abstain_below=1.0))
    assert merge.merge_part(str(tmp_path), 0, len(BATCHES), careful).abstained == 2
    assert read(str(tmp_path), "labels")["is_abstained"].to_pylist() == [True, True]


def test_rows_say_what_the_batches_said(tmp_path: Path, write: Write, predictor: ClipPredictor) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    merged(output, write)
    clips = [clip for _, clip in clips_of("b", 0, 1)]
    # In batches as they came: what a clip gives may differ in the last bits with the size of its batch.
    first = predictor.predict(ClipArrays.from_clips([clip for _, clip in BATCHES[0].clips], SPEC))
    second = predictor.predict(ClipArrays.from_clips([clip for _, clip in BATCHES[1].clips], SPEC))
    outs = ClipOutputs(
        *(
            np.stack([getattr(first, name)[2], getattr(second, name)[0]])
            for name in ("logits_BK", "frame_logits_BTK", "offsets_BTL2", "embedding_BD")
        )
    )
    rows = read(output, "predictions").slice(2, 2)
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
    assert read(output, "labels").slice(1, 1).equals(pa.Table.from_pylist([expected], schema=labels_schema(D)))
    assert expected["labels"]
    assert read(output, "failures").to_pylist()[0] == {
        "video_id": "x",
        "uri": "/x",
        "stage": "decode",
        "kind": "corrupt",
        "message": "damaged",
        "attempts": 2,
    }


def test_parents_never_score_below_their_children(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    merged(output, write)
    for row in read(output, "labels").to_pylist():
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
    output = begin(str(tmp_path), "a", "b")
    counts = merged(output, write, batches)
    assert (counts.seen, counts.labelled, counts.failed, counts.clips) == (2, 0, 2, 0)
    assert [read(output, name).num_rows for name in TABLES] == [0, 2, 0]
    assert read(output, "predictions").schema == predictions_schema(K, L, T, D)


def test_the_same_batches_give_the_same_bytes(tmp_path: Path, write: Write) -> None:
    first, second = (begin(str(tmp_path / name), "a", "b", "x", "y") for name in ("1", "2"))
    merged(first, write)
    write(second, BATCHES)
    write(second, BATCHES[:2])  # a worker that died was run again
    merge.merge_part(second, 0, 3, LABELLER)
    for name in TABLES:
        uris = [parts.table_uri(output, name, 0) for output in (first, second)]
        assert storage.read_bytes(uris[0]) == storage.read_bytes(uris[1])


# ---- bookkeeping --------------------------------------------------------------------------------------------------


def test_a_merged_part_is_marked_and_its_batches_are_gone(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    counts = merged(output, write)
    assert parts.finished_parts(output) == {0: counts}
    assert not (tmp_path / "_fal" / "batches" / "part-00000").exists()
    assert json.loads(storage.read_bytes(parts.thumbnails_uri(output, 0))) == {"a": "picture"}


def test_merging_a_finished_part_again_changes_nothing(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    counts = merged(output, write)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert merge.merge_part(output, 0, 3, LABELLER) == counts
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_merging_in_s3_is_the_same(bucket: str, s3_client: s3fs.S3FileSystem, tmp_path: Path, write: Write) -> None:
    outputs = [begin(place, "a", "b", "x", "y") for place in (str(tmp_path), f"{bucket}/out")]
    assert merged(outputs[0], write) == merged(outputs[1], write)
    for name in TABLES:
        assert len({storage.read_bytes(parts.table_uri(output, name, 0)) for output in outputs}) == 1
    assert s3_client.find(f"{outputs[1]}/_fal/batches") == []


# ---- what must never happen ---------------------------------------------------------------------------------------

INCOMPLETE = [
    (
        ["a", "b", "x", "y", "z"],
        BATCHES,
        r"part 0: videos in no table: \['z'\]; in both tables: \[\]; not of this part: \[\]",
    ),
    (
        ["a", "b", "x", "y"],
        [*BATCHES[:2], Made(failures=["x", "a"])],
        r"part 0: videos in no table: \[\]; in both tables: \['a'\]",
    ),
    (["a", "b", "x"], BATCHES, r"part 0: videos in no table: \[\]; in both tables: \[\]; not of this part: \['y'\]"),
]


@pytest.mark.parametrize(("video_ids", "batches", "message"), INCOMPLETE)
def test_a_video_in_no_table_or_in_both_is_refused(
    tmp_path: Path, write: Write, video_ids: list[str], batches: list[Made], message: str
) -> None:
    output = begin(str(tmp_path), *video_ids)
    with pytest.raises(FalError, match=message):
        merged(output, write, batches)
    assert parts.finished_parts(output) == {}
    assert all(storage.names_in(storage.join(output, name)) == [] for name in TABLES)


def test_a_video_whose_clips_are_not_all_there_is_refused(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a")
    with pytest.raises(FalError, match=r"part 0: video 'a' has 1 of its 2 clips"):
        merged(output, write, [Made(clips_of("a", 1), ["a"])])


def test_a_clip_that_came_twice_is_refused(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a")
    with pytest.raises(FalError, match=r"part 0: video 'a' has 2 of its 2 clips, numbered \[1, 1\]"):
        merged(output, write, [Made(clips_of("a", 1, 1), ["a"])])


def test_a_missing_batch_is_refused(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    write(output, BATCHES)
    with pytest.raises(OutputError, match=r"cannot read '.*/_fal/batches/part-00000/000003\.parquet': "):
        merge.merge_part(output, 0, 4, LABELLER)


def test_predictions_that_do_not_fit_their_clips_are_refused(
    tmp_path: Path, write: Write, predictor: ClipPredictor
) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    write(output, BATCHES)
    none = predictor.predict(ClipArrays.from_clips([], SPEC))
    merge.write_batch(output, 0, 1, BATCHES[1].meta(), none, 0.0)
    with pytest.raises(OutputError, match=r"part 0: 3 predictions for 5 clips; delete the output"):
        merge.merge_part(output, 0, 3, LABELLER)


def test_an_output_that_is_gone_is_an_error_and_the_part_stays_open(tmp_path: Path, write: Write) -> None:
    output = begin(str(tmp_path), "a", "b", "x", "y")
    write(output, BATCHES)
    (tmp_path / "failures").write_bytes(b"a file where a folder should be")
    with pytest.raises(OutputError, match="cannot write"):
        merge.merge_part(output, 0, 3, LABELLER)
    assert parts.finished_parts(output) == {}
    (tmp_path / "failures").unlink()
    assert merge.merge_part(output, 0, 3, LABELLER).seen == 4


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
        output = str(tmp_path / f"out-{batch_clips}")
        parts.open_output(output, KEY, table, 100)
        num_batches = 0
        with BatchPreparer(SPEC, DecodeLimits(), batch_clips) as preparer:
            for i, (meta, arrays, _) in enumerate(preparer.batches(parts.read_part(output, 0))):
                merge.write_batch(output, 0, i, meta, predictor.predict(arrays), 0.0)
                num_batches = i + 1
        counts = merge.merge_part(output, 0, num_batches, LABELLER)
        assert (counts.seen, counts.labelled, counts.failures_by_kind) == (3, 2, {"empty_file": 1})
        labels = read(output, "labels")
        assert labels["video_id"].to_pylist() == ["one.mp4", "three.mp4"]
        assert labels["coverage"].to_pylist() == [1, 1]
        seen.append(labels["frame_times_s"].to_pylist())
    assert seen[0] == seen[1]
