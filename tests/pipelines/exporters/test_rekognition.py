"""JSON in the shape of Rekognition's GetLabelDetection, held against the service's own description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from pipelines.exporters import rekognition
from pipelines.exporters.rekognition import AggregateBy, response
from pipelines.exporters.video import Segment, Video
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written

PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "long": int,
    "integer": int,
    "float": (int, float),
    "list": list,
    "structure": dict,
}


@pytest.fixture(scope="module")
def shape() -> Any:
    session = botocore.session.Session()
    return session.get_service_model("rekognition").operation_model("GetLabelDetection").output_shape


def check_shape(value: Any, shape: Any) -> None:
    """Check that a value has the types, the members and the limits of the service's description."""
    assert isinstance(value, PYTHON_TYPES[shape.type_name]), (value, shape)
    assert not isinstance(value, bool)
    members: Any = value
    if shape.type_name == "structure":
        assert set(members) <= set(shape.members)
        for name, member in members.items():
            check_shape(member, shape.members[name])
    elif shape.type_name == "list":
        for item in members:
            check_shape(item, shape.member)
    else:
        size = value if not isinstance(value, str) else len(value)
        assert shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size), (value, shape)
        if "enum" in shape.metadata:
            assert value in shape.metadata["enum"]


@pytest.mark.parametrize("aggregate_by", ["SEGMENTS", "TIMESTAMPS"])
@pytest.mark.parametrize("name", [*ODD_IDS, "plain/a.mp4"])
def test_the_answer_has_the_service_s_shape(shape: Any, aggregate_by: AggregateBy, name: str) -> None:
    segments = [Segment("run", -0.25, 2.1, 0.5), Segment("jump", 2.0, 3.0, 0.25)]
    found = video(name, segments=segments, frame_times_s=(0.5, 1.5, 2.5), uri="s3://bucket/x/a.mp4", is_abstained=True)
    for one in (found, failed(name), video(name, duration_s=None)):
        check_shape(response(one, about(), aggregate_by), shape)


def times_of(found: Video, aggregate_by: AggregateBy = "SEGMENTS") -> list[tuple[Any, ...]]:
    keys = ("StartTimestampMillis", "EndTimestampMillis", "DurationMillis") if aggregate_by == "SEGMENTS" else ()
    labels = response(found, about(), aggregate_by)["Labels"]
    return [(e["Timestamp"], e["Label"]["Name"], e["Label"]["Confidence"], *(e[k] for k in keys)) for e in labels]


def test_one_video(tmp_path: Path) -> None:
    found = video("x/a.mp4", label(), segments=[Segment("run", 1.5, 2.25, 0.9)], uri="s3://bucket/x/a.mp4")
    files = written(rekognition.writing, tmp_path, [found, failed()])
    assert list(files) == ["index.jsonl", "x%2Fa.mp4.json", "z.mp4.json"]
    answer = json.loads(files["x%2Fa.mp4.json"])
    assert answer.pop("JobId") == json.loads(json.dumps(response(found, about(), "SEGMENTS")))["JobId"]
    assert answer == {
        "JobStatus": "SUCCEEDED",
        "Labels": [
            {
                "Timestamp": 1500,
                "Label": {
                    "Name": "run",
                    "Confidence": 90.0,
                    "Instances": [],
                    "Parents": [{"Name": "sport"}],
                    "Aliases": [{"Name": "Running"}],
                    "Categories": [{"Name": "sport"}],
                },
                "StartTimestampMillis": 1500,
                "EndTimestampMillis": 2250,
                "DurationMillis": 750,
            }
        ],
        "LabelModelVersion": "m1",
        "GetRequestMetadata": {"SortBy": "TIMESTAMP", "AggregateBy": "SEGMENTS"},
        "VideoMetadata": {"DurationMillis": 10000},
        "JobTag": "x/a.mp4",
        "Video": {"S3Object": {"Bucket": "bucket", "Name": "x/a.mp4"}},
    }
    failure = json.loads(files["z.mp4.json"])
    assert (failure["JobStatus"], failure["StatusMessage"], failure["Labels"]) == ("FAILED", "corrupt: damaged", [])


def test_parents_are_there_when_a_child_is() -> None:
    segments = [Segment("run", 1, 2, 0.5), Segment("jump", 1.5, 3, 0.75), Segment("run", 5, 6, 0.25)]
    found = video("a", label("sport", 0.9), label("run"), label("jump"), segments=segments)
    assert times_of(found) == [
        (1000, "sport", 75.0, 1000, 3000, 2000),
        (1000, "run", 50.0, 1000, 2000, 1000),
        (1500, "jump", 75.0, 1500, 3000, 1500),
        (5000, "run", 25.0, 5000, 6000, 1000),
        (5000, "sport", 25.0, 5000, 6000, 1000),
    ]
    only_run = video("a", label("run"), segments=segments[:1])  # the parent was filtered out
    assert [name for _, name, *_ in times_of(only_run)] == ["run"]


def test_a_label_without_a_segment_holds_of_the_whole_video() -> None:
    assert times_of(video("a", label("studio", 0.5))) == [(0, "studio", 50.0, 0, 10000, 10000)]
    assert times_of(video("a", label("studio", 0.5), duration_s=None)) == [(0, "studio", 50.0, 0, 0, 0)]


def test_by_timestamps_a_label_stands_at_each_frame_that_was_looked_at(tmp_path: Path) -> None:
    segments = [Segment("run", 1, 3, 0.5), Segment("run", 3.2, 3.4, 0.25)]
    found = video("a", label("run"), segments=segments, frame_times_s=(0.5, 1.0, 2.0, 3.0, 4.0))
    assert times_of(found, "TIMESTAMPS") == [(1000, "run", 50.0), (2000, "run", 50.0), (3200, "run", 25.0)]
    files = written(rekognition.writing_timestamps, tmp_path, [found])
    assert json.loads(files["a.json"])["GetRequestMetadata"]["AggregateBy"] == "TIMESTAMPS"
    assert "StartTimestampMillis" not in json.loads(files["a.json"])["Labels"][0]


def test_a_class_that_is_not_in_the_tree() -> None:
    (entry,) = response(Video(video_id="a", uri="a", segments=(Segment("gone", 0, 1, 0.5),)), about(), "SEGMENTS")[
        "Labels"
    ]
    assert (entry["Label"]["Name"], entry["Label"]["Parents"]) == ("gone", [])
