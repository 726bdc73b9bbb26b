from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings

from pipelines.importers import activitynet
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import as_json, check_counts, json_values, rows, run, said, text

TREE = [
    {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None},
    {"nodeId": 5, "nodeName": "Sports, Exercise, and Recreation", "parentId": 0, "parentName": "Root"},
    {"nodeId": 9, "nodeName": "Track and field", "parentId": 5, "parentName": "Sports, Exercise, and Recreation"},
    {"nodeId": 80, "nodeName": "Long jump", "parentId": 9, "parentName": "Track and field"},
    {"nodeId": 81, "nodeName": "Javelin throw", "parentId": 9, "parentName": "Track and field"},
]


def video(*annotations: Any, subset: str = "training", duration: Any = 20.0) -> dict[str, Any]:
    url = "https://www.youtube.com/watch?v=x"
    found = {"subset": subset, "duration": duration, "annotations": list(annotations)}
    return found | {"url": url, "resolution": "320x240"}


def segment(label: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"label": label, "segment": [start, end]}


def test_videos_segments_and_the_tree_are_read() -> None:
    database = {
        "--0edUL8zmA": video(segment("Long jump", 5.4, 11.6), segment("Javelin throw", 10, 12.5)),
        "abc": video(subset="testing", duration=7.5),
        "déf": video(subset="validation", duration=None),
    }
    file = as_json("activity_net.v1-3.min.json", {"version": "VERSION 1.3", "taxonomy": TREE, "database": database})
    done = run(activitynet.parse([file]), "v_--0edUL8zmA.mp4", "val/v_de\u0301f.mkv", "abc.webm")
    assert rows(done) == [
        {"video_id": "abc.webm", "split": "test", "duration_s": 7.5},
        {
            "video_id": "v_--0edUL8zmA.mp4",
            "labels": ["Long jump", "Javelin throw"],
            "segments": [
                {"label": "Long jump", "start_s": 5.4, "end_s": 11.6},
                {"label": "Javelin throw", "start_s": 10.0, "end_s": 12.5},
            ],
            "split": "train",
            "duration_s": 20.0,
        },
        {"video_id": "val/v_de\u0301f.mkv", "labels": [], "split": "val"},
    ]
    place = "activity_net.v1-3.min.json, database.déf"
    what = "v_déf: found as val/v_de\u0301f.mkv, which is spelled another way"
    assert said(done.problems) == [(place, "other_spelling", what)]
    taxonomy = done.taxonomy()
    assert taxonomy is not None
    assert taxonomy.path(taxonomy.index("Long jump")) == [
        "Sports, Exercise, and Recreation",
        "Track and field",
        "Long jump",
    ]
    assert len(taxonomy) == 4
    check_counts(done)


def test_every_wrong_segment_is_said_once_and_its_label_stays() -> None:
    given = [
        segment("a", 8, 3),
        segment("b", 4, 4),
        segment("c", float("nan"), 4),
        segment("d", 25, 30),
        segment("e", -1, 21),
        segment("f", 0, 5),
        segment("f", 4, 9),
        segment("f", 9, 10),
        {"label": "g", "segment": 3},
        {"label": "h"},
        {"segment": [1, 2]},
        7,
    ]
    done = run(activitynet.parse([as_json("x.json", {"database": {"id": video(*given)}})]), "v_id.mp4")
    at = "x.json, database.id.annotations"
    assert said(done.problems) == [
        (f"{at}[10]", "not_a_class", "no label, got {'segment': [1, 2]}"),
        (f"{at}[11]", "not_a_class", "no label, got 7"),
        (f"{at}[0]", "segment_reversed", "a, 8–3: ends before it begins"),
        (f"{at}[1]", "segment_empty", "b, 4–4: has no length"),
        (f"{at}[2]", "segment_not_a_number", "c, nan–4: start and end must be numbers"),
        (f"{at}[3]", "segment_outside", "d, 25–30: lies outside the video of 20 s"),
        (f"{at}[4]", "segment_cut", "e, -1–21 s: cut to the video, 0–20 s"),
        (f"{at}[8]", "segment_not_a_number", "g, 3–None: start and end must be numbers"),
        (f"{at}[6]", "segments_merged", "f, 4–9 s: overlaps 0–5 s of the same label; joined"),
    ]
    assert rows(done) == [
        {
            "video_id": "v_id.mp4",
            "labels": ["a", "b", "c", "d", "e", "f", "g", "h"],
            "segments": [
                {"label": "e", "start_s": 0.0, "end_s": 20.0},
                {"label": "f", "start_s": 0.0, "end_s": 9.0},
                {"label": "f", "start_s": 9.0, "end_s": 10.0},
            ],
            "split": "train",
            "duration_s": 20.0,
        }
    ]
    assert (done.segments_read, done.segments_merged, sum(done.segments_left_out.values())) == (9, 1, 5)
    check_counts(done)


