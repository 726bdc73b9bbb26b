"""The bench of the model measures what it says, on the smallest model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import model as bench
from bench import model_layouts, model_parts, model_tables
from bench.model_parts import Case, Measured, Sample, count_gflop, interleave, parts_of, share_of_rate, timed_parts
from bench.model_peers import PLAIN, TIMESFORMER, PlainDivided, contestants, make_inputs, make_training_batch
from bench.model_tables import PartRow, Row
from fal_model.model import FALModel, parameter_budget
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import fal_375m, preset
from tests.helpers.micro import MICRO

CPU = torch.device("cpu")
PARTS = ["encoder.embed", *(f"encoder.merges.{i}" for i in range(2)), *(f"encoder.stages.{i}" for i in range(3))]
PARTS += ["motion", "fusion", "pyramid", "heads"]


def plan(**changes: object) -> bench.Plan:
    values = {
        "name": "micro",
        "config": MICRO,
        "device": CPU,
        "dtypes": ("fp32",),
        "batches": (2,),
        "ways": ("eager",),
        "micro_batches": (),
        "has_peers": False,
        "rounds": 2,
    }
    return bench.Plan(**(values | changes))  # type: ignore[arg-type]  # of the fields' own types


def test_cases_are_measured_in_turn() -> None:
    order: list[str] = []
    found = interleave([Case(name, lambda name=name: order.append(name)) for name in "ab"], 3, CPU)  # type: ignore[misc]  # a name each
    assert order[-6:] == ["a", "b", "a", "b", "a", "b"]
    assert all(isinstance(f, Measured) and len(f.samples) == 3 for f in found.values())


def test_what_does_not_fit_is_said_and_the_rest_is_measured() -> None:
    def too_much() -> None:
        raise torch.OutOfMemoryError

    found = interleave([Case("large", too_much), Case("small", lambda: None)], 1, CPU)
    assert found["large"] == "out of memory"
    assert isinstance(found["small"], Measured)


def test_memory_is_what_is_there_and_what_a_call_adds() -> None:
    size = 64 * 2**20
    case = Case("tensor", lambda: torch.ones(size // 4), own_bytes=1000)
    peak_bytes = model_parts.peak_of(case, CPU)
    assert peak_bytes is not None
    assert 1000 + 0.9 * size < peak_bytes < 1000 + 1.5 * size


def test_shares_compare_rounds_of_the_same_time() -> None:
    # The second round was three times as slow for both: the share is the same.
    case = Measured([Sample(2.0, 2.0), Sample(6.0, 6.0)], None)
    matmul = Measured([Sample(1.0, 1.0), Sample(3.0, 3.0)], None)
    assert share_of_rate(case, 10, matmul, 10, CPU) == 0.5
    assert case.median_s() == 4
    assert case.spread() == 1


def test_parts_are_all_that_costs_anything() -> None:
    inputs = make_inputs(MICRO, 1, CPU, 0)
    model = FALModel(MICRO, open_fal_500())
    gflop = count_gflop(lambda: FALModel(MICRO, open_fal_500()), inputs)
    assert sorted(parts_of(model)) == sorted(PARTS)
    assert all(gflop[part] > 0 for part in PARTS)
    assert sum(gflop[part] for part in PARTS) == pytest.approx(gflop["total"])


def test_every_part_has_a_time_and_the_clock_comes_off_again() -> None:
    model = FALModel(MICRO, open_fal_500())
    inputs = make_inputs(MICRO, 1, CPU, 0)
    with timed_parts(model, CPU) as clock:
        model(**inputs)
        model(**inputs)
    times_ms = clock.medians_ms()
    assert sorted(times_ms) == sorted([*PARTS, "rest", "total"])
    assert len(clock.calls) == 2
    model(**inputs)  # the clock is taken off again
    assert len(clock.calls) == 2


class TwoLayers(nn.Module):
    """One part runs twice in a call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(self.layer(x))
        return y


def test_a_part_that_runs_twice_counts_twice() -> None:
    model = TwoLayers()
    with timed_parts(model, CPU) as clock:
        model(torch.zeros(1, 2))
    assert len(clock.calls[0]["layer"]) == 2
    assert count_gflop(TwoLayers, {"x": torch.zeros(1, 2)})["layer"] == 2 * 2 * 2 * 2 / 1e9


def test_peers_take_what_ours_takes() -> None:
    inputs = make_inputs(MICRO, 2, CPU, 0)
    assert PlainDivided(MICRO, 5)(**inputs).shape == (2, 5)
    assert [c.name for c in contestants("micro", MICRO)] == ["micro", PLAIN, TIMESFORMER]
    pytest.importorskip("transformers", reason="transformers is not installed")
    timesformer = contestants("micro", MICRO)[2]
    assert timesformer.missing == ""
    assert timesformer.build()(**inputs).shape == (2, 500)


def test_training_clips_have_labels_on_every_frame() -> None:
    batch, targets = make_training_batch(MICRO, open_fal_500(), 3, CPU, 0)
    assert len(batch) == 3
    assert targets.frame_known_BT.all()
    assert targets.labels_BK.any(dim=1).all()


