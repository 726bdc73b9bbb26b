"""The files of a published checkpoint: tensors from safetensors, and what its settings say. Pickles are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fal_model.config import Activation
from fal_model.errors import ModelLoadError
from fal_model.pretrained import CONFIG_FILE, TAXONOMY_FILE, WEIGHTS_FILE, read_json, read_tensors
from fal_model.warm_start_names import Pixels

if TYPE_CHECKING:
    from torch import Tensor

INDEX_FILE = "model.safetensors.index.json"
OPEN_CLIP_WEIGHTS_FILE = "open_clip_model.safetensors"
OPEN_CLIP_CONFIG_FILE = "open_clip_config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".pyth", ".ckpt", ".pkl")

_ACTIVATIONS = {"gelu": Activation.GELU, "quick_gelu": Activation.QUICK_GELU}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the files beside the weights say; None where they say nothing.

    Attributes:
        pixels: Normalisation of pixels.
        activation: Of the MLPs.
        num_heads: Attention heads.
        image_px: Edge of the pictures that positions are made for, pixels.
    """

    pixels: Pixels | None = None
    activation: Activation | None = None
    num_heads: int | None = None
    image_px: int | None = None


def is_checkpoint(path: str | Path) -> bool:
    """Tell whether a path leads to a published checkpoint (a file, or a folder with weights) and not to a FAL model."""
    place = Path(path)
    if place.is_file():
        return True
    if not place.is_dir() or (place / TAXONOMY_FILE).exists():
        return False
    names = (WEIGHTS_FILE, INDEX_FILE, OPEN_CLIP_WEIGHTS_FILE)
    return any((place / name).exists() for name in names) or bool(_pickles(place))


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], Settings]:
    """Read all tensors, and of a folder also the settings.

    Args:
        path: A ``.safetensors`` file, or a folder of the Hugging Face hub: ``model.safetensors`` or its parts with
            ``model.safetensors.index.json`` or ``open_clip_model.safetensors``, and ``config.json``,
            ``preprocessor_config.json`` or ``open_clip_config.json``.

    Raises:
        ModelLoadError: not found, damaged, a pickle, or settings that cannot be understood.
    """
    place = Path(path)
    if place.is_dir():
        return _read_folder(place), _read_settings(place)
    if not place.exists():
        raise ModelLoadError(f"{place}: no such file or folder; must be a {SUFFIX} file or a folder with one")
    if place.suffix != SUFFIX:
        what = "pickles can run code and are never loaded; " if place.suffix in PICKLES else ""
        raise ModelLoadError(
            f"{place}: got a {place.suffix or 'nameless'} file, must be {SUFFIX}; {what}convert it first"
        )
    return read_tensors(place), Settings()


