"""JSON Lines."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.exporters import jsonl
from pipelines.exporters.video import Segment
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written


def test_a_line_holds_everything(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", 1.0, 2.0, 0.5)], frame_times_s=(0.5,), embedding=(0.6, 0.8), split="val")
    files = written(jsonl.writing, tmp_path, [found, failed()], about(has_embeddings=True))
    assert list(files) == ["videos.jsonl"]
    first, second = map(json.loads, files["videos.jsonl"].splitlines())
    assert first == {
        "video_id": "a.mp4",
        "uri": "/videos/a.mp4",
        "split": "val",
        "sha256": "0" * 64,
        "duration_s": 10.0,
        "top_label": "run",
        "top_path": ["sport", "run"],
        "top_score": 0.75,
        "is_abstained": False,
        "labels": [
            {"label": "sport", "path": ["sport"], "level": 0, "score": 0.875},
            {"label": "run", "path": ["sport", "run"], "level": 1, "score": 0.75},
        ],
        "segments": [{"label": "run", "start_s": 1.0, "end_s": 2.0, "score": 0.5}],
        "num_segments_left_out": 0,
        "frame_times_s": [0.5],
        "coverage": 1.0,
        "model_id": "m1",
        "taxonomy_id": "t1",
        "pipeline_id": "p1",
        "embedding": [0.6, 0.8],
    }
    failure = {"stage": "decode", "kind": "corrupt", "message": "damaged", "attempts": 1}
    assert second == {"video_id": "z.mp4", "uri": "/videos/z.mp4", "split": None, "failure": failure}


def test_any_id_is_one_line(tmp_path: Path) -> None:
    files = written(jsonl.writing, tmp_path, [video(name, label()) for name in ODD_IDS])
    lines = files["videos.jsonl"].split("\n")
    assert [json.loads(line)["video_id"] for line in lines[:-1]] == list(ODD_IDS)
    assert "embedding" not in lines[0]
