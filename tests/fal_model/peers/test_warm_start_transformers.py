"""Small models of ``transformers`` itself, stored as it stores them, against the encoder that is started from them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from fal_model.config import ModelConfig
from fal_model.errors import ModelLoadError
from fal_model.model import FALModel
from fal_model.warm_start import fitted, warm_start
from fal_model.warm_start_names import CLIP, HALF, IMAGENET, Pixels
from fal_model.warm_start_vit import load_vit
from tests.helpers.micro import small_tree
from tests.helpers.stages import stage_features
from tests.helpers.warm_start import assert_same, clip, config_of, normalised

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

GRID, PATCH_PX, WIDTH, HEADS, DEPTH = 4, 8, 32, 2, 3
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": GRID * PATCH_PX,
    "patch_size": PATCH_PX,
}
CONFIG = config_of(grid=GRID, patch_px=PATCH_PX, width=WIDTH, num_heads=HEADS)
TIMESFORMER = Pixels((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()


def spread(model: Any) -> Any:
    """Give a model weights at which every part of it shows; as made, norms are 1, biases 0 and scales nothing."""
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = "norm" in name and name.endswith("weight")
            std = 0.2 if parameter.ndim < 2 else max(parameter[0].numel(), 16) ** -0.5
            if "token" in name or "embedding" in name.rsplit(".", 1)[-1] or "position" in name:
                std = 0.5
            parameter.copy_(is_norm + std * torch.randn(parameter.shape, generator=dice))
            if "lambda1" in name:
                parameter.add_(0.5)
    return model.eval()


def encoder_of(folder: Path, config: ModelConfig = CONFIG) -> Callable[[Tensor], tuple[list[Tensor], Tensor | None]]:
    weights = load_vit(folder)
    model = FALModel(fitted(config, weights), small_tree()).eval()
    report = warm_start(model, weights)
    numbered = [name for name in report.left_out if ".0." in name]
    assert all(name.startswith(("text_model.", "decoder.")) for name in numbered), numbered
    return torch.no_grad()(partial(stage_features, model.encoder))


def hidden(model: Any, inputs: Tensor) -> Tensor:
    """Return the tokens after the last block, before the final norm."""
    with torch.no_grad():
        tokens: Tensor = model(inputs, output_hidden_states=True).hidden_states[-1]
    return tokens


IMAGE_MODELS: dict[str, tuple[Callable[[], Any], Pixels]] = {
    "ViTModel": (lambda: transformers.ViTModel(transformers.ViTConfig(**SIZES, intermediate_size=4 * WIDTH)), HALF),
    "Dinov2Model": (lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)), IMAGENET),
    "CLIPVisionModel": (
        lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SIZES, intermediate_size=4 * WIDTH)),
        CLIP,
    ),
}


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_an_image_model_encodes_each_frame_as_before(name: str, tmp_path: Path) -> None:
    make, pixels = IMAGE_MODELS[name]
    model = spread(make())
    model.save_pretrained(tmp_path)
    features, token_BTD = encoder_of(tmp_path)(clip(CONFIG))
    want_TPD = hidden(model, normalised(clip(CONFIG), pixels))
    assert_same(features[0][0], want_TPD[:, 1:])
    assert token_BTD is not None
    assert_same(token_BTD[0], want_TPD[:, 0])


def test_names_inside_version_5_work_as_well_as_those_of_the_hub(tmp_path: Path) -> None:
    make, pixels = IMAGE_MODELS["ViTModel"]
    model = spread(make())
    model.save_pretrained(tmp_path)
    on_disk = set(load_file(tmp_path / "model.safetensors"))  # version 5 still writes the names of version 4
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    assert set(load_file(tmp_path / "model.safetensors")) != on_disk
    features, _ = encoder_of(tmp_path)(clip(CONFIG))
    assert_same(features[0][0], hidden(model, normalised(clip(CONFIG), pixels))[:, 1:])


def test_a_whole_clip_gives_its_vision_tower(tmp_path: Path) -> None:
    vision = SIZES | {"intermediate_size": 4 * WIDTH, "hidden_act": "gelu"}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text |= {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    model = spread(transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)))
    model.save_pretrained(tmp_path)
    features, _ = encoder_of(tmp_path)(clip(CONFIG))
    assert_same(features[0][0], hidden(model.vision_model, normalised(clip(CONFIG), CLIP))[:, 1:])


def timesformer(num_frames: int) -> Any:
    config = transformers.TimesformerConfig(**SIZES, intermediate_size=4 * WIDTH, num_frames=num_frames)
    return spread(transformers.TimesformerModel(config))


def test_timesformer_on_one_frame(tmp_path: Path) -> None:
    model = timesformer(1)
    model.save_pretrained(tmp_path)
    config = replace(CONFIG, clip=replace(CONFIG.clip, num_frames=1))
    features, token_BTD = encoder_of(tmp_path, config)(clip(config))
    want_PD = hidden(model, normalised(clip(config), TIMESFORMER)[None])[0]
    assert_same(features[0][0, 0], want_PD[1:])
    assert token_BTD is not None
    assert_same(token_BTD[0, 0], want_PD[0])


def test_timesformer_on_equal_frames(tmp_path: Path) -> None:
    model = timesformer(2)
    with torch.no_grad():
        model.embeddings.time_embeddings[:, 1] = model.embeddings.time_embeddings[:, 0]
    model.save_pretrained(tmp_path)
    still = clip(CONFIG, is_still=True)
    features, token_BTD = encoder_of(tmp_path)(still)
    want_SD = hidden(model, normalised(still, TIMESFORMER)[None])[0]
    want_TPD = want_SD[1:].view(GRID**2, 2, WIDTH).transpose(0, 1)  # it keeps the frames of a position side by side
    assert_same(features[0][0], want_TPD)
    assert token_BTD is not None
    assert_same(token_BTD[0], want_SD[:1].expand(2, -1))


def test_the_first_block_of_timesformer_on_any_frames(tmp_path: Path) -> None:
    model = timesformer(2)
    model.save_pretrained(tmp_path)
    features, _ = encoder_of(tmp_path, replace(CONFIG, stage_depths=(1, 1, 1)))(clip(CONFIG))
    with torch.no_grad():
        inputs = normalised(clip(CONFIG), TIMESFORMER)[None]
        first_SD = model(inputs, output_hidden_states=True).hidden_states[1][0]
    assert_same(features[0][0], first_SD[1:].view(GRID**2, 2, WIDTH).transpose(0, 1))


@pytest.mark.parametrize("name", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_videomae_on_one_tubelet_of_equal_frames(name: str, tmp_path: Path) -> None:
    decoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.VideoMAEConfig(
        **SIZES, intermediate_size=4 * WIDTH, num_frames=2, **{f"decoder_{k}": v for k, v in decoder.items()}
    )
    model = spread(getattr(transformers, name)(config))
    model.save_pretrained(tmp_path)
    still = clip(CONFIG, is_still=True)
    features, token_BTD = encoder_of(tmp_path)(still)
    assert token_BTD is None
    body = getattr(model, "videomae", model)
    assert_same(features[0][0, 1], hidden(body, normalised(still, IMAGENET)[None])[0])


def test_videomae_of_another_grid_has_its_own_positions_interpolated(tmp_path: Path) -> None:
    sizes = SIZES | {"image_size": 2 * GRID * PATCH_PX}
    theirs = spread(transformers.VideoMAEModel(transformers.VideoMAEConfig(**sizes, intermediate_size=4 * WIDTH)))
    theirs.save_pretrained(tmp_path)
    weights = load_vit(tmp_path)
    model = FALModel(fitted(CONFIG, weights), small_tree())
    assert warm_start(model, weights).resized == ("space_PD",)
    first_PD = theirs.embeddings.position_embeddings[0, : (2 * GRID) ** 2]  # of the first tubelet
    torch.testing.assert_close(weights.space_PD, first_PD)
    picture = first_PD.T.reshape(1, WIDTH, 2 * GRID, 2 * GRID)
    want = F.interpolate(picture, size=(GRID, GRID), mode="bicubic", align_corners=False, antialias=True)
    torch.testing.assert_close(model.encoder.embed.space_PD.detach(), want.flatten(2)[0].T)


@pytest.mark.parametrize("place", ["", "model.safetensors"])
def test_vivit_is_not_taken_for_videomae(place: str, tmp_path: Path) -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "patch_size"}
    sizes |= {"intermediate_size": 4 * WIDTH, "num_frames": 4}
    config = transformers.VivitConfig(**sizes, tubelet_size=[2, PATCH_PX, PATCH_PX], hidden_act="gelu")
    transformers.VivitModel(config).save_pretrained(tmp_path)
    with pytest.raises(
        ModelLoadError, match=r"got embeddings\.cls_token, embeddings\.position_embeddings, must not be"
    ):
        load_vit(tmp_path / place)
