"""Made-up outputs of labelling runs, of any size: labels, segments, failures, damage, doubles and key frames."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.errors import FailureKind
from fal_model.taxonomy import Node, Taxonomy
from pipelines import label_parts, pixels, tables
from pipelines.records import FAILURES, labels_schema, predictions_schema
from pipelines.storage import write_bytes

NUM_ROOTS, NUM_GROUPS, NUM_LEAVES = 10, 10, 5
PART_VIDEOS = 1000
EMBEDDING_DIM = 64
STRIP_FRAMES, FRAME_PX = 4, 224
FAILED_EVERY, DAMAGED_EVERY = 50, 40
LONG_VIDEO_S = 120.0
DOUBLE_EVERY = 200


def taxonomy() -> Taxonomy:
    """Return a tree of 500 classes on three levels."""
    roots = [Node(f"r{i}", f"Area {i}") for i in range(NUM_ROOTS)]
    groups = [Node(f"{r.id}-g{i}", f"Group {r.name[5:]}.{i}", r.id) for r in roots for i in range(NUM_GROUPS)]
    leaves = [
        Node(f"{g.id}-c{i}", f"Activity {g.name[6:]}.{i}", g.id, f"Somebody does what is called {g.name[6:]}.{i}.")
        for g in groups
        for i in range(NUM_LEAVES)
    ]
    return Taxonomy([*roots, *groups, *leaves])


def write_corpus(output: str, num_videos: int, num_pictures: int, seed: int = 0) -> dict[str, Any]:
    """Write the tables and pictures of a run, and return its summary."""
    rng, tree = np.random.default_rng(seed), taxonomy()
    failed = 0
    for part, first in enumerate(range(0, num_videos, PART_VIDEOS)):
        numbers = range(first, min(num_videos, first + PART_VIDEOS))
        lost = [n for n in numbers if n % FAILED_EVERY == 0]
        failed += len(lost)
        name = f"part-{part:016x}"
        rows = [_label_row(n, tree, rng) for n in numbers if n % FAILED_EVERY]
        embeddings = _embeddings(len(rows), rng)
        table = pa.Table.from_pylist(rows, schema=labels_schema(EMBEDDING_DIM).remove(11))
        table = table.add_column(11, labels_schema(EMBEDDING_DIM).field(11), embeddings)
        tables.write_table(label_parts.table_uri(output, "labels", name), table)
        failures = pa.Table.from_pylist([_failure_row(n) for n in lost], schema=FAILURES)
        tables.write_table(label_parts.table_uri(output, "failures", name), failures)
        _write_damage(output, name, [row["video_id"] for row in rows][::DAMAGED_EVERY])
        shown = rows[:: max(1, num_videos // num_pictures)] if num_pictures else []
        strips = {row["video_id"]: _strip(rng) for row in shown}
        write_bytes(label_parts.thumbnails_uri(output, name), json.dumps(strips).encode())
    return {
        "seen": num_videos,
        "labelled": num_videos - failed,
        "failed": failed,
        "clips": 3 * num_videos,
        "wall_s": num_videos / 14.0,
        "videos_per_s": 14.0,
        "stages": {
            "prepare": {
                "busy_s": num_videos / 7.2,
                "videos_per_busy_s": 7.2,
                "workers": 2,
                "busy_share": 0.97,
            },
            "predict": {"busy_s": num_videos / 33.0, "videos_per_busy_s": 33.0, "workers": 1, "busy_share": 0.42},
        },
        "bottleneck": "prepare",
        "model_id": "0123456789abcdef",
        "taxonomy_id": tree.taxonomy_id,
        "pipeline_id": "fedcba9876543210",
    }


def _id_of(number: int) -> str:
    return f"camera-{number % 40:02d}/recording_{number:07d}.mp4"


def _label_row(number: int, tree: Taxonomy, rng: np.random.Generator) -> dict[str, Any]:
    duration_s = float(rng.gamma(2.0, LONG_VIDEO_S / 2))
    # Few classes hold most videos, as in real corpora.
    leaves = [tree.nodes[tree.leaves[int(len(tree.leaves) * share**2)]].id for share in rng.random(3)]
    scores = np.sort(rng.beta(4.0, 1.2, 3))[::-1].tolist()
    num_labels = int(rng.integers(1, 4))
    labels = [
        {"label": node, "path": tree.path(tree.index(leaf))[: level + 1], "level": level, "score": score}
        for leaf, score in zip(leaves[:num_labels], scores, strict=False)
        for level, node in enumerate(tree.path(tree.index(leaf)))
    ]
    begins_s = np.sort(rng.random(2 * num_labels)) * duration_s
    source = number - 1 if number % DOUBLE_EVERY == DOUBLE_EVERY - 1 else number
    return {
        "video_id": _id_of(number),
        "uri": f"s3://corpus/{_id_of(number)}",
        "sha256": hashlib.sha256(str(source).encode()).hexdigest(),
        "duration_s": duration_s,
        "top_label": leaves[0],
        "top_path": tree.path(tree.index(leaves[0])),
        "top_score": scores[0],
        "is_abstained": bool(scores[0] < 0.5),
        "labels": labels,
        "segments": [
            {"label": leaf, "start_s": float(a), "end_s": float(b), "score": score}
            for leaf, score, a, b in zip(leaves[:num_labels], scores, begins_s[::2], begins_s[1::2], strict=False)
        ],
        "num_segments_left_out": 0,
        "frame_times_s": np.sort(rng.random(24) * duration_s).tolist(),
        "coverage": 1.0,
        "model_id": "0123456789abcdef",
        "taxonomy_id": tree.taxonomy_id,
        "pipeline_id": "fedcba9876543210",
    }


def _failure_row(number: int) -> dict[str, Any]:
    kinds = [FailureKind.CORRUPT, FailureKind.NOT_A_VIDEO, FailureKind.TIMEOUT, FailureKind.EMPTY_FILE]
    return {
        "video_id": _id_of(number),
        "uri": f"s3://corpus/{_id_of(number)}",
        "stage": "decode",
        "kind": kinds[number // FAILED_EVERY % len(kinds)].value,
        "message": "made up for the bench",
        "attempts": 1,
    }


def _embeddings(num: int, rng: np.random.Generator) -> pa.FixedSizeListArray:
    values_ND: npt.NDArray[np.float32] = rng.normal(size=(num, EMBEDDING_DIM)).astype(np.float32)
    values_ND[1::97] = values_ND[::97][: len(values_ND[1::97])]
    values_ND /= np.linalg.norm(values_ND, axis=1, keepdims=True)
    return pa.FixedSizeListArray.from_arrays(pa.array(values_ND.ravel()), EMBEDDING_DIM)


def _write_damage(output: str, name: str, video_ids: list[str]) -> None:
    schema = predictions_schema(1, 1, 1, 1)
    rows = [dict.fromkeys(schema.names) | {"video_id": v, "num_substituted": 2} for v in video_ids]
    tables.write_table(label_parts.table_uri(output, "predictions", name), pa.Table.from_pylist(rows, schema=schema))


def _strip(rng: np.random.Generator) -> str:
    """Make a strip as heavy as those of recordings: soft light, with some noise."""
    light_HWC = rng.integers(40, 215, (8, 8 * STRIP_FRAMES, 3), np.uint8)
    soft_HWC = pixels.resize(light_HWC, FRAME_PX, FRAME_PX * STRIP_FRAMES).astype(np.int16)
    noisy_HWC = soft_HWC + rng.integers(-12, 13, soft_HWC.shape, np.int16)
    return base64.b64encode(pixels.encode_jpeg(np.clip(noisy_HWC, 0, 255).astype(np.uint8), 80)).decode("ascii")
