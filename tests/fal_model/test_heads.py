import pytest
import torch

from fal_model.heads import Heads, prior_logits
from fal_model.pyramid import Places
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.micro import MICRO, small_tree


def test_shapes_and_unit_embeddings() -> None:
    output = Heads(MICRO, small_tree())(torch.randn(2, 3, 16))
    assert output.logits_BK.shape == (2, 7)
    assert output.frame_logits_BTK.shape == (2, 3, 7)
    assert output.embedding_BE.shape == (2, 8)
    torch.testing.assert_close(output.embedding_BE.norm(dim=-1), torch.ones(2))


def test_borders_are_within_a_stratum_and_half_way_where_nothing_is_known() -> None:
    heads = Heads(MICRO, small_tree())
    offsets = heads(torch.randn(2, 3, 16)).offsets_BTL2
    assert offsets.shape == (2, 3, len(small_tree().leaves), 2)
    assert ((offsets > 0) & (offsets < 1)).all()
    torch.nn.init.zeros_(heads.borders.weight)
    torch.nn.init.zeros_(heads.borders.bias)
    assert (heads(torch.randn(2, 3, 16)).offsets_BTL2 == 0.5).all()


def test_what_classes_have_in_common_moves_all_their_borders() -> None:
    heads, frames = Heads(MICRO, small_tree()), torch.randn(1, 3, 16)
    before = heads(frames).offsets_BTL2
    with torch.no_grad():
        heads.borders.bias[0] += 1  # of the start, for all classes
    assert (heads(frames).offsets_BTL2[..., 0] > before[..., 0]).all()
    assert torch.equal(heads(frames).offsets_BTL2[..., 1], before[..., 1])


def test_frames_differ_only_by_what_they_show_and_know_the_clip_in_common() -> None:
    heads, frames = Heads(MICRO, small_tree()), torch.randn(1, 3, 16)
    changed = frames.clone()
    changed[0, 1, 5] += 1
    torch.nn.init.zeros_(heads.context.weight)
    alone = (heads(changed).frame_logits_BTK - heads(frames).frame_logits_BTK).abs().amax(dim=-1)
    assert alone[0, [0, 2]].tolist() == [0, 0]
    assert alone[0, 1] > 1e-5
    torch.nn.init.normal_(heads.context.weight)
    together = (heads(changed).frame_logits_BTK - heads(frames).frame_logits_BTK).abs().amax(dim=-1)
    assert (together > 1e-6).all()


def test_the_order_of_the_frames_matters_to_the_clip() -> None:
    heads, frames = Heads(MICRO, small_tree()), torch.randn(1, 3, 16)
    # Without positions and filters, pooling would not see the order.
    before = heads(frames).embedding_BE - heads(frames.flip(1)).embedding_BE
    assert before.abs().max() < 1e-5
    torch.nn.init.normal_(heads.filter_TD)
    after = heads(frames).embedding_BE - heads(frames.flip(1)).embedding_BE
    assert after.abs().max() > 1e-2


def test_the_clip_is_read_from_its_embedding() -> None:
    heads = Heads(MICRO, small_tree())
    output = heads(torch.randn(2, 3, 16))
    output.logits_BK.sum().backward()
    assert heads.project.weight.grad is not None
    assert heads.project.weight.grad.abs().sum() > 0


def test_before_training_siblings_share_the_probability() -> None:
    taxonomy = Taxonomy([*(Node(str(i), str(i)) for i in range(4)), Node("only", "only", "0")])
    assert torch.tensor(prior_logits(taxonomy)).sigmoid().tolist() == pytest.approx([0.25] * 4 + [0.5])


def test_what_places_say_is_added_to_what_frames_as_wholes_say() -> None:
    heads, frames = Heads(MICRO, small_tree()).eval(), torch.randn(2, 3, 16)
    places = Places(torch.randn(2, 3, 16), torch.randn(2, 3, 7), torch.randn(2, 7))
    with_places, wholes = heads(frames, places), heads(frames + places.frame_BTD)
    torch.testing.assert_close(with_places.logits_BK, wholes.logits_BK + places.logits_BK)
    torch.testing.assert_close(with_places.frame_logits_BTK, wholes.frame_logits_BTK + places.frame_logits_BTK)
    assert torch.equal(with_places.embedding_BE, wholes.embedding_BE)
