"""Write the output folder of a labelling run as the job would leave it, with rows of our choice."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fal_model.taxonomy import Node, Taxonomy
from pipelines import label_parts, pixels, storage, tables
from pipelines.records import FAILURES, labels_schema, predictions_schema

TAXONOMY = Taxonomy(
    [
        Node("sport", "Sport"),
        Node("news", "News"),
        Node("run", "Running", "sport", "Somebody runs."),
        Node("jump", "Jumping", "sport"),
        Node("studio", "Studio", "news"),
    ]
)


def label_row(video_id: str, top: str = "run", score: float = 0.9, **changes: Any) -> dict[str, Any]:
    path = TAXONOMY.path(TAXONOMY.index(top)) if top in TAXONOMY else [top]
    labels = [{"label": x, "path": path[: i + 1], "level": i, "score": score} for i, x in enumerate(path)]
    row = {
        "video_id": video_id,
        "uri": f"/videos/{video_id}",
        "sha256": hashlib.sha256(video_id.encode()).hexdigest(),
        "duration_s": 10.0,
        "top_label": top,
        "top_path": path,
        "top_score": score,
        "is_abstained": False,
        "labels": labels,
        "segments": [{"label": top, "start_s": 2.0, "end_s": 5.0, "score": score}],
        "num_segments_left_out": 0,
        "embedding": [0.0, 0.0],  # looks like no other video
        "frame_times_s": [1.0, 3.0, 5.0, 7.0],
        "coverage": 1.0,
        "model_id": "m",
        "taxonomy_id": "t",
        "pipeline_id": "p",
    }
    return row | changes


def failure_row(video_id: str, kind: str = "corrupt", message: str = "damaged") -> dict[str, Any]:
    return {
        "video_id": video_id,
        "uri": f"/videos/{video_id}",
        "stage": "decode",
        "kind": kind,
        "message": message,
        "attempts": 1,
    }


def picture(height: int = 32, width: int = 128) -> str:
    image_HWC = np.full((height, width, 3), 90, np.uint8)
    return base64.b64encode(pixels.encode_jpeg(image_HWC, 80)).decode()


def write_folder(
    folder: Path,
    labels: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[Mapping[str, Any]] = (),
    pictures: Mapping[str, str] | None = None,
    part_rows: int = 1000,
) -> str:
    output = str(folder)
    for number, first in enumerate(range(0, max(1, len(labels)), part_rows)):
        rows = list(labels[first : first + part_rows])
        table = pa.Table.from_pylist(rows, schema=labels_schema(2))
        tables.write_table(label_parts.table_uri(output, "labels", part_name(number)), table)
    failed = pa.Table.from_pylist(list(failures), schema=FAILURES)
    tables.write_table(label_parts.table_uri(output, "failures", part_name(0)), failed)
    if pictures:
        storage.write_bytes(label_parts.thumbnails_uri(output, part_name(0)), json.dumps(pictures).encode())
    return output


def part_name(number: int) -> str:
    return f"part-{number:016x}"


def write_predictions(output: str, number: int, rows: Sequence[tuple[str, int]]) -> None:
    schema = predictions_schema(1, 1, 1, 1)
    empty = dict.fromkeys(schema.names)
    table = pa.Table.from_pylist([empty | {"video_id": v, "num_substituted": n} for v, n in rows], schema=schema)
    tables.write_table(label_parts.table_uri(output, "predictions", part_name(number)), table)
