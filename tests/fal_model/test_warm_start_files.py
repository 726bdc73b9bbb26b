import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fal_model.config import Activation
from fal_model.errors import ModelLoadError
from fal_model.warm_start_files import Settings, checked_count, checked_pixels, is_checkpoint, read_checkpoint
from fal_model.warm_start_names import Pixels
from tests.helpers.micro import micro_model

WEIGHTS = {"a": torch.ones(2), "b": torch.zeros(3)}


def folder(tmp_path: Path, **files: Any) -> Path:
    """Make a folder with weights and the settings given by file name, dots as underscores."""
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    for name, data in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


def test_a_file_is_read_without_what_lies_beside_it(tmp_path: Path) -> None:
    place = folder(tmp_path, config={"hidden_act": "relu"})
    state, settings = read_checkpoint(place / "model.safetensors")
    assert (sorted(state), settings) == (["a", "b"], Settings())


@pytest.mark.parametrize("name", ["model.safetensors", "open_clip_model.safetensors"])
def test_a_folder_is_read_whole(name: str, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / name)
    assert sorted(read_checkpoint(tmp_path)[0]) == ["a", "b"]


def test_weights_in_several_files_are_joined(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    save_file({"a": WEIGHTS["a"]}, tmp_path / "x-1.safetensors")
    save_file({"b": WEIGHTS["b"]}, tmp_path / "x-2.safetensors")
    assert sorted(read_checkpoint(tmp_path)[0]) == ["a", "b"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "x.safetensors", "c": "x.safetensors"}}, "1 tensors are not in its files, c first"),
        ({"weight_map": {"a": "../x.safetensors"}}, "must map tensors to .safetensors files beside it"),
        ({"weight_map": {"a": "x.bin"}}, "must map tensors to .safetensors files beside it"),
        ({"weight_map": 3}, "must map tensors to .safetensors files beside it in 'weight_map'"),
        ({"weight_map": {"a": "y.safetensors"}}, r"y\.safetensors: no such file"),
    ],
)
def test_a_wrong_index_is_refused(index: Any, message: str, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "x.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelLoadError, match=message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "vit.pt", "dinov2_vitb14_pretrain.pth"])
def test_pickles_are_never_loaded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelLoadError, match=r"must be \.safetensors; pickles can run code and are never loaded"):
        read_checkpoint(tmp_path / name)
    with pytest.raises(ModelLoadError, match=f"found only {name}: pickles can run code and are never loaded"):
        read_checkpoint(tmp_path)


def test_what_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"nothing: no such file or folder; must be a \.safetensors file"):
        read_checkpoint(tmp_path / "nothing")
    (tmp_path / "vit.onnx").touch()
    with pytest.raises(ModelLoadError, match=r"got a \.onnx file, must be \.safetensors; convert it first"):
        read_checkpoint(tmp_path / "vit.onnx")
    with pytest.raises(ModelLoadError, match=r"must hold model\.safetensors or model\.safetensors\.index\.json"):
        read_checkpoint(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path) / "model.safetensors"
    place.write_bytes(place.read_bytes()[:-4])
    with pytest.raises(ModelLoadError, match="damaged or cut short"):
        read_checkpoint(place)


MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
PIXELS = Pixels((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({}, Settings()),
        ({"config": {"num_attention_heads": 3, "hidden_act": "gelu"}}, Settings(None, Activation.GELU, 3)),
        (
            {"config": {"hidden_act": "x", "vision_config": {"hidden_act": "quick_gelu", "num_attention_heads": 2}}},
            Settings(None, Activation.QUICK_GELU, 2),
        ),
        ({"preprocessor_config": {"image_mean": MEAN, "image_std": STD}}, Settings(PIXELS)),
        (
            {"preprocessor_config": {"image_mean": MEAN, "image_std": STD, "do_normalize": False}},
            Settings(Pixels((0, 0, 0), (1, 1, 1))),
        ),
        ({"preprocessor_config": {"size": 224}}, Settings()),
        ({"config": {"image_size": 384}}, Settings(image_px=384)),
        ({"config": {"vision_config": {"image_size": [384, 384]}}}, Settings(image_px=384)),
        ({"config": {"image_size": None, "num_attention_heads": None}}, Settings()),
        ({"config": {"architecture": "vit_base", "pretrained_cfg": {"mean": MEAN, "std": STD}}}, Settings(PIXELS)),
        ({"config": {"architecture": "vit_base_patch16_clip_quickgelu_224"}}, Settings(None, Activation.QUICK_GELU)),
        (
            {"open_clip_config": {"model_cfg": {"quick_gelu": True}, "preprocess_cfg": {"mean": MEAN, "std": STD}}},
            Settings(PIXELS, Activation.QUICK_GELU),
        ),
        ({"open_clip_config": {"model_cfg": {}}}, Settings(None, Activation.GELU)),
    ],
)
def test_settings_of_a_folder_are_read(files: dict[str, Any], settings: Settings, tmp_path: Path) -> None:
    assert read_checkpoint(folder(tmp_path, **files))[1] == settings


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": {"hidden_act": "relu"}}, r"hidden_act: got 'relu', must be one of \['gelu', 'quick_gelu'\]"),
        ({"config": {"hidden_act": ["gelu"]}}, r"hidden_act: got \['gelu'\], must be one of"),
        ({"config": {"num_attention_heads": 0}}, "num_attention_heads: got 0, must be a whole number of at least 1"),
        ({"config": {"num_attention_heads": True}}, "num_attention_heads: got True, must be a whole number of at"),
        ({"config": {"image_size": 0}}, r"config\.json: image_size: got 0, must be a whole number of at least 1"),
        ({"config": {"image_size": ["224", "224"]}}, "image_size: got '224', must be a whole number of at least 1"),
        ({"config": {"image_size": [224, 384]}}, r"image_size: got \[224, 384\], must be one number or two equal ones"),
        ({"config": {"image_size": []}}, r"image_size: got \[\], must be one number or two equal ones"),
        (
            {"config": {"architecture": "vit_base_patch16_rpn_224"}},
            "architecture: got 'vit_base_patch16_rpn_224', must be one with norms before attention and MLP",
        ),
        (
            {"config": {"num_attention_heads": "2"}},
            "num_attention_heads: got '2', must be a whole number of at least 1",
        ),
        (
            {"preprocessor_config": {"image_mean": MEAN, "image_std": [1, 1]}},
            r"preprocessor_config\.json: mean and std: got .* and \[1, 1\], must be three numbers each, std above 0",
        ),
        ({"config": []}, r"config\.json: got a list, must be a JSON object"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=message):
        read_checkpoint(folder(tmp_path, **files))


@pytest.mark.parametrize(
    ("mean", "std"), [(MEAN, [1, 1, 0]), (MEAN, [1, 1, float("inf")]), ([0, 0, float("nan")], STD), (3, STD)]
)
def test_a_normalisation_must_be_three_sound_numbers(mean: Any, std: Any) -> None:
    assert checked_pixels("x", MEAN, STD) == PIXELS
    with pytest.raises(ModelLoadError, match="must be three numbers each, std above 0"):
        checked_pixels("x", mean, std)


@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, "1"])
def test_a_count_must_be_a_whole_number(value: Any) -> None:
    assert (checked_count("x", 1), checked_count("x", None)) == (1, None)
    with pytest.raises(ModelLoadError, match=f"x: got {value!r}, must be a whole number of at least 1"):
        checked_count("x", value)


def test_checkpoints_are_told_from_models(tmp_path: Path) -> None:
    micro_model().save_pretrained(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    assert is_checkpoint(folder(tmp_path / "theirs"))
    assert is_checkpoint(tmp_path / "theirs" / "model.safetensors")
    assert not is_checkpoint(tmp_path / "ours")
    assert not is_checkpoint("owner/name")
    (tmp_path / "empty").mkdir()
    assert not is_checkpoint(tmp_path / "empty")
    (tmp_path / "empty" / "pytorch_model.bin").touch()
    assert is_checkpoint(tmp_path / "empty")
