from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from fal_model.open_fal_500 import open_fal_500
from pipelines.class_map import load_class_map, set_names
from pipelines.importers.annotations import Entry, Kind, Parsed, RawSegment
from pipelines.importers.formats import Format
from pipelines.importers.translate import SETS, nodes_of, translate
from tests.helpers.importing import check_counts, rows, run, said

NODES = {"walking the dog": ("dog_walk",), "duet": ("sing", "play"), "odd": ()}


def nodes(label: str) -> tuple[str, ...] | None:
    return NODES.get(label)


def segment(label: str, start: float, end: float) -> RawSegment:
    return RawSegment(label, start, end, f"{label} {start}")


def test_labels_and_segments_become_nodes_and_what_has_none_is_counted() -> None:
    entries = [
        Entry("1", ("a",), labels=("duet", "odd", "typo"), segments=(segment("duet", 0, 2), segment("odd", 2, 3))),
        Entry("2", ("b",), labels=("odd",), segments=(segment("odd", 0, 1),)),
        Entry("3", ("c",), labels=None),
        Entry("4", ("d",), labels=()),
        Entry("5", ("e",), left_out=Kind.BAD_ROW),
        Entry("7", ("g",), labels=("odd", "typo")),
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
        ("class odd", "no_class_in_tree", "class 'odd' (3 rows) has no certain class in Open FAL-500"),
        ("class typo", "unknown_class", "class 'typo' (2 rows) is unknown to the class map"),
        ("walking the dog 1", "segment_empty", "dog_walk, 1–1: has no length"),
    ]
    assert dict(done.rows_left_out) == {"no_class_in_tree": 1, "bad_row": 1, "unknown_class": 1}
    assert dict(done.segments_left_out) == {"no_class_in_tree": 2, "segment_empty": 1}
    assert [n.id for n in done.nodes] == ["dog_walk", "play", "sing"]
    check_counts(done)


LABELS = {
    Format.KINETICS: "abseiling",
    Format.UCF101: "HandstandPushups",
    Format.HMDB51: "brush_hair",
    Format.SOMETHING: "Turning something upside down",
    Format.ACTIVITYNET: "Long jump",
    Format.HACS_CLIPS: "Archery",
    Format.THUMOS14: "CricketBowling",
    Format.CHARADES: "c006",
    Format.MOMENTS: "clapping",
}


@pytest.mark.parametrize(("of", "label"), LABELS.items())
def test_labels_of_the_public_sets_are_translated_by_the_class_map(of: Format, label: str) -> None:
    expected = load_class_map(SETS[of][0]).open_fal_500_of(label)
    assert expected
    assert nodes_of(of)(label) == expected
    assert all(node in open_fal_500() for node in expected)
    assert nodes_of(of)("no such class") is None


def test_every_set_of_a_format_has_a_class_map() -> None:
    assert {name for names in SETS.values() for name in names} <= set(set_names())
    assert set(SETS) == set(LABELS)


def test_formats_with_labels_of_ones_own_need_to_say_whose_they_are() -> None:
    assert nodes_of(Format.FOLDERS, "kinetics-400")("abseiling") == nodes_of(Format.KINETICS)("abseiling")
    with pytest.raises(ConfigError, match="the format folders has labels of its own; say whose classes its labels are"):
        nodes_of(Format.FOLDERS)
    with pytest.raises(ConfigError, match=r"importing\.class_set: got 'mine', allowed are kinetics-400, "):
        nodes_of(Format.FOLDERS, "mine")
