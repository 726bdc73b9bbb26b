"""From the clip predictions of one video to its row of the ``labels`` table. The same code for corpus and HTTP.

A class's score for a video is its highest calibrated score over the clips: one window in which something happens is
enough. Taking the maximum keeps every parent at least as high as its children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Calibration
from fal_model.postprocess import Segment, clip_segments, path_scores
from fal_model.taxonomy import Taxonomy
from pipelines.config import LabelConfig

Row = dict[str, Any]
STITCH_GAP_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPredictions:
    """All clips of one video, in order: raw outputs and where in the video each clip was."""

    logits_NK: npt.NDArray[np.float32]
    frame_logits_NTK: npt.NDArray[np.float16]
    embedding_ND: npt.NDArray[np.float32]
    windows_s: Sequence[tuple[float, float]]
    frame_times_s: Sequence[Sequence[float]]
    covered_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Labeller:
    """Turn predictions into labels.

    Attributes:
        taxonomy: The model's label tree.
        calibration: What turns logits into probabilities.
        config: Thresholds.
        model_id: Content hash of the model, copied into every row.
        pipeline_id: Content hash of the preprocessing, copied into every row.
    """

    taxonomy: Taxonomy
    calibration: Calibration
    config: LabelConfig
    model_id: str
    pipeline_id: str

    def row(self, video_id: str, uri: str, sha256: str, predictions: VideoPredictions) -> Row:
        """Make the row of one video."""
        scores_K = path_scores(predictions.logits_NK, self.taxonomy, self.calibration.clip).max(axis=0)
        leaves = np.array(self.taxonomy.leaves)
        top = int(leaves[np.argmax(scores_K[leaves])])
        return {
            "video_id": video_id,
            "uri": uri,
            "sha256": sha256,
            "duration_s": predictions.duration_s,
            "top_label": self.taxonomy.nodes[top].id,
            "top_path": self.taxonomy.path(top),
            "top_score": float(scores_K[top]),
            "labels": self._labels(scores_K),
            "segments": self._segments(scores_K, predictions),
            "embedding": mean_embedding(predictions.embedding_ND),
            "frame_times_s": [t for times in predictions.frame_times_s for t in times],
            "coverage": min(1.0, predictions.covered_s / predictions.duration_s) if predictions.duration_s else 0.0,
            "model_id": self.model_id,
            "taxonomy_id": self.taxonomy.taxonomy_id,
            "pipeline_id": self.pipeline_id,
        }

    def _labels(self, scores_K: npt.NDArray[np.float32]) -> list[Row]:
        best_first = np.argsort(-scores_K, kind="stable")
        chosen = [int(i) for i in best_first if scores_K[i] >= self.config.threshold][: self.config.max_labels]
        return [
            {
                "label": self.taxonomy.nodes[i].id,
                "path": self.taxonomy.path(i),
                "level": self.taxonomy.levels[i],
                "score": float(scores_K[i]),
            }
            for i in chosen
        ]

    def _segments(self, scores_K: npt.NDArray[np.float32], predictions: VideoPredictions) -> list[Row]:
        wanted = [i for i in self.taxonomy.leaves if scores_K[i] >= self.config.threshold]
        found: list[Segment] = []
        for clip, (start_s, end_s) in enumerate(predictions.windows_s):
            scores_TK = path_scores(predictions.frame_logits_NTK[clip], self.taxonomy, self.calibration.frame)
            found += clip_segments(
                scores_TK,
                predictions.frame_times_s[clip],
                start_s,
                end_s,
                class_indices=wanted,
                threshold=self.config.segment_threshold,
            )
        return [
            {
                "label": self.taxonomy.nodes[s.class_index].id,
                "start_s": s.start_s,
                "end_s": s.end_s,
                "score": float(s.score),
            }
            for s in stitch(found)
        ]


def stitch(segments: Sequence[Segment]) -> list[Segment]:
    """Join segments of one class that touch, as at the border of two windows; ordered by start, then class.

    The score of a joined segment is the mean of its parts, weighted by length.
    """
    joined: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (s.class_index, s.start_s)):
        last = joined[-1] if joined else None
        if last and last.class_index == segment.class_index and segment.start_s <= last.end_s + STITCH_GAP_S:
            length, added = last.end_s - last.start_s, segment.end_s - segment.start_s
            score = (last.score * length + segment.score * added) / (length + added)
            joined[-1] = Segment(last.class_index, last.start_s, max(last.end_s, segment.end_s), score)
        else:
            joined.append(segment)
    return sorted(joined, key=lambda s: (s.start_s, s.class_index))


def mean_embedding(embedding_ND: npt.NDArray[np.float32]) -> list[float]:
    """Average the clip embeddings and give the result unit length again."""
    mean_D = embedding_ND.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean_D))
    unit_D = mean_D / norm if norm > 0 else np.eye(1, len(mean_D))[0]
    return [float(x) for x in unit_D.astype(np.float32)]
