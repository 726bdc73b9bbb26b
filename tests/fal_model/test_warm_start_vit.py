import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fal_model.config import Activation
from fal_model.errors import ModelLoadError
from fal_model.warm_start_names import IMAGENET, KINETICS, Pixels
from fal_model.warm_start_vit import VitWeights, load_vit, sinusoids
from tests.helpers.reference_vit import (
    HEADS,
    PATCH_PX,
    WIDTH,
    ReferenceVit,
    State,
    timesformer_state,
    timm_state,
    videomae_state,
)


def stored(folder: Path, state: State) -> Path:
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def load(folder: Path, state: State) -> VitWeights:
    return load_vit(stored(folder, state), num_heads=HEADS)


def test_sizes_are_read_off_the_tensors(tmp_path: Path) -> None:
    weights = load(tmp_path, timm_state(ReferenceVit(grid=4, depth=2)))
    assert (weights.width, weights.patch_px, weights.grid, len(weights.blocks)) == (WIDTH, PATCH_PX, 4, 2)
    assert (weights.family, weights.pixels, weights.activation) == ("timm ViT and DINOv2", IMAGENET, Activation.GELU)


def test_heads_are_64_wide_unless_said(tmp_path: Path) -> None:
    path = stored(tmp_path, timm_state(ReferenceVit()))
    assert load_vit(path).num_heads == 1
    assert load_vit(path, num_heads=4).num_heads == 4
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2}), encoding="utf-8")
    assert load_vit(tmp_path).num_heads == 2
    assert load_vit(tmp_path, num_heads=8).num_heads == 8
    with pytest.raises(ModelLoadError, match="num_heads: got 3, must divide the width 16"):
        load_vit(path, num_heads=3)


@pytest.mark.parametrize("num_heads", [0, -1, True])
def test_a_number_of_heads_that_is_none_is_refused(num_heads: int, tmp_path: Path) -> None:
    path = stored(tmp_path, timm_state(ReferenceVit()))
    with pytest.raises(ModelLoadError, match=f"num_heads: got {num_heads}, must be a whole number of at least 1"):
        load_vit(path, num_heads=num_heads)


def test_an_argument_goes_before_the_settings(tmp_path: Path) -> None:
    stored(tmp_path, timm_state(ReferenceVit()))
    said = {"num_attention_heads": 2, "hidden_act": "gelu", "pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    (tmp_path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    assert load_vit(tmp_path).pixels == Pixels((0, 0, 0), (1, 1, 1))
    weights = load_vit(tmp_path, pixels=IMAGENET, activation=Activation.QUICK_GELU)
    assert (weights.pixels, weights.activation) == (IMAGENET, Activation.QUICK_GELU)
    with pytest.raises(ModelLoadError, match=r"pixels: mean and std: got .* std above 0"):
        load_vit(tmp_path, pixels=Pixels((0, 0, 0), (1, 0, 1)))


def test_pixels_of_timesformer_are_its_authors_unless_settings_say_otherwise(tmp_path: Path) -> None:
    path = stored(tmp_path, timesformer_state(ReferenceVit(num_frames=2)))
    assert load_vit(path).pixels == load_vit(tmp_path).pixels == KINETICS == ((0.45,) * 3, (0.225,) * 3)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said), encoding="utf-8")
    assert load_vit(tmp_path).pixels == Pixels((0.1, 0.2, 0.3), (1, 1, 1))


def test_two_projections_become_one(tmp_path: Path) -> None:
    vit = ReferenceVit(num_frames=2)
    weights = load(tmp_path, timesformer_state(vit))
    block, x = vit.blocks[1], torch.randn(WIDTH)
    first = block["time_proj.weight"] @ x + block["time_proj.bias"]
    want = block["time_dense.weight"] @ first + block["time_dense.bias"]
    ours = weights.blocks[1]
    torch.testing.assert_close(ours["time.out.weight"] @ x + ours["time.out.bias"], want, rtol=1e-4, atol=1e-5)


def test_positions_of_videomae_are_sines_and_cosines() -> None:
    table = sinusoids(5, 8)
    assert table[0].tolist() == [0, 1] * 4
    assert table[3, 2].item() == pytest.approx(float(torch.tensor(3 / 10_000**0.25).sin()))
    assert table[3, 3].item() == pytest.approx(float(torch.tensor(3 / 10_000**0.25).cos()))


