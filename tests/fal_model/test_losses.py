import math
from dataclasses import replace

import pytest
import torch

from fal_model.batch import ModelOutput, Targets
from fal_model.config import LossConfig
from fal_model.hierarchy import Hierarchy
from fal_model.losses import (
    compute_losses,
    conditional_bce,
    count_known,
    leaf_cross_entropy,
    negative_cost,
    positive_cost,
)
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


def mixed(a: Targets, b: Targets, share: float) -> Targets:
    labels = share * a.labels_BK + (1 - share) * b.labels_BK
    return replace(a, labels_BK=labels, frame_labels_BTK=share * a.frame_labels_BTK + (1 - share) * b.frame_labels_BTK)


@pytest.mark.parametrize("names", [([GOLF], [4]), ([GOLF], [6]), ([GOLF], [1]), ([GOLF], []), ([3], [6])])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixture_of_labels_costs_the_mixture_of_their_losses(
    names: tuple[list[int], list[int]], smoothing: float
) -> None:
    config = LossConfig(leaf_weight=0, label_smoothing=smoothing)
    says, a, b = output(torch.randn(1, 7)), targets([names[0]]), targets([names[1]])
    terms = [compute_losses(says, truth, TREE, config) for truth in (a, b, mixed(a, b, 0.3))]
    for name in ("hierarchy", "frame"):
        first, second, both = (getattr(x, name) for x in terms)
        torch.testing.assert_close(both, 0.3 * first + 0.7 * second)


def test_the_leaf_loss_of_a_mixture() -> None:
    logits, golf, tennis, nothing = torch.randn(1, 7), targets([[GOLF]]), targets([[4]]), targets([[]])
    first, second = (leaf_cross_entropy(logits, truth, TREE, 0.1) for truth in (golf, tennis))
    both = leaf_cross_entropy(logits, mixed(golf, tennis, 0.3), TREE, 0.1)
    torch.testing.assert_close(both, 0.3 * first + 0.7 * second)
    torch.testing.assert_close(leaf_cross_entropy(logits, mixed(golf, nothing, 0.3), TREE, 0.1), 0.3 * first)


def test_a_teacher_is_matched_where_its_own_scores_cost_least() -> None:
    flat = Hierarchy.of(Taxonomy([Node(str(i), str(i)) for i in range(7)]))
    teacher = torch.randn(1, 7, requires_grad=True)
    loss = conditional_bce(teacher, teacher.detach().sigmoid(), torch.tensor([True]), flat)
    (slope,) = torch.autograd.grad(loss, teacher)
    assert slope.abs().max() < 1e-6
    assert loss > 1


def test_smoothing_moves_conditional_targets_to_the_share_among_siblings() -> None:
    logits = torch.zeros(1, 7, requires_grad=True)
    truth = targets([[GOLF]])
    loss = conditional_bce(logits, truth.labels_BK, truth.label_known_B, TREE, LossConfig(label_smoothing=0.2))
    (slope,) = torch.autograd.grad(loss, logits)
    # The slope is score minus target: all groups but the last have two, so the targets are 0.9 and 0.1.
    assert slope[0].tolist() == pytest.approx([-0.4, 0.4, -0.4, 0.4, 0.4, -0.4, 0])


def test_costs_without_focus_and_margin_are_plain() -> None:
    logits = torch.linspace(-20, 20, 41)
    for label, cost in ((1.0, positive_cost(logits, 0)), (0.0, negative_cost(logits, 0, 0))):
        want = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, label), reduction="none"
        )
        torch.testing.assert_close(cost, want)


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_costs_are_those_of_the_papers(focus: float, margin: float) -> None:
    logits = torch.linspace(-6, 6, 49, dtype=torch.float64)
    p = logits.sigmoid()
    torch.testing.assert_close(positive_cost(logits, focus), -((1 - p) ** focus) * p.log())
    shifted = (p - margin).clamp(min=0)
    torch.testing.assert_close(negative_cost(logits, focus, margin), -(shifted**focus) * (1 - shifted).log())
    torch.testing.assert_close(negative_cost(logits, 0, margin), -(1 - shifted).log())


FOCUSED = LossConfig(positive_focus=0.5, negative_focus=0.3, negative_margin=0.05, label_smoothing=0.1)


