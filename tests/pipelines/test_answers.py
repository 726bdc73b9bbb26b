from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines.answers import (
    MAX_HEADER_BYTES,
    read_clip,
    read_count,
    read_error,
    read_facts,
    read_header,
    read_info,
    read_ready,
)
from pipelines.limits import DecodeLimits
from pipelines.sampling import cut_windows
from pipelines.scan import DeepCount
from tests.helpers.messages import CLIP, COUNT, FACTS, INFO

SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16, flow_step_s=0.1, window_s=2.0)
LIMITS = DecodeLimits()


def test_a_message_is_read() -> None:
    assert read_header(b'{"type": "end", "x": 1}') == {"type": "end", "x": 1}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bytes(MAX_HEADER_BYTES + 1), "a message of more than 65536 bytes"),
        (b"{{{", "a message that is not JSON"),
        (b"\xff\xfe\xfd", "a message that is not JSON"),
        (b"[" * 50_000, "a message that is not JSON"),
        (b'{"type": "shell"}', "a message of unknown type"),
        (b'{"type": ["end"]}', "a message of unknown type"),
        (b"{}", "a message of unknown type"),
        (b"[1]", "a message of unknown type"),
    ],
)
def test_nonsense_is_a_crash(data: bytes, says: str) -> None:
    with pytest.raises(VideoError, match=f"decoder_crash: the decoding process sent {says}"):
        read_header(data)


def test_a_process_says_whether_it_is_confined() -> None:
    assert not read_ready({"type": "ready", "unconfined": ""})
    assert read_ready({"type": "ready", "unconfined": "no\nway"}) == "no way"
    for lie in ({"type": "end", "unconfined": ""}, {"type": "ready"}):
        with pytest.raises(VideoError, match="decoder_crash: the decoding process sent no word that it is ready"):
            read_ready(lie)


def test_good_facts_are_taken() -> None:
    info = read_info(INFO, SPEC, LIMITS)
    assert (info.num_frames, info.codec) == (25, "h264")


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_the_longest_video_may_have_as_many_clips_as_its_windows(overlap: float) -> None:
    spec = replace(SPEC, window_overlap=overlap)
    most = len(cut_windows(LIMITS.max_duration_s, spec.window_s, overlap=overlap))
    facts = {**INFO, "duration_s": LIMITS.max_duration_s, "num_frames": 10**6}
    assert read_info({**facts, "num_clips": most}, spec, LIMITS).num_clips == most
    with pytest.raises(VideoError, match="malformed facts about the video"):
        read_info({**facts, "num_clips": most + 1}, spec, LIMITS)


@pytest.mark.parametrize(
    "lie",
    [
        {"type": "facts"},
        {"duration_s": 1e9},
        {"duration_s": 0.0},
        {"duration_s": float("nan")},
        {"num_frames": 0},
        {"num_clips": 0},
        {"width_px": -1},
        {"num_frames": 2.5},
        {"num_clips": 10**9},
        {"num_clips": True},
        {"is_seekable": 1},
        {"codec": 7},
        {"container": None},
        {"mean_fps": "25"},
        {"mean_fps": float("inf")},
        {"rotation_deg": [90]},
    ],
)
def test_a_child_that_lies_about_a_video_is_a_crash(lie: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="decoder_crash: the decoding process sent malformed facts about the video"):
        read_info({**INFO, **lie}, SPEC, LIMITS)


def test_good_facts_of_a_scan_are_taken() -> None:
    facts = read_facts({**FACTS, "codec": "h264\n"}, LIMITS)
    assert (facts.num_keyframes, facts.codec, facts.has_audio) == (1, "h264", False)


