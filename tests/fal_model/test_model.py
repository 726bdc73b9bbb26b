from dataclasses import replace

import pytest
import torch

from fal_model.config import ModelConfig
from fal_model.model import FALModel
from tests.helpers.micro import MICRO, micro_model, small_tree


@pytest.fixture
def model() -> FALModel:
    return micro_model().eval()


def test_examples_are_valid_inputs(model: FALModel) -> None:
    output = model(**model.example_inputs(2))
    assert output.logits_BK.shape == (2, 7)
    assert output.frame_logits_BTK.shape == (2, 3, 7)
    assert output.embedding_BE.shape == (2, 8)
    assert all(part.isfinite().all() for part in output)


def test_examples_repeat_with_their_seed(model: FALModel) -> None:
    assert torch.equal(model.example_inputs(1, seed=3)["flow"], model.example_inputs(1, seed=3)["flow"])
    assert not torch.equal(model.example_inputs(1, seed=3)["flow"], model.example_inputs(1, seed=4)["flow"])


def test_the_same_input_gives_the_same_bits(model: FALModel) -> None:
    inputs = model.example_inputs(2)
    assert all(torch.equal(a, b) for a, b in zip(model(**inputs), model(**inputs), strict=True))


def test_clips_of_a_batch_do_not_see_one_another(model: FALModel) -> None:
    inputs = model.example_inputs(3)
    alone = model(**{name: value[1:2] for name, value in inputs.items()})
    torch.testing.assert_close(model(**inputs).logits_BK[1:2], alone.logits_BK, rtol=1e-4, atol=1e-5)


def test_flow_is_taken_as_known_when_nothing_is_said(model: FALModel) -> None:
    inputs = model.example_inputs(1)
    with_mask = model(**inputs).logits_BK
    assert torch.equal(model(inputs["frames"], inputs["flow"]).logits_BK, with_mask)
    without_flow = model(inputs["frames"], inputs["flow"], torch.zeros(1, 3, dtype=torch.bool)).logits_BK
    assert not torch.allclose(without_flow, with_mask)


@pytest.mark.parametrize("name", ["frames", "flow"])
def test_the_order_of_time_matters(model: FALModel, name: str) -> None:
    inputs = model.example_inputs(1)
    reversed_inputs = inputs | {name: inputs[name].flip(1)}
    assert not torch.allclose(model(**inputs).logits_BK, model(**reversed_inputs).logits_BK, atol=1e-6)


def test_gradients_reach_every_parameter(model: FALModel) -> None:
    inputs = model.example_inputs(2)
    inputs["flow_valid"][0, 0] = False
    output = model(**inputs)
    said = (output.logits_BK, output.frame_logits_BTK, output.offsets_BTL2)
    torch.autograd.backward(torch.stack([x.square().sum() for x in said]).sum())
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_a_model_has_no_hidden_state(model: FALModel) -> None:
    assert list(model.buffers()) == []


@pytest.mark.parametrize(
    "config",
    [
        replace(MICRO, motion_depth=0),
        replace(MICRO, fusion_depth=0),
        replace(MICRO, pyramid_width=0),
        replace(MICRO, motion_depth=0, fusion_depth=0),
        replace(MICRO, has_frame_token=False),
    ],
)
def test_parts_can_be_left_out(config: ModelConfig) -> None:
    smaller = FALModel(config, small_tree())
    output = smaller(**smaller.example_inputs(1))
    assert output.logits_BK.isfinite().all()
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in micro_model().parameters())


def test_without_the_motion_stream_flow_is_ignored() -> None:
    model = FALModel(replace(MICRO, motion_depth=0), small_tree())
    inputs = model.example_inputs(1)
    assert torch.equal(model(**inputs).logits_BK, model(inputs["frames"], inputs["flow"] + 1).logits_BK)


def test_sixteen_bit_weights(model: FALModel) -> None:
    inputs = model.example_inputs(1)
    want = model(**inputs).logits_BK
    half = model.to(torch.bfloat16)(**inputs)
    assert half.logits_BK.dtype == torch.bfloat16
    torch.testing.assert_close(half.logits_BK.float(), want, rtol=0.05, atol=0.05)
    torch.testing.assert_close(half.embedding_BE.norm(dim=-1), torch.ones(1))


def test_autocast(model: FALModel) -> None:
    inputs = model.example_inputs(1)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(**inputs).logits_BK
    torch.testing.assert_close(half.float(), model(**inputs).logits_BK, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("frames", (1, 3, 3, 32, 32), r"frames: got \[1, 3, 3, 32, 32\], must be \[B, 3, 3, 40, 40\] for this model"),
        ("flow", (1, 3, 2, 8, 8), r"flow: got \[1, 3, 2, 8, 8\], must be \[B, 3, 2, 12, 12\] for this model"),
        ("frames", (3, 3, 40, 40), r"frames: got torch.uint8 \[3, 3, 40, 40\], must be uint8 \[B, T, 3, H, W\]"),
    ],
)
def test_wrong_sizes_are_refused(model: FALModel, name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = model.example_inputs(1)
    with pytest.raises(ValueError, match=message):
        model(**(inputs | {name: torch.zeros(shape, dtype=inputs[name].dtype)}))


def test_first_scores_are_those_of_the_tree(model: FALModel) -> None:
    scores = model(**model.example_inputs(4)).logits_BK.sigmoid().mean(dim=0)
    torch.testing.assert_close(scores, torch.tensor([0.5] * 7), atol=0.05, rtol=0)


def test_the_default_taxonomy_has_500_leaves() -> None:
    with torch.device("meta"):
        model = FALModel.from_preset("fal-nano")
    assert len(model.taxonomy.leaves) == 500


def test_forward_reads_like_the_figure() -> None:
    import inspect

    lines = inspect.getsource(FALModel.forward).split('"""')[2].strip().splitlines()
    assert len(lines) <= 40
