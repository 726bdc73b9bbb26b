"""A linear classifier over stored embeddings: classes that a model was not trained for, without running it. Numpy only.

It is two files: ``head.json``, which a person can read, and ``head.safetensors`` with weights and biases.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Calibration
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.spec import content_id
from fal_model.taxonomy import Taxonomy

FORMAT_VERSION = 1
HEAD_FILE = "head.json"
WEIGHTS_FILE = "head.safetensors"
HEAD_FILES = (HEAD_FILE, WEIGHTS_FILE)
FIELDS = ("format_version", "model_weights_id", "weights_sha256", "taxonomy", "calibration")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassHead:
    """Classes read linearly from the embedding of a clip.

    Attributes:
        taxonomy: The K classes.
        calibration: Of its logits.
        model_weights_id: Content hash of the weights and the configuration whose embeddings it was fitted on; those of
            others mean something else.
        weight_KE: Weights of each class, float32.
        bias_K: float32.

    Raises:
        ConfigError: shapes that do not fit, values that are not finite, or a calibration of other classes.
    """

    taxonomy: Taxonomy
    calibration: Calibration
    model_weights_id: str
    weight_KE: npt.NDArray[np.float32]
    bias_K: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        got = f"{_described(self.weight_KE)} and {_described(self.bias_K)}"
        num_classes, dim = len(self.taxonomy), self.weight_KE.shape[-1] if self.weight_KE.ndim else 0
        if got != f"float32 [{num_classes}, {dim}] and float32 [{num_classes}]":
            problem = (
                f"head: got weights and biases {got}, must be float32 [{num_classes}, numbers of an embedding] and "
                f"float32 [{num_classes}], for so many classes"
            )
            raise ConfigError([problem])
        if not (np.isfinite(self.weight_KE).all() and np.isfinite(self.bias_K).all()):
            raise ConfigError(["head: its weights are not all finite"])
        # What reading would refuse is not to be written.
        Calibration.from_dict(self.calibration.to_dict(), self.taxonomy)

    @property
    def embedding_dim(self) -> int:
        """Return how many numbers an embedding has."""
        return int(self.weight_KE.shape[1])

    @property
    def head_id(self) -> str:
        """Content hash of everything that decides what the head says, 16 hex digits."""
        return content_id(
            [self.model_weights_id, self._weights_sha256, self.taxonomy.taxonomy_id, self.calibration.to_dict()]
        )

    def with_calibration(self, calibration: Calibration) -> Self:
        """Return the head with another calibration.

        Raises:
            ConfigError: it is of other classes.
        """
        return replace(self, calibration=calibration)

    def logits(self, embedding_NE: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the conditional logits of every class, shape [N, K], as a model gives them.

        Raises:
            ValueError: embeddings of another size.
        """
        if embedding_NE.ndim != len("NE") or embedding_NE.shape[1] != self.embedding_dim:
            raise ValueError(f"embedding_NE: got {list(embedding_NE.shape)}, must be [N, {self.embedding_dim}]")
        logits_NK: npt.NDArray[np.float32] = embedding_NE.astype(np.float32) @ self.weight_KE.T + self.bias_K
        return logits_NK

    def to_files(self) -> dict[str, bytes]:
        """Return the content of each file by name; the inverse of :meth:`from_files`."""
        head = {
            "format_version": FORMAT_VERSION,
            "model_weights_id": self.model_weights_id,
            "weights_sha256": self._weights_sha256,
            "taxonomy": self.taxonomy.to_dict(),
            "calibration": self.calibration.to_dict(),
        }
        return {
            HEAD_FILE: (json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
            WEIGHTS_FILE: self._weights,
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], place: str) -> Self:
        """Read a head.

        Args:
            files: Content of both files, by name.
            place: Where they are, for messages.

        Raises:
            ModelLoadError: missing, damaged, of a newer version, or files that do not belong together.
        """
        missing = [name for name in HEAD_FILES if name not in files]
        if missing:
            raise ModelLoadError(f"{place}: no head is there: it has no {' and no '.join(missing)}")
        data = _read_json(files[HEAD_FILE], place)
        if hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() != data["weights_sha256"]:
            raise ModelLoadError(f"{place}/{WEIGHTS_FILE}: damaged, or of another {HEAD_FILE}: it has other bytes")
        try:
            taxonomy = Taxonomy.from_dict(data["taxonomy"])
            tensors = _read_tensors(files[WEIGHTS_FILE])
            return cls(
                taxonomy=taxonomy,
                calibration=Calibration.from_dict(data["calibration"], taxonomy),
                model_weights_id=str(data["model_weights_id"]),
                weight_KE=tensors["weight_KE"],
                bias_K=tensors["bias_K"],
            )
        except (ConfigError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ModelLoadError(f"{place}: damaged: {error}") from None

    @property
    def _weights(self) -> bytes:
        from safetensors.numpy import save

        data: bytes = save({"weight_KE": np.ascontiguousarray(self.weight_KE), "bias_K": self.bias_K})
        return data

    @property
    def _weights_sha256(self) -> str:
        return hashlib.sha256(self._weights).hexdigest()


def _described(values: npt.NDArray[Any]) -> str:
    return f"{values.dtype} {list(values.shape)}"


def _read_json(content: bytes, place: str) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{place}/{HEAD_FILE}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelLoadError(f"{place}/{HEAD_FILE}: got a {type(data).__name__}, must be a JSON object")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelLoadError(f"{place}/{HEAD_FILE}: format_version: got {version!r}, must be {FORMAT_VERSION}")
    absent = [name for name in FIELDS if name not in data]
    if absent:
        raise ModelLoadError(f"{place}/{HEAD_FILE}: {', '.join(absent)}: missing")
    return data


def _read_tensors(content: bytes) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, npt.NDArray[Any]] = load(content)
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS_FILE}: {error}") from None
    return tensors
