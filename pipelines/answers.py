"""Checks of what the decoding process says. It runs decoders on files from anywhere, so nothing of it is believed."""

from __future__ import annotations

import json
from typing import Any

from fal_model.errors import FailureKind, VideoError, printable
from fal_model.spec import ClipSpec
from pipelines.clips import VideoInfo
from pipelines.limits import DecodeLimits
from pipelines.sampling import count_windows
from pipelines.scan import NUM_PICTURES, DeepCount, VideoFacts

MAX_HEADER_BYTES = 64 * 2**10
MESSAGES = ("ready", "info", "facts", "clip", "count", "end", "error")
STAGES = ("open", "probe", "decode")
MAX_TIME_S = 1e8
ROUNDING_S = 1e-4
"""Seconds by which a sum of parts of a window may exceed it: more than doubles lose at ``MAX_TIME_S``."""


def read_header(data: bytes) -> dict[str, Any]:
    """Read a message.

    Returns:
        Its fields; ``type`` is one of ``MESSAGES``, the others are not checked yet.

    Raises:
        VideoError: too long, not JSON, or of unknown type.
    """
    if len(data) > MAX_HEADER_BYTES:
        raise nonsense(f"a message of more than {MAX_HEADER_BYTES} bytes")
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        raise nonsense("a message that is not JSON") from None
    if not isinstance(header, dict) or header.get("type") not in MESSAGES:
        raise nonsense("a message of unknown type")
    return header


def read_ready(header: dict[str, Any]) -> str:
    """Check a ``ready`` message; return why the process is not confined, empty if it is.

    Raises:
        VideoError: it is something else.
    """
    unconfined = header.get("unconfined")
    if header["type"] != "ready" or not isinstance(unconfined, str):
        raise nonsense("no word that it is ready")
    return printable(unconfined)


def nonsense(what: str) -> VideoError:
    """Make the error for an answer that no decoding process gives which is in its right mind."""
    return VideoError(FailureKind.DECODER_CRASH, f"the decoding process sent {what}")


def read_error(header: dict[str, Any]) -> VideoError:
    """Turn an ``error`` message into the error, believing nothing but its kind.

    Raises:
        VideoError: it is malformed; no process sends such a message which can be given another video.
    """
    kind, message, stage = header.get("kind"), header.get("message"), header.get("stage")
    if kind not in tuple(FailureKind) or not isinstance(message, str) or stage not in STAGES:
        raise nonsense("a malformed error")
    return VideoError(FailureKind(kind), message, stage)


def read_info(header: dict[str, Any], spec: ClipSpec, limits: DecodeLimits) -> VideoInfo:
    """Check an ``info`` message.

    Raises:
        VideoError: a field is missing, of another type, or out of range.
    """
    ranges = {
        "duration_s": limits.max_duration_s,
        "width_px": 2**31,
        "height_px": 2**31,
        "rotation_deg": 270,
        "mean_fps": 1e9,
        "num_frames": limits.max_frames,
        "num_clips": count_windows(limits.max_duration_s, spec.window_s, spec.window_overlap),
    }
    values = {name: header.get(name) for name in VideoInfo.__dataclass_fields__}
    is_text = isinstance(values["codec"], str) and isinstance(values["container"], str)
    if (
        header["type"] != "info"
        or not is_text
        or not isinstance(values["is_seekable"], bool)
        or not _are_within(values, ranges)
        or not all(values[name] for name in ("duration_s", "num_frames", "num_clips"))
    ):
        raise nonsense("malformed facts about the video")
    texts = {name: printable(str(values[name])) for name in ("codec", "container")}
    checked: dict[str, Any] = {**values, **texts}
    return VideoInfo(**checked)


def _are_within(values: dict[str, Any], highest: dict[str, float]) -> bool:
    """Tell whether these are numbers from 0 on; whole ones but for seconds and rates."""
    return all(
        _is_number(values[name], high, whole=not name.endswith(("_s", "_fps"))) for name, high in highest.items()
    )