@pytest.mark.parametrize(
    "lie",
    [
        {"type": "info"},
        {"duration_s": 0},
        {"duration_s": float("inf")},
        {"longest_gap_s": -1.0},
        {"num_frames": 0},
        {"num_keyframes": 2.5},
        {"stream_bytes": 2**60},
        {"num_pictures": 9},
        {"num_pictures": 0},
        {"num_damaged_pictures": True},
        {"bit_depth": None},
        {"has_audio": 1},
        {"is_hdr": "no"},
        {"pixel_format": ["yuv"]},
    ],
)
def test_a_child_that_lies_in_a_scan_is_a_crash(lie: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="decoder_crash: the decoding process sent malformed facts about the video"):
        read_facts({**FACTS, **lie}, LIMITS)


def test_counts_of_a_deep_scan_only_rise() -> None:
    first = read_count(COUNT, LIMITS, DeepCount(0, 0))
    assert first == DeepCount(25, 1)
    assert read_count(COUNT, LIMITS, first) == first
    for lie in ({"num_decoded": 24}, {"num_damaged": 0}, {"num_damaged": 26}):
        with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a count that cannot be"):
            read_count({**COUNT, **lie}, LIMITS, first)
    for malformed in ({"type": "clip"}, {"num_decoded": "x"}, {"num_damaged": -1}, {"num_decoded": 10**12}):
        with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a malformed count"):
            read_count({**COUNT, **malformed}, LIMITS, first)


def test_an_error_is_believed_only_if_it_is_one() -> None:
    good = {"type": "error", "kind": "corrupt", "message": "x\ny", "stage": "decode"}
    error = read_error(good)
    assert (error.kind, error.message, error.stage) == (FailureKind.CORRUPT, "x y", "decode")
    lies: list[dict[str, Any]] = [{"kind": "fine"}, {"kind": [1]}, {"message": None}, {"stage": "shell"}, {"stage": {}}]
    for lie in lies:
        with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a malformed error"):
            read_error({**good, **lie})


def test_a_good_clip_is_taken() -> None:
    assert read_clip(CLIP, SPEC, range(1, 3)) == {
        "index": 1,
        "start_s": 2.0,
        "end_s": 4.0,
        "frame_times_s": (2.0, 2.5, 3.0, 3.5),
        "covered_s": 2.0,
        "num_substituted": 0,
    }


@pytest.mark.parametrize(
    "lie",
    [
        {"type": "info"},
        {"index": 0},
        {"index": 3},
        {"index": None},
        {"index": True},
        {"index": [1]},
        {"start_s": True},
        {"frame_times_s": {"0": 1.0}},
        {"frame_times_s": [1.0]},
        {"frame_times_s": [1.0, 2.0, 3.0, "4"]},
        {"frame_times_s": [1.0, 2.0, 3.0, float("inf")]},
        {"covered_s": None},
        {"num_substituted": 5},
    ],
)
def test_a_child_that_lies_about_a_clip_is_a_crash(lie: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a malformed clip"):
        read_clip({**CLIP, **lie}, SPEC, range(1, 3))


@pytest.mark.parametrize(
    "lie",
    [
        {"end_s": 2.0, "covered_s": 0.0},
        {"start_s": 5.0},
        {"covered_s": 2.001},
        {"frame_times_s": [2.0, 3.0, 2.5, 3.5]},
    ],
)
def test_times_that_cannot_be_are_a_crash(lie: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a clip whose times cannot be"):
        read_clip({**CLIP, **lie}, SPEC, range(1, 3))


def test_repeated_times_and_rounding_are_no_lie() -> None:
    honest = {**CLIP, "frame_times_s": [1.5, 1.5, 3.0, 3.0], "covered_s": 2.0 + 1e-9}
    assert read_clip(honest, SPEC, range(1, 3))["covered_s"] == honest["covered_s"]


def test_numbers_survive_the_way_bit_for_bit() -> None:
    sent = {**CLIP, "frame_times_s": [1 / 3, 2 / 3, 1.1, 3 * 0.7]}
    assert read_clip(json.loads(json.dumps(sent)), SPEC, range(1, 3))["frame_times_s"] == tuple(sent["frame_times_s"])
