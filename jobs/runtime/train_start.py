"""Where training starts from: random weights, a FAL model, or a published vision transformer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fal_model.config import ModelConfig
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.pretrained import CONFIG_FILE, TAXONOMY_FILE, locate, read_meta
from fal_model.taxonomy import Taxonomy
from fal_model.warm_start_files import is_checkpoint
from jobs.runtime.config import differences

if TYPE_CHECKING:
    from fal_model.model import FALModel

MAX_CLASSES, MAX_TENSORS = 3, 5
"""How many are named: enough to see what differs."""


def start_config(init_from: str, config: ModelConfig, taxonomy: Taxonomy) -> ModelConfig:
    """Fix what the start decides about the model, and check that it is of the sizes and classes that are trained.

    Args:
        init_from: Setting ``model.init_from``.
        config: What preset and shards give.
        taxonomy: Of the shards.

    Returns:
        The configuration with frame token, norm of the input and activation as the start has them.

    Raises:
        ConfigError: the start is of other sizes, clips or classes, each of which is named; or a folder of neither.
        ModelLoadError: it cannot be read.
    """
    if not init_from:
        return config
    init_from = expanded(init_from)
    if is_checkpoint(init_from):
        from fal_model.warm_start import fitted
        from fal_model.warm_start_vit import load_vit

        weights = load_vit(init_from)
        try:
            return fitted(config, weights)
        except ModelLoadError as error:
            raise ConfigError([f"model.init_from: {error}"]) from None
    _check_is_model(init_from)
    start = read_meta(locate(init_from))
    config = replace(
        config,
        has_frame_token=start.config.has_frame_token,
        has_input_norm=start.config.has_input_norm,
        activation=start.config.activation,
    )
    problems = []
    if start.config != config:
        problems.append(
            f"model.init_from: {init_from!r} has other sizes or clip settings than preset and shards give: "
            f"{differences(start.config.to_dict(), config.to_dict())}; training can only go on with the model's own: "
            "take its preset, and shards prepared with its clip settings, or start without it"
        )
    if start.taxonomy.taxonomy_id != taxonomy.taxonomy_id:
        problems.append(
            f"model.init_from: {init_from!r} has another taxonomy than --train: "
            f"{_class_differences(start.taxonomy, taxonomy)}; training can only go on with the model's own classes: "
            f"prepare shards with its {TAXONOMY_FILE}, or start without it"
        )
    if problems:
        raise ConfigError(problems)
    return config


def _check_is_model(place: str) -> None:
    """Refuse a folder that holds nothing of a model, such as the one that training wrote its model into.

    Raises:
        ConfigError: it is one.
    """
    folder = Path(place)
    if not folder.is_dir() or any((folder / name).exists() for name in (CONFIG_FILE, TAXONOMY_FILE)):
        return
    inside = folder / "model"
    hint = f"; did you mean {str(inside)!r}?" if inside.is_dir() else ""
    raise ConfigError(
        [f"model.init_from: {place!r} holds neither a FAL model nor a published vision transformer{hint}"]
    )


def _class_differences(model: Taxonomy, ours: Taxonomy) -> str:
    """Say in which classes two taxonomies differ; where in none, in which parents; else in which order."""
    sizes = f"{len(model)} classes, --train has {len(ours)}"
    only = (
        ("only in the model", [n.id for n in model.nodes if n.id not in ours]),
        ("only in --train", [n.id for n in ours.nodes if n.id not in model]),
    )
    found = [f"{where}: {_first([repr(i) for i in ids], MAX_CLASSES)}" for where, ids in only if ids]
    if found:
        return "; ".join([sizes, *found])
    pairs = [(node, ours.nodes[ours.index(node.id)]) for node in model.nodes]
    moved = [
        f"{a.id!r} is {_place(a.parent)} in the model, {_place(b.parent)} in --train"
        for a, b in pairs
        if a.parent != b.parent
    ]
    if moved:
        return f"{sizes}; {_first(moved, MAX_CLASSES)}"
    at = next(i for i, (a, b) in enumerate(zip(model.nodes, ours.nodes, strict=True)) if a.id != b.id)
    return (
        f"the same classes in another order: class {at} is {model.nodes[at].id!r} in the model, "
        f"{ours.nodes[at].id!r} in --train"
    )


def _place(parent: str | None) -> str:
    return "at level 0" if parent is None else f"below {parent!r}"


def _first(texts: Sequence[str], count: int) -> str:
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + more


def start_id(init_from: str) -> str:
    """Return the content hash of the start, empty for random weights.

    Raises:
        ModelLoadError: it cannot be read.
    """
    if not init_from:
        return ""
    init_from = expanded(init_from)
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
    init_from = expanded(init_from)
    if is_checkpoint(init_from):
        from fal_model.warm_start import warm_start
        from fal_model.warm_start_vit import load_vit

        model = FALModel(config, taxonomy)
        report = warm_start(model, load_vit(init_from))
        return model, f"{report}; left out: {grouped(report.left_out)}" if report.left_out else str(report)
    return FALModel.from_pretrained(init_from), f"weights of {init_from}"


def expanded(init_from: str) -> str:
    """Put the home folder in place of a leading ``~``: after ``=`` no shell does. No hub id begins with one."""
    return os.path.expanduser(init_from)  # noqa: PTH111 - Path makes "." of "" and fails where there is no such user


def grouped(names: Sequence[str]) -> str:
    """Name tensors in short: several under one prefix as ``prefix.* (count)``, the largest groups first.

    Args:
        names: Names with dots, at least one. What all have in front is no group.
    """
    parts = [name.split(".") for name in names]
    depth = 1
    while len(parts) > 1 and len({tuple(p[:depth]) for p in parts}) == 1:
        depth += 1
    groups = Counter(".".join(p[:depth]) for p in parts)
    whole = {".".join(p[:depth]): name for p, name in zip(parts, names, strict=True)}
    largest = groups.most_common()
    shown = [f"{prefix}.* ({n})" if n > 1 else whole[prefix] for prefix, n in largest[:MAX_TENSORS]]
    left = sum(n for _, n in largest[MAX_TENSORS:])
    return ", ".join(shown) + (f" and {left} more" if left else "")
