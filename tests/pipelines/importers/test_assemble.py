from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, Kind, Parsed, RawSegment
from pipelines.importers.assemble import assemble
from pipelines.listing import FoundFile
from tests.helpers.importing import check_counts, index, rows, run, said


def entry(place: str, name: str = "a", **fields: Any) -> Entry:
    return Entry(place, **{"names": (name,), "labels": ("x",), **fields})


def test_rows_of_one_video_become_one() -> None:
    entries = [
        entry("1", split="test", duration=4, group="g"),
        entry("2", split="train", duration="5.5", group="h", labels=("y", "x")),
        entry("3", split="dev", duration=-1),
        entry("4", "b.mp4", labels=None),
        entry("5", "a", labels=None),
    ]
    done = run(Parsed(entries), "b.mp4", "k/a.mp4")
    assert rows(done) == [
        {"video_id": "b.mp4"},
        {"video_id": "k/a.mp4", "labels": ["x", "y"], "split": "test", "duration_s": 5.5, "group": "g"},
    ]
    assert said(done.problems) == [
        ("2", "several_splits", "k/a.mp4: train here, test before; the held-out one holds"),
        ("2", "several_durations", "k/a.mp4: 5.5 s here, 4 s before; the longest holds"),
        ("2", "several_groups", "k/a.mp4: group 'h' here, 'g' before; the first holds"),
        ("3", "unknown_split", "k/a.mp4: split 'dev' is none of train, val, test; it is left empty"),
        ("3", "bad_duration", "k/a.mp4: duration -1 is not a number > 0; it is left empty"),
    ]
    assert (done.rows_read, done.rows_merged) == (5, 3)
    check_counts(done)


def test_the_held_out_split_holds_whatever_comes_first() -> None:
    for order in (("train", "val", "test"), ("test", "val", "train")):
        done = run(Parsed([entry(str(i), split=split) for i, split in enumerate(order)]), "a.mp4")
        assert done.rows[0]["split"] == "test"
        assert [p.kind for p in done.problems] == [Kind.SEVERAL_SPLITS] * 2


def test_segments_of_the_rows_of_one_video_are_put_together() -> None:
    entries = [
        entry("1", segments=(RawSegment("x", 0, 2, "1"),), duration=9),
        entry("2", segments=(RawSegment("y", 8, 12, "2"),)),
        entry("3", segments=(RawSegment("x", 0, 2, "3"),), duration=9),
    ]
    done = run(Parsed(entries), "a.mp4")
    assert rows(done) == [
        {
            "video_id": "a.mp4",
            "labels": ["x", "y"],
            "segments": [
                {"label": "x", "start_s": 0.0, "end_s": 2.0},
                {"label": "y", "start_s": 8.0, "end_s": 9.0},
            ],
            "duration_s": 9.0,
        }
    ]
    assert said(done.problems) == [
        ("3", "duplicate_row", "a.mp4: the same was said before"),
        ("2", "segment_cut", "y, 8–12 s: cut to the video, 0–9 s"),
    ]
    assert (done.segments_read, done.segments_merged) == (3, 1)
    check_counts(done)


def test_a_name_that_several_videos_have_leaves_the_row_out() -> None:
    done = run(Parsed([entry("1", segments=(RawSegment("x", 0, 2, "1"),))]), "k/a.mp4", "l/a.mp4", "m/a.mp4", "n/a.mp4")
    what = "a: 4 videos have this name: k/a.mp4, l/a.mp4, m/a.mp4"
    assert said(done.problems) == [("1", "ambiguous_video", what)]
    assert (done.rows, dict(done.segments_left_out), done.videos_unnamed) == ([], {"row_left_out": 1}, 0)
    check_counts(done)


def test_one_split_can_be_asked_for() -> None:
    entries = [
        entry("1", split="training"),
        entry("2", "b", split="val"),
        entry("3", "c"),
        entry("4", "d", split="val"),
    ]
    done = run(Parsed(entries), "a.mp4", "b.mp4", "c.mp4", split="val")
    assert [r["video_id"] for r in done.rows] == ["b.mp4"]
    assert dict(done.rows_left_out) == {"other_split": 2, "missing_video": 1}
    assert done.left_out_share == 0.5
    assert done.videos_unnamed == 0
    check_counts(done)


