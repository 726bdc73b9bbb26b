import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fal_model.config import Activation, ModelConfig
from fal_model.errors import ModelLoadError
from fal_model.model import FALModel
from fal_model.warm_start import WarmStart, fitted, warm_start
from fal_model.warm_start_names import CLIP, HALF, IMAGENET, KINETICS, Pixels
from fal_model.warm_start_vit import VitWeights, load_vit, sinusoids
from tests.helpers import reference_vit as reference
from tests.helpers.micro import small_tree
from tests.helpers.reference_vit import HEADS, PATCH_PX, WIDTH, ReferenceVit, State
from tests.helpers.stages import stage_features
from tests.helpers.warm_start import assert_same, clip, config_of, normalised

CONFIG = config_of(grid=3, patch_px=PATCH_PX, width=WIDTH, num_heads=HEADS)


def stored(folder: Path, state: State) -> Path:
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def weights_of(folder: Path, state: State, **said: Pixels | Activation) -> VitWeights:
    return load_vit(stored(folder, state), num_heads=HEADS, **said)  # type: ignore[arg-type]  # pixels or activation, by name


def videomae_of(folder: Path, state: State, grid: int) -> VitWeights:
    """Store a folder that says what grid the positions are of, which no tensor tells."""
    stored(folder, state)
    (folder / "config.json").write_text(json.dumps({"image_size": grid * PATCH_PX}), encoding="utf-8")
    return load_vit(folder, num_heads=HEADS)


def started(weights: VitWeights, config: ModelConfig = CONFIG) -> tuple[FALModel, WarmStart]:
    torch.manual_seed(0)
    model = FALModel(fitted(config, weights), small_tree()).eval()
    return model, warm_start(model, weights)


def assert_encodes(model: FALModel, vit: ReferenceVit, pixels: Pixels, *, is_still: bool = False) -> None:
    """Compare patch tokens before the first merge, and class tokens, which merges leave alone, at the end."""
    frames = clip(model.config, is_still=is_still)
    with torch.no_grad():
        features, token_BTD = stage_features(model.encoder, frames)
    want_TPD = vit(normalised(frames, pixels))
    if vit.token is None:
        assert token_BTD is None
        assert_same(features[0][0], want_TPD)
        return
    assert_same(features[0][0], want_TPD[:, 1:])
    assert token_BTD is not None
    assert_same(token_BTD[0], want_TPD[:, 0])


# ---- each naming gives the function it had -----------------------------------------------------------------------

PLAIN = ReferenceVit()
SCALED = ReferenceVit(has_scale=True)
NORMED = ReferenceVit(has_input_norm=True, is_quick=True)
NORMED.patch_bias.zero_()  # CLIP has none

