from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import fuzz
from bench.hostile_seeds import seeds
from pipelines.clips import Clip, VideoInfo, prepare_clips


@pytest.fixture(scope="module")
def prepared() -> tuple[VideoInfo, Clip]:
    data = seeds(None)["libx264-yuv420p.mp4"]
    info, clips = prepare_clips(io.BytesIO(data), fuzz.SPEC, fuzz.LIMITS)
    (clip,) = clips
    return info, clip


def test_what_is_right_is_no_contradiction(prepared: tuple[VideoInfo, Clip]) -> None:
    info, clip = prepared
    assert fuzz.contradiction(info, [clip], fuzz.SPEC) == ""


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"frame_times_s": (0.3, 0.2, 0.4, 0.5)}, "impossible frame times"),
        ({"frame_times_s": (-0.1, 0.2, 0.4, 0.5)}, "impossible frame times"),
        ({"end_s": 9.0}, "impossible window"),
        ({"covered_s": 0.0}, "impossible covered time"),
        ({"num_substituted": 5}, "impossible substituted frames"),
        ({"frames_THWC": np.zeros((4, 8, 8, 3), np.uint8)}, "impossible shapes"),
        ({"flow_q_THWC": np.ones((4, 8, 8, 2), np.int8), "flow_valid_T": np.zeros(4, np.bool_)}, "impossible flow"),
    ],
)
def test_a_clip_that_cannot_be_is_a_finding(prepared: tuple[VideoInfo, Clip], lie: dict[str, Any], says: str) -> None:
    info, clip = prepared
    assert fuzz.contradiction(info, [replace(clip, **lie)], fuzz.SPEC).startswith(says)


def test_facts_that_cannot_be_are_a_finding(prepared: tuple[VideoInfo, Clip]) -> None:
    info, clip = prepared
    assert fuzz.contradiction(replace(info, width_px=0), [clip], fuzz.SPEC) == "impossible facts"
    assert fuzz.contradiction(info, [], fuzz.SPEC) == "impossible number of clips"
    assert fuzz.contradiction(info, [clip, clip], fuzz.SPEC) == "impossible number of clips, impossible order of clips"


def test_a_run_ends_with_a_summary_and_a_case_can_be_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--made-only", "--output", str(tmp_path)]
    assert fuzz.main([*common, "--count", "20", "--first", "30"]) == 0
    text = capsys.readouterr().out
    assert "| cases | 20 |" in text
    assert "| findings | 0 |" in text
    assert fuzz.main([*common, "--replay", "31"]) == 0
    assert capsys.readouterr().out.startswith("case 31 (")
