import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fal_model.config import Activation
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.model import FALModel
from jobs.runtime.train_start import start_config, start_id, start_model
from tests.helpers.micro import MICRO, micro_model, numbered_taxonomy, small_tree
from tests.helpers.reference_vit import random_timm_state


def checkpoint(folder: Path, width: int = 16, *, has_token: bool = True) -> str:
    state = random_timm_state(width=width, depth=2, patch_px=8, grid=5)
    if not has_token:
        del state["cls_token"]
        state["pos_embed"] = state["pos_embed"][:, 1:].contiguous()
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}), encoding="utf-8")
    return str(folder)


def test_without_a_start_weights_are_random() -> None:
    assert start_config("", MICRO, small_tree()) is MICRO
    assert start_id("") == ""
    torch.manual_seed(0)
    model, said = start_model("", MICRO, small_tree())
    assert said == "random weights"
    assert model.model_id == micro_model().model_id


def test_a_model_of_ours_is_taken_whole(tmp_path: Path) -> None:
    ours = micro_model(seed=3)
    ours.save_pretrained(tmp_path)
    assert start_config(str(tmp_path), MICRO, small_tree()) == MICRO
    assert start_id(str(tmp_path)) == ours.model_id
    model, said = start_model(str(tmp_path), MICRO, small_tree())
    assert model.model_id == ours.model_id
    assert said == f"weights of {tmp_path}"


def test_what_a_model_of_ours_got_from_a_warm_start_goes_on(tmp_path: Path) -> None:
    config = replace(MICRO, has_frame_token=False, has_input_norm=True, activation=Activation.QUICK_GELU)
    FALModel(config, small_tree()).save_pretrained(tmp_path)
    assert start_config(str(tmp_path), MICRO, small_tree()) == config


def test_a_model_of_other_sizes_and_classes_is_refused(tmp_path: Path) -> None:
    micro_model().save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as caught:
        start_config(str(tmp_path), replace(MICRO, width=32), numbered_taxonomy(4, 2))
    assert [p.rsplit(" has ", 1)[1] for p in caught.value.problems] == [
        "other sizes or clip settings than preset and shards give",
        "another taxonomy than --train",
    ]


@pytest.mark.parametrize("has_token", [True, False])
def test_a_published_transformer_becomes_the_encoder(has_token: bool, tmp_path: Path) -> None:
    place = checkpoint(tmp_path / "vit", has_token=has_token)
    config = start_config(place, MICRO, small_tree())
    assert config == replace(MICRO, has_frame_token=has_token)
    model, said = start_model(place, config, small_tree())
    assert said.startswith(f"warm start from {place} (timm ViT and DINOv2): 2 blocks, 1 new ones")
    want = random_timm_state(width=16, depth=2, patch_px=8, grid=5)["blocks.1.attn.proj.weight"]
    assert torch.equal(model.state_dict()["encoder.stages.2.0.space.out.weight"], want)


def test_another_checkpoint_is_another_start(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "other", has_token=False)
    assert start_id(one) == start_id(one)
    assert start_id(one) != start_id(other)


def test_a_checkpoint_that_does_not_fit_is_a_wrong_setting(tmp_path: Path) -> None:
    place = checkpoint(tmp_path / "vit", width=32)
    with pytest.raises(ConfigError, match=r"model\.init_from: .*: does not fit the model: width: got 32, must be the"):
        start_config(place, MICRO, small_tree())


@pytest.mark.parametrize("name", ["vit.pth", "vit.bin"])
def test_a_pickle_is_refused_before_anything_runs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80")
    with pytest.raises(ModelLoadError, match="pickles can run code and are never loaded"):
        start_config(str(tmp_path / name), MICRO, small_tree())


def test_what_is_nowhere_is_refused() -> None:
    with pytest.raises(ModelLoadError, match=r"nowhere\.safetensors: no such directory, and not a hub id"):
        start_config("nowhere.safetensors", MICRO, small_tree())
