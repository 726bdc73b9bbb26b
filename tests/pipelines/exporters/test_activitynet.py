"""ActivityNet JSON, out and in again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.exporters import activitynet
from pipelines.exporters.video import Segment, Video
from pipelines.importers import activitynet as importer
from pipelines.importers.annotations import TextFile
from pipelines.importers.assemble import Imported
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written
from tests.helpers.importing import check_counts, run
from tests.helpers.report_folder import TAXONOMY


def back(folder: Path, videos: list[Video]) -> Imported:
    """Export videos and import what was written."""
    files = written(activitynet.writing, folder, videos)
    read = importer.parse([TextFile("activitynet.json", files["activitynet.json"].encode())])
    done = run(read, *(one.video_id for one in videos))
    check_counts(done)
    return done


def test_annotations_and_results(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", 1.5, 2.25, 0.5)], split="train", is_abstained=True)
    files = written(activitynet.writing, tmp_path, [found, failed()], about(url_prefix="https://host/"))
    data = json.loads(files["activitynet.json"])
    annotations = [{"label": "run", "segment": [1.5, 2.25], "score": 0.5}]
    assert data["version"] == "FAL model m1"
    assert data["database"] == {
        "a.mp4": {
            "subset": "training",
            "duration": 10.0,
            "url": "https://host/a.mp4",
            "path": "/videos/a.mp4",
            "is_abstained": True,
            "annotations": annotations,
            "labels": [{"label": "sport", "score": 0.875}, {"label": "run", "score": 0.75}],
        }
    }
    failure = {"path": "/videos/z.mp4", "stage": "decode", "kind": "corrupt", "message": "damaged"}
    assert data["failures"] == {"z.mp4": failure}
    assert data["taxonomy"][0] == {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}
    assert data["taxonomy"][3] == {"nodeId": 3, "nodeName": "run", "parentId": 1, "parentName": "sport"}
    results = json.loads(files["results.json"])
    assert results == {"version": "FAL model m1", "results": {"a.mp4": annotations}, "external_data": {}}


def test_nothing_is_valid_json_too(tmp_path: Path) -> None:
    files = written(activitynet.writing, tmp_path, [], about(None))
    assert json.loads(files["activitynet.json"])["database"] == {}
    assert json.loads(files["results.json"])["results"] == {}


def test_what_comes_back_is_what_went_out(tmp_path: Path) -> None:
    videos = [
        video("x/a.mp4", segments=[Segment("run", 1 / 3, 2.1, 0.5), Segment("jump", 2.0, 10.0, 0.5)], split="test"),
        video("y/a.mp4", label("news"), uri="/videos/y/a.mp4", split="train"),
    ]
    done = back(tmp_path, videos)
    first, second = done.rows
    assert (first["video_id"], first["labels"], first["split"]) == ("x/a.mp4", ["sport", "run", "jump"], "test")
    assert first["duration_s"] == 10.0
    assert first["segments"] == [
        {"label": "run", "start_s": 1 / 3, "end_s": 2.1},
        {"label": "jump", "start_s": 2.0, "end_s": 10.0},
    ]
    assert (second["video_id"], second["labels"], second["segments"]) == ("y/a.mp4", ["news"], None)
    taxonomy = done.taxonomy()
    assert taxonomy is not None
    assert {n.id: n.parent for n in taxonomy.nodes} == {n.id: n.parent for n in TAXONOMY.nodes}
    assert done.problems == []


def test_any_id_comes_back(tmp_path: Path) -> None:
    names = [name for name in ODD_IDS if name.endswith(".mp4")]
    done = back(tmp_path, [video(name) for name in names])
    assert {row["video_id"] for row in done.rows} == set(names)


TIMES = st.tuples(st.floats(0, 9.5), st.floats(0.01, 0.5)).map(lambda t: (t[0], t[0] + t[1]))


@settings(deadline=None, max_examples=40)
@given(st.lists(TIMES, max_size=5))
def test_times_come_back_exactly(times: list[tuple[float, float]]) -> None:
    apart: list[tuple[float, float]] = []  # what overlaps would be joined
    for start_s, end_s in sorted(times):
        if not apart or start_s >= apart[-1][1]:
            apart.append((start_s, end_s))
    segments = [Segment("run", start_s, end_s, 0.5) for start_s, end_s in apart]
    with tempfile.TemporaryDirectory() as folder:
        (row,) = back(Path(folder), [video("a.mp4", segments=segments)]).rows
    assert [(s["start_s"], s["end_s"]) for s in row["segments"] or ()] == apart
