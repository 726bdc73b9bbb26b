"""FiftyOne: a data set of samples, and the segments beside it.

Source: the documentation of FiftyOneDataset and FiftyOneTemporalDetectionDataset, and what FiftyOne 1.22 itself writes.

FiftyOne counts frames, from one; the labels know seconds. How many frames a video has is known to FiftyOne when it
opens it, so the segments are a data set of the second kind, which has seconds: FiftyOne turns them into frames by the
length and the number of frames of each file. Loaded one after the other they become one data set, see
``docs/exporting.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from pipelines import storage
from pipelines.exporters.about import About, Row, Write
from pipelines.exporters.media import media_path
from pipelines.exporters.text import Items, json_text
from pipelines.exporters.video import Label, Video

SAMPLES, METADATA = ("dataset", "samples.json"), ("dataset", "metadata.json")
SEGMENTS, MEDIA = ("segments", "labels.json"), ("segments", "data.json")
VERSION = "1.0.0"
"""The oldest FiftyOne that reads it; newer ones bring it up to date themselves."""
FAILED, ABSTAINED = "failed", "abstained"
ID_CHARS = 24


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write ``dataset/`` and ``segments/``; a video that failed is a sample with the tag ``failed`` and the reason."""
    numbers = {node.id: number for number, node in enumerate(about.nodes)}
    with ExitStack() as opened:

        def file(name: tuple[str, str]) -> BinaryIO:
            return opened.enter_context(storage.writing(storage.join(folder, *name)))

        file(METADATA).write((json_text(_metadata(about)) + "\n").encode())
        samples = Items(file(SAMPLES), '{"samples": [')
        segments = Items(file(SEGMENTS), f'{{"classes": {json_text(list(numbers))},\n"labels": {{')
        media = Items(file(MEDIA), "{")

        def write(video: Video) -> None:
            path = media_path(video, about.config)
            samples.add(json_text(_sample(video, path, about)))
            if video.segments:
                key = json_text(_id_of(video.video_id))
                segments.add(f"{key}: {json_text([_detection(video, i, numbers) for i in range(len(video.segments))])}")
                media.add(f"{key}: {json_text(path)}")

        yield write
        samples.end("]}\n")
        segments.end("}}\n")
        media.end("}\n")


def _detection(video: Video, index: int, numbers: dict[str, int]) -> Row:
    s = video.segments[index]
    return {"label": numbers.get(s.label, s.label), "timestamps": [s.start_s, s.end_s], "confidence": s.score}


def _sample(video: Video, path: str, about: About) -> Row:
    digest = _id_of(video.video_id)
    failure = video.failure
    tags = [video.split] if video.split else []
    tags += [FAILED] if failure is not None else [ABSTAINED] if video.is_abstained else []
    sample: Row = {
        "_id": {"$oid": digest},
        "_media_type": "video",
        "_rand": int(digest, 16) / 16**ID_CHARS,
        "filepath": path,
        "tags": tags,
        "video_id": video.video_id,
        "uri": video.uri,
    }
    if failure is not None:
        return sample | {"failure_kind": failure.kind, "failure_message": failure.message}
    sample |= {"duration_s": video.duration_s, "coverage": video.coverage, "is_abstained": video.is_abstained}
    sample |= {"sha256": video.sha256, "model_id": about.model_id}
    if video.top_score is not None:
        sample["top_label"] = _classification(video, Label(video.top_label, video.top_path, video.top_score), "top")
    found = [_classification(video, label, "label") for label in video.labels]
    sample["labels"] = {"_cls": "Classifications", "classifications": found}
    if about.config.has_embeddings:
        sample["embedding"] = video.embedding
    return sample


def _classification(video: Video, found: Label, role: str) -> Row:
    return {
        "_id": {"$oid": _id_of(f"{video.video_id}\0{role}\0{found.label}")},
        "_cls": "Classification",
        "tags": [],
        "label": found.label,
        "confidence": found.score,
        "level": found.level,
        "path": list(found.path),
    }


def _id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARS]


def _metadata(about: About) -> Row:
    """Return the description of the data set: what fields there are, so that none is guessed."""
    classification = [
        _field("id", "ObjectIdField", stored_as="_id"),
        _field("tags", "ListField", of="StringField"),
        _field("label", "StringField"),
        _field("confidence", "FloatField"),
        _field("level", "IntField"),
        _field("path", "ListField", of="StringField"),
    ]
    doc = "fiftyone.core.labels.Classification"
    several = _field("classifications", "ListField", of="EmbeddedDocumentField", doc=doc, fields=classification)
    texts = ("video_id", "uri", "sha256", "model_id", "failure_kind", "failure_message")
    fields = [
        _field("filepath", "StringField"),
        _field("id", "ObjectIdField", stored_as="_id"),
        _field("tags", "ListField", of="StringField"),
        _field("_media_type", "StringField"),
        _field("_rand", "FloatField"),
        _field("metadata", "EmbeddedDocumentField", doc="fiftyone.core.metadata.VideoMetadata"),
        *(_field(name, "StringField") for name in texts),
        *(_field(name, "FloatField") for name in ("duration_s", "coverage")),
        _field("is_abstained", "BooleanField"),
        _field("top_label", "EmbeddedDocumentField", doc=doc, fields=classification),
        _field("labels", "EmbeddedDocumentField", doc=f"{doc}s", fields=[several]),
    ]
    if about.config.has_embeddings:
        fields.append(_field("embedding", "ListField", of="FloatField"))
    info = {"model_id": about.model_id, "taxonomy_id": about.taxonomy_id, "pipeline_id": about.pipeline_id}
    return {"version": VERSION, "media_type": "video", "sample_fields": fields, "info": info}


def _field(
    name: str, kind: str, *, of: str = "", doc: str = "", fields: Sequence[Row] = (), stored_as: str = ""
) -> Row:
    return {
        "name": name,
        "ftype": f"fiftyone.core.fields.{kind}",
        "subfield": f"fiftyone.core.fields.{of}" if of else None,
        "embedded_doc_type": doc or None,
        "fields": list(fields),
        "db_field": stored_as or name,
    }
