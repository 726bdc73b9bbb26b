import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.abstention import fit_abstention, kept, wilson_lower

ROWS = st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=60)


@given(ROWS, st.floats(0, 1))
@settings(deadline=None, max_examples=150)
def test_no_other_threshold_keeps_more_of_what_is_good_enough(rows: list[tuple[float, bool]], accuracy: float) -> None:
    scores, hits = np.array([score for score, _ in rows]), np.array([float(hit) for _, hit in rows])
    found = fit_abstention(scores, hits, accuracy)
    assert (scores >= found.below).any()
    lower = {}
    for below in {0.0, *scores.tolist()}:
        is_kept = scores >= below
        lower[below] = float(wilson_lower(hits[is_kept].sum()[None], np.array([float(is_kept.sum())]))[0])
    good = [below for below, value in lower.items() if value >= accuracy]
    assert found.is_reached == bool(good)
    share = kept(scores, hits, found.below).share
    assert share == (max(kept(scores, hits, below).share for below in good) if good else share)
    if not good:
        assert wilson_of(scores, hits, found.below) == max(lower.values())


def wilson_of(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]],
    hits: np.ndarray[tuple[int], np.dtype[np.float64]],
    below: float,
) -> float:
    is_kept = scores >= below
    return float(wilson_lower(hits[is_kept].sum()[None], np.array([float(is_kept.sum())]))[0])
