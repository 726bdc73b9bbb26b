"""Where training starts from: random weights, a FAL model, or a published vision transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fal_model.config import ModelConfig
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.pretrained import locate, read_meta
from fal_model.taxonomy import Taxonomy
from fal_model.warm_start_files import is_checkpoint

if TYPE_CHECKING:
    from fal_model.model import FALModel


def start_config(init_from: str, config: ModelConfig, taxonomy: Taxonomy) -> ModelConfig:
    """Fix what the start decides about the model, and check that it is of the sizes and classes that are trained.

    Args:
        init_from: Setting ``model.init_from``.
        config: What preset and shards give.
        taxonomy: Of the shards.

    Returns:
        The configuration with frame token, norm of the input and activation as the start has them.

    Raises:
        ConfigError: the start is of other sizes, clips or classes.
        ModelLoadError: it cannot be read.
    """
    if not init_from:
        return config
    if is_checkpoint(init_from):
        from fal_model.warm_start import fitted
        from fal_model.warm_start_vit import load_vit

        weights = load_vit(init_from)
        try:
            return fitted(config, weights)
        except ModelLoadError as error:
            raise ConfigError([f"model.init_from: {error}"]) from None
    start = read_meta(locate(init_from))
    config = replace(
        config,
        has_frame_token=start.config.has_frame_token,
        has_input_norm=start.config.has_input_norm,
        activation=start.config.activation,
    )
    problems = []
    if start.config != config:
        problems.append(f"model.init_from: {init_from!r} has other sizes or clip settings than preset and shards give")
    if start.taxonomy.taxonomy_id != taxonomy.taxonomy_id:
        problems.append(f"model.init_from: {init_from!r} has another taxonomy than --train")
    if problems:
        raise ConfigError(problems)
    return config


def start_id(init_from: str) -> str:
    """Return the content hash of the start, empty for random weights.

    Raises:
        ModelLoadError: it cannot be read.
    """
    if not init_from:
        return ""
    if is_checkpoint(init_from):
        from fal_model.warm_start_vit import load_vit

        return load_vit(init_from).content_id
    return read_meta(locate(init_from)).model_id


def start_model(init_from: str, config: ModelConfig, taxonomy: Taxonomy) -> tuple[FALModel, str]:
    """Make the model that training starts from, with random weights from torch's global generator.

    Args:
        init_from: Setting ``model.init_from``.
        config: From :func:`start_config`.
        taxonomy: Of the shards.

    Returns:
        The model, and a line that says what it started from.

    Raises:
        ModelLoadError: the start cannot be read, or does not fit.
    """
    from fal_model.model import FALModel

    if not init_from:
        return FALModel(config, taxonomy), "random weights"
    if is_checkpoint(init_from):
        from fal_model.warm_start import warm_start
        from fal_model.warm_start_vit import load_vit

        model = FALModel(config, taxonomy)
        return model, str(warm_start(model, load_vit(init_from)))
    return FALModel.from_pretrained(init_from), f"weights of {init_from}"
