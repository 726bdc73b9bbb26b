"""What a decoding process in its right mind would say of a video."""

from __future__ import annotations

from typing import Any

INFO: dict[str, Any] = {
    "type": "info",
    "duration_s": 1.0,
    "width_px": 2,
    "height_px": 2,
    "rotation_deg": 0,
    "codec": "h264",
    "container": "avi",
    "mean_fps": 25.0,
    "num_frames": 25,
    "num_clips": 1,
    "is_seekable": True,
}
FACTS: dict[str, Any] = {
    "type": "facts",
    "container": "avi",
    "codec": "h264",
    "pixel_format": "yuv420p",
    "width_px": 2,
    "height_px": 2,
    "rotation_deg": 0,
    "bit_depth": 8,
    "is_hdr": False,
    "duration_s": 1.0,
    "mean_fps": 25.0,
    "is_variable_rate": False,
    "num_frames": 25,
    "num_keyframes": 1,
    "longest_gap_s": 0.04,
    "stream_bytes": 1000,
    "num_streams": 1,
    "has_audio": False,
    "num_pictures": 8,
    "num_damaged_pictures": 0,
}
COUNT: dict[str, Any] = {"type": "count", "num_decoded": 25, "num_damaged": 1}
CLIP: dict[str, Any] = {
    "type": "clip",
    "index": 1,
    "start_s": 2.0,
    "end_s": 4.0,
    "frame_times_s": [2.0, 2.5, 3.0, 3.5],
    "covered_s": 2.0,
    "num_substituted": 0,
}
"""Of four frames."""