def test_classes_are_the_sets_own_and_then_the_others() -> None:
    classes = [Node("p", "p"), Node("y", "Why", "p")]
    done = run(Parsed([entry("1", labels=("y", "x")), entry("2", "b", labels=("x",))], classes=classes))
    assert done.nodes == [*classes, Node("x", "x")]
    assert said(done.problems)[-1] == (
        "1",
        "label_not_in_tree",
        "label 'x' is not in the set's class list; it is added",
    )
    flat = run(Parsed([entry("1", labels=("y",)), entry("2", labels=("x",))]))
    assert flat.nodes == [Node("x", "x"), Node("y", "y")]


def test_nothing_at_all_is_nothing() -> None:
    done = run(Parsed())
    assert (done.rows, done.left_out_share, done.taxonomy()) == ([], 0.0, None)


def test_progress_is_told_from_the_first_row_to_the_last() -> None:
    told: list[int] = []
    assemble(Parsed([entry(str(i)) for i in range(5001)]), index("a.mp4"), update=told.append)
    assert told == [0, 5000, 5001]


def test_addresses_are_those_of_the_listing() -> None:
    found = FoundFile("file:///v/%FFa.mp4", "\\xffa.mp4")
    done = assemble(Parsed([entry("1", "\\xffa")]), type(index())([found]))
    assert [(r["video_id"], r["uri"]) for r in done.rows] == [("\\xffa.mp4", "file:///v/%FFa.mp4")]


TIMES = st.sampled_from([0, 1, 2.5, -1, "3", "x", None])
SEGMENTS = st.lists(
    st.builds(
        RawSegment, st.sampled_from("xyz"), TIMES, TIMES, st.just("s"), st.sampled_from([None, Kind.TIMES_UNUSED])
    )
).map(tuple)
NAMES = st.lists(st.sampled_from(["a", "b.mp4", "k/c", "c", "none", "A"]), max_size=2).map(tuple)
ENTRIES = st.builds(
    Entry,
    st.just("here"),
    names=NAMES,
    cut_names=NAMES,
    labels=st.none() | st.lists(st.sampled_from("xyz"), max_size=2).map(tuple),
    segments=st.none() | SEGMENTS,
    split=st.sampled_from([None, "train", "val", "dev"]),
    duration=st.sampled_from([None, 2, "2.0", "x", 0]),
    group=st.sampled_from([None, "g", "h"]),
    left_out=st.sampled_from([None, None, Kind.BAD_ROW, Kind.UNUSED]),
    is_single_label=st.booleans(),
)


@settings(deadline=None, max_examples=200)
@given(entries=st.lists(ENTRIES, max_size=8), split=st.sampled_from(["", "val"]), dropped=st.integers(0, 3))
def test_counts_add_up_whatever_the_rows_are(entries: list[Entry], split: str, dropped: int) -> None:
    done = run(Parsed(entries, segments_dropped=dropped), "a.mp4", "b.mp4", "k/c.mp4", "l/c.mp4", split=split)
    check_counts(done)
    assert done.rows_read == len(entries)
    assert 0 <= done.left_out_share <= 1
    labels = {label for row in done.rows for label in row["labels"] or ()}
    assert labels <= {node.id for node in done.nodes}
    for row in done.rows:
        timed = {s["label"] for s in row["segments"] or ()}
        assert not timed or row["labels"] is None or timed <= set(row["labels"])


@pytest.mark.parametrize("kind", [Kind.UNUSED, Kind.NEGATIVE, Kind.OTHER_SPLIT, Kind.NO_CLASS_IN_TREE])
def test_rows_that_nobody_wants_do_not_count_as_lost(kind: Kind) -> None:
    done = run(Parsed([entry("1"), Entry("2", left_out=kind)]), "a.mp4")
    assert done.left_out_share == 0.0
