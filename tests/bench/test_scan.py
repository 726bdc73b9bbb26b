"""The bench of the scan applies the scan's own rule."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scan import compare, is_found
from pipelines.near_duplicates import like_videos

SCENES = (0x0F0F0F0F0F0F0F0, 0x123456789ABCDEF, 0x7FFF0000FFFF)
PICTURE = st.tuples(st.sampled_from(SCENES), st.sets(st.integers(0, 62), max_size=5))
VIDEO = st.lists(PICTURE.map(lambda drawn: drawn[0] ^ sum(1 << bit for bit in drawn[1])), max_size=8)


@given(VIDEO, VIDEO, st.sampled_from([0, 2, 4, 6]), st.sampled_from([0.125, 0.25, 0.5, 1.0]))
@settings(deadline=None, max_examples=80)
def test_a_pair_is_found_exactly_if_the_scan_finds_it(
    one: list[int], other: list[int], max_distance: int, share: float
) -> None:
    first, second = np.array(one, np.uint64), np.array(other, np.uint64)
    owners = np.repeat([0, 1], [len(one), len(other)])
    found = like_videos(np.concatenate([first, second]), owners, max_distance, share)
    assert is_found(compare("pair", first, second), max_distance, share) == bool(found)
