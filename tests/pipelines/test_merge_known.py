"""What an earlier run predicted, what no worker survived, and what is labelled again, become tables like any other."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from fal_model.errors import FalError, OutputError
from pipelines import label_parts, merge, storage
from pipelines.clip_batches import ClipArrays, ClipOutputs, Failure, KnownVideo
from pipelines.predict import ClipPredictor
from pipelines.records import predictions_schema
from tests.helpers.merging import (
    KEY,
    LABELLER,
    VERSIONS,
    D,
    K,
    L,
    Made,
    T,
    Write,
    begin,
    clips_of,
    merge_all,
    merged,
    part_of,
    read,
    tables_of,
    uri_of,
    write_batches,
)
from tests.helpers.model import SPEC, micro_model


@pytest.fixture(scope="module")
def predictor() -> ClipPredictor:
    return ClipPredictor(micro_model())


@pytest.fixture
def write(predictor: ClipPredictor) -> Write:
    return lambda plan, batches: write_batches(plan, batches, predictor)


def test_videos_known_from_before_come_out_as_if_decoded(tmp_path: Path, write: Write) -> None:
    old = begin(str(tmp_path / "out"), "a", "b", "old")
    before = [Made([*clips_of("a", 0, 1), *clips_of("b", 0, 1)], ["a", "b"], ["old"], thumbnails={"b": "picture"})]
    merged(old, write, before)
    known = KnownVideo(video_id="b", uri="/b", sha256="hash of b", part=part_of(old))
    renamed = KnownVideo(video_id="c", uri="/c", sha256="hash of a", part=part_of(old))
    plan, clean = (begin(str(tmp_path / name), "b", "c", "n") for name in ("out", "clean"))
    counts = merged(plan, write, [Made([*clips_of("n", 0, 1)], ["n"], known=[known, renamed])])
    assert (counts.seen, counts.labelled, counts.reused, counts.clips) == (3, 3, 2, 6)
    assert json.loads(storage.read_bytes(label_parts.thumbnails_uri(plan.output, part_of(plan)))) == {"b": "picture"}

    same_clips = [("c", clip) for _, clip in clips_of("a", 0, 1)]
    made = Made([*clips_of("n", 0, 1), *clips_of("b", 0, 1), *same_clips], ["n", "b", "c"])
    write(clean, [made])
    meta = made.meta()
    meta.videos[2] = replace(meta.videos[2], sha256="hash of a")
    for clip in (4, 5):
        meta.clips[clip] = replace(meta.clips[clip], input_sha256=f"a {clip - 4}")
    outs = ClipPredictor(micro_model()).predict(ClipArrays.from_clips([clip for _, clip in made.clips[:4]], SPEC), 4)
    more = ClipPredictor(micro_model()).predict(ClipArrays.from_clips([clip for _, clip in made.clips[4:]], SPEC), 4)
    joined = (np.concatenate([getattr(outs, f.name), getattr(more, f.name)]) for f in fields(ClipOutputs))
    merge.write_batch(uri_of(clean, 0), meta, ClipOutputs(*joined), 0.25, VERSIONS)
    merge_all(clean, 1)
    assert tables_of(plan) == tables_of(clean)


def test_predictions_that_are_gone_are_not_made_up(tmp_path: Path, write: Write) -> None:
    old = begin(str(tmp_path), "a")
    merged(old, write, [Made(clips_of("a", 0, 1), ["a"])])
    plan = begin(str(tmp_path), "a", "b")
    known = KnownVideo(video_id="b", uri="/b", sha256="hash of b", part=part_of(old))
    words = rf"the predictions of video 'b' are no longer in {part_of(old)}"
    with pytest.raises(FalError, match=words):
        merged(plan, write, [Made(clips_of("a", 0, 1), ["a"], known=[known])])


def test_a_video_that_no_worker_survived_is_a_failure(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b")
    write(plan, [Made(clips_of("a", 0, 1), ["a"])])
    lost = Failure(video_id="b", uri="/b", stage="decode", kind="decoder_crash", message="dead", attempts=3)
    counts = merge_all(plan, 1, [lost])
    assert (counts.labelled, counts.failed, counts.failures_by_kind) == (1, 1, {"decoder_crash": 1})
    assert read(plan, "failures").to_pylist() == [
        {name: value for name, value in asdict(lost).items() if name != "first_window"}
    ]


def test_a_part_of_which_no_video_came_back_is_all_failures(tmp_path: Path) -> None:
    plan = begin(str(tmp_path), "b")
    lost = Failure(video_id="b", uri="/b", stage="decode", kind="decoder_crash", message="dead", attempts=3)
    assert merge_all(plan, 0, [lost]).failed == 1
    assert read(plan, "predictions").schema == predictions_schema(K, L, T, D)


def test_labelled_again_is_what_a_first_run_with_these_settings_gives(tmp_path: Path, write: Write) -> None:
    other = replace(LABELLER, config=replace(LABELLER.config, threshold=0.5))
    plan = begin(str(tmp_path / "out"), "a", "b", "x", "y")
    first = merged(plan, write)
    again = begin(str(tmp_path / "out"), "a", "b", "x", "y", labeller=other, key=replace(KEY, labelling_id="other"))
    predictions = tables_of(plan)["predictions"]
    assert merge.label_again(again, part_of(plan)) == first
    clean = begin(str(tmp_path / "clean"), "a", "b", "x", "y", labeller=other, key=replace(KEY, labelling_id="other"))
    merged(clean, write)
    assert tables_of(again) == tables_of(clean)
    assert tables_of(again)["predictions"] == predictions
    mark = label_parts.read_mark(again.output, part_of(again))
    assert mark is not None
    assert mark.label_id == again.label_id != plan.label_id


def test_what_was_never_predicted_cannot_be_labelled_again(tmp_path: Path, write: Write) -> None:
    plan = begin(str(tmp_path), "a", "b", "x", "y")
    with pytest.raises(OutputError, match=r"has no predictions to label; run the job again"):
        merge.label_again(plan, part_of(plan))
    merged(plan, write)
    with pytest.raises(OutputError, match=r"has no predictions to label; run the job again"):
        merge.label_again(replace(plan, prediction_id="of other weights"), part_of(plan))
