"""Long videos are shared out among workers, and nobody can tell from the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import label_corpus
from pipelines import tables
from tests.helpers.corpus import SPEC, write_broken, write_model, write_videos
from tests.helpers.video import numbered_video

LONG_S = 9
TABLES = ("labels", "failures", "predictions")


def rows_of(output: Path, table: str) -> list[dict[str, Any]]:
    read = tables.read_folder(str(output / table))
    assert read is not None
    rows: list[dict[str, Any]] = read.to_pylist()
    return sorted(rows, key=lambda row: (row["video_id"], row.get("clip_index", 0)))


@pytest.mark.ray
@pytest.mark.slow
def test_videos_done_in_pieces_give_the_same_rows(tmp_path: Path, ray_local: tuple[str, ...]) -> None:
    corpus, model_dir = tmp_path / "corpus", write_model(tmp_path / "model")
    write_videos(corpus, 2)
    write_broken(corpus)
    whole = numbered_video(corpus / "long.mp4", 10 * LONG_S)
    numbered_video(corpus / "cannot-be-cut.avi", 10 * LONG_S)
    (corpus / "half.mkv").write_bytes(numbered_video(tmp_path / "long.mkv", 10 * LONG_S).read_bytes()[:9000])
    settings = (*ray_local, "tracking.is_enabled=false", "label.max_failed_share=1", "resources.decode_workers=2")

    def run(name: str, piece_windows: int) -> Path:
        places = ["--input", str(corpus), "--output", str(tmp_path / name), "--model", str(model_dir)]
        assert label_corpus.main([*places, *settings, f"label.piece_windows={piece_windows}"]) == 0
        return tmp_path / name

    pieces, once = run("pieces", 2), run("once", 1000)

    for table in TABLES:
        assert rows_of(pieces, table) == rows_of(once, table), table
    num_clips = sum(row["video_id"] == whole.name for row in rows_of(pieces, "predictions"))
    assert num_clips == LONG_S / SPEC.window_s > 4
    summaries = [json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in (pieces, once)]
    assert [s["seen"] for s in summaries] == [8, 8]
    assert summaries[0]["clips"] == summaries[1]["clips"]
