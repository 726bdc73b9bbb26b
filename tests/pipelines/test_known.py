"""What earlier runs predicted is found again: by the looks of a file, or by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import OutputError
from pipelines import known, label_parts, storage, tables
from pipelines.known import INDEX, KnownFile, KnownFiles
from pipelines.label_parts import Mark, PartCounts
from pipelines.records import MANIFEST

DIGEST = st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=8).map(lambda b: b.ljust(32, b"\0")))
COUNTS = PartCounts(1, 1, 0, 1, {}, 0.0, 0.0)


def index_of(*rows: tuple[bytes, bytes, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(INDEX.names, row, strict=True)) for row in rows], schema=INDEX)


@settings(deadline=None, max_examples=100)
@given(digests=st.lists(DIGEST, max_size=20, unique=True), other=DIGEST)
def test_by_content_finds_what_is_there_and_nothing_else(digests: list[bytes], other: bytes) -> None:
    files = KnownFiles(index_of(*((bytes(16), digest, f"part-{i % 3}") for i, digest in enumerate(digests))))
    for i, digest in enumerate(digests):
        assert files.by_content(digest.hex()) == KnownFile(digest.hex(), f"part-{i % 3}")
    expected = KnownFile(other.hex(), f"part-{digests.index(other) % 3}") if other in digests else None
    assert files.by_content(other.hex()) == expected


def test_by_look_needs_the_same_address_and_fingerprint() -> None:
    sha256 = hashlib.sha256(b"x").digest()
    files = KnownFiles(index_of((known.seen_as("/a", "1:2"), sha256, "part-1")))
    found = KnownFile(sha256.hex(), "part-1")

    def look(**row: str) -> KnownFile | None:
        return files.by_look({"uri": "/a", "fingerprint": "1:2", "sha256": None} | row)

    assert look() == look(sha256=sha256.hex()) == look(sha256=sha256.hex().upper()) == found
    assert look(uri="/b") is None
    assert look(fingerprint="1:3") is None
    assert look(fingerprint="") is None  # nobody could tell how it looks
    assert look(sha256="0" * 64) is None  # its manifest says now that it must be another


def test_nothing_is_known_without_an_index() -> None:
    assert KnownFiles.read("").by_content("00" * 32) is None


def finish(output: str, part: str, prediction_id: str, *videos: tuple[str, str]) -> None:
    """Leave what a finished part leaves, as far as it matters here."""
    rows: dict[str, list[Any]] = {"video_id": [i for i, _ in videos], "sha256": [s for _, s in videos]}
    for table in label_parts.TABLES:
        tables.write_table(label_parts.table_uri(output, table, part), pa.table(rows))
    label_parts.mark_finished(output, part, Mark(prediction_id, "l", COUNTS))


def test_an_index_holds_what_can_be_used_of_other_parts(tmp_path: Path) -> None:
    output = str(tmp_path)
    hashes = {i: hashlib.sha256(i.encode()).hexdigest() for i in "abc"}
    table = pa.Table.from_pylist([{"video_id": i, "uri": f"/{i}"} for i in "ab"], schema=MANIFEST)
    parts = label_parts.plan_parts(table, ["look a", ""], "p", 10)
    label_parts.write_manifest(output, parts)
    finish(output, parts.names[0], "p", ("a", hashes["a"]), ("a", hashes["a"]), ("b", hashes["b"]))
    finish(output, "part-of-other-weights", "q", ("c", hashes["c"]))
    marks = label_parts.read_marks(output)

    files = KnownFiles.read(known.write_index(output, marks, [], "p"))
    assert files.by_content(hashes["a"]) == KnownFile(hashes["a"], parts.names[0])
    assert files.by_content(hashes["b"]) == KnownFile(hashes["b"], parts.names[0])
    assert files.by_content(hashes["c"]) is None
    assert files.by_look({"uri": "/a", "fingerprint": "look a"}) == KnownFile(hashes["a"], parts.names[0])
    assert files.by_look({"uri": "/b", "fingerprint": ""}) is None
    assert known.write_index(output, marks, parts.names, "p") == ""  # its own parts need no index


def test_a_damaged_index_is_an_error(tmp_path: Path) -> None:
    uri = str(tmp_path / "known.parquet")
    storage.write_bytes(uri, b"PAR1")
    with pytest.raises(OutputError, match=r"cannot read '.*known\.parquet'"):
        KnownFiles.read(uri)
