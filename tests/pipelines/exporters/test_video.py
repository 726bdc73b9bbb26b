"""What is exported of one video."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.exporters.video import Failure, Label, Segment, short, video_of
from tests.helpers.exporting import label, video
from tests.helpers.report_folder import failure_row, label_row


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1, width=32))
def test_a_score_is_as_short_as_its_32_bits_allow(value: float) -> None:
    shortest = short(value)
    assert shortest is not None
    assert np.float32(shortest) == np.float32(value)
    assert len(repr(shortest)) <= len(repr(value))


def test_a_row_of_labels() -> None:
    row = label_row("a", score=float(np.float32(0.9)), split="val", is_abstained=True)
    found = video_of(row)
    assert found.labels == (Label("sport", ("sport",), 0.9), Label("run", ("sport", "run"), 0.9))
    assert [x.level for x in found.labels] == [0, 1]
    assert found.segments == (Segment("run", 2.0, 5.0, 0.9),)
    assert (found.top_label, found.top_path, found.top_score) == ("run", ("sport", "run"), 0.9)
    assert (found.split, found.is_abstained, found.failure, found.num_not_numbers) == ("val", True, None, 0)


def test_a_row_of_failures() -> None:
    found = video_of(failure_row("z") | {"split": "test"})
    assert found.failure == Failure("decode", "corrupt", "damaged", 1)
    assert (found.video_id, found.uri, found.split, found.labels) == ("z", "/videos/z", "test", ())


def test_what_is_no_number_is_left_out_and_counted() -> None:
    nan = math.nan
    segments = [
        {"label": "run", "start_s": nan, "end_s": 5.0, "score": 0.5},
        {"label": "run", "start_s": 1.0, "end_s": math.inf, "score": 0.5},
        {"label": "run", "start_s": 1.0, "end_s": 2.0, "score": nan},
        {"label": "run", "start_s": 1.0, "end_s": 2.0, "score": 0.5},
    ]
    labels = [{"label": "run", "path": ["sport", "run"], "level": 1, "score": nan}]
    row = label_row("a", labels=labels, segments=segments, top_score=nan, coverage=nan, frame_times_s=[nan, 1.0])
    found = video_of(row)
    assert found.segments == (Segment("run", 1.0, 2.0, 0.5),)
    assert (found.labels, found.num_not_numbers) == ((), 4)
    assert (found.top_label, found.top_path, found.top_score, found.coverage) == ("", (), None, None)
    assert found.frame_times_s == (1.0,)


@pytest.mark.parametrize("duration_s", [None, 0.0, -1.0, math.nan, math.inf])
def test_a_length_that_is_none_is_not_known(duration_s: Any) -> None:
    assert video_of(label_row("a", duration_s=duration_s)).duration_s is None


def test_the_deepest_labels_say_the_rest() -> None:
    found = video("a", label("sport"), label("news"), label("jump"), label("run"))
    assert [x.label for x in found.deepest] == ["news", "jump", "run"]
