import math

import pytest
import torch

from fal_model.batch import ModelOutput, Targets
from fal_model.config import LossConfig
from fal_model.hierarchy import Hierarchy
from fal_model.losses import compute_losses, conditional_bce, leaf_cross_entropy
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.micro import small_tree

TREE = Hierarchy.of(small_tree())
GOLF = 5
LOG2 = math.log(2)


def targets(labels: list[list[int] | None]) -> Targets:
    return Targets.from_labels(labels, [None if x is None else [x, x] for x in labels], small_tree(), 2)


def output(logits: torch.Tensor) -> ModelOutput:
    offsets = torch.zeros(len(logits), 2, len(TREE.leaf_L), 2)
    return ModelOutput(logits, logits[:, None].expand(-1, 2, -1), torch.zeros(len(logits), 4), offsets)


def test_conditional_bce_by_hand() -> None:
    truth = targets([[GOLF], []])
    loss = conditional_bce(torch.zeros(2, 7), truth.labels_BK, truth.label_known_B, TREE)
    assert loss.item() == pytest.approx((6 + 2) / 2 * LOG2)  # six classes count in the first row, two in the second


def test_leaf_cross_entropy_by_hand() -> None:
    # Paths: news p; tennis, golf p³; diving p³, with p = 1/2.
    loss = leaf_cross_entropy(torch.zeros(1, 7), targets([[GOLF]]), TREE, 0.0)
    assert loss.item() == pytest.approx(-math.log((1 / 8) / (1 / 2 + 3 / 8)))


def test_several_true_leaves_share_the_target() -> None:
    flat = Taxonomy([Node(str(i), str(i)) for i in range(4)])
    truth = Targets.from_labels([[0, 1]], [None], flat, 1)
    loss = leaf_cross_entropy(torch.zeros(1, 4), truth, Hierarchy.of(flat), 0.0)
    assert loss.item() == pytest.approx(math.log(4))


def test_smoothing_spreads_a_share_over_all_leaves() -> None:
    logits = torch.tensor([[-30.0, 30.0, 0, 0, 0, 0, 0]])  # surely news
    sharp = leaf_cross_entropy(logits, targets([[1]]), TREE, 0.0)
    smooth = leaf_cross_entropy(logits, targets([[1]]), TREE, 0.4)
    log_others = 30 + 2 * LOG2
    assert sharp.item() == pytest.approx(0, abs=1e-6)
    assert smooth.item() == pytest.approx(0.3 * log_others, rel=1e-4)


@pytest.mark.parametrize("labels", [[None], [[0]], [[]]])
def test_rows_without_a_true_leaf_are_skipped(labels: list[list[int] | None]) -> None:
    assert leaf_cross_entropy(torch.randn(1, 7), targets(labels), TREE, 0.1).item() == 0


def test_unknown_rows_change_nothing() -> None:
    logits = torch.randn(2, 7)
    both = compute_losses(output(logits), targets([[GOLF], None]), TREE, LossConfig())
    alone = compute_losses(output(logits[:1]), targets([[GOLF]]), TREE, LossConfig())
    torch.testing.assert_close(torch.stack(list(both)), torch.stack(list(alone)))


def test_nothing_known_is_no_loss() -> None:
    terms = compute_losses(output(torch.randn(1, 7)), targets([None]), TREE, LossConfig())
    assert {term.item() for term in terms} == {0}


def test_the_total_is_the_weighted_sum() -> None:
    config = LossConfig(hierarchy_weight=2, leaf_weight=3, frame_weight=5)
    terms = compute_losses(output(torch.randn(1, 7)), targets([[GOLF]]), TREE, config)
    want = 2 * terms.hierarchy + 3 * terms.leaf + 5 * terms.frame
    torch.testing.assert_close(terms.total, want)
    torch.testing.assert_close(terms.frame, terms.hierarchy)  # the same logits and labels in every frame


def test_classes_that_do_not_count_get_no_gradient() -> None:
    logits = torch.zeros(1, 7, requires_grad=True)
    config = LossConfig(leaf_weight=0, frame_weight=0)
    torch.autograd.backward(compute_losses(output(logits), targets([[GOLF]]), TREE, config).total)
    assert logits.grad is not None
    assert (logits.grad[0] != 0).tolist() == [True] * 6 + [False]


def test_descending_the_loss_finds_the_labels() -> None:
    logits = torch.zeros(1, 7, requires_grad=True)
    truth = targets([[GOLF]])
    for _ in range(200):
        (slope,) = torch.autograd.grad(compute_losses(output(logits), truth, TREE, LossConfig()).total, logits)
        logits = (logits - 0.5 * slope).detach().requires_grad_()
    assert (logits[0, :6] > 0).tolist() == [True, False, True, False, False, True]


def test_sixteen_bit_logits_give_a_full_precision_loss() -> None:
    logits = torch.randn(1, 7)
    with torch.autocast("cpu", torch.bfloat16):
        half = compute_losses(output(logits.bfloat16()), targets([[GOLF]]), TREE, LossConfig())
    full = compute_losses(output(logits.bfloat16().float()), targets([[GOLF]]), TREE, LossConfig())
    assert half.total.dtype == torch.float32
    torch.testing.assert_close(half.total, full.total)
