import math

import pytest
import torch

from fal_model.boundary_loss import BETA, boundary_loss


def loss(said: tuple[float, float], true: tuple[float, float]) -> float:
    pair = torch.ones(1, 1, 1, dtype=torch.bool)
    return boundary_loss(torch.tensor([[[said]]]), torch.tensor([[[true]]]), pair).item()


def test_by_hand() -> None:
    assert loss((0.2, 0.3), (0.2, 0.3)) == 0
    assert loss((0.2, 0.9), (0.5, 0.5)) == pytest.approx((0.3 + 0.4) / 2 - BETA / 2)
    assert loss((0.2, 0.5), (0.25, 0.5)) == pytest.approx(0.05**2 / (2 * BETA) / 2)


def test_borders_further_away_than_a_stratum_are_not_asked_for() -> None:
    assert loss((0.2, 0.3), (0.2, 1.01)) == 0
    assert loss((0.2, 0.3), (1.5, 1.0)) == pytest.approx(0.7 - BETA / 2)  # one border, not two
    assert loss((0.2, 0.3), (1.5, 3.5)) == 0


def test_only_known_pairs_count() -> None:
    said, true = torch.rand(2, 3, 4, 2), torch.rand(2, 3, 4, 2)
    known = torch.zeros(2, 3, 4, dtype=torch.bool)
    assert boundary_loss(said, true, known).item() == 0
    known[1, 2, 3] = True
    alone = boundary_loss(said[1:, 2:, 3:], true[1:, 2:, 3:], known[1:, 2:, 3:])
    torch.testing.assert_close(boundary_loss(said, true, known), alone)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -1.0])
def test_what_is_not_known_is_never_looked_at(nothing: float) -> None:
    said, true = torch.rand(1, 2, 1, 2, requires_grad=True), torch.rand(1, 2, 1, 2)
    known = torch.tensor([[[True], [False]]])
    want = boundary_loss(said[:, :1], true[:, :1], known[:, :1])
    true[0, 1] = nothing
    found = boundary_loss(said, true, known)
    torch.testing.assert_close(found, want)
    (slope,) = torch.autograd.grad(found, said)
    assert slope[0, 1].abs().max() == 0
    assert slope.isfinite().all()


def test_sixteen_bit_offsets_are_compared_in_full_precision() -> None:
    said, true = torch.rand(1, 2, 3, 2), torch.rand(1, 2, 3, 2)
    known = torch.ones(1, 2, 3, dtype=torch.bool)
    half = boundary_loss(said.bfloat16(), true, known)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, boundary_loss(said.bfloat16().float(), true, known))


def test_descending_the_loss_finds_the_borders() -> None:
    logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    true, known = torch.tensor([[[[0.1, 0.6]]]]), torch.ones(1, 1, 1, dtype=torch.bool)
    for _ in range(300):
        (slope,) = torch.autograd.grad(boundary_loss(logits.sigmoid(), true, known), logits)
        logits = (logits - 0.5 * slope).detach().requires_grad_()
    torch.testing.assert_close(logits.sigmoid().detach(), true, atol=0.03, rtol=0)
