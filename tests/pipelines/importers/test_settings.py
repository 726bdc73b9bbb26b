from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from pipelines.importers.settings import ImportConfig


def test_every_setting_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        ImportConfig(max_left_out_share=2, split_number=0, frame_rate_fps=-1)
    assert [p.partition(":")[0] for p in caught.value.problems] == [
        "importing.max_left_out_share",
        "importing.split_number",
        "importing.frame_rate_fps",
    ]