def test_inference_training_and_parts_give_rows() -> None:
    tables = bench.measure(plan(micro_batches=(2,), dtypes=("fp32", "bf16"), ways=("eager",)))
    assert [(r.what, r.dtype) for r in tables.inference] == [
        ("square matmul", "fp32"),
        ("micro", "fp32"),
        ("square matmul", "bf16"),
        ("micro", "bf16"),
    ]
    assert {r.part for r in tables.parts} == {*PARTS, "rest", "total"}
    assert [(r.way, r.dtype) for r in tables.training] == [
        (way, dtype) for dtype in ("fp32", "bf16") for way in ("eager", "eager, recomputed")
    ]
    assert all(r.clips_per_s and r.share and r.gflop for r in [*tables.inference[1::2], *tables.training])


def test_the_compiled_model_is_measured_too() -> None:
    tables = bench.measure(plan(ways=("eager", "compiled"), backend="eager"))  # no C++ compiler needed
    assert [r.way for r in tables.inference] == ["–", "eager", "compiled"]
    assert all(r.clips_per_s for r in tables.inference[1:])


def test_defaults_depend_on_size_and_haste() -> None:
    large, _ = bench.parse(["--device", "cpu", "--preset", "fal-375m"])
    assert (large.ways, large.batches, large.micro_batches) == (("eager",), (1, 2), (1,))
    small, _ = bench.parse(["--device", "cpu", "--preset", "fal-tiny"])
    assert small.ways == ("eager", "compiled")
    quick, _ = bench.parse(["--device", "cpu", "--preset", "fal-tiny", "--batch", "4", "8", "--quick"])
    assert (quick.batches, quick.micro_batches, quick.rounds) == ((4,), (), 3)
    cuda, _ = bench.parse(["--device", "cuda"])
    assert (cuda.dtypes, cuda.micro_batches[-1], cuda.name) == (("bf16", "fp16"), 512, "fal-375m")


def test_what_is_printed_is_written_and_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--device", "cpu", "--preset", "fal-nano", "--quick", "--no-peers", "--batch", "1", "--dtype", "fp32"]
    assert bench.main([*wanted, "--ways", "eager", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "model.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    data = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert [row["what"] for row in data["inference"]] == ["square matmul", "fal-nano"]
    assert data["training"] == []
    tables = [[line.count("|") for line in t.splitlines() if line.startswith("|")] for t in text.split("\n\n")[1:]]
    assert len(tables) == 2
    assert all(len(set(widths)) == 1 for widths in tables)


def test_the_table_says_how_many_times_as_fast_ours_is() -> None:
    common = {"way": "eager", "dtype": "fp32", "batch": 1, "spread": 0.1, "gflop": 20.0, "share": 0.5}
    mine = Row(what="ours", clips_per_s=6.0, processor_s=1.0, **common)  # type: ignore[arg-type]  # of the fields' own types
    other = Row(what="theirs", clips_per_s=2.0, processor_s=4.0, **common)  # type: ignore[arg-type]  # same
    absent = Row(what="third", way="–", dtype="fp32", batch=1, note="not installed here")
    lines = model_tables.inference_table([mine, other, absent], "ours").splitlines()
    assert lines[2].endswith("| – | – |")
    assert lines[3].endswith("| 3.00 × | 4.00 × |")
    assert "not installed here" in lines[4]


def test_tables_without_rows_are_left_out() -> None:
    assert model_tables.inference_table([], "ours") == model_tables.part_table([]) == ""
    assert model_tables.training_table([]) == ""


def test_parts_are_compared_with_the_whole() -> None:
    rows = [PartRow("heads", "fp32", 1, 5.0, 1.0, 0.1, 0.9), PartRow("total", "fp32", 1, 20.0, 10.0, 1.0, 0.5)]
    assert "| 10.0% | 25.0% | 90% |" in model_tables.part_table(rows)


def test_the_machine_is_named() -> None:
    assert re.search(r"\d+ threads, load average at the end .+, torch \d", model_tables.headline(CPU))


def test_layouts_change_where_blocks_stand_not_how_many() -> None:
    base = fal_375m()
    layouts = model_layouts.layouts(base)
    assert all(sum(c.stage_depths) == 24 for c in layouts.values())
    assert len({(c.stage_depths, c.fusion_depth, c.clip.num_frames) for c in layouts.values()}) == len(layouts)
    assert base in layouts.values()
    twins = list(model_layouts.twins(preset("fal-nano")).values())
    assert {sum(c.stage_depths) for c in twins} == {8}
    assert len({c.stage_depths for c in twins}) == len(twins)
    assert {c.width for c in twins} == {preset("fal-nano").width}


def test_layouts_of_one_depth_cost_the_same_parameters() -> None:
    first, *_, last = model_layouts.twins(preset("fal-nano")).values()
    assert model_layouts.parameters_of(first) == model_layouts.parameters_of(last)
    assert model_layouts.gflop_of(first) > model_layouts.gflop_of(last)


def test_time_adds_up_from_blocks() -> None:
    parts_ms = {f"encoder.stages.{i}": 10.0**i for i in range(3)} | {"fusion": 1000.0, "motion": 0.5, "total": 9e9}
    config = fal_375m()
    first, second, third = config.stage_depths
    want_ms = first + 10 * second + 100 * third + 1000 * config.fusion_depth + 0.5
    assert model_layouts.added_up_ms(config, parts_ms) == want_ms


def test_parts_are_measured_with_one_block_each() -> None:
    parts_ms, rate = model_layouts.part_times_ms(MICRO, 1)
    assert sorted(parts_ms) == sorted([*PARTS, "rest", "total"])
    assert rate > 0
    with torch.device("meta"):
        assert parameter_budget(FALModel(MICRO, open_fal_500()))["total"] == model_layouts.parameters_of(MICRO)
