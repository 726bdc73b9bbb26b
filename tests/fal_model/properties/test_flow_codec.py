import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.flow_codec import MAX_FLOW_PX, decode_flow, encode_flow


@given(st.floats(-MAX_FLOW_PX, MAX_FLOW_PX))
@settings(deadline=None)
def test_the_error_is_half_a_step_of_the_root(value_px: float) -> None:
    back_px = float(decode_flow(encode_flow(np.array([value_px])))[0])
    step = MAX_FLOW_PX**0.5 / 127
    assert abs(abs(back_px) ** 0.5 - abs(value_px) ** 0.5) <= step / 2 + 1e-6
    assert back_px * value_px >= 0
