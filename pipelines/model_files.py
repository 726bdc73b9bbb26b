"""A model directory on this machine, wherever it was kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fal_model.errors import ModelLoadError
from fal_model.model import FALModel
from fal_model.pretrained import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    TAXONOMY_FILE,
    WEIGHTS_FILE,
    ModelMeta,
    locate,
    read_meta,
)
from pipelines import storage

FILES = (CONFIG_FILE, TAXONOMY_FILE, CALIBRATION_FILE, WEIGHTS_FILE)


def load_model(model_dir: str) -> FALModel:
    """Load a model from a directory, the hub, or ``s3://``; see :meth:`fal_model.model.FALModel.from_pretrained`.

    Raises:
        ModelLoadError: not found, damaged, of a newer version, or the store failed.
    """
    with local_model(model_dir) as place:
        return FALModel.from_pretrained(place)


def described(model_dir: str) -> tuple[str, ModelMeta]:
    """Return where workers find a model, and what it is, without loading it.

    Args:
        model_dir: Directory, hub id, or ``s3://`` prefix.

    Raises:
        ModelLoadError: not found, damaged, of a newer version, or the store failed.
    """
    with local_model(model_dir) as place:
        folder = locate(place).absolute()
        return (model_dir if storage.is_remote(model_dir) else str(folder)), read_meta(folder)


@contextmanager
def local_model(model_dir: str) -> Iterator[str]:
    """Give a model directory as one on this machine; one in S3 is fetched, whole, and deleted in the end.

    Args:
        model_dir: Local directory or hub id, which are given back as they are, or ``s3://`` prefix.

    Raises:
        ModelLoadError: there is no model, or the store failed.
    """
    if not storage.is_remote(model_dir):
        yield model_dir
        return
    with tempfile.TemporaryDirectory(prefix="fal-model-") as folder:
        try:
            names = [name for name in storage.names_in(model_dir) if name in FILES]
            if CONFIG_FILE not in names:
                raise ModelLoadError(f"no model is at {model_dir!r}: it has no {CONFIG_FILE}")
            for name in names:
                storage.fetch(storage.join(model_dir, name), Path(folder, name))
        except OSError as error:
            raise ModelLoadError(f"cannot read the model {model_dir!r}: {error.strerror or error}") from error
        yield folder
