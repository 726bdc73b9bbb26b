"""Predictions made anew are those that the job's stages left, to the last bit."""

from __future__ import annotations

from pathlib import Path

from pipelines import label_parts, run_record, tables
from pipelines.clip_batches import Failure
from pipelines.config import LabelConfig
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.rederive import Rederiver
from tests.helpers.corpus import BROKEN, write_broken, write_model, write_videos
from tests.helpers.label_plan import label_in_process


def test_they_are_the_same_whatever_the_ranges(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    write_videos(tmp_path / "videos", 3)
    write_broken(tmp_path / "videos")
    label_in_process(tmp_path / "videos", tmp_path / "out", model, LabelConfig())
    run = run_record.last_run(str(tmp_path / "out"))
    rows = label_parts.read_part(run.manifest, 0)
    stored = tables.read_table(label_parts.table_uri(str(tmp_path / "out"), "predictions", rows[0]["part"]))
    predictor = ClipPredictor.load(str(model), "cpu")
    rederiver = Rederiver(predictor, run.settings)
    found = {row["video_id"]: rederiver.predictions(row) for row in rows}
    rederiver.close()
    assert {name: f.kind for name, f in found.items() if isinstance(f, Failure)} == BROKEN
    assert len(found) == 3 + len(BROKEN)
    for video_id, fresh in found.items():
        if not isinstance(fresh, Failure):
            mine = [row for row in stored.to_pylist() if row["video_id"] == video_id]
            assert fresh.to_pylist() == mine


def test_a_long_video_is_done_in_the_ranges_of_the_run(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (row,) = write_videos(tmp_path / "videos", 1)
    predictor = ClipPredictor.load(str(model), "cpu")
    tables_found = []
    for piece_windows in (1, 100):
        settings = run_record.Settings(LabelConfig(piece_windows=piece_windows), DecodeLimits())
        rederiver = Rederiver(predictor, settings)
        uri = str(tmp_path / "videos" / row["uri"])
        tables_found.append(rederiver.predictions({"video_id": "v", "uri": uri}))
        rederiver.close()
    one, other = tables_found
    assert not isinstance(one, Failure)
    assert one.num_rows > 1
    assert one.equals(other)