def _is_number(value: object, high: float, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return 0 <= value <= high


def read_facts(header: dict[str, Any], limits: DecodeLimits) -> VideoFacts:
    """Check a ``facts`` message.

    Raises:
        VideoError: a field is missing, of another type, or out of range.
    """
    ranges = {
        "width_px": 2**31,
        "height_px": 2**31,
        "rotation_deg": 270,
        "bit_depth": 64,
        "duration_s": limits.max_duration_s,
        "mean_fps": 1e9,
        "num_frames": limits.max_frames,
        "num_keyframes": limits.max_frames,
        "longest_gap_s": limits.max_duration_s,
        "stream_bytes": limits.max_bytes,
        "num_streams": limits.max_streams,
        "num_pictures": NUM_PICTURES,
        "num_damaged_pictures": NUM_PICTURES,
    }
    texts = ("container", "codec", "pixel_format")
    flags = ("is_hdr", "is_variable_rate", "has_audio")
    values = {name: header.get(name) for name in VideoFacts.__dataclass_fields__}
    if (
        header["type"] != "facts"
        or not all(isinstance(values[name], str) for name in texts)
        or not all(isinstance(values[name], bool) for name in flags)
        or not _are_within(values, ranges)
        or not all(values[name] for name in ("duration_s", "num_frames", "num_pictures"))
    ):
        raise nonsense("malformed facts about the video")
    checked: dict[str, Any] = {**values, **{name: printable(str(values[name])) for name in texts}}
    return VideoFacts(**checked)


def read_count(header: dict[str, Any], limits: DecodeLimits, before: DeepCount) -> DeepCount:
    """Check a ``count`` message; counts only rise.

    Raises:
        VideoError: a field is missing, of another type, or out of range.
    """
    values = {name: header.get(name) for name in DeepCount.__dataclass_fields__}
    # A packet may hold more than one frame, but not many.
    if header["type"] != "count" or not all(_is_number(v, 4 * limits.max_frames, whole=True) for v in values.values()):
        raise nonsense("a malformed count")
    checked: dict[str, Any] = values
    count = DeepCount(**checked)
    if not before.num_decoded <= count.num_decoded or not before.num_damaged <= count.num_damaged <= count.num_decoded:
        raise nonsense("a count that cannot be")
    return count


def read_clip(header: dict[str, Any], spec: ClipSpec, indices: range) -> dict[str, Any]:
    """Check a ``clip`` message.

    Args:
        header: What :func:`read_header` gave.
        spec: What a clip is.
        indices: The numbers that the clip may have.

    Returns:
        All fields of a clip but its arrays.

    Raises:
        VideoError: a field is missing, of another type, or out of range.
    """
    times_s = header.get("frame_times_s")
    seconds = {name: header.get(name) for name in ("start_s", "end_s", "covered_s")}
    index, num_substituted = header.get("index"), header.get("num_substituted")
    if (
        header["type"] != "clip"
        or not _is_number(index, MAX_TIME_S, whole=True)
        or index not in indices
        or not isinstance(times_s, list)
        or len(times_s) != spec.num_frames
        or not all(_is_number(number, MAX_TIME_S, whole=False) for number in (*seconds.values(), *times_s))
        or not _is_number(num_substituted, spec.num_frames, whole=True)
    ):
        raise nonsense("a malformed clip")
    checked = {name: float(value) for name, value in seconds.items() if value is not None}
    window_s = checked["end_s"] - checked["start_s"]
    if window_s <= 0 or checked["covered_s"] > window_s + ROUNDING_S or times_s != sorted(times_s):
        raise nonsense("a clip whose times cannot be")
    return {
        "index": index,
        **checked,
        "frame_times_s": tuple(float(time_s) for time_s in times_s),
        "num_substituted": num_substituted,
    }
