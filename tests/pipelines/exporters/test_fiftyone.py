"""FiftyOne: the files, and FiftyOne itself where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.exporters import fiftyone
from pipelines.exporters.video import Segment
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written
from tests.helpers.video import numbered_video

FILES = ["dataset/metadata.json", "dataset/samples.json", "segments/data.json", "segments/labels.json"]


def test_samples_and_segments(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", 1.5, 2.25, 0.5)], split="val", is_abstained=True, embedding=(0.6, 0.8))
    files = written(fiftyone.writing, tmp_path, [found, video("b.mp4"), failed()], about(has_embeddings=True))
    assert list(files) == FILES
    first, second, third = json.loads(files["dataset/samples.json"])["samples"]
    assert first["filepath"] == "/videos/a.mp4"
    assert first["tags"] == ["val", "abstained"]
    assert (first["top_label"]["label"], first["top_label"]["confidence"]) == ("run", 0.75)
    assert [(c["label"], c["level"]) for c in first["labels"]["classifications"]] == [("sport", 0), ("run", 1)]
    assert first["embedding"] == [0.6, 0.8]
    assert second["tags"] == []
    assert (third["tags"], third["failure_kind"]) == (["failed"], "corrupt")
    segments, media = (json.loads(files[name]) for name in ("segments/labels.json", "segments/data.json"))
    assert segments["classes"] == ["sport", "news", "run", "jump", "studio"]
    ((key, detections),) = segments["labels"].items()
    assert detections == [{"label": 2, "timestamps": [1.5, 2.25], "confidence": 0.5}]
    assert media == {key: "/videos/a.mp4"}


def test_every_field_that_is_used_is_described_and_ids_differ(tmp_path: Path) -> None:
    videos = [video(name, label("sport"), label("run"), embedding=(1.0,)) for name in ODD_IDS]
    files = written(fiftyone.writing, tmp_path, [*videos, failed()], about(has_embeddings=True))
    described = {field["db_field"]: field for field in json.loads(files[FILES[0]])["sample_fields"]}
    samples = json.loads(files[FILES[1]])["samples"]
    assert set().union(*samples) <= set(described)
    (several,) = described["labels"]["fields"]
    assert set(samples[0]["top_label"]) - {"_cls"} <= {field["db_field"] for field in several["fields"]}
    ids = [sample["_id"]["$oid"] for sample in samples]
    ids += [c["_id"]["$oid"] for s in samples[:-1] for c in (*s["labels"]["classifications"], s["top_label"])]
    assert len(set(ids)) == len(ids)
    assert all(len(bytes.fromhex(found)) == 12 for found in ids)
    assert all(0 <= sample["_rand"] < 1 for sample in samples)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of FiftyOne and its database
def test_fiftyone_opens_it(tmp_path: Path) -> None:
    fo = pytest.importorskip("fiftyone", reason="the package fiftyone is not installed")
    path = numbered_video(tmp_path / "a b é.mp4", 50, fps=25)
    segments = [Segment("run", 0.5, 1.0, 0.5), Segment("jump", 0.0, 2.0, 0.25)]
    found = video(path.name, uri=str(path), segments=segments, duration_s=2.0, split="val", embedding=(0.6, 0.8))
    gone = failed("gone.mp4")
    folder = tmp_path / "out"
    written(fiftyone.writing, folder, [found, gone], about(has_embeddings=True))

    data = fo.Dataset.from_dir(str(folder / "dataset"), dataset_type=fo.types.FiftyOneDataset)
    kind = fo.types.FiftyOneTemporalDetectionDataset
    data.merge_dir(
        str(folder / "segments"), dataset_type=kind, data_path="data.json", label_field="segments", dynamic=False
    )
    try:
        assert (len(data), data.media_type, data.info["model_id"]) == (2, "video", "m1")
        sample = data.match(fo.ViewField("video_id") == path.name).first()
        assert (sample.filepath, sample.tags, sample.top_label.label) == (str(path), ["val"], "run")
        assert [(c.label, c.confidence, c.level) for c in sample.labels.classifications] == [
            ("sport", 0.875, 0),
            ("run", 0.75, 1),
        ]
        assert list(sample.embedding) == [0.6, 0.8]
        supports = {d.label: (d.support, d.confidence) for d in sample.segments.detections}
        assert supports["jump"] == ([1, 50], 0.25)  # frames count from one
        first, last = supports["run"][0]
        assert abs((first - 1) / 25 - 0.5) <= 1 / 25
        assert abs(last / 25 - 1.0) <= 1 / 25
        (bad,) = data.match_tags("failed")
        assert (bad.failure_kind, bad.labels, bad.segments) == ("corrupt", None, None)
    finally:
        data.delete()
