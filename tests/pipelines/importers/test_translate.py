from __future__ import annotations

from pipelines.importers.annotations import Entry, Kind, Parsed, RawSegment
from pipelines.importers.translate import translate
from tests.helpers.importing import check_counts, rows, run, said

NODES = {"walking the dog": ("dog_walk",), "duet": ("sing", "play")}


def nodes(label: str) -> tuple[str, ...]:
    return NODES.get(label, ())


def segment(label: str, start: float, end: float) -> RawSegment:
    return RawSegment(label, start, end, f"{label} {start}")


def test_labels_and_segments_become_nodes_and_what_has_none_is_counted() -> None:
    entries = [
        Entry("1", ("a",), labels=("duet", "odd"), segments=(segment("duet", 0, 2), segment("odd", 2, 3))),
        Entry("2", ("b",), labels=("odd",), segments=(segment("odd", 0, 1),)),
        Entry("3", ("c",), labels=None),
        Entry("4", ("d",), labels=()),
        Entry("5", ("e",), left_out=Kind.BAD_ROW),
        Entry("6", ("f",), labels=("walking the dog",), segments=(segment("walking the dog", 1, 1),)),
    ]
    done = run(translate(Parsed(entries), nodes), *(f"{n}.mp4" for n in "abcdef"))
    assert rows(done) == [
        {
            "video_id": "a.mp4",
            "labels": ["sing", "play"],
            "segments": [
                {"label": "play", "start_s": 0.0, "end_s": 2.0},
                {"label": "sing", "start_s": 0.0, "end_s": 2.0},
            ],
        },
        {"video_id": "c.mp4"},
        {"video_id": "d.mp4", "labels": []},
        {"video_id": "f.mp4", "labels": ["dog_walk"]},
    ]
    assert said(done.problems) == [
        ("class odd", "no_class_in_tree", "class 'odd' (2 rows) has no certain class in Open FAL-500"),
        ("walking the dog 1", "segment_empty", "dog_walk, 1–1: has no length"),
    ]
    assert dict(done.rows_left_out) == {"no_class_in_tree": 1, "bad_row": 1}
    assert dict(done.segments_left_out) == {"no_class_in_tree": 2, "segment_empty": 1}
    assert [n.id for n in done.nodes] == ["dog_walk", "play", "sing"]
    check_counts(done)
