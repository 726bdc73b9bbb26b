import math

import pytest
import torch

from fal_model.batch import multi_hot
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.micro import small_tree


def test_levels_parents_and_leaves() -> None:
    hierarchy = Hierarchy.of(small_tree())
    assert hierarchy.levels == ((0, 2), (2, 4), (4, 7))
    assert hierarchy.parent_K.tolist() == [7, 7, 0, 0, 2, 2, 3]
    assert hierarchy.leaf_L.tolist() == [1, 4, 5, 6]


def test_a_score_is_the_product_along_the_path() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0, 3.0, 0.5, -2.0])
    p = logits.sigmoid().tolist()
    want = [p[0], p[1], p[0] * p[2], p[0] * p[3], p[0] * p[2] * p[4], p[0] * p[2] * p[5], p[0] * p[3] * p[6]]
    assert path_log_scores(logits, Hierarchy.of(small_tree())).exp().tolist() == pytest.approx(want, rel=1e-6)


def test_classes_count_where_a_sibling_holds() -> None:
    taxonomy = small_tree()
    labels = multi_hot([[taxonomy.index("golf")], [taxonomy.index("water")], []], taxonomy)
    assert counted(labels, Hierarchy.of(taxonomy)).tolist() == [
        [1, 1, 1, 1, 1, 1, 0],  # diving's parent does not hold
        [1, 1, 1, 1, 0, 0, 0],  # the label says nothing below water sports
        [1, 1, 0, 0, 0, 0, 0],  # nothing there: level 0 says so
    ]


def test_soft_labels_count_as_far_as_they_hold() -> None:
    taxonomy = small_tree()
    golf, tennis, water, nothing = multi_hot(
        [[taxonomy.index(n)] for n in ("golf", "tennis", "water")] + [[]], taxonomy
    )
    hierarchy = Hierarchy.of(taxonomy)
    for a, b in ((golf, tennis), (golf, water), (golf, nothing), (water, nothing)):
        mixed = counted(0.25 * a + 0.75 * b, hierarchy)
        torch.testing.assert_close(mixed, 0.25 * counted(a, hierarchy) + 0.75 * counted(b, hierarchy))


def test_several_soft_labels_count_no_more_than_their_parent() -> None:
    taxonomy = small_tree()
    both = multi_hot([[taxonomy.index("golf"), taxonomy.index("tennis")]], taxonomy)
    assert counted(0.5 * both, Hierarchy.of(taxonomy))[0].tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 0]


def test_the_share_among_siblings() -> None:
    wide = Taxonomy([*(Node(str(i), str(i)) for i in range(4)), Node("only", "only", "0")])
    assert Hierarchy.of(wide).share_K.tolist() == [0.25] * 4 + [0.5]


def test_log_scores_of_sixteen_bit_logits_are_computed_in_full() -> None:
    scores = path_log_scores(torch.full((7,), -40.0, dtype=torch.float16), Hierarchy.of(small_tree()))
    assert scores.dtype == torch.float32
    assert scores[-1].item() == pytest.approx(-120, rel=1e-5)
    assert not math.isnan(scores.sum().item())
