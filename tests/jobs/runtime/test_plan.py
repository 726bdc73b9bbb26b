from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import plan


def test_plan_prints_and_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = plan.main(["--videos", "2.5e6", "--output", str(tmp_path), "plan.epochs=3", "plan.core_hour_price=0.05"])
    assert code == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["videos"] == 2_500_000
    assert summary["clips"] == 7_500_000
    shown = capsys.readouterr().out
    assert "7,500,000 clips" in shown
    assert "for 3 epochs" in shown
    assert "cost: " in shown


@pytest.mark.parametrize("videos", ["many", "0", "1.5", "inf", "1e13"])
def test_a_number_of_videos_that_is_none_is_refused(videos: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--videos", videos]) == 2
    assert f"--videos: got '{videos}', must be a whole number from 1 to 1e+12" in capsys.readouterr().err
