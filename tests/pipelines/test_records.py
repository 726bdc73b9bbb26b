"""The schemas, and that ``docs/data-contracts.md`` says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import records

CONTRACTS = (Path(__file__).resolve().parents[2] / "docs" / "data-contracts.md").read_text(encoding="utf-8")
D, K, L, T = 5, 7, 4, 3
SCHEMAS = {
    "Manifest": records.MANIFEST,
    "Labels": records.labels_schema(D),
    "Failures": records.FAILURES,
    "Predictions": records.predictions_schema(K, L, T, D),
    "Shards": records.SHARD,
    "Scanned videos": records.SCANNED,
    "Duplicates": records.DUPLICATES,
}


def documented(title: str) -> list[tuple[str, str]]:
    """Return column and type of every row of the table in a section."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", CONTRACTS, re.MULTILINE | re.DOTALL)
    assert section, f"no section {title!r}"
    return re.findall(r"^\| `([^`]+)` \| (.+?) \| [^|]+ \|$", section[1], re.MULTILINE)


def text_of(kind: pa.DataType) -> str:
    """Write a type as the document does: Arrow's own words without the names of list items."""
    text = re.sub(r"<(item|element|child): ", "<", str(kind)).replace(" not null", "")
    return re.sub(r"(fixed_size_list<[^>]*>)\[(\d+)\]", lambda m: f"{m[1]}[{SIZES[int(m[2])]}]", text)


SIZES = {D: "D", K: "K", T * K: "T*K", T * L * 2: "T*L*2"}


@pytest.mark.parametrize("title", SCHEMAS)
def test_the_document_names_every_column_in_order_with_its_type(title: str) -> None:
    schema = SCHEMAS[title]
    assert documented(title) == [(field.name, text_of(field.type)) for field in schema]


@pytest.mark.parametrize("title", ["Labels", "Failures", "Predictions", "Scanned videos", "Duplicates"])
def test_output_tables_carry_the_version(title: str) -> None:
    assert SCHEMAS[title].metadata == {records.VERSION_KEY: str(records.SCHEMA_VERSION).encode()}
    assert f"`{records.VERSION_KEY.decode()}`" in CONTRACTS


def test_the_document_names_the_metadata_of_shards() -> None:
    for key in (records.CLIP_SPEC_KEY, records.TAXONOMY_KEY):
        assert f"(`{key.decode()}`)" in CONTRACTS


def test_a_label_row_has_the_columns_that_were_promised() -> None:
    # From the specification: other people's scripts read these names and types.
    float32_list = pa.list_(pa.float32(), D)
    promised = {
        "video_id": pa.string(),
        "uri": pa.string(),
        "sha256": pa.string(),
        "duration_s": pa.float64(),
        "top_label": pa.string(),
        "top_path": pa.list_(pa.string()),
        "top_score": pa.float32(),
        "is_abstained": pa.bool_(),
        "num_segments_left_out": pa.int32(),
        "embedding": float32_list,
        "frame_times_s": pa.list_(pa.float64()),
        "coverage": pa.float32(),
        "model_id": pa.string(),
        "taxonomy_id": pa.string(),
        "pipeline_id": pa.string(),
    }
    schema = records.labels_schema(D)
    assert {name: schema.field(name).type for name in promised} == promised
    assert set(schema.names) - set(promised) == {"labels", "segments"}
    assert [f.name for f in schema.field("labels").type.value_type] == ["label", "path", "level", "score"]
    assert [f.name for f in schema.field("segments").type.value_type] == ["label", "start_s", "end_s", "score"]
    assert records.FAILURES.names == ["video_id", "uri", "stage", "kind", "message", "attempts"]
