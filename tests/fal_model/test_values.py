import math

import pytest
import torch

from fal_model.values import can_read_values, check_distances, check_flow_values, check_shares, check_tensors

VALID = torch.tensor([[True, True], [True, False]])


def test_only_dense_tensors_of_one_device_go_together() -> None:
    here, elsewhere = torch.zeros(1), torch.zeros(1, device="meta")
    check_tensors(a=here, b=here)
    with pytest.raises(ValueError, match="a, b: got tensors on cpu, meta, must be on one device"):
        check_tensors(a=here, b=elsewhere)
    with pytest.raises(ValueError, match="b: got a list, must be a dense torch tensor"):
        check_tensors(a=here, b=[1])
    with pytest.raises(ValueError, match=r"a: got a torch\.sparse_coo tensor, must be a dense torch tensor"):
        check_tensors(a=here.to_sparse())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1000.1, -5000.0])
def test_flow_that_cannot_be_is_refused(value: float) -> None:
    flow = torch.zeros(2, 2, 2, 3, 3)
    flow[1, 0, 1, 2, 0] = value
    where = "in clip 1, frame 0, must be finite and at most 1000 pixels per step"
    with pytest.raises(ValueError, match=rf"flow: got {abs(value):g} {where} \(10 times the frame\); flow_valid is"):
        check_flow_values(flow, VALID, 100)
    with pytest.raises(ValueError, match=where):
        check_flow_values(flow, None, 100)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_fast_flow_is_allowed_and_unknown_flow_not_looked_at(dtype: torch.dtype) -> None:
    flow = torch.full((2, 2, 2, 3, 3), -1000.0, dtype=dtype)
    flow[1, 1] = math.nan
    check_flow_values(flow, VALID, 100)
    with pytest.raises(ValueError, match="flow: got nan in clip 1, frame 1"):
        check_flow_values(flow, None, 100)
    check_flow_values(flow[:0], VALID[:0], 100)


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan to nan"), (-0.1, "-0.1 to 0"), (1.5, "0 to 1.5")])
def test_what_is_no_probability_is_refused(value: float, text: str) -> None:
    with pytest.raises(ValueError, match=f"labels: got values from {text}, must be from 0 to 1"):
        check_shares("labels", torch.tensor([[0.0, value]]))


def test_probabilities_are_fine() -> None:
    check_shares("labels", torch.tensor([0.0, 0.5, 1.0]))
    check_shares("labels", torch.zeros(0, 3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5])
def test_what_is_known_and_no_distance_is_refused(value: float) -> None:
    values, known = torch.tensor([[0.0, 7.5], [value, 1.0]]), torch.tensor([True, False])
    check_distances("offsets", values, known)
    check_distances("offsets", values[:0], known[:0])
    with pytest.raises(ValueError, match=f"offsets: got {value:g} where it is known, must be finite and ≥ 0"):
        check_distances("offsets", values, ~known)


def test_values_elsewhere_are_never_waited_for() -> None:
    bad = torch.full((1, 1, 2, 3, 3), math.nan, device="meta")
    assert not can_read_values(bad)
    check_flow_values(bad, None, 100)
    check_shares("labels", bad)
    check_distances("offsets", bad, torch.ones(bad.shape[:-1], dtype=torch.bool, device="meta"))


def test_values_do_not_break_a_compiled_graph() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        check_shares("labels", x)
        check_flow_values(x, None, 1)
        check_distances("offsets", -x, torch.ones(x.shape[:-1], dtype=torch.bool))
        return x + 1

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    assert compiled(torch.full((1, 1, 2, 3, 3), 7.0)).max() == 8
    torch.compiler.reset()
