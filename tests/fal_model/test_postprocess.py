import numpy as np
import pytest

from fal_model.calibration import Scaling
from fal_model.postprocess import Segment, clip_segments, frame_edges_s, path_scores
from tests.helpers.micro import small_tree

HALF = np.full(7, 0.5)


def test_calibration_comes_before_the_product() -> None:
    logits = np.array([1.0, 0, 2.0, 0, 0, 0, 0], dtype=np.float32)
    scores = path_scores(logits, small_tree(), [Scaling(temperature=2.0, bias=0.5)])
    want = 1 / (1 + np.exp(-1.0)) / (1 + np.exp(-1.5))
    assert scores[2] == pytest.approx(want, rel=1e-6)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits: got shape \[2, 6\], must be \[..., 7\]"):
        path_scores(np.zeros((2, 6)), small_tree())


def test_a_frame_stands_for_the_time_around_it() -> None:
    assert frame_edges_s([1.0, 3.0, 4.0], 0.0, 10.0).tolist() == [0, 2, 3.5, 10]
    assert frame_edges_s([5.0], 0.0, 10.0).tolist() == [0, 10]


def test_segments_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.7, 0.6], [0.2, 0.5], [0.8, 0.1]])
    found = clip_segments(scores, [1, 3, 5, 9], 0.0, 10.0, class_indices=[1, 0], thresholds_K=HALF)
    assert found == [
        Segment(1, 2.0, 7.0, (0.6 + 0.5) / 2),
        Segment(0, 0.0, 4.0, (0.9 + 0.7) / 2),
        Segment(0, 7.0, 10.0, 0.8),
    ]


def test_only_the_classes_asked_for_are_looked_at() -> None:
    assert clip_segments(np.ones((2, 3)), [0, 1], 0.0, 2.0, class_indices=[], thresholds_K=HALF) == []


def test_wrong_times_are_refused() -> None:
    with pytest.raises(ValueError, match="frame_times_s: got 1 times, must be 2, one per frame"):
        clip_segments(np.ones((2, 1)), [0], 0.0, 1.0, class_indices=[0], thresholds_K=HALF)
    with pytest.raises(ValueError, match=r"end_s: got 1.0, must be greater than start_s \(1.0\)"):
        clip_segments(np.ones((1, 1)), [0], 1.0, 1.0, class_indices=[0], thresholds_K=HALF)