@pytest.mark.parametrize("config", [LossConfig(), FOCUSED, replace(FOCUSED, negative_margin=0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_slopes(config: LossConfig, dtype: torch.dtype) -> None:
    signs = torch.tensor([[1.0] * 7, [-1.0] * 7, [1, -1, 1, -1, 1, -1, 1], [0.0] * 7])
    for size in (1e4, 1e2, 1.0, 1e-4):
        logits = (size * signs).to(dtype).requires_grad_()
        terms = compute_losses(output(logits), targets([[GOLF], [GOLF, 6], [1], []]), TREE, config)
        (slope,) = torch.autograd.grad(terms.total, logits)
        assert torch.stack(list(terms)).isfinite().all()
        assert slope.isfinite().all()
    if config == LossConfig():
        assert terms.hierarchy > 0


def test_focus_and_margin_shift_weight_to_hard_classes() -> None:
    easy, hard = torch.tensor([-3.0]), torch.tensor([3.0])
    plain = negative_cost(hard, 0, 0) / negative_cost(easy, 0, 0)
    assert negative_cost(hard, 2, 0) / negative_cost(easy, 2, 0) > 100 * plain
    assert negative_cost(easy, 0, 0.05).item() == 0
    assert positive_cost(hard, 2) / positive_cost(easy, 2) < positive_cost(hard, 0) / positive_cost(easy, 0) / 100


def test_the_embedding_term_is_weighed_and_reaches_the_embedding() -> None:
    raw = torch.randn(4, 4, requires_grad=True)
    truth = targets([[GOLF], [GOLF], [1], None])
    says = output(torch.randn(4, 7))._replace(embedding_BE=torch.nn.functional.normalize(raw, dim=-1))
    without, with_it = (compute_losses(says, truth, TREE, LossConfig(embedding_weight=w)) for w in (0.0, 2.0))
    torch.testing.assert_close(with_it.total, without.total + 2 * without.embedding)
    assert without.total.requires_grad is False
    (slope,) = torch.autograd.grad(with_it.total, raw)
    assert (slope.abs().sum(dim=1) > 0).tolist() == [True, True, True, False]  # of the last nothing is known


def test_targets_of_another_tree_are_refused() -> None:
    other = Targets.from_labels([[0]], [[[0], [0]]], Taxonomy([Node("a", "a")]), 2)
    with pytest.raises(
        ValueError, match=r"frame_labels_BTK: got \[1, 2, 1\] clips, frames and classes, must be \[1, 2, 7\]"
    ):
        compute_losses(output(torch.zeros(1, 7)), other, TREE, LossConfig())
    with pytest.raises(ValueError, match=r"frame_logits_BTK: got \[1, 2, 5\] .* as output and taxonomy"):
        compute_losses(output(torch.zeros(1, 5)), targets([[GOLF]]), TREE, LossConfig())


def test_targets_of_other_clips_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frame_labels_BTK: got \[1, 2, 7\] .*, must be \[2, 2, 7\]"):
        compute_losses(output(torch.zeros(2, 7)), targets([[GOLF]]), TREE, LossConfig())


@pytest.mark.parametrize("leaves", [1, 3, 5])
def test_borders_of_another_number_of_leaves_are_refused(leaves: int) -> None:
    says, truth = output(torch.zeros(1, 7)), targets([[GOLF]])
    offsets, known = torch.zeros(1, 2, leaves, 2), torch.zeros(1, 2, leaves, dtype=torch.bool)
    other = replace(truth, offsets_BTL2=offsets, offset_known_BTL=known)
    want = r"clips, frames, leaves and sides, must be \[1, 2, 4, 2\] as output and taxonomy"
    with pytest.raises(ValueError, match=rf"^offsets_BTL2: got \[1, 2, {leaves}, 2\] {want}"):
        compute_losses(says, other, TREE, LossConfig())
    with pytest.raises(ValueError, match=rf"^offsets_BTL2 of the output: got \[1, 2, {leaves}, 2\] {want}"):
        compute_losses(says._replace(offsets_BTL2=offsets), truth, TREE, LossConfig())


def test_what_is_known_is_counted() -> None:
    truth = targets([[GOLF], [0], [], None])
    assert [int(count) for count in count_known(truth, TREE)] == [3, 1, 6, 1, 4]  # no borders; but never 0
    with pytest.raises(ValueError, match=r"labels_BK: got 1 classes, must be 7"):
        count_known(Targets.from_labels([[0]], [None], Taxonomy([Node("a", "a")]), 2), TREE)


@pytest.mark.parametrize("name", ["labels_BK", "frame_labels_BTK"])
def test_a_class_without_its_ancestors_is_refused(name: str) -> None:
    truth = targets([[GOLF]])
    labels = getattr(truth, name).clone()
    labels[..., 2] = 0.25
    with pytest.raises(ValueError, match=f"{name}: got class 5 up to 0.75 above its parent, class 2; must be at most"):
        compute_losses(output(torch.zeros(1, 7)), replace(truth, **{name: labels}), TREE, LossConfig())


def test_no_clips_cost_nothing() -> None:
    terms = compute_losses(output(torch.zeros(0, 7)), targets([]), TREE, LossConfig(embedding_weight=1))
    assert {term.item() for term in terms} == {0}