def test_positions_of_videomae_are_of_the_pictures_it_was_trained_on(tmp_path: Path) -> None:
    path = stored(tmp_path, videomae_state(ReferenceVit(has_token=False), is_published=True))
    assert load_vit(path).grid == 224 // PATCH_PX
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"image_size": [48, 48]}), encoding="utf-8")
    weights = load_vit(tmp_path)
    assert weights.grid == 6
    torch.testing.assert_close(weights.space_PD, sinusoids(36, WIDTH))
    for image_px in (7, 8 * 257):
        config.write_text(json.dumps({"image_size": image_px}), encoding="utf-8")
        with pytest.raises(ModelLoadError, match=f"image_size: got {image_px}, must be 1 to 256 patches of 8 px"):
            load_vit(tmp_path)


def test_another_model_with_the_same_blocks_is_refused(tmp_path: Path) -> None:
    vivit = videomae_state(ReferenceVit(has_token=False), is_published=False)
    vivit |= {"videomae.embeddings.cls_token": torch.zeros(1, 1, WIDTH)}
    with pytest.raises(ModelLoadError, match=r"VideoMAE: got videomae\.embeddings\.cls_token, must not be there: its"):
        load(tmp_path, vivit)


def test_the_id_follows_everything_that_decides_the_model(tmp_path: Path) -> None:
    vit = ReferenceVit()
    states = [timm_state(vit), timm_state(ReferenceVit(seed=1)), timm_state(vit) | {"cls_token": torch.zeros(1, 1, 16)}]
    states += [timm_state(vit) | {"blocks.2.norm2.bias": torch.zeros(16)}]
    ids = [load(tmp_path, state).content_id for state in states]
    path = stored(tmp_path, states[0])
    ids.append(load_vit(path, num_heads=4).content_id)
    ids.append(load_vit(path, num_heads=HEADS, activation=Activation.QUICK_GELU).content_id)
    ids.append(load_vit(path, num_heads=HEADS, pixels=Pixels((0, 0, 0), (1, 1, 1))).content_id)
    assert len(set(ids)) == len(ids)
    assert load(tmp_path, states[0] | {"head.bias": torch.ones(5)}).content_id == ids[0]
    videos = [
        timesformer_state(ReferenceVit(num_frames=2)),
        videomae_state(ReferenceVit(has_token=False), is_published=True),
    ]
    assert len({load(tmp_path, state).content_id for state in videos}) == 2


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError) as caught:
        load(tmp_path, {f"layer{i}.0.conv1.weight": torch.zeros(4, 4, 3, 3) for i in range(7)})
    message = str(caught.value)
    assert "got tensors named layer0.0.conv1.weight, layer1.0.conv1.weight," in message
    assert (
        "layer4.0.conv1.weight and 2 more; must be a vision transformer in the naming of timm ViT and DINOv2,"
        in message
    )
    assert message.endswith("transformers CLIP, OpenAI CLIP and open_clip")
    with pytest.raises(ModelLoadError, match="got tensors named nothing; must be"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("blocks.1.mlp.w12.weight", torch.zeros(3), r"cannot take over blocks\.1\.mlp\.w12\.weight; a block must be"),
        ("register_tokens", torch.zeros(1, 4, 16), "cannot take over register_tokens; .* without register tokens"),
        ("blocks.0.mlp.fc1.weight", torch.zeros(32, 16), r"fc1\.weight: got \[32, 16\], must be \[64, 16\]"),
        ("blocks.1.attn.qkv.weight", torch.zeros(16, 16), r"qkv\.weight: got \[16, 16\], must be \[48, 16\]"),
        ("blocks.0.norm1.bias", torch.zeros(8), r"blocks\.0\.norm1\.bias: got \[8\], must be \[16\]"),
        ("blocks.0.norm1.bias", torch.zeros(16, dtype=torch.int8), r"norm1\.bias: got torch\.int8, must be floating"),
        ("blocks.0.norm1.bias", torch.full((16,), torch.nan), r"norm1\.bias: holds infinite values or NaN"),
        ("blocks.4.norm1.bias", torch.zeros(16), r"blocks\.N: got numbers \[0, 1, 2, 4\], must be 0 to N without gaps"),
        ("patch_embed.proj.weight", torch.zeros(16, 1, 8, 8), r"got \[16, 1, 8, 8\], must be \[width, 3, P, P\]"),
        ("patch_embed.proj.weight", torch.zeros(16, 3, 8, 4), r"got \[16, 3, 8, 4\], must be \[width, 3, P, P\]"),
        ("patch_embed.proj.weight", torch.zeros(16, 192), r"got \[16, 192\], must be \[width, 3, P, P\]"),
        ("patch_embed.proj.weight", torch.zeros(0, 3, 8, 8), r"got \[0, 3, 8, 8\], must be \[width, 3, P, P\]"),
        ("patch_embed.proj.weight", torch.zeros(16, 3, 0, 0), r"got \[16, 3, 0, 0\], must be \[width, 3, P, P\]"),
        (
            "patch_embed.proj.weight",
            torch.zeros(()),
            r"patch_embed\.proj\.weight: got \[\], must be \[width, 3, P, P\]",
        ),
        *(
            (
                "pos_embed",
                torch.zeros(shape),
                rf"pos_embed: got {re.escape(str([*shape]))}, must be \[P, 16\] or \[1, P, 16\]",
            )
            for shape in ((1, 12, 16), (1, 10, 8), (1, 0, 16), (1, 1, 16), (16,), (), (2, 5, 16), (1, 1, 10, 16))
        ),
        *(
            (
                "cls_token",
                torch.zeros(shape),
                rf"cls_token: got {re.escape(str([*shape]))}, must be \[16\] or \[1, 1, 16\]",
            )
            for shape in ((1, 1, 8), (2, 8), (0,), ())
        ),
        ("norm_pre.weight", torch.zeros(8), r"norm_pre\.weight: got \[8\], must be \[16\]"),
    ],
)
def test_what_our_encoder_cannot_be_is_refused(name: str, tensor: Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=message):
        load(tmp_path, timm_state(ReferenceVit()) | {name: tensor})


