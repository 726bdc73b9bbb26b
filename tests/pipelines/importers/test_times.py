from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers.annotations import Kind, RawSegment
from pipelines.importers.times import segments_of
from tests.helpers.importing import said


def raw(*spans: tuple[str, object, object]) -> list[RawSegment]:
    return [RawSegment(label, start, end, f"at {i}") for i, (label, start, end) in enumerate(spans)]


def test_segments_are_sorted_and_those_of_different_labels_may_overlap() -> None:
    timed = segments_of(raw(("b", "3", "5"), ("a", 3, 4), ("a", 0, 1)), None)
    assert timed.segments == [
        {"label": "a", "start_s": 0.0, "end_s": 1.0},
        {"label": "a", "start_s": 3.0, "end_s": 4.0},
        {"label": "b", "start_s": 3.0, "end_s": 5.0},
    ]
    assert (timed.problems, timed.num_merged) == ([], 0)


def test_those_of_one_label_are_joined_if_they_overlap_and_not_if_they_touch() -> None:
    timed = segments_of(raw(("a", 4, 6), ("a", 0, 3), ("a", 1, 2), ("a", 3, 5)), 10)
    assert [(s["start_s"], s["end_s"]) for s in timed.segments] == [(0, 3), (3, 6)]
    assert said(timed.problems) == [
        ("at 2", "segments_merged", "a, 1–2 s: overlaps 0–3 s of the same label; joined"),
        ("at 0", "segments_merged", "a, 4–6 s: overlaps 3–5 s of the same label; joined"),
    ]


@pytest.mark.parametrize(
    ("start", "end", "kind", "what"),
    [
        (1, None, "segment_not_a_number", "a, 1–None: start and end must be numbers"),
        (2, 1, "segment_reversed", "a, 2–1: ends before it begins"),
        (1, 1, "segment_empty", "a, 1–1: has no length"),
        (-2, -1, "segment_outside", "a, -2–-1: lies outside the video of 9 s"),
        (9, 10, "segment_outside", "a, 9–10: lies outside the video of 9 s"),
        (-1, 0, "segment_outside", "a, -1–0: lies outside the video of 9 s"),
    ],
)
def test_what_cannot_be_is_left_out_with_its_reason(start: object, end: object, kind: str, what: str) -> None:
    timed = segments_of(raw(("a", start, end)), 9.0)
    assert timed.segments == []
    assert said(timed.problems) == [("at 0", kind, what)]
    assert timed.left_out == {kind: 1}


def test_what_sticks_out_is_cut() -> None:
    timed = segments_of(raw(("a", -1, 2)), None)
    assert timed.segments == [{"label": "a", "start_s": 0.0, "end_s": 2.0}]
    assert said(timed.problems) == [("at 0", "segment_cut", "a, -1–2 s: cut to the video, 0–… s")]
    before = segments_of(raw(("a", -3, -2)), None)
    assert said(before.problems) == [("at 0", "segment_outside", "a, -3–-2: lies outside the video")]


def test_what_the_parser_cannot_use_is_left_out() -> None:
    timed = segments_of([RawSegment("a", 1, 2, "here", Kind.NO_FRAME_RATE)], None)
    assert (timed.segments, timed.left_out) == ([], {"no_frame_rate": 1})


SECONDS = st.floats(-20, 40) | st.integers(-20, 40) | st.sampled_from([None, "1", "x", float("nan"), True])
SEGMENTS = st.lists(st.tuples(st.sampled_from("ab"), SECONDS, SECONDS), max_size=8)


@settings(deadline=None, max_examples=200)
@given(spans=SEGMENTS, duration_s=st.none() | st.floats(0.5, 30))
def test_every_segment_is_accounted_for_and_what_is_kept_is_in_order(
    spans: list[tuple[str, object, object]], duration_s: float | None
) -> None:
    timed = segments_of(raw(*spans), duration_s)
    assert len(spans) == len(timed.segments) + timed.num_merged + sum(timed.left_out.values())
    assert all(0 <= s["start_s"] < s["end_s"] <= (duration_s or 1e9) for s in timed.segments)
    assert timed.segments == sorted(timed.segments, key=lambda s: (s["start_s"], s["label"]))
    for label in "ab":
        mine = [s for s in timed.segments if s["label"] == label]
        assert all(a["end_s"] <= b["start_s"] for a, b in pairwise(mine))
    again = segments_of(raw(*((s["label"], s["start_s"], s["end_s"]) for s in timed.segments)), duration_s)
    assert (again.segments, again.problems) == (timed.segments, [])
