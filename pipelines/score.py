"""Compare the output of a labelling run with the truth of a manifest."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model import metrics
from fal_model.calibration import Calibration
from fal_model.errors import ConfigError
from fal_model.evaluation import classification_metrics
from fal_model.metrics import TimedLabel
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Taxonomy
from pipelines import storage, tables

RELIABILITY_BINS = 10
CLASSIFICATION = (
    "top1",
    "top5",
    "top1_single_label",
    "map",
    "f1_micro",
    "f1_macro",
    "f1_micro_at_0.5",
    "f1_macro_at_0.5",
    "ece",
    "kept_share",
    "kept_top1",
)
RETRIEVAL = ("recall_at_1", "recall_at_5")
LOCALIZATION = ("segment_map_at_0.5", "segment_map")
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good the labels of a run are.

    Attributes:
        metrics: Numbers by name; one that has no meaning on this truth is left out.
        not_measurable: Names of :func:`metric_names` that are left out.
        confusions: What was taken for what: (true id, predicted id, videos), most frequent first.
        reliability: Per score bin: mean top score, share of right top labels, videos.
        num_scored: Labelled videos with known truth.
    """

    metrics: dict[str, float]
    not_measurable: tuple[str, ...]
    confusions: list[tuple[str, str, int]]
    reliability: list[tuple[float, float, int]]
    num_scored: int


def score_output(
    output: str, manifest: pa.Table, taxonomy: Taxonomy, calibration: Calibration, threshold: float | None = None
) -> Score:
    """Score ``predictions`` and ``labels`` of an output folder.

    Failed videos have no labels and are left out here; the summary counts them.

    Args:
        output: Folder of a labelling run.
        manifest: What is true.
        taxonomy: The model's label tree.
        calibration: What its scores and decisions come from.
        threshold: Lowest score of a label, where the run did not take the fitted ones.

    Raises:
        ConfigError: no labelled video has a known truth.
    """
    truth = {row["video_id"]: row for row in manifest.to_pylist() if row["labels"] is not None}
    scores = video_scores(output, taxonomy, calibration)
    if not scores:
        return Score(
            metrics={}, not_measurable=tuple(metric_names(taxonomy)), confusions=[], reliability=[], num_scored=0
        )
    ids = [i for i in sorted(scores) if i in truth]
    if not ids:
        raise ConfigError([f"truth: none of the {len(scores)} labelled videos has labels in the manifest"])
    scores_NK = np.stack([scores[i] for i in ids])
    labels_NK = np.stack([_multi_hot(truth[i]["labels"], taxonomy) for i in ids])
    leaves = np.array(taxonomy.leaves)
    scores_NL, labels_NL = scores_NK[:, leaves], labels_NK[:, leaves]
    top_N = scores_NL.argmax(axis=1)
    hits_N = labels_NL[np.arange(len(ids)), top_N]
    confusions = metrics.confusion_pairs([int(t) for t in top_N], labels_NL)
    found = classification_metrics(scores_NK, labels_NK, taxonomy, calibration, threshold)
    is_single_N = labels_NL.sum(axis=1) == 1
    found["top1_single_label"] = metrics.top_k_accuracy(scores_NL[is_single_N], labels_NL[is_single_N], 1)
    found |= _retrieval(output, ids, labels_NL)
    found |= _localization(output, truth, set(ids), taxonomy)
    measured = {name: value for name, value in found.items() if not math.isnan(value)}
    return Score(
        metrics=measured,
        not_measurable=tuple(name for name in metric_names(taxonomy) if name not in measured),
        confusions=[(taxonomy.nodes[leaves[a]].id, taxonomy.nodes[leaves[b]].id, n) for a, b, n in confusions],
        reliability=reliability(scores_NL.max(axis=1), hits_N),
        num_scored=len(ids),
    )


def metric_names(taxonomy: Taxonomy) -> list[str]:
    """Return what :func:`score_output` measures where the truth says enough; ``docs/data-contracts.md`` explains it."""
    levels = [f"{name}_level_{level}" for level in range(max(taxonomy.levels) + 1) for name in ("f1", "ece")]
    return [*CLASSIFICATION, *levels, *RETRIEVAL, *LOCALIZATION]


def video_scores(output: str, taxonomy: Taxonomy, calibration: Calibration) -> dict[str, npt.NDArray[np.float32]]:
    """Return the score of every class [K] for every video with predictions: the highest over its clips."""
    best: dict[str, npt.NDArray[np.float32]] = {}
    folder = storage.join(output, "predictions")
    for name in [n for n in storage.names_in(folder) if n.endswith(".parquet")]:
        table = tables.read_table(storage.join(folder, name), ["video_id", "logits"])
        logits_NK = tables.matrix(table["logits"])
        scores_NK = path_scores(logits_NK, taxonomy, calibration.clip)
        for video_id, row_K in zip(table["video_id"].to_pylist(), scores_NK, strict=True):
            best[video_id] = np.maximum(best[video_id], row_K) if video_id in best else row_K
    return best


def _multi_hot(labels: list[str], taxonomy: Taxonomy) -> npt.NDArray[np.float32]:
    row_K = np.zeros(len(taxonomy), np.float32)
    for label in labels:
        row_K[list(taxonomy.path_indices(taxonomy.index(label)))] = 1
    return row_K


def _retrieval(output: str, ids: list[str], labels_NL: Floats) -> dict[str, float]:
    """Ask for each video whether those whose embeddings are nearest share a true leaf with it."""
    table = tables.read_folder(storage.join(output, "labels"), ["video_id", "embedding"])
    if table is None:
        return {}
    row_of = {video_id: row for row, video_id in enumerate(table["video_id"].to_pylist())}
    found = [(i, row_of[video_id]) for i, video_id in enumerate(ids) if video_id in row_of]
    at_N, row_N = np.array(found, np.intp).reshape(-1, 2).T
    recall = metrics.recall_at_k(tables.matrix(table["embedding"])[row_N], labels_NL[at_N])
    return dict(zip(RETRIEVAL, recall.values(), strict=True))


def _localization(
    output: str, truth: dict[str, dict[str, Any]], scored: set[str], taxonomy: Taxonomy
) -> dict[str, float]:
    true = [
        TimedLabel(i, taxonomy.index(s["label"]), s["start_s"], s["end_s"])
        for i in sorted(scored)
        for s in truth[i]["segments"] or []
    ]
    if not true:
        return {}
    timed = {i for i in scored if truth[i]["segments"] is not None}
    table = tables.read_folder(storage.join(output, "labels"), ["video_id", "segments"])
    rows = [] if table is None else table.to_pylist()
    found = [
        TimedLabel(r["video_id"], taxonomy.index(s["label"]), s["start_s"], s["end_s"], s["score"])
        for r in rows
        if r["video_id"] in timed
        for s in r["segments"]
    ]
    by_iou = metrics.segment_map(true, found)
    return {"segment_map_at_0.5": by_iou[0.5], "segment_map": float(np.mean(list(by_iou.values())))}


def reliability(scores_N: Floats, hits_N: Floats) -> list[tuple[float, float, int]]:
    """Bin top scores and compare them with how often they were right: (mean score, accuracy, videos) per used bin."""
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for score, hit in zip(scores_N.tolist(), hits_N.tolist(), strict=True):
        bins[min(int(score * RELIABILITY_BINS), RELIABILITY_BINS - 1)].append((score, hit))
    return [
        (float(np.mean([s for s, _ in rows])), float(np.mean([h for _, h in rows])), len(rows))
        for _, rows in sorted(bins.items())
    ]