@pytest.mark.parametrize("shape", [(1, 2, 8), (1, 0, 16), (2, 16), (0, 2, 16), (1, 1, 2, 16), (16,), ()])
def test_wrong_positions_of_frames_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    name = "timesformer.embeddings.time_embeddings"
    state = timesformer_state(ReferenceVit(num_frames=2)) | {name: torch.zeros(shape)}
    with pytest.raises(
        ModelLoadError, match=rf"time_embeddings: got {re.escape(str([*shape]))}, must be \[1, frames, 16\]"
    ):
        load(tmp_path, state)


@pytest.mark.parametrize("shape", [(16, 3, 0, 8, 8), (16, 1, 2, 8, 8), (16, 3, 2, 8, 4), (16, 3, 1, 2, 8, 8)])
def test_wrong_patches_of_video_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    name = "videomae.embeddings.patch_embeddings.projection.weight"
    state = videomae_state(ReferenceVit(has_token=False), is_published=True) | {name: torch.zeros(shape)}
    with pytest.raises(ModelLoadError, match=rf"got {re.escape(str([*shape]))}, must be \[width, 3, frames, P, P\]"):
        load(tmp_path, state)


def test_weights_of_8_bits_are_looked_at_too(tmp_path: Path) -> None:
    name, tiny = "blocks.0.norm1.bias", torch.float8_e4m3fn
    state = timm_state(ReferenceVit())
    assert load(tmp_path, state | {name: torch.ones(16).to(tiny)}).blocks[0]["space_norm.bias"].eq(1).all()
    with pytest.raises(ModelLoadError, match=r"norm1\.bias: holds infinite values or NaN"):
        load(tmp_path, state | {name: torch.full((16,), torch.nan).to(tiny)})


@pytest.mark.parametrize("name", ["pos_embed", "blocks.2.attn.proj.weight", "blocks.0.mlp.fc2.weight"])
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    state = timm_state(ReferenceVit())
    del state[name]
    with pytest.raises(ModelLoadError, match=f"{name}: missing"):
        load(tmp_path, state)


def test_missing_biases_are_zero(tmp_path: Path) -> None:
    state = timm_state(ReferenceVit())
    without = {name: t for name, t in state.items() if not name.endswith(("qkv.bias", "patch_embed.proj.bias"))}
    weights = load(tmp_path, without)
    assert not weights.patch_bias_D.any()
    assert not any(block["space.qkv.bias"].any() for block in weights.blocks)
    assert weights.blocks[0]["space.qkv.weight"].any()
