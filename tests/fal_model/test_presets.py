from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fal_model.attention import SpaceAttention
from fal_model.config import ModelConfig
from fal_model.errors import ConfigError
from fal_model.model import FALModel, parameter_budget
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import PRESET_NAMES, preset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model.md"
Counts = dict[str, dict[str, int]]

MILLIONS = {"fal-nano": (2, 3), "fal-tiny": (10, 15), "fal-small": (40, 50), "fal-base": (150, 190)}


def inputs(config: ModelConfig, device: str = "meta") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    clip = config.clip
    return (
        torch.zeros(1, clip.num_frames, 3, clip.size_px, clip.size_px, dtype=torch.uint8, device=device),
        torch.zeros(1, clip.num_frames, 2, clip.flow_size_px, clip.flow_size_px, device=device),
        torch.ones(1, clip.num_frames, dtype=torch.bool, device=device),
    )


def count(model: FALModel, device: str = "meta") -> Counts:
    """Count operations of one clip, by module and kind of operation."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs(model.config, device))
    return {module: {str(op): n for op, n in ops.items()} for module, ops in counter.get_flop_counts().items()}


def build(name: str) -> FALModel:
    with torch.device("meta"):
        return FALModel.from_preset(name)


@pytest.fixture(scope="module")
def models() -> dict[str, FALModel]:
    return {name: build(name) for name in PRESET_NAMES}


@pytest.fixture(scope="module")
def counts(models: dict[str, FALModel]) -> dict[str, Counts]:
    return {name: count(model) for name, model in models.items()}


@pytest.fixture(scope="module")
def gflop(counts: dict[str, Counts]) -> dict[str, dict[str, float]]:
    """Count GFLOP of a clip by part."""
    found: dict[str, dict[str, float]] = {}
    for name, modules in counts.items():
        parts = {module.removeprefix("FALModel."): ops for module, ops in modules.items() if module.count(".") == 1}
        found[name] = {part: sum(ops.values()) / 1e9 for part, ops in parts.items()}
        found[name]["total"] = sum(modules["Global"].values()) / 1e9
    return found


def tokens(config: ModelConfig) -> dict[str, int]:
    """Count tokens per clip: of each stage, frame tokens included, and of motion."""
    frames = config.clip.num_frames
    stages = {f"stage {i}": frames * (grid**2 + config.has_frame_token) for i, grid in enumerate(config.grids)}
    return stages | {"motion": frames * (config.clip.flow_size_px // 8) ** 2}


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_the_budget_of_every_part(models: dict[str, FALModel], gflop: dict[str, dict[str, float]], name: str) -> None:
    model = models[name]
    budget = parameter_budget(model)
    lines = [
        f"\n{name}: {model.config.stage_depths} blocks of width {model.config.width}, tokens {tokens(model.config)}"
    ]
    lines += [f"{part:>8} {params:>12,} parameters {gflop[name][part]:>8.2f} GFLOP" for part, params in budget.items()]
    print("\n".join(lines))  # noqa: T201 - the budget per part, shown by pytest -s and when the test fails
    assert list(budget) == ["encoder", "motion", "fusion", "pyramid", "heads", "total"]
    assert gflop[name].keys() == budget.keys()
    assert all(params > 0 for params in budget.values())
    assert all(amount > 0 for amount in gflop[name].values())
    assert sum(params for part, params in budget.items() if part != "total") == budget["total"]
    assert budget["total"] == sum(p.numel() for p in model.parameters())  # no part is counted twice, none forgotten
    assert sum(gflop[name].values()) == pytest.approx(2 * gflop[name]["total"])


def test_the_large_model_has_375_million_parameters(models: dict[str, FALModel]) -> None:
    assert parameter_budget(models["fal-375m"])["total"] == pytest.approx(375e6, rel=0.01)


def test_a_clip_costs_at_most_420_gflop(gflop: dict[str, dict[str, float]]) -> None:
    assert 200 < gflop["fal-375m"]["total"] <= 420


@pytest.mark.parametrize(("name", "bounds"), MILLIONS.items())
def test_the_smaller_models_keep_their_size(
    models: dict[str, FALModel], name: str, bounds: tuple[float, float]
) -> None:
    assert bounds[0] < parameter_budget(models[name])["total"] / 1e6 < bounds[1]


def test_each_size_costs_more_than_the_one_before(
    models: dict[str, FALModel], gflop: dict[str, dict[str, float]]
) -> None:
    sizes = [parameter_budget(models[name])["total"] for name in PRESET_NAMES]
    costs = [gflop[name]["total"] for name in PRESET_NAMES]
    assert sizes == sorted(sizes)
    assert costs == sorted(costs)


def test_the_page_about_the_model_says_what_is_counted(
    models: dict[str, FALModel], gflop: dict[str, dict[str, float]]
) -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if "`fal-" in line]
    told = {row[0].strip("`"): row[1:7] for row in rows if len(row) == 8}
    assert told == {
        name: [
            str(model.config.clip.size_px),
            ", ".join(map(str, model.config.stage_depths)),
            str(model.config.width),
            ", ".join(str(n) for part, n in tokens(model.config).items() if part.startswith("stage")),
            f"{parameter_budget(model)['total'] / 1e6:.1f}",
            f"{gflop[name]['total']:#.3g}".rstrip("."),
        ]
        for name, model in models.items()
    }


def test_the_large_model_has_the_published_shape(models: dict[str, FALModel]) -> None:
    config = models["fal-375m"].config
    assert models["fal-375m"].taxonomy is open_fal_500()
    assert len(open_fal_500().leaves) == 500
    assert sum(config.stage_depths) == 24
    assert (config.width, config.num_heads) == (768, 12)
    assert (config.clip.num_frames, config.clip.size_px) == (8, 224)


def test_the_base_model_takes_the_blocks_of_an_image_transformer_one_to_one() -> None:
    config = preset("fal-base")
    assert (sum(config.stage_depths), config.width, config.num_heads, config.patch_px) == (12, 768, 12, 16)


def attention_flop(config: ModelConfig) -> int:
    """Count the two products of every attention by hand: 4 · queries · keys · width."""
    frames, width = config.clip.num_frames, config.width

    def pairs(positions: int, frame_tokens: int) -> int:
        return positions * frames**2 + frames * (positions + frame_tokens) ** 2

    stages = [d * pairs(g**2, config.has_frame_token) for d, g in zip(config.stage_depths, config.grids, strict=True)]
    motion = (config.clip.flow_size_px // 8) ** 2
    coarse = frames * config.grids[-1] ** 2
    fusion = config.fusion_depth * coarse * (frames * motion + coarse)
    return 4 * width * (sum(stages) + config.motion_depth * pairs(motion, 0) + fusion)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_attention_is_counted(counts: dict[str, Counts], name: str) -> None:
    assert counts[name]["Global"]["aten.bmm"] == attention_flop(preset(name))


def test_the_count_is_that_of_the_work_done() -> None:
    # On the CPU attention is one fused operation, which the tool may not know; all else must be counted alike.
    config = preset("fal-nano")
    done = count(FALModel(config, open_fal_500()), "cpu")["Global"]
    without_attention = sum(amount for op, amount in done.items() if "attention" not in op)
    with torch.device("meta"):
        shapes = count(FALModel(config, open_fal_500()))["Global"]
    assert without_attention + attention_flop(config) == sum(shapes.values())


def test_the_counter_counts_as_one_does_by_hand() -> None:
    # 2 · tokens · inputs · outputs of the two linear layers, and attention with the square of the tokens.
    layer = SpaceAttention(8, 2).to("meta")
    totals = []
    for positions in (10, 20):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(torch.zeros(1, 1, positions, 8, device="meta"))
        totals.append(counter.get_total_flops())
    assert totals == [2 * n * 8 * 32 + 4 * n * n * 8 for n in (10, 20)]


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_names_give_configurations(name: str) -> None:
    assert ModelConfig.from_dict(preset(name).to_dict()) == preset(name)


def test_an_unknown_name_is_refused() -> None:
    allowed = r"\['fal-nano', 'fal-tiny', 'fal-small', 'fal-base', 'fal-375m'\]"
    with pytest.raises(ConfigError, match=rf"model preset: got 'fal-1b', must be one of {allowed}"):
        preset("fal-1b")
