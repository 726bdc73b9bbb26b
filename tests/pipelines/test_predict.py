"""The predictor runs a real model on real arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fal_model.errors import ModelLoadError
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.predict import ClipPredictor
from tests.helpers.model import MICRO, SPEC, TREE, micro_model, random_arrays

NAMES = ("logits_BK", "frame_logits_BTK", "offsets_BTL2", "embedding_BD")


@pytest.fixture(scope="module")
def predictor() -> ClipPredictor:
    return ClipPredictor(micro_model())


def part(clips: ClipArrays, index: slice | npt.NDArray[np.int64]) -> ClipArrays:
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


def test_in_batches_of_one_size_a_clip_gives_the_same_bits_whatever_shares_them(predictor: ClipPredictor) -> None:
    arrays = random_arrays(5)
    alone = predictor.predict(part(arrays, slice(2, 3)), 6)
    full = predictor.predict(arrays, 6)
    turned = predictor.predict(part(arrays, slice(None, None, -1)), 6)
    for name in NAMES:
        mine = getattr(alone, name)
        assert len(mine) == 1
        np.testing.assert_array_equal(getattr(full, name)[2:3], mine)
        np.testing.assert_array_equal(getattr(turned, name)[2:3], mine)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_nor_does_its_place_in_the_batch_matter_or_how_many_threads_there_are(predictor: ClipPredictor) -> None:
    arrays = random_arrays(7)
    turned = [predictor.predict(part(arrays, np.roll(np.arange(7), shift)), 8) for shift in range(7)]
    for name in NAMES:
        for shift, outputs in enumerate(turned):
            np.testing.assert_array_equal(np.roll(getattr(outputs, name), -shift, 0), getattr(turned[0], name))
    assert torch.get_num_threads() == 2


def test_what_predicts_is_named(predictor: ClipPredictor) -> None:
    versions = predictor.versions()
    assert versions == {"torch": torch.__version__, "device": versions["device"], "format": "float32"}
    assert versions["device"]
