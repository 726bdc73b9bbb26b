"""The tables FAL reads and writes, as Arrow schemas with a version. One schema per boundary.

``docs/data-contracts.md`` explains each column; a test keeps both equal.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 4
VERSION_KEY: Final = b"fal_schema_version"
RECEIPT_KEY: Final = b"fal_receipt"
"""File metadata of ``labels`` and ``predictions``: what made them, as :class:`pipelines.receipts.Receipt` writes it."""

SEGMENT = pa.struct([("label", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])

MANIFEST = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("segments", pa.list_(SEGMENT)),
        ("split", pa.string()),
        ("duration_s", pa.float64()),
        ("sha256", pa.string()),
        ("group", pa.string()),
    ]
)
"""One row per video. Only ``uri`` must be given by the user; ``labels`` is null where the truth is unknown."""

FAILURES = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("stage", pa.string()),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)
"""One row per video that could not be labelled."""

SCORED_LABEL = pa.struct(
    [("label", pa.string()), ("path", pa.list_(pa.string())), ("level", pa.int32()), ("score", pa.float32())]
)
SCORED_SEGMENT = pa.struct(
    [("label", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("score", pa.float32())]
)


def labels_schema(embedding_dim: int) -> pa.Schema:
    """Return the schema of the ``labels`` table: one row per labelled video."""
    return pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("sha256", pa.string()),
            ("duration_s", pa.float64()),
            ("top_label", pa.string()),
            ("top_path", pa.list_(pa.string())),
            ("top_score", pa.float32()),
            ("is_abstained", pa.bool_()),
            ("labels", pa.list_(SCORED_LABEL)),
            ("segments", pa.list_(SCORED_SEGMENT)),
            ("num_segments_left_out", pa.int32()),
            ("embedding", pa.list_(pa.float32(), embedding_dim)),
            ("frame_times_s", pa.list_(pa.float64())),
            ("coverage", pa.float32()),
            ("model_id", pa.string()),
            ("taxonomy_id", pa.string()),
            ("pipeline_id", pa.string()),
        ],
        metadata={VERSION_KEY: str(SCHEMA_VERSION)},
    )


def predictions_schema(num_classes: int, num_leaves: int, num_frames: int, embedding_dim: int) -> pa.Schema:
    """Return the schema of the ``predictions`` table: one small row per clip, enough to label again.

    ``logits`` and ``frame_logits`` are uncalibrated, so that another calibration, threshold or taxonomy text can be
    applied later; ``frame_logits`` is the flattened [num_frames, num_classes] grid. ``offsets`` is the flattened
    [num_frames, num_leaves, 2] grid, in 255ths of a stratum. ``input_sha256`` is the digest of the
    pixels and flow that the model was given.
    """
    return pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("sha256", pa.string()),
            ("duration_s", pa.float64()),
            ("clip_index", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("covered_s", pa.float64()),
            ("num_substituted", pa.int32()),
            ("input_sha256", pa.string()),
            ("frame_times_s", pa.list_(pa.float64())),
            ("logits", pa.list_(pa.float32(), num_classes)),
            ("frame_logits", pa.list_(pa.float16(), num_frames * num_classes)),
            ("offsets", pa.list_(pa.uint8(), num_frames * num_leaves * 2)),
            ("embedding", pa.list_(pa.float32(), embedding_dim)),
        ],
        metadata={VERSION_KEY: str(SCHEMA_VERSION)},
    )


SHARD = pa.schema(
    [
        ("video_id", pa.string()),
        ("clip_index", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("frame_times_s", pa.list_(pa.float64())),
        ("frames_jpeg", pa.list_(pa.binary())),
        ("flow_q", pa.binary()),
        ("flow_valid", pa.list_(pa.bool_())),
        ("camera", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.string())),
        ("frame_labels", pa.list_(pa.list_(pa.string()))),
        ("segments", pa.list_(SEGMENT)),
    ]
)
"""One row per training clip: JPEG frames, quantised flow, motion of the camera, times, truth.

``labels`` holds the ids true somewhere in the clip; ``frame_labels`` the ids true at each frame, null where the
manifest does not say of every label when it holds; ``segments`` when what overlaps the window begins and ends in the
video, null where the manifest says nothing about times. File metadata carries the clip specification, the taxonomy and
the schema version.
"""
CLIP_SPEC_KEY: Final = b"fal_clip_spec"
TAXONOMY_KEY: Final = b"fal_taxonomy"

SCANNED = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("num_bytes", pa.int64()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("pixel_format", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("rotation_deg", pa.int32()),
        ("bit_depth", pa.int32()),
        ("is_hdr", pa.bool_()),
        ("duration_s", pa.float64()),
        ("mean_fps", pa.float64()),
        ("is_variable_rate", pa.bool_()),
        ("num_frames", pa.int64()),
        ("num_keyframes", pa.int64()),
        ("keyframe_gap_s", pa.float64()),
        ("longest_gap_s", pa.float64()),
        ("bit_rate_bps", pa.float64()),
        ("video_bit_rate_bps", pa.float64()),
        ("num_streams", pa.int32()),
        ("has_audio", pa.bool_()),
        ("picture_times_s", pa.list_(pa.float64())),
        ("picture_hashes", pa.list_(pa.uint64())),
        ("num_damaged_pictures", pa.int32()),
        ("num_decoded", pa.int64()),
        ("num_damaged", pa.int64()),
        ("warnings", pa.list_(pa.string())),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)
"""One row per video that a scan found usable."""

DUPLICATES = pa.schema(
    [
        ("kind", pa.string()),
        ("video_id", pa.string()),
        ("like_id", pa.string()),
        ("num_matches", pa.int32()),
        ("distance", pa.float64()),
        ("split", pa.string()),
        ("like_split", pa.string()),
        ("is_dropped", pa.bool_()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)
"""One row per pair of videos that are the same, or nearly."""
