"""Settings of the export job."""

from __future__ import annotations

from typing import Any

import pytest

from fal_model.errors import ConfigError
from pipelines.exporters.settings import ExportConfig, Format

ALL = "activitynet, csv, fiftyone, jsonl, label-studio, rekognition, rekognition-timestamps, webvtt"


def test_one_or_several_formats_are_taken_each_once() -> None:
    assert ExportConfig(format="csv").formats == [Format.CSV]
    assert ExportConfig(format="webvtt, csv,csv,").formats == [Format.CSV, Format.WEBVTT]
    assert ExportConfig(format=("jsonl", "csv")).formats == [Format.CSV, Format.JSONL]
    assert ExportConfig().formats == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"format": "csv,coco"}, f"export.format: got 'coco', allowed are {ALL}"),
        ({"min_score": 1.5}, "export.min_score: got 1.5, must be ≥ 0 and ≤ 1"),
        ({"levels": (0, -1)}, "export.levels: got -1, must be ≥ 0"),
        ({"top_k": -1}, "export.top_k: got -1, must be ≥ 0"),
        ({"frame_rate_fps": 0.0}, "export.frame_rate_fps: got 0.0, must be > 0 and ≤ 1000"),
        (
            {"media_root": "/videos"},
            "export.media_root: says what url_prefix takes the place of, but url_prefix is empty",
        ),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ExportConfig(**settings)
    assert raised.value.problems == [problem]


def test_formats_and_classes_are_checked_together() -> None:
    with pytest.raises(ConfigError) as raised:
        ExportConfig(labels=("run", "jmp", "spport")).check(["sport", "run"])
    known = "Without --taxonomy only those are known that were found"
    assert raised.value.problems == [
        f"export.format: missing; one or several of {ALL}",
        f"export.labels: got 'jmp', which is none of the 2 classes; {known}",
        f"export.labels: got 'spport', which is none of the 2 classes; did you mean sport? {known}",
    ]
    ExportConfig(labels="run", format="csv").check(["run"])


@pytest.mark.parametrize("settings", [{"min_score": 0.1}, {"labels": "run"}, {"levels": (0,)}, {"top_k": 1}])
def test_each_filter_counts_as_one(settings: dict[str, Any]) -> None:
    assert ExportConfig(**settings).has_filter
    assert not ExportConfig(format="csv", url_prefix="x", labels="").has_filter
