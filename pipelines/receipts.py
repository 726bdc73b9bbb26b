"""What made a label: the versions of everything that has a say in its numbers, and digests to compare with later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fal_model.errors import OutputError
from pipelines import pixels
from pipelines.ffmpeg_builds import build_in_use


@dataclass(frozen=True, slots=True)
class Receipt:
    """What made the rows of one file. Several values of a version mean that workers had different ones.

    Attributes:
        decoding: FFmpeg's libraries, PyAV, OpenCV and NumPy, each with the versions that took part.
        prediction: torch, the device and its number format, each with those that took part.
        batch_clips: Clips per model batch, part of the last bits of a prediction.
        weights_id: Content hash of the weights.
        pipeline_id: Content hash of the preprocessing.
    """

    decoding: dict[str, list[str]]
    prediction: dict[str, list[str]]
    batch_clips: int
    weights_id: str
    pipeline_id: str

    def to_json(self) -> bytes:
        """Write for file metadata; equal receipts give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    def with_other(self, other: Receipt) -> Receipt:
        """Add what made rows that were taken over; both are of the same weights and preprocessing."""
        return replace(
            self,
            decoding=_united(self.decoding, other.decoding),
            prediction=_united(self.prediction, other.prediction),
        )

    @classmethod
    def from_json(cls, data: bytes) -> Receipt:
        """Read what :meth:`to_json` wrote.

        Raises:
            OutputError: it is no receipt.
        """
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise OutputError(f"the receipt of the file is damaged: {error}") from None


def decoding_versions() -> dict[str, str]:
    """Return the versions of what turns bytes into clips, in this process."""
    build = build_in_use()
    ours = {"ffmpeg": build.version, "pyav": build.pyav, "opencv": pixels.VERSION, "numpy": np.__version__}
    return build.libraries | ours


def gathered(versions: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """Put the versions of many workers together: every name with the values that were met, sorted."""
    met: dict[str, list[str]] = {}
    for one in versions:
        met = _united(met, {name: [value] for name, value in one.items()})
    return met


def _united(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: sorted({*one.get(name, ()), *other.get(name, ())}) for name in sorted({*one, *other})}


def input_digest(
    frames_THWC: npt.NDArray[np.uint8], flow_q_THWC: npt.NDArray[np.int8], flow_valid_T: npt.NDArray[np.bool_]
) -> str:
    """Hash one clip as the model is given it: frames, flow as stored, and where it is valid; 64 hex digits."""
    digest = hashlib.sha256()
    arrays: tuple[npt.NDArray[Any], ...] = (frames_THWC, flow_q_THWC, flow_valid_T)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
