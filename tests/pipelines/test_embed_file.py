"""A file gets the embedding that the labelling job would give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_model.errors import ConfigError
from pipelines.config import LabelConfig
from pipelines.embed_file import embed_file
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.label_plan import BATCH_CLIPS, label_in_process


def test_it_is_that_of_the_labelled_video(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    write_videos(tmp_path / "videos", 2)
    rows = label_in_process(tmp_path / "videos", tmp_path / "out", model, LabelConfig())
    predictor = ClipPredictor.load(str(model), "cpu")
    for row in rows:
        found = embed_file(row["uri"], predictor, DecodeLimits(), BATCH_CLIPS)
        assert found.tolist() == row["embedding"]


def test_a_file_that_is_no_video_is_said_with_its_kind(tmp_path: Path) -> None:
    predictor = ClipPredictor.load(str(write_model(tmp_path / "model")), "cpu")
    write_broken(tmp_path)
    for name, kind in (("text.mp4", "not_a_video"), ("empty.mp4", "empty_file"), ("none.mp4", "not_found")):
        with pytest.raises(ConfigError, match=rf"--file: '.*{name}' cannot be used: {kind}: "):
            embed_file(str(tmp_path / name), predictor, DecodeLimits(), 4)
