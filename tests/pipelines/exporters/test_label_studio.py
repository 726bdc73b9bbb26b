"""Label Studio: tasks, the configuration, and the way back through the importer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.taxonomy import Node, Taxonomy
from pipelines.exporters import label_studio
from pipelines.exporters.about import About
from pipelines.exporters.label_studio import frames_of, labeling_config, task
from pipelines.exporters.video import Segment, Video
from pipelines.importers import label_studio as importer
from pipelines.importers.assemble import Imported
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written
from tests.helpers.importing import as_json, check_counts, rows, run

LOCAL_FILES = "/data/local-files/?d=corpus/"


def accepted(given_task: dict[str, Any]) -> dict[str, Any]:
    """Return the task as Label Studio exports it after somebody submitted the prediction as it was."""
    (prediction,) = given_task["predictions"]
    results = [copy.deepcopy(result) | {"origin": "prediction"} for result in prediction["result"]]
    annotation = {
        "id": 31,
        "completed_by": 1,
        "result": results,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 12.5,
        "parent_prediction": 7,
        "result_count": len(results),
    }
    stored = [prediction | {"id": 7, "task": 5, "project": 2}]
    return {"id": 5, "data": given_task["data"], "annotations": [annotation], "predictions": stored, "file_upload": ""}


def back(tasks: list[dict[str, Any]], *names: str) -> Imported:
    done = run(importer.parse([as_json("export.json", tasks)]), *names)
    check_counts(done)
    return done


def test_a_task_has_the_video_and_what_the_model_says(tmp_path: Path) -> None:
    segments = [Segment("run", 1.0, 2.5, 0.5)]
    found = video("x/a b.mp4", segments=segments, is_abstained=True, split="val")
    files = written(label_studio.writing, tmp_path, [found, failed()], about(url_prefix=LOCAL_FILES))
    assert list(files) == ["labeling_config.xml", "tasks.json"]
    first, second = json.loads(files["tasks.json"])
    assert first["data"] == {
        "video": "/data/local-files/?d=corpus/x/a%20b.mp4",
        "video_id": "x/a b.mp4",
        "uri": "/videos/x/a b.mp4",
        "fps": 24.0,
        "duration_s": 10.0,
        "split": "val",
        "is_abstained": True,
        "failure": None,
    }
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("m1", 0.75)
    timeline, tree = prediction["result"]
    assert timeline == {
        "id": "segment-0",
        "from_name": "segments",
        "to_name": "video",
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 25, "end": 60}], "timelinelabels": ["run"]},
        "score": 0.5,
    }
    assert (tree["type"], tree["value"]) == ("taxonomy", {"taxonomy": [["sport", "run"]]})
    assert second["data"]["failure"] == "corrupt: damaged"
    assert "predictions" not in second


def test_a_video_without_labels_has_an_empty_prediction() -> None:
    found = task(Video(video_id="a", uri="a"), about())
    assert found["predictions"] == [{"model_version": "m1", "score": 0.0, "result": []}]


def test_what_was_accepted_comes_back(tmp_path: Path) -> None:
    found = [
        video("x/a.mp4", label("sport"), label("run"), segments=[Segment("run", 1.0, 2.5, 0.5)]),
        video("y/a.mp4", label("news"), label("sport")),
    ]
    files = written(label_studio.writing, tmp_path, [*found, failed()], about(url_prefix=LOCAL_FILES))
    tasks = json.loads(files["tasks.json"])
    done = back([accepted(tasks[0]), accepted(tasks[1]), tasks[2]], "x/a.mp4", "y/a.mp4", "z.mp4")
    segments = [{"label": "run", "start_s": 1.0, "end_s": 2.5}]
    assert rows(done) == [
        {"video_id": "x/a.mp4", "labels": ["run"], "segments": segments},
        {"video_id": "y/a.mp4", "labels": ["news", "sport"]},
        {"video_id": "z.mp4"},  # nobody looked at it: no truth
    ]


def test_what_was_corrected_comes_back() -> None:
    segments = [Segment("run", 1.0, 2.0, 0.5), Segment("run", 4.0, 5.0, 0.5), Segment("jump", 6.0, 7.0, 0.5)]
    found = video("a.mp4", label("run"), label("jump"), segments=segments)
    done_task = accepted(task(found, about(url_prefix="https://host/v/", frame_rate_fps=30.0)))
    moved, deleted, relabelled, tree = done_task["annotations"][0]["result"]
    moved["value"]["ranges"] = [{"start": 16, "end": 75}]
    relabelled["value"]["timelinelabels"] = ["studio"]
    tree["value"]["taxonomy"] = [["sport", "run"], ["news"]]
    added = copy.deepcopy(moved) | {"id": "Ab3", "origin": "manual"}
    added["value"] = {"ranges": [{"start": 271, "end": 300}], "timelinelabels": ["jump"]}
    done_task["annotations"][0]["result"] = [moved, relabelled, added, tree]
    assert deleted["id"] == "segment-1"
    (row,) = rows(back([done_task], "a.mp4"))
    assert row == {
        "video_id": "a.mp4",
        "labels": ["run", "studio", "jump", "news"],
        "segments": [
            {"label": "run", "start_s": 0.5, "end_s": 2.5},
            {"label": "studio", "start_s": 6.0, "end_s": 7.0},
            {"label": "jump", "start_s": 9.0, "end_s": 10.0},
        ],
    }


@pytest.mark.parametrize("prefix", ["", LOCAL_FILES, "https://host/v/", "s3://bucket/v/"])
def test_any_name_comes_back(prefix: str) -> None:
    names = [name for name in ODD_IDS if name.endswith(".mp4") and (prefix or "/" not in name)]
    if not prefix:  # a plain path is taken as an address
        names = [name for name in names if not set(name) & set("?#%\n\r\t")]
    tasks = [accepted(task(video(name), about(url_prefix=prefix))) for name in names]
    done = back(tasks, *names)
    assert {row["video_id"] for row in done.rows} == set(names)


@settings(deadline=None, max_examples=150)
@given(st.floats(0, 20_000), st.floats(0.1, 500), st.floats(10, 120))
def test_frames_do_not_drift(start_s: float, length_s: float, rate_fps: float) -> None:
    first, last = frames_of(Segment("run", start_s, start_s + length_s, 0.5), rate_fps)
    assert 1 <= first <= last
    assert abs((first - 1) / rate_fps - start_s) <= 0.5001 / rate_fps
    assert abs(last / rate_fps - start_s - length_s) <= 0.5001 / rate_fps


def test_the_shortest_segment_has_a_frame() -> None:
    assert frames_of(Segment("run", 1.0, 1.001, 0.5), 24.0) == (25, 25)
    assert frames_of(Segment("run", -0.5, 0.0, 0.5), 24.0) == (1, 1)


def parsed(told: About) -> ET.Element:
    return ET.fromstring(labeling_config(told))  # noqa: S314 - our own text


def test_the_configuration_names_every_class_as_the_results_do() -> None:
    root = parsed(about(frame_rate_fps=29.97))
    assert root.tag == "View"
    (player,) = root.findall("Video")
    assert player.attrib == {"name": "video", "value": "$video", "frameRate": "29.97"}
    (timeline,) = root.findall("TimelineLabels")
    assert [tag.attrib for tag in timeline] == [
        {"value": "run", "hint": "Running"},
        {"value": "jump", "hint": "Jumping"},
        {"value": "studio", "hint": "Studio"},
    ]
    (tree,) = root.findall("Taxonomy")
    assert [tag.get("value") for tag in tree] == ["sport", "news"]
    assert [tag.get("value") for tag in tree.findall("Choice/Choice")] == ["run", "jump", "studio"]
    results = task(video(segments=[Segment("run", 0, 1, 0.5)]), about())["predictions"][0]["result"]
    names = {tag.get("name"): tag.tag.lower() for tag in (timeline, tree)}
    assert {r["from_name"]: r["type"] for r in results} == names


def test_odd_classes_make_a_valid_configuration() -> None:
    deep = [Node(str(n), str(n), str(n - 1) if n else None) for n in range(1500)]
    odd = Node("<\"'&>", "a\nb")
    root = parsed(about(Taxonomy([*deep, odd])))
    values = {tag.get("value") for tag in root.iter("Choice")}
    assert values == {node.id for node in (*deep, odd)}
    assert parsed(about(None)).find("Taxonomy") is not None
