"""What the report shows, read from the tables of an output folder in one pass and in bounded memory.

Counts cover every video. Of a very large corpus the page lists the least certain videos, those with pictures, and an
even sample of the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import FailureKind
from fal_model.taxonomy import Node, Taxonomy
from pipelines import pixels, storage, tables

MAX_VIDEOS = 20_000
LEAST_CERTAIN = 1_000
MAX_FAILURES_PER_KIND = 300
MAX_PICTURES_BYTES = 24 << 20
MAX_SEGMENTS = 200
MAX_FRAME_TICKS = 64
PICTURE_HEIGHT_PX = 112
PICTURE_QUALITY = 75
NUM_SCORE_BINS = 20
COLUMNS = [
    *("video_id", "uri", "duration_s", "top_label", "top_path", "top_score", "is_abstained"),
    *("labels", "segments", "frame_times_s", "coverage"),
]

WHY = {
    FailureKind.NOT_FOUND: "nothing is at this address",
    FailureKind.NOT_A_FILE: "a directory, device or other thing that is not a regular file",
    FailureKind.PERMISSION_DENIED: "the address exists, but these credentials may not read it",
    FailureKind.STORAGE_ERROR: "the store failed, throttled or cut the connection, also after the retries",
    FailureKind.EMPTY_FILE: "zero bytes",
    FailureKind.NOT_A_VIDEO: "the bytes are no known container, whatever the name says",
    FailureKind.UNSUPPORTED_FORMAT: "a container that is deliberately not opened, playlists among them",
    FailureKind.UNSUPPORTED_CODEC: "the container opened, but its video codec is not on the allowed list",
    FailureKind.NO_VIDEO_STREAM: "sound or subtitles only",
    FailureKind.NO_FRAMES: "there is a video stream, but not one frame could be decoded from it",
    FailureKind.ENCRYPTED: "the content is protected",
    FailureKind.CORRUPT: "damaged or cut off in a way that leaves nothing usable",
    FailureKind.LIMIT_EXCEEDED: "larger, longer or more complex than the limits allow",
    FailureKind.TIMEOUT: "decoding took longer than its wall-clock limit",
    FailureKind.DECODER_CRASH: "the decoder process died on this file",
    FailureKind.INTERNAL_ERROR: "a fault of FAL, not of the video",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is really in the videos, and how well the labels agree with it.

    Attributes:
        labels: True class ids by video id.
        segments: True segments by video id; each has ``label``, ``start_s``, ``end_s``.
        metrics: Measured scores by name: ``top1``, ``top5``, ``map``, ``segment_map``, ``ece`` and others.
        confusions: What is taken for what: true class id, predicted class id, videos; most frequent first.
        reliability: Mean score, share of correct labels and number of decisions of each score bin.
    """

    labels: dict[str, list[str]]
    segments: dict[str, list[dict[str, Any]]]
    metrics: dict[str, float]
    confusions: list[tuple[str, str, int]]
    reliability: list[tuple[float, float, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed videos of one kind: how many, why, and the first of their rows."""

    kind: str
    why: str
    count: int
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNode:
    """A class that was found: videos whose top label lies in its branch, videos that carry it, and its children."""

    id: str
    name: str
    definition: str
    num_top: int
    num_any: int
    children: list[TreeNode]


@dataclass(slots=True, kw_only=True)
class ReportData:
    """Everything read from an output folder. Bins are of the top score; ``wrong`` stays zero without truth."""

    num_labelled: int = 0
    num_wrong: int = 0
    num_abstained: int = 0
    total_duration_s: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * NUM_SCORE_BINS)
    wrong_bins: list[int] = field(default_factory=lambda: [0] * NUM_SCORE_BINS)
    num_top: Counter[str] = field(default_factory=Counter)
    num_any: Counter[str] = field(default_factory=Counter)
    videos: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    failures: list[FailureGroup] = field(default_factory=list)

    @property
    def num_failed(self) -> int:
        """Return the number of failed videos."""
        return sum(group.count for group in self.failures)


def read_report_data(output: str, truth: Truth | None = None, max_videos: int = MAX_VIDEOS) -> ReportData:
    """Read the labels, failures and pictures of an output folder.

    Args:
        output: Folder of a labelling run, local or ``s3://``.
        truth: What is known about the videos.
        max_videos: About how many videos are listed one by one.

    Returns:
        Counts over all videos, and the rows to list in the order of the tables.

    Raises:
        OutputError: a table is damaged or has another schema version.
    """
    data = ReportData(pictures=_pictures(output), failures=failure_groups(output))
    pictured = pa.array(list(data.pictures), pa.string())
    kept: list[pa.Table] = []
    stride, num_kept = 1, 0
    for table in _label_tables(output):
        _count(data, table, truth)
        positions = pa.array(np.arange(data.num_labelled - table.num_rows, data.num_labelled))
        kept.append(table.append_column("position", positions))
        num_kept += table.num_rows
        if num_kept > 3 * max_videos:
            rows, stride = _shrink(pa.concat_tables(kept), stride, pictured, 2 * max_videos, data.num_labelled)
            kept, num_kept = [rows], rows.num_rows
    if kept:
        rows, _ = _shrink(pa.concat_tables(kept), stride, pictured, max_videos, data.num_labelled)
        data.videos = rows.drop_columns(["position"]).to_pylist()
    return data


def _shrink(table: pa.Table, stride: int, pictured: pa.Array, wanted: int, num_seen: int) -> tuple[pa.Table, int]:
    """Thin new rows like those before them, then all of them further while there are more than wanted."""
    rows = table if stride == 1 else _thin(table, stride, pictured)
    while rows.num_rows > wanted and stride < num_seen:
        stride *= 2
        rows = _thin(rows, stride, pictured)
    return rows, stride


def _label_tables(output: str) -> Iterator[pa.Table]:
    folder = storage.join(output, "labels")
    for name in storage.names_in(folder):
        if name.endswith(".parquet") and not name.startswith("."):
            yield tables.read_table(storage.join(folder, name), COLUMNS).replace_schema_metadata(None)


def _thin(table: pa.Table, stride: int, pictured: pa.Array) -> pa.Table:
    """Keep every ``stride``-th video of the corpus, the least certain ones, and those with pictures."""
    keep = table["position"].to_numpy() % stride == 0
    least = np.argsort(table["top_score"].to_numpy(), kind="stable")[:LEAST_CERTAIN]
    keep[least] = True
    keep |= pc.is_in(table["video_id"], value_set=pictured).to_numpy()
    return table.filter(pa.array(keep))


def _count(data: ReportData, table: pa.Table, truth: Truth | None) -> None:
    data.num_labelled += table.num_rows
    data.num_abstained += pc.sum(table["is_abstained"]).as_py() or 0
    data.total_duration_s += pc.sum(table["duration_s"]).as_py() or 0.0
    bins = np.clip(np.nan_to_num(table["top_score"].to_numpy()) * NUM_SCORE_BINS, 0, NUM_SCORE_BINS - 1).astype(int)
    columns = (table[name].to_pylist() for name in ("video_id", "top_label", "top_path", "labels"))
    for score_bin, video_id, top_label, top_path, labels in zip(bins, *columns, strict=True):
        data.bins[score_bin] += 1
        data.num_top.update(set(top_path))
        data.num_any.update({*top_path, *(label["label"] for label in labels)})
        if truth and video_id in truth.labels and top_label not in truth.labels[video_id]:
            data.num_wrong += 1
            data.wrong_bins[score_bin] += 1


def failure_groups(output: str) -> list[FailureGroup]:
    """Read the failed videos of an output folder by kind, the most frequent first."""
    table = tables.read_folder(storage.join(output, "failures"))
    if table is None:
        return []
    counts: Counter[str] = Counter(table["kind"].to_pylist())
    return [
        FailureGroup(
            kind=kind,
            why=WHY[FailureKind(kind)] if kind in set(FailureKind) else "",
            count=count,
            rows=table.filter(pc.equal(table["kind"], kind)).slice(0, MAX_FAILURES_PER_KIND).to_pylist(),
        )
        for kind, count in counts.most_common()
    ]


def _pictures(output: str) -> dict[str, str]:
    """Read the key-frame strips, as base64 JPEG, until the page would become too heavy."""
    folder = storage.join(output, "_fal", "thumbnails")
    pictures: dict[str, str] = {}
    num_bytes = 0
    for name in storage.names_in(folder):
        if name.startswith("part-") and name.endswith(".json"):
            for video_id, text in json.loads(storage.read_bytes(storage.join(folder, name))).items():
                picture = _small_picture(text)
                num_bytes += len(picture)
                if num_bytes > MAX_PICTURES_BYTES:
                    return pictures
                if picture:
                    pictures[video_id] = picture
    return pictures


def _small_picture(text: str) -> str:
    """Shrink a strip to the height it is shown at; a strip that is no JPEG is left out: it is only decoration."""
    try:
        image = pixels.decode_jpeg(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return ""
    height, width = image.shape[:2]
    if height <= PICTURE_HEIGHT_PX:
        return text
    small = pixels.resize(image, PICTURE_HEIGHT_PX, max(1, round(width * PICTURE_HEIGHT_PX / height)))
    return base64.b64encode(pixels.encode_jpeg(small, PICTURE_QUALITY)).decode("ascii")


def label_tree(data: ReportData, taxonomy: Taxonomy) -> list[TreeNode]:
    """Arrange the classes that were found as a tree, most frequent first; a class not in the taxonomy is a root."""
    children: dict[str | None, list[Node]] = {}
    for node in taxonomy.nodes:
        if data.num_any[node.id]:
            children.setdefault(node.parent, []).append(node)
    strangers = [Node(label, label) for label in sorted(data.num_any) if label not in taxonomy]

    def grow(nodes: Iterable[Node]) -> list[TreeNode]:
        grown = [
            TreeNode(
                id=node.id,
                name=node.name,
                definition=node.definition,
                num_top=data.num_top[node.id],
                num_any=data.num_any[node.id],
                children=grow(children.get(node.id, [])),
            )
            for node in nodes
        ]
        return sorted(grown, key=lambda n: (-n.num_any, -n.num_top))

    return grow([*children.get(None, []), *strangers])


class _LabelNumbers:
    """Number the classes that the page mentions, parents first."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.rows: list[tuple[str, str, int]] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, label: str) -> int:
        if label not in self._numbers:
            known = label in self.taxonomy
            node = self.taxonomy.nodes[self.taxonomy.index(label)] if known else Node(label, label)
            parent = -1 if node.parent is None else self(node.parent)
            self._numbers[label] = len(self.rows)
            self.rows.append((node.id, node.name, parent))
        return self._numbers[label]


def page_data(data: ReportData, taxonomy: Taxonomy, truth: Truth | None) -> dict[str, Any]:
    """Pack the listed videos for the page's script: short rows, classes as numbers, no value that is not JSON.

    Returns:
        ``labels``: rows of id, name, parent's number; ``videos``: rows in the order that ``report.js`` unpacks.
    """
    number = _LabelNumbers(taxonomy)
    for node in taxonomy.nodes:
        if data.num_any[node.id]:
            number(node.id)
    videos = [_video_row(row, number, truth) for row in data.videos]
    return {"labels": number.rows, "videos": videos, "hasTruth": truth is not None}


def _video_row(row: Mapping[str, Any], number: _LabelNumbers, truth: Truth | None) -> list[Any]:
    segments, times = row["segments"], row["frame_times_s"]
    true_labels = truth.labels.get(row["video_id"]) if truth else None
    true_segments = truth.segments.get(row["video_id"], []) if truth else []
    return [
        row["video_id"],
        row["uri"],
        _rounded(row["duration_s"]),
        number(row["top_label"]),
        _rounded(row["top_score"], 4),
        [[number(label["label"]), _rounded(label["score"], 3)] for label in row["labels"]],
        _segment_rows(segments, number),
        max(0, len(segments) - MAX_SEGMENTS),
        [_rounded(t) for t in times] if len(times) <= MAX_FRAME_TICKS else [],
        _rounded(row["coverage"], 3),
        None if true_labels is None else [number(label) for label in true_labels],
        _segment_rows(true_segments, number),
        row["is_abstained"],
    ]


def _segment_rows(segments: Sequence[Mapping[str, Any]], number: _LabelNumbers) -> list[list[Any]]:
    return [
        [number(s["label"]), _rounded(s["start_s"]), _rounded(s["end_s"]), _rounded(s.get("score"), 3)]
        for s in segments[:MAX_SEGMENTS]
    ]


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)
