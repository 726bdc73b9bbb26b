import math

import pytest
import torch

from fal_model.batch import multi_hot
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
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


def test_log_scores_of_sixteen_bit_logits_are_computed_in_full() -> None:
    scores = path_log_scores(torch.full((7,), -40.0, dtype=torch.float16), Hierarchy.of(small_tree()))
    assert scores.dtype == torch.float32
    assert scores[-1].item() == pytest.approx(-120, rel=1e-5)
    assert not math.isnan(scores.sum().item())
