"""Distributions, tallies and warnings of the scan report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.pixels import decode_jpeg
from pipelines.scan_figures import (
    MAX_MARKS,
    MAX_TALLY,
    NUM_BINS,
    Figures,
    distribution,
    read_figures,
    read_strips,
    round_numbers,
    round_times,
    tally,
)
from pipelines.scan_job import ScanPlan
from tests.helpers.scanned import USABLE


def text(value: float) -> str:
    return f"{value:.3g}"


def test_figures_cover_every_usable_video(scanned: ScanPlan) -> None:
    figures = read_figures(scanned.output)
    assert figures.total_s == pytest.approx(2.0 * USABLE + 0.5)
    assert [d.title for d in figures.distributions] == ["Duration", "File size", "Frame rate", "Bit rate"]
    assert all(sum(d.counts) == USABLE for d in figures.distributions)
    codecs, containers, sizes, kinds = figures.tallies
    assert codecs.counts == [("h264", USABLE - 1), ("mpeg4", 1)]
    assert containers.counts == [("mov", USABLE - 1), ("avi", 1)]
    assert sizes.counts == [("160 × 96", USABLE - 1), ("80 × 48", 1)]
    assert dict(kinds.counts) == {"sound": 0, "variable rate": 0, "turned": 0, "over 8 bits": 0, "HDR": 0}
    assert [(w.kind, w.count, w.examples) for w in figures.warnings] == [
        ("shows_nothing", 2, ["black", "black2"]),
        ("duration_differs", 1, ["other2"]),
    ]
    assert all(warned.why for warned in figures.warnings)


def test_a_scan_of_nothing_has_no_figures(tmp_path: Path) -> None:
    assert read_figures(str(tmp_path)) == Figures()


def test_pictures_of_the_wanted_videos_are_read(scanned: ScanPlan) -> None:
    strips = read_strips(scanned.output, {"first", "third", "gone", "no such"}, scanned.scan.part_videos)
    assert sorted(strips) == ["first", "third"]
    assert decode_jpeg(strips["third"]).shape == (72, 3 * 120 + 4, 3)
    assert read_strips(scanned.output, set(), scanned.scan.part_videos) == {}


@given(st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=50))
@settings(deadline=None, max_examples=60)
def test_every_value_is_in_one_bin(values: list[float]) -> None:
    found = distribution("Size", "bytes", np.array(values), text)
    assert sum(found.counts) == len(values)
    assert len(found.counts) == len(found.titles) <= NUM_BINS
    assert all(-1e-6 <= place <= len(found.counts) + 1e-6 for place in found.marks)


def test_bins_grow_by_a_factor() -> None:
    found = distribution("Size", "bytes", np.array([1.0, 2.0, 2.0, 4.0**14]), text)
    assert (found.counts[0], found.counts[1], found.counts[-1]) == (1, 2, 1)
    assert found.titles[0] == "1 – 2: 1"
    assert found.median == "2"


def test_one_value_is_one_bin() -> None:
    found = distribution("Size", "bytes", np.array([25.0, 25.0]), text)
    assert (found.counts, found.marks) == ([2], {0.5: "25"})


@given(st.floats(1e-3, 1e9), st.floats(1, 1e9))
@settings(deadline=None, max_examples=60)
def test_marks_are_round_few_and_in_range(low: float, factor: float) -> None:
    for marks in (round_numbers(low, low * factor), round_times(low, low * factor)):
        assert len(marks) <= MAX_MARKS
        assert all(low <= mark <= low * factor for mark in marks)
        assert marks == sorted(set(marks))


def test_marks_of_usual_ranges() -> None:
    assert round_numbers(3, 70) == [5, 10, 20, 50]
    assert round_numbers(1, 999_999) == [1, 10, 100, 1_000, 10_000, 100_000]
    assert round_times(2, 700) == [3, 10, 30, 60, 180, 600]


def test_a_tally_of_many_words_ends_with_the_others() -> None:
    words = [f"word {n:02d}" for n in range(20) for _ in range(n + 1)]
    found = tally("Words", words)
    assert found.counts[0] == ("word 19", 20)
    assert len(found.counts) == MAX_TALLY - 1
    assert sum(n for _, n in found.counts) + found.num_others == len(words)
    assert tally("Words", []).counts == []
