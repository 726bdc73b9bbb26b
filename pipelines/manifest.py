"""Manifests: which videos, and what is known about them. Also reads taxonomies, YAML included."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fal_model.errors import ConfigError, ManifestError, TaxonomyError
from fal_model.open_fal_500 import OPEN_FAL_500, open_fal_500
from fal_model.taxonomy import Taxonomy, csv_to_dict
from pipelines import listing, storage
from pipelines.records import MANIFEST

MAX_PROBLEMS = 30
SUFFIXES = (".parquet", ".csv", ".jsonl")
FIELDS = tuple(MANIFEST.names)
Row = dict[str, Any]
Reader = Callable[[bytes], Iterator[tuple[str, Row | str]]]
"""Yields the place of each row, and the row or what is wrong with it."""


def load_input(place: str) -> tuple[pa.Table, int]:
    """Read what ``--input`` names: a folder, a glob, a manifest file or an ``s3://`` prefix.

    Returns:
        The manifest sorted by ``video_id``, and the number of hidden files passed over.

    Raises:
        ConfigError: nothing is there, or an address of a kind FAL does not read.
        ManifestError: every problem of a manifest, with line numbers.
    """
    storage.check_scheme(place)
    place = storage.absolute(place)
    if place.endswith(SUFFIXES):
        if not storage.exists(place):
            raise ConfigError([f"input: no manifest at {place!r}"])
        return read_manifest(place), 0
    found = listing.list_files(place)
    rows = [_complete({"video_id": f.name, "uri": f.uri}) for f in found.files]
    return _sorted_table(rows), found.num_hidden


def read_manifest(uri: str) -> pa.Table:
    """Read a ``.parquet``, ``.csv`` or ``.jsonl`` manifest. Relative addresses are relative to its folder.

    In CSV, ``labels`` are separated by ``|`` and ``segments`` is the JSON list of the other formats.

    Raises:
        ManifestError: unreadable, of another format, or every problem of its rows, up to 30, with their places.
    """
    readers: dict[str, Reader] = {".parquet": _parquet_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows}
    suffix = next((s for s in SUFFIXES if uri.endswith(s)), None)
    if suffix is None:
        raise ManifestError([f"manifest: got {uri!r}; allowed are {', '.join(SUFFIXES)}"])
    try:
        data = storage.read_bytes(uri)
    except OSError as error:
        raise ManifestError([f"manifest: cannot read {uri!r}: {error.strerror or error}"]) from None
    base = uri.rpartition("/")[0] if storage.is_remote(uri) else str(storage.local_path(uri).parent)
    problems: list[str] = []
    rows: list[Row] = []
    for place, raw in readers[suffix](data):
        where = f"{uri}, {place}"
        found = [f"{where}: {raw}"] if isinstance(raw, str) else _row_problems(raw, where)
        problems += found
        if not isinstance(raw, str) and not found:
            rows.append(_complete(raw, base))
    counts = Counter(row["video_id"] for row in rows)
    problems += [f"{uri}: video_id {i!r} is used {n} times" for i, n in counts.items() if n > 1]
    _raise_if(problems)
    return _sorted_table(rows)


def write_manifest(uri: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows (any of the manifest's columns; ``uri`` required) as ``.jsonl``, ``.csv`` or ``.parquet``.

    Addresses below the manifest's own folder are written relative to it: the folder can be moved as a whole.

    Raises:
        ManifestError: another suffix, or labels that CSV cannot hold.
        OutputError: the place cannot be written.
    """
    base = "" if storage.is_remote(uri) else str(storage.local_path(uri).parent)
    complete = [{name: row.get(name) for name in FIELDS} | {"uri": _relative(row["uri"], base)} for row in rows]
    if uri.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(complete, schema=MANIFEST), sink, compression="zstd")
        storage.write_bytes(uri, sink.getvalue().to_pybytes())
    elif uri.endswith(".csv"):
        storage.write_bytes(uri, _csv_text(complete).encode())
    elif uri.endswith(".jsonl"):
        lines = [json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) for row in complete]
        storage.write_bytes(uri, "".join(line + "\n" for line in lines).encode())
    else:
        raise ManifestError([f"manifest: got {uri!r}; allowed are {', '.join(SUFFIXES)}"])


