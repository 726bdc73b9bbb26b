"""ActivityNet JSON: the annotation file of a data set, and the file that its evaluation reads.

Source: ``activity_net.v1-3.min.json`` and the submission format of the detection task: ``{"version", "results":
{"<id>": [{"label", "score", "segment": [start, end]}]}, "external_data"}``.

An annotation without a segment is not known there, so labels of the whole video stand beside the annotations as
``labels``; others pass over that field, FAL's importer reads it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipelines import storage
from pipelines.exporters.about import About, Row, Write
from pipelines.exporters.media import media_address
from pipelines.exporters.text import Items, json_text
from pipelines.exporters.video import Video

DATABASE, RESULTS = "activitynet.json", "results.json"
SUBSETS = {"train": "training", "val": "validation", "test": "testing"}
NO_SPLIT = "validation"
ROOT_ID, ROOT = 0, "Root"


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write ``activitynet.json`` and ``results.json``; videos that failed stand in the first one under ``failures``."""
    head = f'"version": {json_text(f"FAL model {about.model_id}")}'
    with ExitStack() as opened:
        database = opened.enter_context(storage.writing(storage.join(folder, DATABASE)))
        results = opened.enter_context(storage.writing(storage.join(folder, RESULTS)))
        spool = opened.enter_context(tempfile.TemporaryFile())  # failures come last, and may be many
        taxonomy = json_text(_taxonomy(about))
        videos = Items(database, f'{{{head},\n"taxonomy": {taxonomy},\n"database": {{')
        found, failures = Items(results, f'{{{head},\n"results": {{'), Items(spool, '},\n"failures": {')

        def write(video: Video) -> None:
            key = json_text(video.video_id)
            if video.failure is not None:
                failure = {"path": video.uri, "stage": video.failure.stage, "kind": video.failure.kind}
                failures.add(f"{key}: {json_text(failure | {'message': video.failure.message})}")
                return
            videos.add(f"{key}: {json_text(_entry(video, about))}")
            found.add(f"{key}: {json_text(_annotations(video))}")

        yield write
        videos.end("")
        failures.end("}}\n")
        spool.seek(0)
        shutil.copyfileobj(spool, database)
        found.end('},\n"external_data": {}}\n')


def _entry(video: Video, about: About) -> Row:
    return {
        "subset": SUBSETS.get(video.split or "", NO_SPLIT),
        "duration": video.duration_s,
        "url": media_address(video, about.config),
        "path": video.uri,
        "is_abstained": video.is_abstained,
        "annotations": _annotations(video),
        "labels": [{"label": found.label, "score": found.score} for found in video.labels],
    }


def _annotations(video: Video) -> list[Row]:
    return [{"label": s.label, "segment": [s.start_s, s.end_s], "score": s.score} for s in video.segments]


def _taxonomy(about: About) -> list[Row]:
    """Return the tree below a root; names are ids, because labels are."""
    numbers = {node.id: number for number, node in enumerate(about.nodes, start=ROOT_ID + 1)}
    root: list[Row] = [{"nodeId": ROOT_ID, "nodeName": ROOT, "parentId": None, "parentName": None}]
    return root + [
        {
            "nodeId": numbers[node.id],
            "nodeName": node.id,
            "parentId": ROOT_ID if node.parent is None else numbers[node.parent],
            "parentName": node.parent or ROOT,
        }
        for node in about.nodes
    ]
