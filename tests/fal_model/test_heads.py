import pytest
import torch

from fal_model.heads import Heads, prior_logits
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.micro import MICRO, small_tree


def test_shapes_and_unit_embeddings() -> None:
    output = Heads(MICRO, small_tree())(torch.randn(2, 3, 16))
    assert output.logits_BK.shape == (2, 7)
    assert output.frame_logits_BTK.shape == (2, 3, 7)
    assert output.embedding_BE.shape == (2, 8)
    torch.testing.assert_close(output.embedding_BE.norm(dim=-1), torch.ones(2))


def test_frames_are_judged_one_by_one() -> None:
    heads, frames = Heads(MICRO, small_tree()), torch.randn(1, 3, 16)
    changed = frames.clone()
    changed[0, 1, 5] += 1
    difference = (heads(changed).frame_logits_BTK - heads(frames).frame_logits_BTK).abs().amax(dim=-1)
    assert difference[0, [0, 2]].tolist() == [0, 0]
    assert difference[0, 1] > 1e-5


def test_the_clip_is_read_from_its_embedding() -> None:
    heads = Heads(MICRO, small_tree())
    output = heads(torch.randn(2, 3, 16))
    output.logits_BK.sum().backward()
    assert heads.project.weight.grad is not None
    assert heads.project.weight.grad.abs().sum() > 0


def test_before_training_siblings_share_the_probability() -> None:
    taxonomy = Taxonomy([*(Node(str(i), str(i)) for i in range(4)), Node("only", "only", "0")])
    assert torch.tensor(prior_logits(taxonomy)).sigmoid().tolist() == pytest.approx([0.25] * 4 + [0.5])
