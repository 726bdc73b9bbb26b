"""What the report shows, read from the tables of an output folder in bounded memory.

Counts cover every video. Of a very large corpus the page lists the least certain videos, the best and the least certain
one of each class, those with pictures or damage, and an even sample of the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import FailureKind
from pipelines import storage, tables
from pipelines.embedding_duplicates import NearDuplicates
from pipelines.receipts import Receipt
from pipelines.records import RECEIPT_KEY
from pipelines.report_findings import Damage, SameFiles, read_damage, read_near_duplicates, read_same_files
from pipelines.report_pictures import MAX_BYTES, pictured, read_pictures

MAX_VIDEOS = 20_000
LEAST_CERTAIN = 1_000
MAX_FAILURES_PER_KIND = 300
NUM_SCORE_BINS = 20
COLUMNS = [
    *("video_id", "uri", "duration_s", "top_label", "top_path", "top_score", "is_abstained"),
    *("labels", "segments", "num_segments_left_out", "frame_times_s", "coverage"),
]
Ints = npt.NDArray[np.intp]

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


@dataclass(slots=True, kw_only=True)
class ReportData:
    """Everything read from an output folder. Bins are of the top score; ``wrong`` stays zero without truth.

    Attributes:
        label_bins: For each class, how the top scores of the videos whose top label lies in its branch are spread.
        num_pictured: Videos of which the folder keeps pictures; the page may hold fewer of them.
        receipt: What made the labels, where the files say it.
    """

    num_labelled: int = 0
    num_wrong: int = 0
    num_abstained: int = 0
    num_pictured: int = 0
    total_duration_s: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * NUM_SCORE_BINS)
    wrong_bins: list[int] = field(default_factory=lambda: [0] * NUM_SCORE_BINS)
    label_bins: dict[str, list[int]] = field(default_factory=dict)
    num_top: Counter[str] = field(default_factory=Counter)
    num_any: Counter[str] = field(default_factory=Counter)
    videos: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    failures: list[FailureGroup] = field(default_factory=list)
    damage: Damage = field(default_factory=Damage)
    same: SameFiles = field(default_factory=SameFiles)
    near: NearDuplicates = field(default_factory=NearDuplicates)
    receipt: Receipt | None = None

    @property
    def num_failed(self) -> int:
        """Return the number of failed videos."""
        return sum(group.count for group in self.failures)


def read_report_data(
    output: str, truth: Truth | None = None, max_videos: int = MAX_VIDEOS, max_pictures_bytes: int = MAX_BYTES
) -> ReportData:
    """Read the labels, failures, findings and pictures of an output folder.

    Args:
        output: Folder of a labelling run, local or ``s3://``.
        truth: What is known about the videos.
        max_videos: About how many videos are listed one by one.
        max_pictures_bytes: What all pictures together may weigh, as base64.

    Returns:
        Counts over all videos, and the rows to list in the order of their ids.

    Raises:
        OutputError: a table is damaged or has another schema version.
    """
    data = ReportData(
        failures=failure_groups(output),
        damage=read_damage(output),
        same=read_same_files(output),
        near=read_near_duplicates(output),
    )
    with_pictures = pictured(output)
    data.num_pictured = len(with_pictures)
    doubles = [name for group in data.same.groups for name in group]
    alike = [name for *pair, _ in data.near.pairs for name in pair]
    named = [*with_pictures, *data.damage.frames, *doubles, *alike]
    rows = _listed(data, _label_tables(output), truth, pa.array(named, pa.string()), max_videos)
    if rows is None:
        return data
    rows = rows.take(pc.sort_indices(rows["video_id"]))
    data.videos = rows.drop_columns(["position"]).to_pylist()
    data.pictures = read_pictures(output, _most_wanted(rows, with_pictures, alike), max_pictures_bytes)
    return data


def _listed(
    data: ReportData, parts: Iterable[pa.Table], truth: Truth | None, named: pa.Array, max_videos: int
) -> pa.Table | None:
    """Count every video, and return those to list, never holding many more than these."""
    kept: list[pa.Table] = []
    stride, num_kept = 1, 0
    for part in parts:
        _count(data, part, truth)
        table = part.replace_schema_metadata(None)
        positions = pa.array(np.arange(data.num_labelled - table.num_rows, data.num_labelled))
        kept.append(table.append_column("position", positions))
        num_kept += table.num_rows
        if num_kept > 3 * max_videos:
            rows, stride = _shrink(pa.concat_tables(kept), stride, named, 2 * max_videos, data.num_labelled)
            kept, num_kept = [rows], rows.num_rows
    if not kept:
        return None
    return _shrink(pa.concat_tables(kept), stride, named, max_videos, data.num_labelled)[0]


def _shrink(table: pa.Table, stride: int, named: pa.Array, wanted: int, num_seen: int) -> tuple[pa.Table, int]:
    """Thin new rows like those before them, then all of them further while there are more than wanted."""
    rows = table if stride == 1 else _thin(table, stride, named)
    while rows.num_rows > wanted and stride < num_seen:
        stride *= 2
        rows = _thin(rows, stride, named)
    return rows, stride


def _thin(table: pa.Table, stride: int, named: pa.Array) -> pa.Table:
    """Keep every ``stride``-th video of the corpus, the least certain ones, the examples, and those that are named."""
    keep = table["position"].to_numpy() % stride == 0
    keep[_least_certain(table)] = True
    keep[_examples(table)] = True
    keep |= pc.is_in(table["video_id"], value_set=named).to_numpy()
    return table.filter(pa.array(keep))


def _least_certain(table: pa.Table) -> Ints:
    return np.argsort(table["top_score"].to_numpy(), kind="stable")[:LEAST_CERTAIN]


def _examples(table: pa.Table) -> Ints:
    """Find the least and the most certain video of each top label."""
    if not table.num_rows:
        return np.zeros(0, np.intp)
    _, codes_N = np.unique(table["top_label"].to_numpy(), return_inverse=True)
    order_N = np.lexsort((np.nan_to_num(table["top_score"].to_numpy()), codes_N))
    is_other = np.diff(codes_N[order_N]) != 0
    return np.concatenate([order_N[np.r_[True, is_other]], order_N[np.r_[is_other, True]]])


def _most_wanted(rows: pa.Table, with_pictures: Sequence[str], alike: Sequence[str]) -> list[str]:
    """Order the videos with pictures: the examples of each class, then what looks alike, then the least certain."""
    shown = rows.filter(pc.is_in(rows["video_id"], value_set=pa.array(with_pictures, pa.string())))
    is_alike = pc.is_in(shown["video_id"], value_set=pa.array(alike, pa.string())).to_numpy()
    order = [*_examples(shown), *np.flatnonzero(is_alike), *_least_certain(shown), *range(shown.num_rows)]
    places = dict.fromkeys(int(place) for place in order)
    return shown["video_id"].take(pa.array(places, pa.int64())).to_pylist()  # type: ignore[no-any-return]


def _label_tables(output: str) -> Iterator[pa.Table]:
    folder = storage.join(output, "labels")
    for name in storage.names_in(folder):
        if name.endswith(".parquet") and not name.startswith("."):
            yield tables.read_table(storage.join(folder, name), COLUMNS)


def _count(data: ReportData, table: pa.Table, truth: Truth | None) -> None:
    data.num_labelled += table.num_rows
    data.num_abstained += pc.sum(table["is_abstained"]).as_py() or 0
    data.total_duration_s += pc.sum(table["duration_s"]).as_py() or 0.0
    told = (table.schema.metadata or {}).get(RECEIPT_KEY)
    if told is not None:
        receipt = Receipt.from_json(told)
        data.receipt = receipt.with_other(data.receipt) if data.receipt else receipt
    bins_N = np.clip(np.nan_to_num(table["top_score"].to_numpy()) * NUM_SCORE_BINS, 0, NUM_SCORE_BINS - 1).astype(int)
    data.bins = _added(data.bins, bins_N)
    if table.num_rows:
        _count_labels(data, table, bins_N)
    if truth:
        wrong = [i for i, row in enumerate(_tops(table)) if row[1] not in truth.labels.get(row[0], [row[1]])]
        data.num_wrong += len(wrong)
        data.wrong_bins = _added(data.wrong_bins, bins_N[wrong])


def _tops(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["video_id"].to_pylist(), table["top_label"].to_pylist(), strict=True)


def _added(bins: Sequence[int], more_N: Ints) -> list[int]:
    counts: list[int] = (np.asarray(bins) + np.bincount(more_N, minlength=NUM_SCORE_BINS)).tolist()
    return counts


def _count_labels(data: ReportData, table: pa.Table, bins_N: Ints) -> None:
    """Count the classes of each video once, however often its lists name them."""
    paths, labels = (table[name].combine_chunks() for name in ("top_path", "labels"))
    rows, names = pc.list_parent_indices(paths), pc.list_flatten(paths)
    top = pa.table({"row": rows, "label": names}).group_by(["row", "label"]).aggregate([])
    top_bins = pa.array(bins_N[top["row"].to_numpy()])
    spread = top.append_column("bin", top_bins).group_by(["label", "bin"]).aggregate([([], "count_all")])
    for row in spread.to_pylist():
        data.num_top[row["label"]] += row["count_all"]
        data.label_bins.setdefault(row["label"], [0] * NUM_SCORE_BINS)[row["bin"]] += row["count_all"]
    carried = pa.table(
        {"row": pc.list_parent_indices(labels), "label": pc.struct_field(pc.list_flatten(labels), "label")}
    )
    both = pa.concat_tables([top, carried.cast(top.schema)]).group_by(["row", "label"]).aggregate([])
    for row in pc.value_counts(both["label"]).to_pylist():
        data.num_any[row["values"]] += row["counts"]


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
