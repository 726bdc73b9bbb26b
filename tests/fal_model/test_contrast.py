import math

import pytest
import torch
from torch import Tensor

from fal_model.batch import multi_hot
from fal_model.contrast import contrastive_loss, label_overlap
from tests.helpers.micro import small_tree

TREE = small_tree()


def labels(*names: str) -> Tensor:
    return multi_hot([[TREE.index(name)] if name else [] for name in names], TREE)


def unit(*degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def known(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_overlap_is_what_paths_share() -> None:
    overlap = label_overlap(labels("golf", "tennis", "diving", "news", ""))
    # golf: sport, ball, golf; tennis: sport, ball, tennis; diving: sport, water, diving.
    assert overlap[0].tolist() == pytest.approx([1, 2 / 4, 1 / 5, 0, 0])
    assert overlap[4].tolist() == [0] * 5
    assert torch.equal(overlap, overlap.T)


def test_overlap_of_several_labels() -> None:
    both = multi_hot([[TREE.index("golf"), TREE.index("news")], [TREE.index("news")]], TREE)
    assert label_overlap(both)[0, 1].item() == pytest.approx(1 / 4)


def test_the_loss_by_hand() -> None:
    loss = contrastive_loss(unit(0, 0, 90), labels("golf", "golf", "news"), known(3), temperature=0.5)
    # For either golf clip the other is near by e^2, news by e^0; news has no positive and is no anchor.
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_near_relatives_should_be_nearer_than_far_ones() -> None:
    names = labels("golf", "tennis", "diving")
    good = contrastive_loss(unit(0, 10, 60), names, known(3), 0.1)
    bad = contrastive_loss(unit(0, 60, 10), names, known(3), 0.1)
    assert good < bad


def test_descending_the_loss_brings_like_clips_together() -> None:
    truth = labels("golf", "news", "golf", "news", "diving")
    raw = torch.randn(5, 4, requires_grad=True)
    for _ in range(100):
        unit_BE = torch.nn.functional.normalize(raw, dim=-1)
        (slope,) = torch.autograd.grad(contrastive_loss(unit_BE, truth, known(5), 0.1), raw)
        raw = (raw - 0.1 * slope).detach().requires_grad_()
    near = torch.nn.functional.normalize(raw.detach(), dim=-1)
    similarity = (near @ near.T).fill_diagonal_(-1)
    assert similarity.argmax(dim=1)[:4].tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("names", [[], ["golf"], ["golf", "news"], ["", ""]])
def test_without_positives_there_is_no_loss_and_no_nan(names: list[str]) -> None:
    raw = torch.randn(len(names), 4, requires_grad=True)
    loss = contrastive_loss(torch.nn.functional.normalize(raw, dim=-1), labels(*names), known(len(names)), 0.01)
    assert loss.item() == 0
    torch.autograd.backward(loss)
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert not raw.grad.any()


def test_clips_of_unknown_labels_are_neither_near_nor_far() -> None:
    embedding, truth = torch.nn.functional.normalize(torch.randn(4, 3), dim=-1), labels("golf", "golf", "news", "golf")
    some = contrastive_loss(embedding, truth, torch.tensor([True, True, True, False]), 0.1)
    without = contrastive_loss(embedding[:3], truth[:3], known(3), 0.1)
    assert some.item() == pytest.approx(without.item())


def test_sixteen_bit_embeddings_are_compared_in_full() -> None:
    embedding = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1).bfloat16()
    truth = labels("golf", "golf", "news", "news")
    loss = contrastive_loss(embedding, truth.bfloat16(), known(4), 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, contrastive_loss(embedding.float(), truth, known(4), 0.1))
