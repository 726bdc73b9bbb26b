import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fal_model.config import Activation
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.model import FALModel
from fal_model.taxonomy import Taxonomy
from jobs.runtime.train_start import expanded, grouped, start_config, start_id, start_model
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
    other = numbered_taxonomy(4, 2)
    with pytest.raises(ConfigError) as caught:
        start_config(str(tmp_path), replace(MICRO, width=32, clip=replace(MICRO.clip, window_s=5.0)), other)
    sizes, classes = caught.value.problems
    assert sizes == (
        f"model.init_from: {str(tmp_path)!r} has other sizes or clip settings than preset and shards give: "
        "got clip.window_s 10.0, must be 5.0; got width 16, must be 32; training can only go on with the model's own: "
        "take its preset, and shards prepared with its clip settings, or start without it"
    )
    assert classes == (
        f"model.init_from: {str(tmp_path)!r} has another taxonomy than --train: 7 classes, --train has 7; "
        "only in the model: 'sport', 'news', 'ball' and 4 more; only in --train: 'd00', 'g000', 'g001' and 4 more; "
        "training can only go on with the model's own classes: prepare shards with its taxonomy.json, or start "
        "without it"
    )


def test_classes_under_other_parents_are_named(tmp_path: Path) -> None:
    micro_model().save_pretrained(tmp_path)
    nodes = [replace(n, parent="sport") if n.id == "golf" else n for n in small_tree().nodes]
    with pytest.raises(
        ConfigError, match=r"7 classes, --train has 7; 'golf' is below 'ball' in the model, below 'sport'"
    ):
        start_config(str(tmp_path), MICRO, Taxonomy(nodes))


def test_classes_in_another_order_are_named(tmp_path: Path) -> None:
    micro_model().save_pretrained(tmp_path)
    nodes = [small_tree().nodes[i] for i in (1, 0, 2, 3, 4, 5, 6)]
    with pytest.raises(
        ConfigError, match=r"the same classes in another order: class 0 is 'sport' .*, 'news' in --train"
    ):
        start_config(str(tmp_path), MICRO, Taxonomy(nodes))


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


# ---- where it is --------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ours = micro_model(seed=3)
    ours.save_pretrained(tmp_path / "ours")
    assert start_config("~/ours", MICRO, small_tree()) == MICRO
    assert start_id("~/ours") == ours.model_id
    assert start_model("~/ours", MICRO, small_tree())[0].model_id == ours.model_id
    place = checkpoint(tmp_path / "vit")
    assert start_id("~/vit") == start_id(place)
    assert start_model("~/vit", start_config("~/vit", MICRO, small_tree()), small_tree())[1].startswith("warm start")
    assert (expanded("owner/name"), expanded(""), expanded("/a//b")) == ("owner/name", "", "/a//b")


@pytest.mark.parametrize("has_model", [True, False])
def test_a_folder_that_holds_nothing_to_start_from_says_where_the_model_may_be(has_model: bool, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    if has_model:
        micro_model().save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError) as caught:
        start_config(str(tmp_path), MICRO, small_tree())
    hint = f"; did you mean {str(tmp_path / 'model')!r}?" if has_model else ""
    assert caught.value.problems == [
        f"model.init_from: {str(tmp_path)!r} holds neither a FAL model nor a published vision transformer{hint}"
    ]


# ---- what is left out ---------------------------------------------------------------------------------------------


def test_what_has_no_place_in_the_model_is_named(tmp_path: Path) -> None:
    place = checkpoint(tmp_path / "vit")
    extra = {"head.weight": torch.ones(3, 16), "head.bias": torch.ones(3)}
    save_file(random_timm_state(width=16, depth=2, patch_px=8, grid=5) | extra, tmp_path / "vit" / "model.safetensors")
    said = start_model(place, start_config(place, MICRO, small_tree()), small_tree())[1]
    assert "2 left out" in said
    assert said.endswith("; left out: head.bias, head.weight")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["head.weight"], "head.weight"),
        (["module.head.weight", "module.head.bias"], "module.head.weight, module.head.bias"),
        (["scale", *(f"text.{i}.w" for i in range(20)), "top.w", "top.b"], "text.* (20), top.* (2), scale"),
        ([f"{letter}.w" for letter in "abcdefgh"], "a.w, b.w, c.w, d.w, e.w and 3 more"),
        (
            [f"{letter}.{i}" for letter in "abcdefg" for i in range(2)],
            "a.* (2), b.* (2), c.* (2), d.* (2), e.* (2) and 4 more",
        ),
        (["a", "a.b"], "a, a.b"),
    ],
)
def test_tensors_are_named_by_their_prefixes(names: list[str], said: str) -> None:
    assert grouped(names) == said
