from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_model.ranges import Range


@given(st.floats(-3, 3))
def test_pydantic_reads_the_same_bounds(value: float) -> None:
    pydantic = pytest.importorskip("pydantic")
    bound = Range(gt=-1, le=2)
    adapter = pydantic.TypeAdapter(Annotated[float, bound])
    try:
        adapter.validate_python(value)
        is_valid = True
    except pydantic.ValidationError:
        is_valid = False
    assert is_valid == bound.allows(value)
