"""The predictor runs a real model on real arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fal_model.errors import ModelLoadError
from pipelines.clip_batches import ClipArrays
from pipelines.predict import ClipOutputs, ClipPredictor
from tests.helpers.model import MICRO, SPEC, TREE, micro_model, random_arrays

NAMES = ("logits_BK", "frame_logits_BTK", "offsets_BTL2", "embedding_BD")


@pytest.fixture(scope="module")
def predictor() -> ClipPredictor:
    return ClipPredictor(micro_model())


def part(clips: ClipArrays, index: slice) -> ClipArrays:
    return ClipArrays(clips.frames_BTHWC[index], clips.flow_q_BTHWC[index], clips.flow_valid_BT[index])


def assert_same(first: ClipOutputs, second: ClipOutputs) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_outputs_have_the_documented_shapes_and_types(predictor: ClipPredictor) -> None:
    out = predictor.predict(random_arrays(3))
    arrays = [getattr(out, name) for name in NAMES]
    offsets = (3, 4, len(TREE.leaves), 2)
    assert [a.shape for a in arrays] == [(3, len(TREE)), (3, 4, len(TREE)), offsets, (3, MICRO.embedding_dim)]
    assert [a.dtype.name for a in arrays] == ["float32", "float16", "uint8", "float32"]
    np.testing.assert_allclose(np.linalg.norm(out.embedding_BD, axis=1), 1, atol=1e-5)
    assert np.ptp(out.logits_BK, axis=0).min() > 0  # other clips, other logits


def test_the_same_batch_gives_the_same_bits(predictor: ClipPredictor) -> None:
    assert_same(predictor.predict(random_arrays(2)), predictor.predict(random_arrays(2)))


def test_a_clip_does_not_see_the_rest_of_its_batch(predictor: ClipPredictor) -> None:
    clips = random_arrays(3)
    whole, alone = predictor.predict(clips), predictor.predict(part(clips, slice(1, 2)))
    for name in NAMES:
        np.testing.assert_allclose(getattr(whole, name)[1:2], getattr(alone, name), atol=2e-2, rtol=1e-2)


def test_no_clips_give_no_outputs(predictor: ClipPredictor) -> None:
    out = predictor.predict(ClipArrays.from_clips([], SPEC))
    some = predictor.predict(random_arrays(1))
    for name in NAMES:
        assert getattr(out, name).shape == (0, *getattr(some, name).shape[1:])
        assert getattr(out, name).dtype == getattr(some, name).dtype


def test_huge_frame_logits_stay_finite_in_16_bit() -> None:
    model = micro_model()
    with torch.no_grad():
        model.heads.frame_classes.bias.fill_(1e6)
    out = ClipPredictor(model).predict(random_arrays(1))
    assert (out.frame_logits_BTK == 60).all()


def test_a_saved_model_predicts_the_same(predictor: ClipPredictor, tmp_path: Path) -> None:
    predictor.model.save_pretrained(tmp_path / "model")
    loaded = ClipPredictor.load(str(tmp_path / "model"), "cpu")
    assert not loaded.model.training
    assert_same(loaded.predict(random_arrays(2)), predictor.predict(random_arrays(2)))


def test_a_predictor_puts_its_model_into_evaluation_mode() -> None:
    assert not ClipPredictor(micro_model().train()).model.training


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        ClipPredictor.load(str(tmp_path))
