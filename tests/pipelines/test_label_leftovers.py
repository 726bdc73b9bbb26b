"""What other runs left goes when a run is complete; what is not FAL's stays."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipelines import label_leftovers, label_parts, storage, tables
from pipelines.label_parts import Mark, PartCounts
from pipelines.records import FAILURES, MANIFEST

MARK = Mark("p", "l", PartCounts(1, 1, 0, 1, {}, 0.0, 0.0))


def write_part(output: str, part: str) -> None:
    for table in label_parts.TABLES:
        tables.write_table(label_parts.table_uri(output, table, part), FAILURES.empty_table())
    label_parts.mark_finished(output, part, MARK)
    storage.write_bytes(label_parts.thumbnails_uri(output, part), b"{}")


def planned() -> label_parts.PlannedParts:
    table = pa.Table.from_pylist([{"video_id": "a", "uri": "/a"}], schema=MANIFEST)
    return label_parts.plan_parts(table, [""], "p", 4)


def test_what_other_runs_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    output, parts = str(tmp_path), planned()
    uri = label_parts.write_manifest(output, parts)
    for part in (parts.names[0], "part-old"):
        write_part(output, part)
    for place in ("_fal/manifest-old.parquet", "_fal/known-old.parquet", "_fal/run.json", "labels/mine.parquet", "x"):
        storage.write_bytes(storage.join(output, place), b"x")
    storage.write_bytes(label_parts.batch_uri(output, "r", "part-old", 0, 0), b"x")
    storage.write_bytes(storage.join(output, "labels", ".writing-half"), b"x")
    assert label_leftovers.delete_all_but(output, parts.names, uri) == 1
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    name = parts.names[0]
    assert left == sorted(
        [
            *(f"{table}/{name}.parquet" for table in label_parts.TABLES),
            f"_fal/done/{name}.json",
            f"_fal/thumbnails/{name}.json",
            str(Path(uri).relative_to(tmp_path)),
            "_fal/run.json",
            "labels/mine.parquet",
            "x",
        ]
    )
    assert label_leftovers.delete_all_but(output, parts.names, uri) == 0


def test_the_same_in_s3(bucket: str) -> None:
    output = f"{bucket}/leftovers"
    write_part(output, "part-old")
    assert label_leftovers.delete_all_but(output, [], "none") == 1
    assert label_parts.read_marks(output) == {}
