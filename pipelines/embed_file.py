"""The embedding of one video file, by the same preparing and the same predictor that label a corpus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fal_model.errors import ConfigError
from pipelines.labels import mean_embedding
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.prepare import BatchPreparer


def embed_file(uri: str, predictor: ClipPredictor, limits: DecodeLimits, batch_clips: int) -> npt.NDArray[np.float32]:
    """Embed a video as the labelling job does.

    Args:
        uri: File or ``s3://`` address.
        predictor: The loaded model.
        limits: What the video may cost.
        batch_clips: Clips per model batch.

    Returns:
        Mean of the clips' embeddings, of unit length.

    Raises:
        ConfigError: the video cannot be used; says of which kind the failure is.
    """
    rows = [{"video_id": uri, "uri": uri}]
    found: list[npt.NDArray[np.float32]] = []
    with BatchPreparer(predictor.model.config.clip, limits, batch_clips) as preparer:
        for meta, clips, _ in preparer.batches(rows):
            for failure in meta.failures:
                raise ConfigError([f"--file: {uri!r} cannot be used: {failure.kind}: {failure.message}"])
            found.append(predictor.predict(clips, batch_clips).embedding_BD)
    return mean_embedding(np.concatenate(found))
