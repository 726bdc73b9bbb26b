from __future__ import annotations

import numpy as np
import pytest

from bench.standin_answers import hits, taken_apart, tells_which_does_what

LEAVES = [f"{program}.{appearance}" for program in ("moves_left", "moves_right") for appearance in ("disc", "ring")]
LEFT_DISC, LEFT_RING, RIGHT_DISC, RIGHT_RING = LEAVES
BOTH = {LEFT_DISC, RIGHT_RING}


def scores(**of_leaf: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Scores in the order of ``LEAVES``; names have _ for the dot."""
    return np.array([of_leaf[leaf.replace(".", "_")] for leaf in LEAVES])


@pytest.mark.parametrize(
    ("best", "true", "want"),
    [
        (LEFT_DISC, {LEFT_DISC}, [True, True, True]),
        (RIGHT_DISC, {LEFT_DISC}, [True, True, False]),
        (LEFT_RING, {LEFT_DISC}, [False, True, True]),
        ("rises_then_falls.ring", {LEFT_DISC}, [False, False, False]),
        (RIGHT_DISC, BOTH, [True, True, True]),  # of both things there is a part: only the binding is wrong
    ],
)
def test_the_best_leaf_is_taken_apart(best: str, true: set[str], want: list[bool]) -> None:
    assert hits(best, true) == want


def test_which_does_what_needs_two_things_that_differ_in_both() -> None:
    even = np.full(4, 0.5)
    for true in ({LEFT_DISC}, {LEFT_DISC, LEFT_RING}, {LEFT_DISC, RIGHT_DISC}, set(LEAVES)):
        assert tells_which_does_what(even, true, LEAVES) is None
    assert tells_which_does_what(even[:3], {LEFT_RING, RIGHT_DISC}, LEAVES[:3]) is None  # what is crossed is no class


def test_which_does_what_is_right_wrong_or_not_known() -> None:
    right = scores(moves_left_disc=0.9, moves_right_ring=0.2, moves_left_ring=0.3, moves_right_disc=0.3)
    assert tells_which_does_what(right, BOTH, LEAVES) == 1
    assert tells_which_does_what(right, {LEFT_RING, RIGHT_DISC}, LEAVES) == 0
    assert tells_which_does_what(np.full(4, 0.5), BOTH, LEAVES) == 0.5
    assert tells_which_does_what(np.zeros(4), BOTH, LEAVES) == 0.5


def test_shares_over_clips() -> None:
    said = np.array([[0.9, 0.1, 0.2, 0.1], [0.1, 0.2, 0.9, 0.1], [0.6, 0.5, 0.5, 0.6], [0.9, 0.9, 0.9, 0.9]])
    true = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]])
    found = taken_apart(said, true, LEAVES)
    assert found == {"appearance": 1.0, "pair": 1.0, "direction": pytest.approx(2 / 3), "binding": 1.0}
    assert "binding" not in taken_apart(said[:2], true[:2], LEAVES)