IMAGE_CASES = {
    "timm": (PLAIN, reference.timm_state(PLAIN), IMAGENET),
    "timm-in-module": (PLAIN, reference.prefixed("module.", reference.timm_state(PLAIN)), IMAGENET),
    "dinov2": (SCALED, reference.timm_state(SCALED) | {"mask_token": torch.zeros(1, WIDTH)}, IMAGENET),
    "vit": (PLAIN, reference.hf_state(PLAIN, "encoder.layer", reference.HF_NAMES | reference.HF_REST, "vit."), HALF),
    "vit-5": (
        PLAIN,
        reference.hf_state(
            PLAIN, "layers", reference.HF5_NAMES | reference.HF_REST | {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
        ),
        HALF,
    ),
    "dinov2-hf": (
        SCALED,
        reference.hf_state(SCALED, "encoder.layer", reference.HF_NAMES | reference.DINOV2_REST, "dinov2."),
        IMAGENET,
    ),
    "dinov2-hf-5": (
        SCALED,
        reference.hf_state(SCALED, "encoder.layer", reference.HF5_NAMES | reference.DINOV2_REST),
        IMAGENET,
    ),
    "clip-hf": (NORMED, reference.hf_clip_state(NORMED), CLIP),
    "clip-openai": (NORMED, reference.openai_clip_state(NORMED), CLIP),
}


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_each_frame_is_encoded_as_the_image_model_does(name: str, tmp_path: Path) -> None:
    vit, state, pixels = IMAGE_CASES[name]
    weights = weights_of(tmp_path, state)
    model, report = started(weights)
    assert (report.num_blocks, report.num_new_blocks, report.resized) == (3, 6, ())
    assert_encodes(model, vit, pixels)


def test_the_comparison_would_see_a_difference(tmp_path: Path) -> None:
    model, _ = started(weights_of(tmp_path, reference.timm_state(PLAIN)))
    with pytest.raises(AssertionError):
        assert_encodes(model, ReferenceVit(seed=1), IMAGENET)
    with pytest.raises(AssertionError):
        assert_encodes(model, PLAIN, HALF)
    quick = ReferenceVit(is_quick=True)
    with pytest.raises(AssertionError):
        assert_encodes(model, quick, IMAGENET)


def test_a_model_without_class_token_gives_one_without_frame_token(tmp_path: Path) -> None:
    vit = ReferenceVit(has_token=False)
    model, _ = started(weights_of(tmp_path, reference.timm_state(vit)))
    assert not model.config.has_frame_token
    assert_encodes(model, vit, IMAGENET)


def test_positions_may_leave_out_the_class_token(tmp_path: Path) -> None:
    vit = ReferenceVit()
    vit.positions[0] = 0
    state = reference.timm_state(vit)
    state["pos_embed"] = state["pos_embed"][:, 1:]
    assert_encodes(started(weights_of(tmp_path, state))[0], vit, IMAGENET)


def test_pixels_and_activation_can_be_said(tmp_path: Path) -> None:
    vit = ReferenceVit(is_quick=True)
    odd = Pixels((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    weights = weights_of(tmp_path, reference.timm_state(vit), pixels=odd, activation=Activation.QUICK_GELU)
    assert_encodes(started(weights)[0], vit, odd)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: tensor.to(dtype) for name, tensor in reference.timm_state(PLAIN).items()}
    weights = weights_of(tmp_path, state)
    torch.testing.assert_close(weights.blocks[0]["space.out.weight"], state["blocks.0.attn.proj.weight"].float())


# ---- video models ------------------------------------------------------------------------------------------------


def test_timesformer_is_the_same_on_one_frame(tmp_path: Path) -> None:
    vit = ReferenceVit(num_frames=1)
    weights = weights_of(tmp_path, reference.timesformer_state(vit))
    model, report = started(weights, replace(CONFIG, clip=replace(CONFIG.clip, num_frames=1)))
    assert report.resized == ()
    assert_encodes(model, vit, KINETICS)


def test_timesformer_is_the_same_on_equal_frames_with_equal_times(tmp_path: Path) -> None:
    vit = ReferenceVit(num_frames=2)
    vit.times[1] = vit.times[0]
    model, _ = started(weights_of(tmp_path, reference.timesformer_state(vit)))
    assert_encodes(model, vit, KINETICS, is_still=True)


def test_the_first_block_of_timesformer_is_the_same_on_any_frames(tmp_path: Path) -> None:
    vit = ReferenceVit(num_frames=2)
    model, _ = started(weights_of(tmp_path, reference.timesformer_state(vit)), replace(CONFIG, stage_depths=(1, 1, 1)))
    with torch.no_grad():
        features, _ = stage_features(model.encoder, clip(CONFIG))
    assert_same(features[0][0], vit(normalised(clip(CONFIG), KINETICS), depth=1)[:, 1:])


def test_times_of_other_clips_are_taken_from_the_nearest_frame(tmp_path: Path) -> None:
    vit = ReferenceVit(num_frames=4)
    model, report = started(weights_of(tmp_path, reference.timesformer_state(vit)))
    torch.testing.assert_close(model.encoder.embed.time_TD.detach(), vit.times[[0, 2]])
    assert report.resized == ("time_TD",)


@pytest.mark.parametrize("is_published", [True, False])
def test_videomae_is_the_same_on_one_tubelet_of_equal_frames(is_published: bool, tmp_path: Path) -> None:
    vit = ReferenceVit(has_token=False)
    vit.positions = sinusoids(9, WIDTH)
    for block in vit.blocks:
        block["k.bias"].zero_()
    weights = videomae_of(tmp_path, reference.videomae_state(vit, is_published=is_published), grid=3)
    model, report = started(weights)
    assert_encodes(model, vit, IMAGENET)
    assert report.resized == ()


def test_positions_of_videomae_keep_their_own_numbers_on_another_grid(tmp_path: Path) -> None:
    state = reference.videomae_state(ReferenceVit(has_token=False), is_published=True)
    model, report = started(videomae_of(tmp_path, state, grid=6))
    assert report.resized == ("space_PD",)
    got_PD = model.encoder.embed.space_PD.detach()
    own = sinusoids(36, WIDTH).T.reshape(1, WIDTH, 6, 6)
    want = F.interpolate(own, size=(3, 3), mode="bicubic", align_corners=False, antialias=True)[0]
    torch.testing.assert_close(got_PD[3], want[:, 1, 0])  # row 1, column 0
    assert (got_PD[3] - sinusoids(4, WIDTH)[3]).abs().amax() > 0.5  # and not the fourth place of our grid
    # The slowest sine is all but a straight line; the middle of the old grid lies at row 2.5, column 2.5.
    assert got_PD[4, WIDTH - 2].item() == pytest.approx((6 * 2.5 + 2.5) * 10_000 ** (2 / WIDTH - 1), rel=1e-3)


# ---- growth ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depths", [(2, 2, 2), (8, 8, 8), (4, 3, 3)])
def test_growing_changes_nothing(depths: tuple[int, int, int], tmp_path: Path) -> None:
    """Blocks of one stage stay in it, so merges lie between the same blocks."""
    weights = weights_of(tmp_path, reference.timm_state(PLAIN))
    small, _ = started(weights, replace(CONFIG, stage_depths=(1, 1, 1)))
    large, report = started(weights, replace(CONFIG, stage_depths=depths))
    assert report.num_new_blocks == sum(depths) - 3
    with torch.no_grad():
        want, want_token = stage_features(small.encoder, clip(CONFIG))
        got, got_token = stage_features(large.encoder, clip(CONFIG))
    assert want_token is not None
    assert_same(got_token, want_token)
    for one, other in zip(got, want, strict=True):
        assert_same(one, other)


def test_new_blocks_learn_from_the_first_step(tmp_path: Path) -> None:
    model, _ = started(weights_of(tmp_path, reference.timm_state(PLAIN)))
    output = model(**model.example_inputs(2))
    (output.logits_BK.square().sum() + output.frame_logits_BTK.square().sum()).backward()
    gradients = {name: p.grad for name, p in model.encoder.named_parameters() if ".out." in name}
    assert len(gradients) == 2 * (3 * 9 + 2)
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []


def test_merging_is_average_pooling_at_first(tmp_path: Path) -> None:
    model, _ = started(weights_of(tmp_path, reference.timm_state(PLAIN)))
    with torch.no_grad():
        features, _ = stage_features(model.encoder, clip(CONFIG))
    square = features[0].view(1, 2, 3, 3, WIDTH)[:, :, :2, :2].mean(dim=(2, 3))
    assert_same(features[1][:, :, 0], square)  # the block of the second stage is a new one


def test_positions_of_another_grid_are_interpolated(tmp_path: Path) -> None:
    vit = ReferenceVit(grid=6)
    slope = torch.arange(6.0)
    vit.positions[1:] = (slope[:, None] + 10 * slope).flatten()[:, None]
    model, report = started(weights_of(tmp_path, reference.timm_state(vit)))
    assert report.resized == ("space_PD",)
    got = model.encoder.embed.space_PD.detach()[:, 0].view(3, 3)
    # The middle cell covers the middle of the old grid; rows and columns keep their order and their slopes.
    assert got[1, 1].item() == pytest.approx(11 * 2.5, abs=1e-3)
    assert (got.diff(dim=0) > 1).all()
    torch.testing.assert_close(got.diff(dim=1), 10 * got.diff(dim=0).T)


# ---- the report, and what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_every_tensor_is_accounted_for(name: str, tmp_path: Path) -> None:
    state = IMAGE_CASES[name][1]
    _, report = started(weights_of(tmp_path, state))
    assert sorted([*report.used, *report.left_out]) == sorted(state)
    numbered = [n for n in report.left_out if ".0." in n]
    assert all(n.startswith(("text_model.", "transformer.")) for n in numbered)  # of the tower for text
    assert any("norm" in n or "ln_post" in n for n in report.left_out)


def test_the_report_can_be_read(tmp_path: Path) -> None:
    model, report = started(weights_of(tmp_path, reference.timm_state(PLAIN)))
    text = str(report)
    assert "(timm ViT and DINOv2): 3 blocks, 6 new ones between them; 40 tensors taken over, 4 left out;" in text
    ours = [name for name, _ in model.named_parameters() if not name.startswith("encoder.")]
    assert report.fresh == tuple(ours)
    resized = str(started(weights_of(tmp_path, reference.timm_state(ReferenceVit(grid=4))))[1])
    assert "40 tensors taken over, space_PD interpolated, 4 left out" in resized


def test_other_parts_keep_their_start(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, reference.timm_state(PLAIN))
    torch.manual_seed(0)
    untouched = FALModel(fitted(CONFIG, weights), small_tree()).state_dict()
    model, report = started(weights)
    assert all(torch.equal(model.state_dict()[name], untouched[name]) for name in report.fresh)


def test_all_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, reference.openai_clip_state(NORMED))
    model = FALModel(
        replace(CONFIG, width=24, num_heads=3, patch_px=4, stage_depths=(1, 1, 1), has_frame_token=False), small_tree()
    )
    deep = replace(weights, blocks=weights.blocks * 2)
    with pytest.raises(ModelLoadError) as caught:
        warm_start(model, deep)
    message = str(caught.value)
    assert message.endswith(
        "model.safetensors: OpenAI CLIP and open_clip: does not fit the model: width: got 16, must be the model's 24; "
        "num_heads: got 2, must be the model's 3; patch_px: got 8, must be the model's 4; "
        "has_frame_token: got True, must be the model's False; has_input_norm: got True, must be the model's False; "
        "activation: got quick_gelu, must be the model's gelu; blocks: got 6, must be at most the model's 3"
    )


def test_fitting_sets_what_follows_from_the_checkpoint_and_checks_the_rest(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, reference.openai_clip_state(NORMED))
    config = fitted(replace(CONFIG, has_frame_token=False), weights)
    want = {"has_frame_token": True, "has_input_norm": True, "activation": "quick_gelu"}
    assert config.to_dict() == CONFIG.to_dict() | want
    with pytest.raises(ModelLoadError, match="width: got 16, must be the model's 32"):
        fitted(replace(CONFIG, width=32), weights)