def test_relatives_of_the_format_are_read() -> None:
    hacs = {"database": {"a": video(segment("Dodgeball", 5.4, 11.6), duration="92.166667")}}
    done = run(activitynet.parse([as_json("HACS_segments_v1.1.json", hacs)]), "v_a.mp4")
    assert (done.rows[0]["duration_s"], done.rows[0]["labels"]) == (92.166667, ["Dodgeball"])
    thumos = {
        "version": "Thumos14-30fps",
        "database": {
            "video_test_0000004": {
                "subset": "Test",
                "duration": 33.73,
                "fps": 30.0,
                "annotations": [
                    {"label": "CricketBowling", "segment": [0.2, 1.1], "segment(frames)": [6, 33], "label_id": 5}
                ],
            }
        },
    }
    done = run(activitynet.parse([as_json("thumos14.json", thumos)]), "video_test_0000004.mp4")
    assert (done.rows[0]["split"], done.rows[0]["labels"]) == ("test", ["CricketBowling"])
    kinetics = {
        "-3B32lodo2M": {
            "annotations": {"label": "abseiling", "segment": [59.0, 69.0]},
            "duration": 10.0,
            "subset": "validate",
            "url": "https://www.youtube.com/watch?v=-3B32lodo2M",
        }
    }
    done = run(activitynet.parse([as_json("kinetics_val.json", kinetics)]), "-3B32lodo2M.mp4")
    assert (done.rows[0]["split"], done.rows[0]["labels"], done.rows[0]["segments"]) == ("val", ["abseiling"], None)


def test_paths_and_groups_of_ones_own_files_are_read() -> None:
    data = {"database": {"s1.mp4": video(segment("Fall", 0, 1)) | {"path": "a/s1.mp4", "subject": 3}}}
    done = run(activitynet.parse([as_json("x.json", data)], group_field="subject"), "a/s1.mp4", "b/s1.mp4")
    assert [(r["video_id"], r["group"]) for r in done.rows] == [("a/s1.mp4", "3")]


def test_what_is_no_video_is_counted() -> None:
    database = {"a": 3, "b": {"annotations": "x"}, " ": video(), "c": video(duration="long", subset="holdout")}
    done = run(activitynet.parse([as_json("x.json", {"database": database})]), "c.mp4")
    assert [(kind, what) for _, kind, what in said(done.problems)] == [
        ("bad_row", "expected an object with annotations, got 3"),
        ("bad_row", "annotations: expected a list, got 'x'"),
        ("bad_row", f"expected an object with annotations, got {video()!r}"),
        ("unknown_split", "c.mp4: split 'holdout' is none of train, val, test; it is left empty"),
        ("bad_duration", "c.mp4: duration 'long' is not a number > 0; it is left empty"),
    ]
    check_counts(done)


def test_a_key_that_is_there_twice_is_said() -> None:
    file = text("x.json", '{"database": {"a": {"annotations": []}, "a": {"annotations": [{"label": "b"}]}}}')
    done = run(activitynet.parse([file]), "a.mp4")
    assert done.rows[0]["labels"] == ["b"]
    what = "'a' is there twice in one object; the last one counts"
    assert said(done.problems) == [("x.json", "duplicate_row", what)]


