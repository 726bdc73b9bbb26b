"""Predictions of one video made anew as the labelling job makes them: the same steps and batches, in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.clip_batches import ClipMeta, ClipOutputs, Failure, VideoMeta
from pipelines.merge import new_rows
from pipelines.predict import ClipPredictor
from pipelines.prepare import BatchPreparer
from pipelines.records import predictions_schema
from pipelines.run_record import Settings
from pipelines.video_ranges import join_ranges


class Rederiver:
    """Prepares and predicts videos one after the other. Close it.

    Args:
        predictor: The loaded model.
        settings: Of the run whose rows are to be made again.
    """

    def __init__(self, predictor: ClipPredictor, settings: Settings) -> None:
        config, taxonomy = predictor.model.config, predictor.model.taxonomy
        self._predictor = predictor
        self._settings = settings
        self._preparer = BatchPreparer(config.clip, settings.limits, settings.label.batch_clips)
        self._schema = predictions_schema(
            len(taxonomy), len(taxonomy.leaves), config.clip.num_frames, config.embedding_dim
        )

    def close(self) -> None:
        """End the decoder process."""
        self._preparer.close()

    def predictions(self, row: Mapping[str, Any]) -> pa.Table | Failure:
        """Return the rows of ``predictions`` of a video of the manifest, or why there are none."""
        clips, outputs = list[ClipMeta](), list[ClipOutputs]()
        ranges, failures = list[VideoMeta](), list[Failure]()
        first, num_windows, batch_clips = 0, 1, self._settings.label.batch_clips
        while first < num_windows and not failures:
            windows = range(first, first + self._settings.label.piece_windows)
            for meta, arrays, _ in self._preparer.batches([row], windows=windows):
                clips += meta.clips
                ranges += meta.videos
                failures += meta.failures
                outputs.append(self._predictor.predict(arrays, batch_clips))
            if not failures:
                first, num_windows = ranges[-1].next_window, ranges[-1].num_windows
        joined = join_ranges(ranges, failures, [])
        failure = joined.failures.get(row["video_id"])
        if failure is not None:
            return failure
        places = [(clip, place) for place, clip in enumerate(clips)]
        return new_rows(joined.videos[row["video_id"]], places, _joined(outputs), self._schema)


def _joined(outputs: list[ClipOutputs]) -> ClipOutputs:
    """Put batches one after the other, grids flat as the tables hold them."""
    rows = [tuple(getattr(out, field.name) for out in outputs) for field in fields(ClipOutputs)]
    return ClipOutputs(*(np.concatenate(arrays).reshape(sum(map(len, arrays)), -1) for arrays in rows))
