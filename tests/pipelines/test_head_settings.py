"""Settings of fitting a head."""

from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from pipelines.head_settings import HeadConfig


def test_every_wrong_setting_is_said() -> None:
    with pytest.raises(ConfigError) as raised:
        HeadConfig(penalties=(-1.0,), max_steps=0, max_clips=1, kept_accuracy=1.0)
    said = str(raised.value)
    assert "head.penalties: got [-1.0], must be at least one number from 0 to 1e6" in said
    assert all(f"head.{name}: got" in said for name in ("max_steps", "max_clips", "kept_accuracy"))
    with pytest.raises(ConfigError, match=r"head\.penalties: got \[\], must be at least one"):
        HeadConfig(penalties=())
