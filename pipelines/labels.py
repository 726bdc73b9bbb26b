"""From the clip predictions of one video to its row of the ``labels`` table.

HTTP makes one row; a corpus makes many at once, in ``labelling.py``, from the same parts, and a test holds both equal.

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
from fal_model.class_head import ClassHead
from fal_model.localization import OFFSET_STEPS, ClipScores, Segment, find_segments
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import listed
from pipelines.config import LabelConfig
from pipelines.regrouping import Regrouping

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
class Rules:
    """What decides over every video: the leaves, and the thresholds of all classes for a video and for a frame."""

    leaves: npt.NDArray[np.integer]
    thresholds_K: npt.NDArray[np.float64]
    frame_thresholds_K: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labeller:
    """Turn predictions into labels.

    Attributes:
        taxonomy: The label tree of the labels.
        calibration: What turns logits into probabilities, and these into decisions.
        config: Thresholds to take instead of the fitted ones, and limits.
        model_id: Content hash of the model, copied into every row.
        pipeline_id: Content hash of the preprocessing, copied into every row.
        regrouping: How the classes follow from those of the model, or of the head; None where they are the same.
        head: What gives the logits, from embeddings; None where it is the model.
    """

    taxonomy: Taxonomy
    calibration: Calibration
    config: LabelConfig
    model_id: str
    pipeline_id: str
    regrouping: Regrouping | None = None
    head: ClassHead | None = None

    @property
    def source(self) -> Taxonomy:
        """Return the label tree of the predictions, or of the head."""
        return self.taxonomy if self.regrouping is None else self.regrouping.source

    def scores(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the calibrated scores of all classes of the labels, for logits of clips [..., model's classes]."""
        scores = path_scores(logits, self.source, self.calibration.clip)
        return scores if self.regrouping is None else self.regrouping.scores(scores)

    def rules(self) -> Rules:
        """Return everything that is the same for every video; made once for many."""
        return Rules(
            leaves=np.array(self.taxonomy.leaves),
            thresholds_K=self.calibration.class_thresholds(self.taxonomy, self.config.threshold),
            frame_thresholds_K=self.calibration.class_frame_thresholds(self.taxonomy, self.config.segment_threshold),
        )

    def row(self, video_id: str, uri: str, sha256: str, predictions: VideoPredictions) -> Row:
        """Make the row of one video."""
        rules = self.rules()
        scores_K = self.scores(predictions.logits_NK).max(axis=0)
        top = int(rules.leaves[np.argmax(scores_K[rules.leaves])])
        is_listed_K = listed(scores_K, rules.thresholds_K, self.taxonomy)
        segments = self.segments(rules, is_listed_K, predictions)
        return {
            "video_id": video_id,
            "uri": uri,
            "sha256": sha256,
            "duration_s": predictions.duration_s,
            "top_label": self.taxonomy.nodes[top].id,
            "top_path": self.taxonomy.path(top),
            "top_score": float(scores_K[top]),
            "is_abstained": not scores_K[top] >= self.calibration.abstain_below,
            "labels": self._labels(scores_K, is_listed_K),
            "segments": [self.segment_row(s) for s in self.best(segments)],
            "num_segments_left_out": max(0, len(segments) - self.config.max_segments),
            "embedding": mean_embedding(predictions.embedding_ND).tolist(),
            "frame_times_s": times_of(predictions.frame_times_s),
            "coverage": coverage(predictions.covered_s, predictions.duration_s),
            "model_id": self.model_id,
            "taxonomy_id": self.taxonomy.taxonomy_id,
            "pipeline_id": self.pipeline_id,
        }

    def _labels(self, scores_K: npt.NDArray[np.float32], is_listed_K: npt.NDArray[np.bool_]) -> list[Row]:
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

    def segments(
        self, rules: Rules, is_listed_K: npt.NDArray[np.bool_], predictions: VideoPredictions
    ) -> list[Segment]:
        """Find when the listed leaves hold in a video, all of them."""
        wanted_leaves = np.flatnonzero(is_listed_K[rules.leaves])
        if not len(wanted_leaves):
            return []
        wanted = rules.leaves[wanted_leaves]
        scores_NTC, offsets_NTC2 = self._frames(predictions, wanted_leaves)
        clips = [
            ClipScores(scores_TC, offsets_TC2 / np.float64(OFFSET_STEPS), times_s, start_s, end_s)
            for scores_TC, offsets_TC2, times_s, (start_s, end_s) in zip(
                scores_NTC, offsets_NTC2, predictions.frame_times_s, predictions.windows_s, strict=True
            )
        ]
        return find_segments(clips, wanted, rules.frame_thresholds_K[wanted], predictions.duration_s)

    def _frames(
        self, predictions: VideoPredictions, wanted_leaves: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return the scores [N, T, C] and offsets [N, T, C, 2] of some leaves of the labels, given by their places."""
        wanted = np.array(self.taxonomy.leaves)[wanted_leaves]
        logits_NTK, offsets_NTL2 = predictions.frame_logits_NTK, predictions.offsets_NTL2
        if self.regrouping is not None:
            return self.regrouping.frames(logits_NTK, offsets_NTL2, self.calibration.frame, wanted)
        return path_scores(logits_NTK, self.source, self.calibration.frame, wanted), offsets_NTL2[:, :, wanted_leaves]

    def best(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return as many as are allowed, those of the highest scores, in their order."""
        best = sorted(range(len(segments)), key=lambda i: -segments[i].score)[: self.config.max_segments]
        return [segments[i] for i in sorted(best)]

    def segment_row(self, segment: Segment) -> Row:
        """Return a segment as it stands in the row of its video."""
        label = self.taxonomy.nodes[segment.class_index].id
        return {"label": label, "start_s": segment.start_s, "end_s": segment.end_s, "score": segment.score}


def mean_embedding(embedding_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Average the clip embeddings and give the result unit length again, shape [D]."""
    mean_D = embedding_ND.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean_D))
    unit_D = mean_D / norm if norm > 0 else np.eye(1, len(mean_D))[0]
    single_D: npt.NDArray[np.float32] = unit_D.astype(np.float32)
    return single_D


def times_of(frame_times_s: Sequence[Sequence[float]]) -> list[float]:
    """Return the times of the frames of all clips, rising; windows that overlap share some."""
    return sorted({t for times in frame_times_s for t in times})


def coverage(covered_s: float, duration_s: float) -> float:
    """Return the share of a video that was looked at, 0 to 1."""
    return min(1.0, covered_s / duration_s) if duration_s else 0.0