def _relative(uri: str, base: str) -> str:
    inner = uri.removeprefix(f"{base}/")
    return inner if base and inner and storage.join(base, inner) == uri and not inner.startswith("/") else uri


def _csv_text(rows: Iterable[Row]) -> str:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, FIELDS)
    writer.writeheader()
    unfit: Counter[str] = Counter()
    for row in rows:
        labels, segments = row["labels"], row["segments"]
        unfit.update({label for label in labels or [] if "|" in label or label != label.strip() or not label})
        # A cell without a label is an unknown truth; one of nothing but the separator says that none holds.
        cells = {
            "labels": None if labels is None else "|".join(labels) or "|",
            "segments": None if segments is None else json.dumps(segments, ensure_ascii=False),
        }
        writer.writerow(row | cells)
    _raise_if(
        [f"label {label!r} ({n} videos) cannot stand in CSV; write .jsonl or .parquet" for label, n in unfit.items()]
    )
    return sink.getvalue()


def check_labels(manifest: pa.Table, taxonomy: Taxonomy) -> None:
    """Check that every label and every segment label of a manifest is a class of the taxonomy.

    Raises:
        ManifestError: unknown labels, each named once with the number of videos that use it.
    """
    used: Counter[str] = Counter()
    for labels, segments in zip(manifest["labels"].to_pylist(), manifest["segments"].to_pylist(), strict=True):
        used.update(set(labels or []) | {s["label"] for s in segments or []})
    unknown = [
        f"label {label!r} ({n} videos) is not in the taxonomy" for label, n in used.items() if label not in taxonomy
    ]
    _raise_if(sorted(unknown))


def read_taxonomy(uri: str) -> Taxonomy:
    """Read a taxonomy from ``.yaml``, ``.yml``, ``.json`` or ``.csv``; ``open-fal-500`` is the shipped one.

    Raises:
        TaxonomyError: missing, of another format, or not a tree; all problems are listed.
    """
    return open_fal_500() if uri == OPEN_FAL_500 else Taxonomy.from_dict(read_tree(uri))


