import numpy as np
import pytest

from fal_model.flow_codec import decode_flow, encode_flow


def test_every_byte_survives_a_round_trip() -> None:
    codes = np.arange(-127, 128, dtype=np.int8)
    np.testing.assert_array_equal(encode_flow(decode_flow(codes)), codes)


def test_decoding_rises_with_the_code() -> None:
    assert (np.diff(decode_flow(np.arange(-127, 128, dtype=np.int8))) > 0).all()


@pytest.mark.parametrize(("value_px", "code"), [(0.0, 0), (1000.0, 127), (-1000.0, -127), (64.0, 127), (16.0, 64)])
def test_golden_codes(value_px: float, code: int) -> None:
    assert encode_flow(np.array([value_px]))[0] == code


def test_what_is_not_finite_is_no_motion() -> None:
    assert encode_flow(np.array([np.nan, np.inf, -np.inf])).tolist() == [0, 0, 0]


def test_shape_and_type() -> None:
    flow_q = encode_flow(np.ones((2, 3, 2), dtype=np.float64))
    assert flow_q.shape == (2, 3, 2)
    assert flow_q.dtype == np.int8
    assert decode_flow(flow_q).dtype == np.float32
