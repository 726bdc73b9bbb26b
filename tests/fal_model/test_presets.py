import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fal_model.errors import ConfigError
from fal_model.model import FALModel, parameter_budget
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import PRESET_NAMES, preset


@pytest.fixture(scope="module")
def large() -> FALModel:
    with torch.device("meta"):
        return FALModel.from_preset("fal-375m")


def test_the_large_model_has_375_million_parameters(large: FALModel) -> None:
    budget = parameter_budget(large)
    table = "\n".join(f"{part:>8} {count:>12,}" for part, count in budget.items())
    print(table)  # noqa: T201 - the budget per part, shown by pytest -s and when the test fails
    assert budget["total"] == pytest.approx(375e6, rel=0.01)
    assert sum(budget.values()) == 2 * budget["total"]
    assert all(count > 0 for count in budget.values())


def test_the_large_model_has_the_published_shape(large: FALModel) -> None:
    config = large.config
    assert large.taxonomy is open_fal_500()
    assert sum(config.stage_depths) == 24
    assert (config.width, config.num_heads) == (768, 12)
    assert (config.clip.num_frames, config.clip.size_px) == (8, 224)


def test_a_clip_costs_at_most_420_gflop(large: FALModel) -> None:
    clip = large.config.clip
    inputs = (
        torch.zeros(1, clip.num_frames, 3, clip.size_px, clip.size_px, dtype=torch.uint8, device="meta"),
        torch.zeros(1, clip.num_frames, 2, clip.flow_size_px, clip.flow_size_px, device="meta"),
        torch.ones(1, clip.num_frames, dtype=torch.bool, device="meta"),
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        large(*inputs)
    gflop = counter.get_total_flops() / 1e9
    print(f"{gflop:.1f} GFLOP per clip")  # noqa: T201 - same
    assert 200 < gflop <= 420


def test_the_small_model_has_every_part_of_the_large_one(large: FALModel) -> None:
    with torch.device("meta"):
        small = FALModel.from_preset("fal-nano")
    assert parameter_budget(small).keys() == parameter_budget(large).keys()
    assert parameter_budget(small)["total"] < 3e6


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_names_give_configurations(name: str) -> None:
    assert preset(name).to_dict()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model preset: got 'fal-1b', must be one of \['fal-375m', 'fal-nano'\]"):
        preset("fal-1b")
