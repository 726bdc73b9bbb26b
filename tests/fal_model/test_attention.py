import torch
from torch import Tensor

from fal_model.attention import CrossAttention, DividedBlock, Mlp, SpaceAttention, TimeAttention
from fal_model.config import Activation


def tokens() -> Tensor:
    return torch.randn(2, 3, 5, 8)  # B, T, P, D


def by_hand(module: TimeAttention | SpaceAttention, x_LD: Tensor) -> Tensor:
    """Attend within one sequence, head by head, in plain arithmetic."""
    q, k, v = module.qkv(x_LD).chunk(3, dim=-1)
    heads = []
    for i in range(2):
        part = slice(4 * i, 4 * i + 4)
        weights = (q[:, part] @ k[:, part].T / 4**0.5).softmax(dim=-1)
        heads.append(weights @ v[:, part])
    y: Tensor = module.out(torch.cat(heads, dim=-1))
    return y


def test_time_attention_is_attention_over_frames() -> None:
    module, x = TimeAttention(8, 2), tokens()
    want = torch.stack([torch.stack([by_hand(module, x[b, :, p]) for p in range(5)], dim=1) for b in range(2)])
    torch.testing.assert_close(module(x), want)


def test_space_attention_is_attention_within_a_frame() -> None:
    module, x = SpaceAttention(8, 2), tokens()
    want = torch.stack([torch.stack([by_hand(module, x[b, t]) for t in range(3)]) for b in range(2)])
    torch.testing.assert_close(module(x), want)


def test_cross_attention_looks_only_at_the_other_stream() -> None:
    module = CrossAttention(8, 2)
    x, other = torch.randn(2, 4, 8), torch.randn(2, 6, 8)
    y = module(x, other)
    assert y.shape == x.shape
    torch.testing.assert_close(module(x, other.flip(1)), y)  # a set: order tells nothing
    assert not torch.allclose(module(x, other + 1), y)
    changed = torch.cat((x[:, :1], x[:, 1:] + 1), dim=1)
    torch.testing.assert_close(module(changed, other)[:, 0], y[:, 0])  # queries do not see one another


def test_an_mlp_works_on_each_token_alone() -> None:
    module, x = Mlp(8), tokens()
    torch.testing.assert_close(module(x)[0, 1, 2], module(x[0, 1, 2]))


def test_activations_are_the_published_formulas() -> None:
    x = tokens()
    for activation in Activation:
        module = Mlp(8, activation)
        inner = module.up(x)
        quick = inner / (1 + (-1.702 * inner).exp())
        exact = inner * (1 + (inner / 2**0.5).erf()) / 2
        want = quick if activation is Activation.QUICK_GELU else exact
        torch.testing.assert_close(module(x), module.out(want))


def test_a_frame_token_attends_in_space_and_not_in_time() -> None:
    block, x = DividedBlock(8, 2, dropout=0.0, has_frame_token=True), tokens()
    timed = x.clone()
    timed[:, :, 1:] += block.time(block.time_norm(x[:, :, 1:]))
    spaced = timed + block.space(block.space_norm(timed))
    torch.testing.assert_close(block(x), spaced + block.mlp(block.mlp_norm(spaced)))


def test_a_block_carries_news_across_time_and_space() -> None:
    block, x = DividedBlock(8, 2, dropout=0.0), tokens()[:, :, 1:]
    changed = x.clone()
    changed[0, 0, 0, 3] += 5
    difference = (block(changed) - block(x)).abs().amax(dim=-1)
    assert (difference[0] > 1e-5).all()
    assert (difference[1] == 0).all()


def test_dropout_is_for_training_only() -> None:
    block, x = DividedBlock(8, 2, dropout=0.5), tokens()[:, :, 1:]
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
