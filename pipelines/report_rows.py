"""Pack what the report lists into short rows for its script, and the classes that were found into a tree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fal_model.taxonomy import Node, Taxonomy
from pipelines.report_data import ReportData, Truth

MAX_SEGMENTS = 200
MAX_FRAME_TICKS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNode:
    """A class that was found: videos whose top label lies in its branch, videos that carry it, and its children."""

    id: str
    name: str
    definition: str
    num_top: int
    num_any: int
    children: list[TreeNode]


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
        self.nodes: list[tuple[Node, int]] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, label: str) -> int:
        if label not in self._numbers:
            known = label in self.taxonomy
            node = self.taxonomy.nodes[self.taxonomy.index(label)] if known else Node(label, label)
            parent = -1 if node.parent is None else self(node.parent)
            self._numbers[label] = len(self.nodes)
            self.nodes.append((node, parent))
        return self._numbers[label]


def page_data(data: ReportData, taxonomy: Taxonomy, truth: Truth | None) -> dict[str, Any]:
    """Pack the listed videos for the page's script: short rows, classes as numbers, no value that is not JSON.

    Returns:
        ``labels``: rows of id, name, parent's number, definition, videos whose top label lies there, videos that carry
        it, and how the scores of the former are spread; ``videos``: rows in the order that ``report.js`` unpacks.
    """
    number = _LabelNumbers(taxonomy)
    for node in taxonomy.nodes:
        if data.num_any[node.id]:
            number(node.id)
    videos = [_video_row(row, number, data, truth) for row in data.videos]
    labels = [
        (n.id, n.name, parent, n.definition, data.num_top[n.id], data.num_any[n.id], data.label_bins.get(n.id, []))
        for n, parent in number.nodes
    ]
    return {"labels": labels, "videos": videos, "hasTruth": truth is not None, "near": data.near.pairs}


def _video_row(row: Mapping[str, Any], number: _LabelNumbers, data: ReportData, truth: Truth | None) -> list[Any]:
    segments, times = row["segments"], row["frame_times_s"]
    true_labels = truth.labels.get(row["video_id"]) if truth else None
    true_segments = truth.segments.get(row["video_id"], []) if truth else []
    return [
        row["video_id"],
        row["uri"],
        rounded(row["duration_s"]),
        number(row["top_label"]),
        rounded(row["top_score"], 4),
        [[number(label["label"]), rounded(label["score"], 3)] for label in row["labels"]],
        _segment_rows(segments, number),
        max(0, len(segments) - MAX_SEGMENTS) + (row["num_segments_left_out"] or 0),
        [rounded(t) for t in times] if len(times) <= MAX_FRAME_TICKS else [],
        rounded(row["coverage"], 3),
        None if true_labels is None else [number(label) for label in true_labels],
        _segment_rows(true_segments, number),
        row["is_abstained"],
        data.damage.frames.get(row["video_id"], 0),
    ]


def _segment_rows(segments: Sequence[Mapping[str, Any]], number: _LabelNumbers) -> list[list[Any]]:
    return [
        [number(s["label"]), rounded(s["start_s"]), rounded(s["end_s"]), rounded(s.get("score"), 3)]
        for s in segments[:MAX_SEGMENTS]
    ]


def rounded(value: float | None, digits: int = 2) -> float | None:
    """Round for the page; what is no number is ``None`` there."""
    return None if value is None or not math.isfinite(value) else round(value, digits)
