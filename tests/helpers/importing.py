"""What tests of importers share: annotation files, listings, and what came out, in short."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from pipelines.importers.annotations import Parsed, Problem, TextFile
from pipelines.importers.assemble import Imported, assemble
from pipelines.importers.matching import VideoIndex
from pipelines.listing import FoundFile


def text(name: str, content: str) -> TextFile:
    """Make an annotation file of text."""
    return TextFile(name, content.encode())


def as_json(name: str, data: Any) -> TextFile:
    """Make an annotation file of JSON."""
    return TextFile(name, json.dumps(data).encode())  # escaped: half a surrogate pair can stand in JSON, not in UTF-8


def index(*names: str) -> VideoIndex:
    """Make the index of a folder ``/v`` with these files."""
    return VideoIndex([FoundFile(f"/v/{name}", name) for name in names])


def run(parsed: Parsed, *names: str, split: str = "") -> Imported:
    """Assemble what was parsed with these files."""
    return assemble(parsed, index(*names), split)


def rows(done: Imported) -> list[dict[str, Any]]:
    """Return the manifest rows without what is empty and without addresses."""
    return [{k: v for k, v in row.items() if v is not None and k != "uri"} for row in done.rows]


def said(problems: Iterable[Problem]) -> list[tuple[str, str, str]]:
    """Return problems as plain texts."""
    return [(p.place, p.kind.value, p.what) for p in problems]


def check_counts(done: Imported) -> None:
    """Check that every row and every segment is accounted for, once, and that all of it can be written."""
    assert done.rows_read == len(done.rows) + done.rows_merged + sum(done.rows_left_out.values())
    kept = sum(len(row["segments"] or ()) for row in done.rows)
    assert done.segments_read == kept + done.segments_merged + sum(done.segments_left_out.values())
    assert done.rows_merged >= 0
    assert len({row["uri"] for row in done.rows}) == len(done.rows)
    assert 0 <= done.videos_unnamed <= done.videos_on_disk - len(done.rows)
    taxonomy = done.taxonomy()
    plain = [done.rows, [p.to_dict() for p in done.problems], taxonomy.to_dict() if taxonomy else None]
    json.dumps(plain, ensure_ascii=False).encode()  # all of it can be written


def json_values() -> st.SearchStrategy[Any]:
    """Draw any JSON, with the keys and values that importers look for among them."""
    words = (
        "database", "annotations", "label", "segment", "taxonomy", "nodeId", "nodeName", "parentId", "subset",
        "duration", "id", "template", "data", "video", "result", "value", "ranges", "timelinelabels", "sequence",
        "frame", "enabled", "labels", "choices", "start", "end", "framesCount", "sentences", "timestamps",
        "a.mp4", "training", "Root", "half \ud800", "subject",
    )  # fmt: skip
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(words)
    keys = st.sampled_from(words) | st.text(max_size=4)
    pairs = st.dictionaries(keys, leaves, max_size=4)

    def deeper(v: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=5)

    return st.recursive(leaves | pairs, deeper, max_leaves=20)


def csv_texts(*headers: str) -> st.SearchStrategy[str]:
    """Draw text that begins with one of these headers and goes on with cells of all sorts."""
    odd = ["", "a", "1", "-1", "nan", "1e400", "train", "c001 1 2;c002", '"', "\x00", "é"]
    cell = st.sampled_from(odd) | st.text(max_size=5)
    line = st.lists(cell, max_size=12).map(",".join)
    bodies = st.lists(line, max_size=5)
    return st.builds(lambda head, body: "\n".join([head, *body]), st.sampled_from(headers), bodies)
