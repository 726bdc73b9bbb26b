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
}
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