def _pickles(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in (WEIGHTS_FILE, OPEN_CLIP_WEIGHTS_FILE):
        if (folder / name).exists():
            return read_tensors(folder / name)
    if not (folder / INDEX_FILE).exists():
        pickles = _pickles(folder)
        found = f"found only {', '.join(pickles)}: pickles can run code and are never loaded; " if pickles else ""
        raise ModelLoadError(f"{folder}: {found}must hold {WEIGHTS_FILE} or {INDEX_FILE}")
    weight_map = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not all(_is_plain_name(name) for name in weight_map.values()):
        raise ModelLoadError(f"{folder / INDEX_FILE}: must map tensors to {SUFFIX} files beside it in 'weight_map'")
    state: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        state |= read_tensors(folder / name)
    missing = sorted(set(weight_map) - set(state))
    if missing:
        raise ModelLoadError(f"{folder / INDEX_FILE}: {len(missing)} tensors are not in its files, {missing[0]} first")
    return state


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name.endswith(SUFFIX) and Path(name).name == name


def _read_settings(folder: Path) -> Settings:
    """Gather what the folder's settings say; transformers, timm and open_clip each have their own file or form."""
    config, preprocessor, open_clip = (
        read_json(folder / name) if (folder / name).exists() else {}
        for name in (CONFIG_FILE, PREPROCESSOR_FILE, OPEN_CLIP_CONFIG_FILE)
    )
    vision = _mapping(config.get("vision_config")) or config
    timm = _mapping(config.get("pretrained_cfg"))
    pixels = (
        _pixels(folder / PREPROCESSOR_FILE, preprocessor, "image_mean", "image_std")
        or _pixels(folder / CONFIG_FILE, timm, "mean", "std")
        or _pixels(folder / OPEN_CLIP_CONFIG_FILE, _mapping(open_clip.get("preprocess_cfg")), "mean", "std")
    )
    _check_architecture(folder / CONFIG_FILE, config.get("architecture"))
    num_heads = checked_count(f"{folder / CONFIG_FILE}: num_attention_heads", vision.get("num_attention_heads"))
    return Settings(pixels, _activation(folder, vision, open_clip), num_heads, _image_px(folder / CONFIG_FILE, vision))


def _check_architecture(path: Path, name: object) -> None:
    """Refuse timm's models with norms after attention and MLP: their tensors have the names of those with norms before.

    Raises:
        ModelLoadError: it is one of them.
    """
    if "_rpn_" in f"{name}_":
        raise ModelLoadError(f"{path}: architecture: got {name!r}, must be one with norms before attention and MLP")


def _image_px(path: Path, vision: dict[str, Any]) -> int | None:
    """Read the edge of the pictures; rows and columns may be given apart, and must be equal."""
    size = vision.get("image_size")
    if isinstance(size, list):
        if len(size) != 2 or size[0] != size[1]:  # noqa: PLR2004 - rows, columns
            raise ModelLoadError(f"{path}: image_size: got {size!r}, must be one number or two equal ones")
        size = size[0]
    return checked_count(f"{path}: image_size", size)


def checked_count(what: str, value: object) -> int | None:
    """Check a number that may be left out.

    Raises:
        ModelLoadError: not a whole number of at least 1.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ModelLoadError(f"{what}: got {value!r}, must be a whole number of at least 1")


def _activation(folder: Path, vision: dict[str, Any], open_clip: dict[str, Any]) -> Activation | None:
    if open_clip:
        is_quick = _mapping(open_clip.get("model_cfg")).get("quick_gelu")
        return Activation.QUICK_GELU if is_quick else Activation.GELU
    if "quickgelu" in str(vision.get("architecture", "")):  # timm has it in the name
        return Activation.QUICK_GELU
    name = vision.get("hidden_act")
    if name is not None and (not isinstance(name, str) or name not in _ACTIVATIONS):
        raise ModelLoadError(f"{folder / CONFIG_FILE}: hidden_act: got {name!r}, must be one of {list(_ACTIVATIONS)}")
    return _ACTIVATIONS[name] if name is not None else None


def _pixels(path: Path, data: dict[str, Any], mean: str, std: str) -> Pixels | None:
    """Read a normalisation; 0 and 1 where the file says that there is none."""
    if data.get("do_normalize") is False:
        return Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if mean not in data or std not in data:
        return None
    return checked_pixels(str(path), data[mean], data[std])


def checked_pixels(source: str, mean: object, std: object) -> Pixels:
    """Check a normalisation.

    Raises:
        ModelLoadError: not three numbers each, or a deviation that is not above 0.
    """
    ok = all(
        isinstance(values, list | tuple)
        and len(values) == 3  # noqa: PLR2004 - red, green, blue
        and all(isinstance(v, int | float) and math.isfinite(v) and v > least for v in values)
        for values, least in ((mean, -math.inf), (std, 0))
    )
    if not ok:
        raise ModelLoadError(
            f"{source}: mean and std: got {mean!r} and {std!r}, must be three numbers each, std above 0"
        )
    return Pixels(tuple(mean), tuple(std))  # type: ignore[arg-type]  # three each, as just checked


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
