from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from pipelines import embedding_duplicates
from pipelines.embedding_duplicates import NearDuplicates, near_duplicates

SMALL = st.sampled_from([-1.0, 0.0, 0.5, 1.0])


def rows(*values: tuple[float, float]) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def test_pairs_come_most_alike_first_with_their_cosine() -> None:
    found = near_duplicates(["c", "a", "b"], rows((1, 0), (0.8, 0.6), (0.96, 0.28)), min_cosine=0.9)
    assert found == NearDuplicates(pairs=[("b", "c", 0.96), ("a", "b", 0.936)], num_pairs=2, num_compared=3)


def test_what_is_left_out_is_counted() -> None:
    found = near_duplicates(["d", "c", "b", "a"], rows((1, 0), (2, 0), (3, 0), (0, 1)), max_pairs=2)
    assert found == NearDuplicates(pairs=[("b", "c", 1.0), ("b", "d", 1.0)], num_pairs=3, num_compared=4)
    assert near_duplicates(["b", "a"], rows((1, 0), (1, 0)), max_pairs=0).pairs == []


def test_what_is_nothing_or_no_number_is_like_nothing() -> None:
    nothing = rows((0, 0), (0, 0), (float("nan"), 0))
    assert near_duplicates(["a", "b", "c"], nothing, min_cosine=-1.0).num_pairs == 0


def test_nobody_is_like_nobody() -> None:
    assert near_duplicates([], np.zeros((0, 4), np.float32)) == NearDuplicates()


def test_an_embedding_for_each_video_is_wanted() -> None:
    with pytest.raises(ValueError, match="embeddings: got 1 for 2 videos, must be one for each"):
        near_duplicates(["a", "b"], rows((1, 0)))


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(3)), elements=SMALL), st.integers(1, 80))
def test_blocks_find_what_comparing_one_by_one_finds(embeddings_ND: npt.NDArray[np.float32], max_pairs: int) -> None:
    ids = [f"v{i:02d}" for i in range(len(embeddings_ND))]
    wanted = []
    for a, b in combinations(range(len(ids)), 2):
        lengths = np.linalg.norm(embeddings_ND[a]) * np.linalg.norm(embeddings_ND[b])
        cosine = round(float(embeddings_ND[a] @ embeddings_ND[b] / lengths), 5) if lengths else -2.0
        if cosine >= 0.6:
            wanted.append((ids[a], ids[b]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_duplicates, "BLOCK_CELLS", 60)
        found = near_duplicates(ids, embeddings_ND, 0.6, max_pairs)
        turned = near_duplicates(ids[::-1], embeddings_ND[::-1], 0.6, max_pairs)
    assert found == turned
    assert found.num_pairs == len(wanted)
    assert {(a, b) for a, b, _ in found.pairs} <= set(wanted)
    assert len(found.pairs) == min(max_pairs, len(wanted))
    assert [cosine for _, _, cosine in found.pairs] == sorted((c for _, _, c in found.pairs), reverse=True)