def read_tree(uri: str) -> Any:
    """Return what a taxonomy file holds as plain data, unchecked, for :func:`fal_model.taxonomy.parse_nodes`.

    Raises:
        TaxonomyError: missing, or not of the format its name says.
    """
    try:
        text = storage.read_bytes(uri).decode("utf-8-sig")  # spreadsheets put a mark before the first column
    except FileNotFoundError:
        raise TaxonomyError([f"taxonomy: no file at {uri!r}"]) from None
    except OSError as error:
        raise TaxonomyError([f"taxonomy: cannot read {uri!r}: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise TaxonomyError([f"taxonomy: {uri!r} is not UTF-8 text: {error.reason}"]) from None
    if uri.endswith(".csv"):
        return csv_to_dict(text)
    if uri.endswith(".json"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise TaxonomyError([f"taxonomy: {uri!r} is not JSON: {error}"]) from None
    if uri.endswith((".yaml", ".yml")):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise TaxonomyError([f"taxonomy: {uri!r} is not YAML: {' '.join(str(error).split())}"]) from None
    raise TaxonomyError([f"taxonomy: got {uri!r}; allowed are .yaml, .yml, .json and .csv"])


def _raise_if(problems: list[str]) -> None:
    if not problems:
        return
    shown = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"… and {len(problems) - MAX_PROBLEMS} more")
    raise ManifestError(shown)


def _parquet_rows(data: bytes) -> Iterator[tuple[str, Row | str]]:
    try:
        rows: list[Row] = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ManifestError([f"manifest: not a Parquet file: {error}"]) from None
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _csv_rows(data: bytes) -> Iterator[tuple[str, Row | str]]:
    reader = csv.DictReader(io.StringIO(_text(data), newline=""))
    try:
        for raw in reader:
            yield f"line {reader.line_num}", "more cells than columns" if None in raw else _csv_row(raw)
    except csv.Error as error:
        yield f"after line {reader.line_num}", f"not CSV: {error}"


def _csv_row(raw: Mapping[str, str | None]) -> Row:
    row: Row = {name: text for name, text in raw.items() if text}
    if "labels" in row:
        row["labels"] = [part.strip() for part in row["labels"].split("|") if part.strip()]
    if "segments" in row:
        row["segments"] = _json_or_text(row["segments"])
    if "duration_s" in row:
        row["duration_s"] = _number_or_text(row["duration_s"])
    return row


def _jsonl_rows(data: bytes) -> Iterator[tuple[str, Row | str]]:
    # Not splitlines(): a text may hold other characters that Python takes for line ends.
    for number, line in enumerate(_text(data).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _jsonl_row(line)


def _jsonl_row(line: str) -> Row | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else f"got {type(row).__name__}, expected an object"


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError([f"manifest: not UTF-8 text (byte {error.start})"]) from None


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number_or_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _row_problems(row: Row, where: str) -> list[str]:
    problems = [f"{where}: unknown column {k!r}; allowed: {', '.join(FIELDS)}" for k in row if k not in FIELDS]
    uri = row.get("uri")
    if not _is_text(uri) or not uri:
        problems.append(f"{where}: uri: got {uri!r}, must be a non-empty text")
    else:
        try:
            storage.check_scheme(str(uri))
        except ConfigError as error:
            problems += [f"{where}: uri: {p}" for p in error.problems]
    problems += [
        f"{where}: {name}: got {row[name]!r}, must be a text"
        for name in ("video_id", "split", "sha256", "group")
        if row.get(name) is not None and not _is_text(row[name])
    ]
    labels = row.get("labels")
    if labels is not None and not (isinstance(labels, list) and all(map(_is_text, labels))):
        problems.append(f"{where}: labels: got {labels!r}, must be a list of texts")
    duration = row.get("duration_s")
    if duration is not None and not (_is_number(duration) and duration > 0):
        problems.append(f"{where}: duration_s: got {duration!r}, must be a number > 0")
    return problems + _segment_problems(row.get("segments"), where)


def _segment_problems(segments: object, where: str) -> list[str]:
    if segments is None:
        return []
    if not isinstance(segments, list):
        return [f"{where}: segments: got {segments!r}, must be a list"]
    problems: list[str] = []
    for i, segment in enumerate(segments):
        at = f"{where}: segments[{i}]"
        if not isinstance(segment, dict) or set(segment) != {"label", "start_s", "end_s"}:
            problems.append(f"{at}: got {segment!r}, must have exactly label, start_s, end_s")
        elif not _is_text(segment["label"]):
            problems.append(f"{at}.label: got {segment['label']!r}, must be a text")
        elif not (_is_number(segment["start_s"]) and _is_number(segment["end_s"])):
            problems.append(f"{at}: start_s and end_s must be numbers, got {segment!r}")
        elif not 0 <= segment["start_s"] < segment["end_s"]:
            problems.append(f"{at}: got {segment['start_s']}–{segment['end_s']} s, must be 0 ≤ start_s < end_s")
    return problems


def _is_text(value: object) -> bool:
    """Tell whether it is text that can be written: JSON may hold halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_number(value: object) -> bool:
    """Tell whether it is a number that a float64 can hold; NaN and infinity are not."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _complete(row: Row, base: str | None = None) -> Row:
    complete = {name: row.get(name) for name in FIELDS}
    uri = str(row["uri"])
    complete["video_id"] = row.get("video_id") or uri
    if base is not None and "://" not in uri and not uri.startswith("/"):
        complete["uri"] = storage.join(base, uri)
    return complete


def _sorted_table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["video_id"])), schema=MANIFEST)
