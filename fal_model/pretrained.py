"""A model as a directory: ``config.json``, ``taxonomy.json``, ``calibration.json``, ``model.safetensors``. No pickle.

Metadata is read without torch, so that a driver can plan a job without loading weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fal_model.calibration import Calibration
from fal_model.config import ModelConfig
from fal_model.errors import ConfigError, ModelLoadError, OutputError
from fal_model.spec import content_id
from fal_model.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 4
CONFIG_FILE = "config.json"
TAXONOMY_FILE = "taxonomy.json"
CALIBRATION_FILE = "calibration.json"
WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = (CONFIG_FILE, TAXONOMY_FILE, CALIBRATION_FILE, WEIGHTS_FILE)
MAX_SHOWN = 5
"""Tensors that do not fit and are named: enough to see the pattern."""

Writer = Callable[[Path], None]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ModelMeta:
    """Everything about a stored model but its weights.

    Attributes:
        config: Sizes and input contract.
        taxonomy: The label tree.
        calibration: How logits become scores.
        weights_id: Content hash of the weights.

    Raises:
        ConfigError: the calibration is of another taxonomy; all that does not fit is listed.
    """

    config: ModelConfig
    taxonomy: Taxonomy
    calibration: Calibration
    weights_id: str

    def __post_init__(self) -> None:
        # What reading would refuse is not to be written.
        Calibration.from_dict(self.calibration.to_dict(), self.taxonomy)

    @property
    def model_id(self) -> str:
        """Content hash of everything that decides what the model says, 16 hex digits."""
        return content_id(
            {
                "model": self.config.to_dict(),
                "taxonomy_id": self.taxonomy.taxonomy_id,
                "calibration": self.calibration.to_dict(),
                "weights_id": self.weights_id,
            }
        )


def weights_id(state: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and values of all weights, 16 hex digits. Reads every byte once."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def write_model(directory: str | Path, meta: ModelMeta, state: Mapping[str, Tensor]) -> None:
    """Write a model so that a crash leaves either the old or the new one, or one that is refused when read.

    Raises:
        OutputError: the directory cannot be written.
    """
    write_directory(directory, model_writers(meta, state))


def model_writers(meta: ModelMeta, state: Mapping[str, Tensor]) -> dict[str, Writer]:
    """Return what writes each file of a model, for :func:`write_directory`."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    header = {"format_version": FORMAT_VERSION, "model_id": meta.model_id, "weights_id": meta.weights_id}
    return {
        WEIGHTS_FILE: lambda path: save_file(weights, path, metadata={"format": "pt"}),
        TAXONOMY_FILE: lambda path: write_json(path, meta.taxonomy.to_dict()),
        CALIBRATION_FILE: lambda path: write_json(path, meta.calibration.to_dict()),
        CONFIG_FILE: lambda path: write_json(path, header | {"model": meta.config.to_dict()}),
    }


def read_meta(directory: str | Path) -> ModelMeta:
    """Read everything but the weights, without torch.

    Raises:
        ModelLoadError: a file is missing or damaged, or written by a newer version.
    """
    folder = Path(directory)
    data = read_json(folder / CONFIG_FILE)
    version = data.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelLoadError(f"{folder / CONFIG_FILE}: format_version: got {version!r}, must be a whole number from 1")
    if version < FORMAT_VERSION:
        raise ModelLoadError(
            f"{folder / CONFIG_FILE}: format_version: got {version}, must be {FORMAT_VERSION}; "
            "the model was made by an older version of FAL: train it again"
        )
    if version > FORMAT_VERSION:
        raise ModelLoadError(
            f"{folder / CONFIG_FILE}: format_version: got {version}, must be at most {FORMAT_VERSION}; update FAL"
        )
    if not isinstance(data.get("model"), dict) or not isinstance(data.get("weights_id"), str):
        raise ModelLoadError(f"{folder / CONFIG_FILE}: must hold 'model' and 'weights_id'")
    try:
        taxonomy = Taxonomy.from_dict(read_json(folder / TAXONOMY_FILE))
        meta = ModelMeta(
            ModelConfig.from_dict(data["model"]),
            taxonomy,
            Calibration.from_dict(read_json(folder / CALIBRATION_FILE), taxonomy),
            data["weights_id"],
        )
    except ConfigError as error:
        raise ModelLoadError(f"{folder}: {error}") from None
    if meta.model_id != data.get("model_id"):
        raise ModelLoadError(
            f"{folder}: model_id: got {data.get('model_id')!r}, but the files give {meta.model_id!r}; "
            "they were changed or do not belong together; if the change was meant, write the new id into the config"
        )
    return meta


def read_weights(directory: str | Path, expected: Mapping[str, Tensor], weights_hash: str) -> dict[str, Tensor]:
    """Read the weights and check that they are the ones the model needs.

    Args:
        directory: Model directory.
        expected: Tensors with the names and shapes that must be found.
        weights_hash: What :func:`weights_id` must give; empty skips the check.

    Raises:
        ModelLoadError: missing, truncated or damaged, or of another model.
    """
    path = Path(directory) / WEIGHTS_FILE
    state = read_tensors(path)
    problems = [f"{name}: missing" for name in sorted(set(expected) - set(state))]
    problems += [f"{name}: unknown" for name in sorted(set(state) - set(expected))]
    problems += [
        f"{name}: got {list(state[name].shape)}, must be {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        shown = "; ".join(problems[:MAX_SHOWN]) + more
        raise ModelLoadError(f"{path}: the weights do not fit config and taxonomy: {shown}")
    if weights_hash and weights_id(state) != weights_hash:
        raise ModelLoadError(f"{path}: the weights are damaged: their content hash must be {weights_hash}")
    return state


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ModelLoadError: missing, truncated or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelLoadError(f"{path}: no such file; a model directory holds {', '.join(MODEL_FILES)}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(f"{path}: cannot be read, it is damaged or cut short: {error}") from None


def locate(
    path_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Find the directory of a model; a hub id ("owner/name") is downloaded, its model files only.

    Raises:
        ModelLoadError: neither a directory nor a model on the hub that can be reached.
    """
    name = str(path_or_hub_id)
    try:
        local = Path(path_or_hub_id)
        if local.is_dir():
            return local
        is_hub_id = _HUB_ID.fullmatch(name) is not None and not local.exists()
    except (TypeError, OSError):  # not a path at all, or too long for one
        is_hub_id = False
    if not is_hub_id:
        raise ModelLoadError(f"{name}: no such directory, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(MODEL_FILES),
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelLoadError(f"{name}: no such directory, and not found on the hub: {error}") from None
    return Path(folder)


def write_directory(directory: str | Path, writers: Mapping[str, Writer]) -> None:
    """Write several files as one: all are complete on disk before the first gets its name.

    Args:
        directory: Made if missing; then it appears whole, at once. In one that exists, other files stay.
        writers: Per file name, what writes it to the path it is given.

    Raises:
        OutputError: the directory cannot be written.
    """
    target = Path(directory)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        temporary.mkdir(parents=True)
        for name, write in writers.items():
            write(temporary / name)
            _flush(temporary / name)
        if target.exists():
            for name in writers:
                (temporary / name).replace(target / name)
        else:
            temporary.rename(target)
        _flush(target.parent)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, data: object) -> None:
    """Write readable JSON that ends in a newline."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelLoadError: missing, or not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelLoadError(f"{path}: got a {type(data).__name__}, must be a JSON object")
    return data


def _flush(path: Path) -> None:
    """Put a file or directory on disk before anything relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
