import pytest
import torch

from fal_model.boundary_targets import Span, boundary_targets
from tests.helpers.micro import small_tree

TREE = small_tree()
GOLF = TREE.index("golf")
LEAF = TREE.leaves.index(GOLF)


def test_offsets_by_hand() -> None:
    offsets, known = boundary_targets([[Span(GOLF, 0.25, 0.875)]], TREE, 4)  # frames at 1/8, 3/8, 5/8, 7/8
    assert known[0, :, LEAF].tolist() == [False, True, True, False]
    assert known.sum() == 2
    assert offsets[0, 1:3, LEAF].tolist() == [[0.5, 2.0], [1.5, 1.0]]
    assert not offsets[~known].any()


def test_unknown_clips_and_inner_classes_say_nothing() -> None:
    _, known = boundary_targets([None, [Span(TREE.index("ball"), 0.0, 1.0)], []], TREE, 2)
    assert known.shape == (3, 2, len(TREE.leaves))
    assert not known.any()


def test_of_two_spans_the_one_that_starts_last_counts() -> None:
    spans = [Span(GOLF, 0.5, 1.0), Span(GOLF, 0.0, 0.75)]
    offsets, known = boundary_targets([spans], TREE, 2)  # frames at 1/4 and 3/4
    assert known[0, :, LEAF].all()
    assert offsets[0, :, LEAF].tolist() == [[0.5, 1.0], [0.5, 0.5]]


def test_no_clips_are_targets_too() -> None:
    offsets, known = boundary_targets([], TREE, 3)
    assert offsets.shape == (0, 3, len(TREE.leaves), 2)
    assert known.dtype == torch.bool


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (Span(7, 0.0, 1.0), "span: got class index 7, must be from 0 to 6"),
        (Span(-1, 0.0, 1.0), "span: got class index -1, must be from 0 to 6"),
        (Span(0, -0.1, 1.0), "span: got -0.1 to 1.0, must lie within 0 to 1"),
        (Span(0, 0.5, 0.4), "span: got 0.5 to 0.4, must lie within 0 to 1"),
    ],
)
def test_spans_that_cannot_be_are_refused(span: Span, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        boundary_targets([[span]], TREE, 2)
