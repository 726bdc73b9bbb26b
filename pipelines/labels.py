"""From the clip predictions of one video to its row of the ``labels`` table. The same code for corpus and HTTP.

A class's score for a video is its highest calibrated score over the clips: one window in which something happens is
enough. Taking the maximum keeps every parent at least as high as its children. A class is listed from its own threshold
on, fitted with the model or one number for all; with a class, its ancestors are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Calibration
from fal_model.localization import OFFSET_STEPS, ClipScores, Segment, find_segments
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import listed
from pipelines.config import LabelConfig

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPredictions:
    """All clips of one video, in order: raw outputs and where in the video each clip was."""

    logits_NK: npt.NDArray[np.float32]
    frame_logits_NTK: npt.NDArray[np.float16]
    offsets_NTL2: npt.NDArray[np.uint8]
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
        calibration: What turns logits into probabilities, and these into decisions.
        config: Thresholds to take instead of the fitted ones, and limits.
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
        segments = self._segments(scores_K, predictions)
        return {
            "video_id": video_id,
            "uri": uri,
            "sha256": sha256,
            "duration_s": predictions.duration_s,
            "top_label": self.taxonomy.nodes[top].id,
            "top_path": self.taxonomy.path(top),
            "top_score": float(scores_K[top]),
            "is_abstained": bool(scores_K[top] < self.calibration.abstain_below),
            "labels": self._labels(scores_K),
            "segments": [self._segment_row(s) for s in self._best(segments)],
            "num_segments_left_out": max(0, len(segments) - self.config.max_segments),
            "embedding": mean_embedding(predictions.embedding_ND),
            "frame_times_s": sorted({t for times in predictions.frame_times_s for t in times}),
            "coverage": min(1.0, predictions.covered_s / predictions.duration_s) if predictions.duration_s else 0.0,
            "model_id": self.model_id,
            "taxonomy_id": self.taxonomy.taxonomy_id,
            "pipeline_id": self.pipeline_id,
        }

    def _labels(self, scores_K: npt.NDArray[np.float32]) -> list[Row]:
        is_listed_K = self._listed(scores_K)
        # Of equal scores the parent's comes first, so that no limit keeps a class without its ancestors.
        best_first = np.argsort(-scores_K, kind="stable")
        chosen = [int(i) for i in best_first if is_listed_K[i]][: self.config.max_labels]
        return [
            {
                "label": self.taxonomy.nodes[i].id,
                "path": self.taxonomy.path(i),
                "level": self.taxonomy.levels[i],
                "score": float(scores_K[i]),
            }
            for i in chosen
        ]

    def _listed(self, scores_K: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        thresholds_K = self.calibration.class_thresholds(self.taxonomy, self.config.threshold)
        return listed(scores_K, thresholds_K, self.taxonomy)

    def _segments(self, scores_K: npt.NDArray[np.float32], predictions: VideoPredictions) -> list[Segment]:
        is_listed_K = self._listed(scores_K)
        leaves = np.array(self.taxonomy.leaves)
        wanted_leaves = np.flatnonzero(is_listed_K[leaves])
        wanted = leaves[wanted_leaves]
        thresholds_K = self.calibration.class_frame_thresholds(self.taxonomy, self.config.segment_threshold)
        clips: list[ClipScores] = []
        for clip, (start_s, end_s) in enumerate(predictions.windows_s):
            scores_TK = path_scores(predictions.frame_logits_NTK[clip], self.taxonomy, self.calibration.frame)
            offsets_TC2 = predictions.offsets_NTL2[clip][:, wanted_leaves] / np.float64(OFFSET_STEPS)
            times_s = predictions.frame_times_s[clip]
            clips.append(ClipScores(scores_TK[:, wanted], offsets_TC2, times_s, start_s, end_s))
        return find_segments(clips, wanted, thresholds_K[wanted], predictions.duration_s)

    def _best(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return as many as are allowed, those of the highest scores, in their order."""
        best = sorted(range(len(segments)), key=lambda i: -segments[i].score)[: self.config.max_segments]
        return [segments[i] for i in sorted(best)]

    def _segment_row(self, segment: Segment) -> Row:
        label = self.taxonomy.nodes[segment.class_index].id
        return {"label": label, "start_s": segment.start_s, "end_s": segment.end_s, "score": segment.score}


def mean_embedding(embedding_ND: npt.NDArray[np.float32]) -> list[float]:
    """Average the clip embeddings and give the result unit length again."""
    mean_D = embedding_ND.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean_D))
    unit_D = mean_D / norm if norm > 0 else np.eye(1, len(mean_D))[0]
    return [float(x) for x in unit_D.astype(np.float32)]