def test_names_that_two_nodes_share_are_told_apart() -> None:
    nodes = [*TREE, {"nodeId": 82, "nodeName": "Track and field", "parentId": 5, "parentName": ""}]
    parsed = activitynet.parse([as_json("x.json", {"database": {}, "taxonomy": nodes})])
    assert [(n.id, n.name, n.parent) for n in parsed.classes[1:3]] == [
        ("Track and field (9)", "Track and field", "Sports, Exercise, and Recreation"),
        ("Track and field", "Track and field", "Sports, Exercise, and Recreation"),
    ]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([{"nodeName": "a"}], "KeyError: 'nodeId'"),
        ([1], "TypeError: 'int' object is not subscriptable"),
        ([{"nodeId": 1, "nodeName": "a", "parentId": 1}], "TaxonomyError: taxonomy: 'a' is its own ancestor"),
        ([{"nodeId": 1, "nodeName": " "}], "TaxonomyError: a node without a name"),
        ([{"nodeId": [], "nodeName": "a"}], "TypeError: unhashable type: 'list'"),
    ],
)
def test_a_tree_that_is_none_is_said_and_the_labels_are_flat(nodes: list[Any], reason: str) -> None:
    data = {"database": {"a": video(segment("b", 0, 1))}, "taxonomy": nodes}
    done = run(activitynet.parse([as_json("x.json", data)]), "a.mp4")
    what = f"not used: not a tree ({reason})"
    assert said(done.problems) == [("x.json, taxonomy", "broken_tree", what)]
    assert [(n.id, n.parent) for n in done.nodes] == [("b", None)]


def test_of_several_files_the_first_tree_holds() -> None:
    other = [*TREE, {"nodeId": 82, "nodeName": "High jump", "parentId": 9, "parentName": ""}]
    files = [as_json(f"{i}.json", {"database": {}, "taxonomy": t}) for i, t in enumerate((TREE, TREE, other))]
    parsed = activitynet.parse(files)
    assert [n.id for n in parsed.classes][2:] == ["Long jump", "Javelin throw"]
    what = "not used: another tree than that of a file before"
    assert said(parsed.problems) == [("2.json, taxonomy", "broken_tree", what)]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"x\.json: no object 'database' with videos"):
        activitynet.parse([as_json("x.json", [1])])
    with pytest.raises(FormatError, match=r"x\.json: not JSON: Expecting value"):
        activitynet.parse([text("x.json", "label,youtube_id")])
    both: list[Any] = [{"v_a": {"sentences": []}}, {"v_a": {"train": {"sentences": []}}}]
    for captions in both:
        with pytest.raises(FormatError, match="this is ActivityNet Captions: --format activitynet-captions"):
            activitynet.parse([as_json("x.json", captions)])


@settings(deadline=None, max_examples=200)
@given(data=json_values(), database=json_values(), taxonomy=json_values())
def test_any_json_gives_rows_that_add_up_or_a_clear_error(data: Any, database: Any, taxonomy: Any) -> None:
    for given_data in (data, {"database": database, "taxonomy": taxonomy}, {"database": {"a": database}}):
        with suppress(FormatError):
            parsed = activitynet.parse([as_json("x.json", given_data)], group_field="subject")
            check_counts(run(parsed, "a.mp4"))


def test_labels_of_the_whole_video_that_fal_exports_are_read() -> None:
    found = [{"label": "Javelin throw", "score": 0.5}, {"label": "Long jump"}, {"score": 1}, 7]
    database = {
        "a": video(segment("Long jump", 1, 2)) | {"labels": found},
        "b": video(subset="testing") | {"labels": found[:1]},
        "c": video() | {"labels": "Long jump"},
    }
    done = run(activitynet.parse([as_json("x.json", {"database": database})]), "a.mp4", "b.mp4", "c.mp4")
    assert [row["labels"] for row in done.rows] == [["Javelin throw", "Long jump"], ["Javelin throw"], []]
    assert [(place, kind) for place, kind, _ in said(done.problems)] == [
        ("x.json, database.a.labels[2]", "not_a_class"),
        ("x.json, database.a.labels[3]", "not_a_class"),
    ]
    check_counts(done)
