"""Manifests come out as they went in, and every problem is named with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError, ManifestError, OutputError, TaxonomyError
from fal_model.open_fal_500 import open_fal_500
from fal_model.taxonomy import Node, Taxonomy
from pipelines import manifest, storage
from pipelines.records import MANIFEST

TEXT = st.text(min_size=1, max_size=12)
PATHS = TEXT.map(lambda text: "/" + text).filter(lambda text: "://" not in text)
TIMES = st.floats(0, 1e6)
SEGMENTS = (
    st.tuples(TEXT, TIMES, TIMES)
    .filter(lambda s: s[1] < s[2])
    .map(lambda s: {"label": s[0], "start_s": s[1], "end_s": s[2]})
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"video_id": TEXT, "uri": PATHS},
        optional={
            "labels": st.none() | st.lists(TEXT, max_size=3),
            "segments": st.none() | st.lists(SEGMENTS, max_size=2),
            "split": st.none() | TEXT,
            "duration_s": st.none() | st.floats(0, 1e9, exclude_min=True),
            "sha256": st.none() | TEXT,
            "group": st.none() | TEXT,
        },
    ),
    max_size=5,
    unique_by=lambda row: str(row["video_id"]),
)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as raised:
        manifest.read_manifest(str(path))
    return [problem.replace(str(path), "M") for problem in raised.value.problems]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def by_id(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    complete = [{name: row.get(name) for name in manifest.FIELDS} for row in rows]
    return sorted(complete, key=lambda row: str(row["video_id"]))


# ---- reading and writing ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_what_is_written_is_read(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    for suffix in (".jsonl", ".parquet"):
        uri = str(tmp_path / f"m{suffix}")
        manifest.write_manifest(uri, rows)
        table = manifest.read_manifest(uri)
        assert table.schema.equals(MANIFEST)
        assert table.to_pylist() == by_id(rows)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_csv_holds_all_but_labels_with_its_separator(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    uri = str(tmp_path / "m.csv")
    unfit = {x for row in rows for x in row.get("labels") or [] if "|" in x or x != x.strip()}
    if unfit:
        with pytest.raises(ManifestError) as raised:
            manifest.write_manifest(uri, rows)
        assert all(
            ": " not in p and "cannot stand in CSV; write .jsonl or .parquet" in p for p in raised.value.problems
        )
    else:
        manifest.write_manifest(uri, rows)
        assert manifest.read_manifest(uri).to_pylist() == by_id(rows)


def test_a_label_that_csv_cannot_hold_is_named(tmp_path: Path) -> None:
    rows = [{"uri": "a", "labels": ["x|y", "x|y"]}, {"uri": "b", "labels": ["x|y", "x", " z"]}]
    with pytest.raises(ManifestError) as raised:
        manifest.write_manifest(str(tmp_path / "m.csv"), rows)
    assert raised.value.problems == [
        "label 'x|y' (2 videos) cannot stand in CSV; write .jsonl or .parquet",
        "label ' z' (1 videos) cannot stand in CSV; write .jsonl or .parquet",
    ]


def test_a_manifest_of_another_suffix_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"^manifest: got '.*m\.json'; allowed are \.parquet, \.csv, \.jsonl$"):
        manifest.write_manifest(str(tmp_path / "m.json"), [])


def test_a_folder_of_videos_and_manifest_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    uris = [f"{tmp_path}/here/deep/a.mp4", f"{tmp_path}/here//odd.mp4", f"{tmp_path}/herein/b.mp4", "s3://c/d.mp4"]
    manifest.write_manifest(f"{tmp_path}/here/m.csv", [{"uri": uri, "video_id": uri} for uri in uris])
    assert sorted(manifest.read_manifest(f"{tmp_path}/here/m.csv")["uri"].to_pylist()) == sorted(uris)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = manifest.read_manifest(f"{tmp_path}/there/m.csv")["uri"].to_pylist()
    assert sorted(moved) == sorted([f"{tmp_path}/there/deep/a.mp4", *uris[1:]])


def test_csv_says_the_same_as_the_other_formats(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "uri,video_id,labels,segments,split,duration_s,sha256\r\n"
        'a.mp4,one,run | jump |,"[{""label"": ""run"", ""start_s"": 0, ""end_s"": 1.5}]",val,2.5,ab\r\n'
        '"b, c.mp4",,,,,,\r\n',
        encoding="utf-8-sig",
    )
    segment = {"label": "run", "start_s": 0.0, "end_s": 1.5}
    rows: list[dict[str, Any]] = [
        {"uri": f"{tmp_path}/a.mp4", "video_id": "one", "labels": ["run", "jump"], "segments": [segment]}
        | {"split": "val", "duration_s": 2.5, "sha256": "ab"},
        {"uri": f"{tmp_path}/b, c.mp4", "video_id": "b, c.mp4"},
    ]
    assert manifest.read_manifest(str(tmp_path / "m.csv")).to_pylist() == by_id(rows)


def test_no_label_is_not_the_same_as_an_unknown_one(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "m.jsonl", {"uri": "a", "labels": []}, {"uri": "b"}, {"uri": "c", "labels": None})
    assert manifest.read_manifest(str(path))["labels"].to_pylist() == [[], None, None]


def test_blank_lines_and_line_ends_of_windows_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'\r\n{"uri": "/b"}\r\n \n{"uri": "/a"}')
    assert manifest.read_manifest(str(tmp_path / "m.jsonl"))["uri"].to_pylist() == ["/a", "/b"]


def test_a_relative_address_is_relative_to_the_manifest(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "m.jsonl", {"uri": "a.mp4"}, {"uri": "/b.mp4"}, {"uri": "s3://c/d.mp4"})
    table = manifest.read_manifest(str(path))
    assert table["uri"].to_pylist() == ["/b.mp4", f"{tmp_path}/a.mp4", "s3://c/d.mp4"]
    assert table["video_id"].to_pylist() == ["/b.mp4", "a.mp4", "s3://c/d.mp4"]


def test_a_manifest_in_s3_may_be_relative_too(bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    s3_client.pipe_file(f"{bucket}/deep/m.csv", b"uri\na.mp4\n")
    table, num_hidden = manifest.load_input(f"{bucket}/deep/m.csv")
    assert (table["uri"].to_pylist(), num_hidden) == ([f"{bucket}/deep/a.mp4"], 0)


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("m.jsonl", "m.parquet"):
        with pytest.raises(OutputError, match="cannot write"):
            manifest.write_manifest(str(tmp_path / "file" / name), [])


# ---- problems -----------------------------------------------------------------------------------------------------

BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({}, "uri: got None, must be a non-empty text"),
    ({"uri": ""}, "uri: got '', must be a non-empty text"),
    ({"uri": 7}, "uri: got 7, must be a non-empty text"),
    ({"uri": "\ud800"}, "uri: got '\\ud800', must be a non-empty text"),
    (
        {"uri": "http://x/a.mp4"},
        "uri: address: got 'http://x/a.mp4'; allowed are local paths, file:///… and s3://",
    ),
    ({"uri": "a", "video_id": 1}, "video_id: got 1, must be a text"),
    ({"uri": "a", "split": ["val"]}, "split: got ['val'], must be a text"),
    ({"uri": "a", "sha256": 0}, "sha256: got 0, must be a text"),
    ({"uri": "a", "group": 7}, "group: got 7, must be a text"),
    ({"uri": "a", "labels": "run"}, "labels: got 'run', must be a list of texts"),
    ({"uri": "a", "labels": ["run", None]}, "labels: got ['run', None], must be a list of texts"),
    ({"uri": "a", "duration_s": 0}, "duration_s: got 0, must be a number > 0"),
    ({"uri": "a", "duration_s": True}, "duration_s: got True, must be a number > 0"),
    ({"uri": "a", "duration_s": math.nan}, "duration_s: got nan, must be a number > 0"),
    ({"uri": "a", "duration_s": math.inf}, "duration_s: got inf, must be a number > 0"),
    ({"uri": "a", "segments": {}}, "segments: got {}, must be a list"),
    (
        {"uri": "a", "segments": [{"label": "x", "start_s": 0}]},
        "segments[0]: got {'label': 'x', 'start_s': 0}, must have exactly label, start_s, end_s",
    ),
    ({"uri": "a", "segments": [None]}, "segments[0]: got None, must have exactly label, start_s, end_s"),
    (
        {"uri": "a", "segments": [{"label": 1, "start_s": 0, "end_s": 1}]},
        "segments[0].label: got 1, must be a text",
    ),
    (
        {"uri": "a", "segments": [{"label": "x", "start_s": "0", "end_s": 1}]},
        "segments[0]: start_s and end_s must be numbers, got {'label': 'x', 'start_s': '0', 'end_s': 1}",
    ),
    (
        {"uri": "a", "segments": [{"label": "x", "start_s": 2, "end_s": 2}]},
        "segments[0]: got 2–2 s, must be 0 ≤ start_s < end_s",
    ),
    (
        {"uri": "a", "segments": [{"label": "x", "start_s": -1, "end_s": 2}]},
        "segments[0]: got -1–2 s, must be 0 ≤ start_s < end_s",
    ),
    (
        {"uri": "a", "lables": []},
        "unknown column 'lables'; allowed: video_id, uri, labels, segments, split, duration_s, sha256, group",
    ),
]


@pytest.mark.parametrize(
    ("row", "problem"), BAD_ROWS, ids=lambda value: str(value)[:30] if isinstance(value, str) else ""
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "m.jsonl", {"uri": "good.mp4"}, row)
    assert problems_of(path) == [f"M, line 2: {problem}"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "a"}\n\nnot json\n[1]\n{"uri": "b", "split": 1}\n{"uri": "a"}\n{"uri": ""}\n')
    assert problems_of(path) == [
        "M, line 3: not JSON: Expecting value: line 1 column 1 (char 0)",
        "M, line 4: got list, expected an object",
        "M, line 5: split: got 1, must be a text",
        "M, line 7: uri: got '', must be a non-empty text",
        "M: video_id 'a' is used 2 times",
    ]


def test_more_problems_than_anybody_reads_are_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "m.jsonl", *[{"uri": ""}] * 35)
    problems = problems_of(path)
    assert len(problems) == manifest.MAX_PROBLEMS + 1
    assert problems[-1] == "… and 5 more"


@pytest.mark.parametrize("line", ["[" * 100_000, "1" * 5000, '{"uri": "a", "duration_s": 1' + "0" * 400 + "}"])
def test_json_that_would_break_python_is_a_problem(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    (problem,) = problems_of(tmp_path / "m.jsonl")
    assert problem.startswith(("M, line 1: not JSON: ", "M, line 1: duration_s: got 1000"))


def test_csv_problems_name_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('uri,duration_s,segments\na,soon,\n"b\nb",,oops\nc,1,[],more\n', encoding="utf-8")
    assert problems_of(tmp_path / "m.csv") == [
        "M, line 2: duration_s: got 'soon', must be a number > 0",
        "M, line 4: segments: got 'oops', must be a list",
        "M, line 5: more cells than columns",
    ]


def test_what_is_not_csv_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('uri\n"' + "x" * 200_000 + '"\n')
    assert problems_of(tmp_path / "m.csv") == ["M, after line 1: not CSV: field larger than field limit (131072)"]


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    for name in ("m.csv", "m.jsonl"):
        (tmp_path / name).write_bytes(b"uri\ncaf\xe9.mp4\n")
        assert problems_of(tmp_path / name) == ["manifest: not UTF-8 text (byte 7)"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"uri\na.mp4\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_not_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.parquet").write_bytes(data)
    (problem,) = problems_of(tmp_path / "m.parquet")
    assert problem.startswith("manifest: not a Parquet file: ")


def test_a_parquet_file_of_another_kind_is_refused_row_by_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"], "uri": pa.array([b"a"])}), tmp_path / "m.parquet")
    assert problems_of(tmp_path / "m.parquet") == [
        "M, row 1: unknown column 'path'; allowed: video_id, uri, labels, segments, split, duration_s, sha256, group",
        "M, row 1: uri: got b'a', must be a non-empty text",
    ]


def test_a_manifest_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest: got 'm\.txt'; allowed are \.parquet, \.csv, \.jsonl"):
        manifest.read_manifest("m.txt")
    (tmp_path / "m.csv").mkdir()
    with pytest.raises(ManifestError, match=r"manifest: cannot read '.*/m\.csv': Is a directory"):
        manifest.read_manifest(str(tmp_path / "m.csv"))


# ---- what --input may name ----------------------------------------------------------------------------------------


def test_a_folder_is_a_manifest_without_truth(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/x.mp4", ".hidden"):
        storage.write_bytes(str(tmp_path / name), b"x")
    table, num_hidden = manifest.load_input(str(tmp_path))
    rows = [{"video_id": name, "uri": f"{tmp_path}/{name}"} for name in ("a/x.mp4", "b.mp4")]
    assert (table.to_pylist(), num_hidden) == (by_id(rows), 1)


def test_input_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(str(tmp_path / "a b.mp4"), b"x")
    jsonl(tmp_path / "m.jsonl", {"uri": "a b.mp4"})
    monkeypatch.chdir(tmp_path)
    for place in (".", "*.mp4", "m.jsonl", (tmp_path / "m.jsonl").as_uri()):
        table, _ = manifest.load_input(place)
        assert f"{tmp_path}/a b.mp4" in table["uri"].to_pylist()


def test_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^input: no manifest at '.*/m\.csv'$"):
        manifest.load_input(str(tmp_path / "m.csv"))
    with pytest.raises(ConfigError, match="neither a folder, a glob, a manifest"):
        manifest.load_input(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="address: got 'http://x'"):
        manifest.load_input("http://x")


# ---- labels, taxonomies -------------------------------------------------------------------------------------------


def test_labels_outside_the_taxonomy_are_counted() -> None:
    taxonomy = Taxonomy([Node("run", "Run")])
    segment = {"label": "fly", "start_s": 0.0, "end_s": 1.0}
    rows: list[dict[str, Any]] = [
        {"video_id": "1", "uri": "1", "labels": ["run", "swim"], "segments": [segment, segment]},
        {"video_id": "2", "uri": "2", "labels": ["swim", "swim", "fly"]},
        {"video_id": "3", "uri": "3"},
    ]
    with pytest.raises(ManifestError) as raised:
        manifest.check_labels(pa.Table.from_pylist(rows, schema=MANIFEST), taxonomy)
    assert raised.value.problems == [
        "label 'fly' (2 videos) is not in the taxonomy",
        "label 'swim' (2 videos) is not in the taxonomy",
    ]
    manifest.check_labels(pa.Table.from_pylist(rows[2:], schema=MANIFEST), taxonomy)


TREE = {"nodes": [{"id": "sport"}, {"id": "run", "name": "Running", "parent": "sport"}]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps(TREE)),
        ("t.yaml", "nodes:\n  - id: sport\n  - {id: run, name: Running, parent: sport}\n"),
        ("t.yml", json.dumps(TREE)),
        ("t.csv", "id,name,parent\nsport,,\nrun,Running,sport\n"),
        ("t.csv", "\ufeffid,name,parent\nsport,,\nrun,Running,sport\n"),
    ],
)
def test_a_taxonomy_is_read_from_any_format(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert manifest.read_tree(str(tmp_path / name))["nodes"][0]["id"] == "sport"
    assert manifest.read_taxonomy(str(tmp_path / name)).to_dict() == Taxonomy.from_dict(TREE).to_dict()


def test_the_shipped_taxonomy_has_a_name() -> None:
    assert manifest.read_taxonomy("open-fal-500") is open_fal_500()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("t.yaml", b"nodes: [", "taxonomy: 'T' is not YAML: while parsing a flow node"),
        ("t.yaml", b"", "taxonomy: expected a mapping with a list 'nodes'"),
        ("t.yaml", b"!!python/object/apply:os.system ['true']", "taxonomy: 'T' is not YAML: could not determine"),
        ("t.json", b"{", "taxonomy: 'T' is not JSON: Expecting property name"),
        ("t.csv", b"caf\xe9", "taxonomy: 'T' is not UTF-8 text: "),
        ("t.txt", b"x", "taxonomy: got 'T'; allowed are .yaml, .yml, .json and .csv"),
    ],
)
def test_what_is_not_a_taxonomy_is_refused(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(TaxonomyError) as raised:
        manifest.read_taxonomy(str(path))
    assert str(raised.value).replace(str(path), "T").startswith(problem)


def test_a_taxonomy_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"^taxonomy: no file at '.*/t\.yaml'$"):
        manifest.read_taxonomy(str(tmp_path / "t.yaml"))
    with pytest.raises(TaxonomyError, match=r"^taxonomy: cannot read '.*': Is a directory$"):
        manifest.read_taxonomy(str(tmp_path))
