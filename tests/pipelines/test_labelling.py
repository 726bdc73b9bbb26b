"""From predictions to labels: by one function, whether they were just made or lie in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.relabel_corpus import made_up_predictions
from fal_model.calibration import Calibration, Scaling
from fal_model.class_head import ClassHead
from fal_model.errors import OutputError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import labelling, tables
from pipelines.config import LabelConfig
from pipelines.labelling import stored_videos, with_receipt
from pipelines.labels import Labeller
from pipelines.records import RECEIPT_KEY, labels_schema, predictions_schema
from pipelines.regrouping import regroup
from tests.helpers.micro import numbered_taxonomy
from tests.helpers.model import MICRO, SPEC, TREE

LABELLER = Labeller(TREE, Calibration(), LabelConfig(threshold=0.01, segment_threshold=0.01), "m", SPEC.pipeline_id)
D, K, L, T = MICRO.embedding_dim, len(TREE), len(TREE.leaves), SPEC.num_frames


def predictions_of(*clips: tuple[str, int]) -> pa.Table:
    """Make rows of clips, each by the id of its video and its number in it, with outputs that tell them apart."""
    rows = []
    for video_id, index in clips:
        dice = np.random.default_rng([*video_id.encode(), index])
        embedding_D = dice.normal(size=D)
        rows.append(
            {
                "video_id": video_id,
                "uri": f"/{video_id}",
                "sha256": f"hash of {video_id}",
                "duration_s": 4.0,
                "clip_index": index,
                "start_s": 2.0 * index,
                "end_s": 2.0 * index + 2.0,
                "covered_s": 1.5,
                "num_substituted": 0,
                "input_sha256": "",
                "frame_times_s": [2.0 * index + t / T for t in range(T)],
                "logits": dice.normal(size=K),
                "frame_logits": dice.normal(size=T * K).astype(np.float16),
                "offsets": dice.integers(0, 256, T * L * 2),
                "embedding": embedding_D / np.linalg.norm(embedding_D),
            }
        )
    return pa.Table.from_pylist(rows, schema=predictions_schema(K, L, T, D))


def test_a_video_is_labelled_by_all_its_clips_wherever_it_stands() -> None:
    labels = labelling.label_table(predictions_of(("b", 0), ("a", 0), ("a", 1)), LABELLER)
    assert labels.schema.equals(labels_schema(D), check_metadata=True)
    assert labels["video_id"].to_pylist() == ["b", "a"]
    assert labels["coverage"].to_pylist() == [0.375, 0.75]
    assert [len(times) for times in labels["frame_times_s"].to_pylist()] == [T, 2 * T]
    alone = labelling.label_table(predictions_of(("a", 0), ("a", 1)), LABELLER)
    assert labels.slice(1).to_pylist() == alone.to_pylist()


@pytest.mark.parametrize("is_regrouped", [False, True])
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"threshold": 0.0, "segment_threshold": 0.2},
        {"threshold": 1.0},
        {"threshold": 0.1, "segment_threshold": 0.05, "max_labels": 3, "max_segments": 2},
    ],
)
def test_all_videos_at_once_are_labelled_as_one_by_one(
    tmp_path: Path, limits: dict[str, Any], is_regrouped: bool
) -> None:
    tree = numbered_taxonomy(40, 3)
    new = Taxonomy([Node("all", "All"), *(replace(n, parent="all") for n in tree.nodes if n.id.startswith("g"))])
    regrouping = regroup(tree, new, {}) if is_regrouped else None
    calibration = Calibration(clip=(Scaling(temperature=0.8, bias=0.2), Scaling(bias=0.1)), abstain_below=0.8)
    labeller = Labeller(new if is_regrouped else tree, calibration, LabelConfig(**limits), "m", "p", regrouping)
    dice = np.random.default_rng(5)
    alone, ids = [], [f"video-{number:06d}" for number in range(30)]
    for clips_per_video in (1, 3, 9):
        predictions = made_up_predictions(ids, tree, clips_per_video, 16, dice)
        rows = [labeller.row(v.video_id, v.uri, v.sha256, v.predictions) for v in stored_videos(predictions, labeller)]
        table = with_receipt(
            pa.Table.from_pylist(rows, schema=labels_schema(16)), predictions.schema.metadata[RECEIPT_KEY]
        )
        for name, held in (("one by one", table), ("at once", labelling.label_table(predictions, labeller))):
            tables.write_table(str(tmp_path / name), held)
        assert (tmp_path / "at once").read_bytes() == (tmp_path / "one by one").read_bytes()
        alone += rows
    if not limits:
        assert sum(len(row["segments"]) for row in alone) > 30
        assert 0 < sum(row["is_abstained"] for row in alone) < len(alone)


def test_the_receipt_of_the_predictions_goes_with_the_labels() -> None:
    predictions = labelling.with_receipt(predictions_of(("a", 0)), b"receipt")
    labels = labelling.label_table(predictions, LABELLER)
    assert (labels.schema.metadata or {})[RECEIPT_KEY] == b"receipt"
    assert labelling.with_receipt(predictions, None) is predictions


def test_no_predictions_give_no_labels() -> None:
    assert labelling.label_table(predictions_of(), LABELLER).num_rows == 0


def test_stored_outputs_get_their_axes_back() -> None:
    (video,) = labelling.stored_videos(predictions_of(("a", 0), ("a", 1)), LABELLER)
    found = video.predictions
    assert found.logits_NK.shape == (2, K)
    assert found.frame_logits_NTK.shape == (2, T, K)
    assert found.offsets_NTL2.shape == (2, T, L, 2)
    assert found.embedding_ND.shape == (2, D)
    assert found.windows_s == [(0.0, 2.0), (2.0, 4.0)]
    assert (found.covered_s, found.duration_s) == (3.0, 4.0)


def test_predictions_of_other_classes_are_refused() -> None:
    other = Labeller(numbered_taxonomy(40, 3), Calibration(), LabelConfig(), "m", SPEC.pipeline_id)
    words = f"the predictions are of {K} classes, the taxonomy has {len(other.taxonomy)}"
    with pytest.raises(OutputError, match=words):
        labelling.label_table(predictions_of(("a", 0)), other)


def with_head(dim: int) -> Labeller:
    tree = Taxonomy([Node("warm", "Warm"), Node("cold", "Cold"), Node("icy", "Icy", "cold")])
    weight_KE = np.random.default_rng(0).normal(size=(3, dim)).astype(np.float32)
    head = ClassHead(
        taxonomy=tree,
        calibration=Calibration(),
        model_weights_id="w",
        weight_KE=weight_KE,
        bias_K=np.zeros(3, np.float32),
    )
    config = LabelConfig(threshold=0.01, segment_threshold=0.01)
    return Labeller(tree, Calibration(), config, "m", SPEC.pipeline_id, None, head)


def test_a_head_says_of_each_frame_what_it_says_of_the_clip() -> None:
    labeller, table = with_head(D), predictions_of(("a", 0), ("a", 1), ("b", 0))
    assert labeller.head is not None
    (a, b) = (video.predictions for video in labelling.stored_videos(table, labeller))
    assert np.array_equal(a.logits_NK, labeller.head.logits(tables.matrix(table["embedding"])[:2]))
    assert a.frame_logits_NTK.shape == (2, T, 3)
    assert (a.frame_logits_NTK == a.logits_NK[:, None]).all()
    assert a.offsets_NTL2.shape == (2, T, 2, 2)
    assert b.logits_NK.shape == (1, 3)
    for row in labelling.label_table(table, labeller).to_pylist():
        assert row["segments"]
        assert all(segment["start_s"] % 2 == segment["end_s"] % 2 == 0 for segment in row["segments"])


def test_a_video_alone_has_from_a_head_what_it_has_among_others() -> None:
    labeller, ids = with_head(D), [(i, n) for i in "abcdefgh" for n in range(3)]
    together = labelling.label_table(predictions_of(*ids), labeller).to_pylist()
    alone = [labelling.label_table(predictions_of(*[(i, n) for n in range(3)]), labeller) for i in "abcdefgh"]
    assert [table.to_pylist()[0] for table in alone] == together


def test_embeddings_of_another_size_are_no_food_for_a_head() -> None:
    with pytest.raises(OutputError, match=rf"the predictions have embeddings of {D} numbers, the head takes 5"):
        labelling.label_table(predictions_of(("a", 0)), with_head(5))


def test_a_video_that_is_torn_apart_is_refused() -> None:
    with pytest.raises(OutputError, match="the clips of video 'a' do not stand together in the predictions"):
        labelling.label_table(predictions_of(("a", 0), ("b", 0), ("a", 1)), LABELLER)


def test_labels_are_the_same_however_many_videos_are_labelled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = predictions_of(
        *[(name, n) for name, num in zip("abcdef", (1, 3, 1, 1, 2, 1), strict=True) for n in range(num)]
    )
    at_once = labelling.label_table(table, LABELLER)
    monkeypatch.setattr(labelling, "GROUP_CLIPS", 2)
    assert [some.num_rows for some in labelling._some_videos(table)] == [1, 3, 2, 2, 1]
    assert labelling.label_table(table, LABELLER).equals(at_once)


def test_a_video_torn_apart_is_found_between_groups_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "GROUP_CLIPS", 1)
    with pytest.raises(OutputError, match="the clips of video 'a' do not stand together"):
        labelling.label_table(predictions_of(("a", 0), ("b", 0), ("a", 1)), LABELLER)
