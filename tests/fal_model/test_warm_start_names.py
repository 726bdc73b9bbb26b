import pytest

from fal_model.warm_start_names import (
    HF_CLIP,
    NAMINGS,
    TIMM,
    VIDEOMAE,
    Naming,
    bias_name,
    intruders,
    recognise,
    strangers,
    weight_name,
)


def names_of(naming: Naming) -> dict[str, int]:
    """Write down the names of a checkpoint of one block, with the number of dimensions of each tensor."""
    parts = [f"{naming.block}.0.{name}" for key, part in naming.parts.items() if "scale" not in key for name in part]
    shapes = {f(name): 2 for name in parts for f in (weight_name, bias_name)}
    shapes |= {name: 2 for name in (naming.token, naming.positions, naming.times, *naming.required) if name}
    return shapes | {f"{naming.patch}.weight": 5 if naming.is_video else 4}


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda n: n.title)
@pytest.mark.parametrize("prefix", ["", "module.", "model.visual."])
def test_each_naming_is_recognised_whatever_stands_before_it(naming: Naming, prefix: str) -> None:
    shapes = {prefix + name: dims for name, dims in names_of(naming).items()}
    assert recognise(shapes) == (naming, prefix)
    assert strangers(naming, prefix, shapes) == []
    assert intruders(naming, prefix, shapes) == []


def test_namings_have_titles_of_their_own() -> None:
    assert len({naming.title for naming in NAMINGS}) == len(NAMINGS)


def test_what_is_half_there_is_not_recognised() -> None:
    shapes = names_of(TIMM)
    del shapes["blocks.0.attn.qkv.weight"]
    assert recognise(shapes) is None
    siglip = names_of(HF_CLIP)
    del siglip["embeddings.class_embedding"]
    assert recognise(siglip) is None
    assert recognise({}) is None


def test_a_video_model_is_told_by_its_patches() -> None:
    shapes = names_of(VIDEOMAE) | {"embeddings.cls_token": 3, "embeddings.position_embeddings": 3}
    found = recognise(shapes | {f"{VIDEOMAE.patch}.weight": 4})
    assert found is not None
    assert found[0].title == "transformers ViT"


def test_another_family_with_the_same_blocks_is_found() -> None:
    vivit = {f"vivit.{name}": 3 for name in ("embeddings.cls_token", "embeddings.position_embeddings")}
    shapes = {f"vivit.{name}": dims for name, dims in names_of(VIDEOMAE).items()} | vivit
    assert recognise(shapes) == (VIDEOMAE, "vivit.")
    assert intruders(VIDEOMAE, "vivit.", shapes) == sorted(vivit)
    assert intruders(VIDEOMAE, "vivit.", {"text.embeddings.cls_token": 3}) == []


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.attn.q_norm.weight",
        "blocks.0.mlp.w12.weight",
        "blocks.1.mlp.norm.weight",
        "reg_token",
        "register_tokens",
        "dist_token",
        "detection_tokens",
        "rope.freqs",
        "rel_pos_bias.relative_position_bias_table",
    ],
)
def test_what_our_blocks_have_not_is_found(name: str) -> None:
    assert strangers(TIMM, "m.", [f"m.{n}" for n in [*names_of(TIMM), name]]) == [f"m.{name}"]
    assert strangers(TIMM, "m.", [f"text.{name}"]) == []
