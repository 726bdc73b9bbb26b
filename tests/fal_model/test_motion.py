import torch

from fal_model.motion import MotionStream, flow_channels
from tests.helpers.micro import MICRO, micro_batch


def test_channels_are_signed_roots_of_flow_and_of_flow_without_the_camera() -> None:
    flow = torch.full((1, 1, 2, 4, 4), 4.0)  # the camera moves 4 px to the right and down
    flow[0, 0, :, 0, 0] = torch.tensor([-12.0, 4.0])  # one thing moves left
    channels = flow_channels(flow, torch.ones(1, 1, dtype=torch.bool))
    assert channels.shape == (1, 1, 4, 4, 4)
    torch.testing.assert_close(channels[0, 0, :, 0, 0], torch.tensor([-(12**0.5) / 2, 1.0, -2.0, 0.0]))
    torch.testing.assert_close(channels[0, 0, :, 2, 3], torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_mirrored_motion_has_the_opposite_sign() -> None:
    flow = torch.randn(1, 2, 2, 3, 3)  # an odd number of pixels: the median of -x is minus the median of x
    valid = torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(flow_channels(-flow, valid), -flow_channels(flow, valid))


def test_unknown_flow_is_never_looked_at() -> None:
    stream = MotionStream(MICRO)
    flow = micro_batch(2)[0].flow_BTCHW
    valid = torch.tensor([[True, False, True], [False, False, False]])
    hidden = flow.clone()
    hidden[~valid] = float("nan")
    tokens = stream(hidden, valid)
    assert tokens.isfinite().all()
    torch.testing.assert_close(tokens, stream(flow, valid), rtol=0, atol=0)


def test_no_flow_is_not_the_same_as_no_motion() -> None:
    stream = MotionStream(MICRO)
    still = torch.zeros(1, 3, 2, 12, 12)
    known = torch.ones(1, 3, dtype=torch.bool)
    assert (stream(still, known) - stream(still, ~known)).abs().max() > 1e-3


def test_shape() -> None:
    batch = micro_batch(2)[0]
    assert MotionStream(MICRO)(batch.flow_BTCHW, batch.flow_valid_BT).shape == (2, 3, 4, 16)
