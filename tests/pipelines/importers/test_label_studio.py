from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import label_studio
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import as_json, check_counts, json_values, rows, run, said


def task(*results: dict[str, Any], video: str = "/data/upload/1/1a2b3c4d-a.mp4", **data: Any) -> dict[str, Any]:
    """Make a task of a full export with one annotation."""
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    return {"id": 1, "data": {"video": video, **data}, "annotations": [annotation], "predictions": []}


def timeline(label: str, start: Any, end: Any) -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"id": "r", "from_name": "tl", "to_name": "video", "type": "timelinelabels", "value": value}


def choice(*choices: str) -> dict[str, Any]:
    return {"from_name": "c", "to_name": "video", "type": "choices", "value": {"choices": list(choices)}}


def key(frame: int, *, enabled: bool) -> dict[str, Any]:
    return {
        "frame": frame,
        "enabled": enabled,
        "x": 1,
        "y": 2,
        "width": 3,
        "height": 4,
        "rotation": 0,
        "time": frame / 25,
    }


def box(label: str, *sequence: dict[str, Any]) -> dict[str, Any]:
    value = {"framesCount": 250, "duration": 10.0, "sequence": list(sequence), "labels": [label]}
    return {"from_name": "box", "to_name": "video", "type": "videorectangle", "value": value}


def test_frames_become_seconds_by_the_rate_that_the_task_says() -> None:
    file = as_json("export.json", [task(timeline("Moving", 3, 5), timeline("Still", 6, 6), choice("calm"), fps="10")])
    done = run(label_studio.parse([file]), "a.mp4")
    assert rows(done) == [
        {
            "video_id": "a.mp4",
            "labels": ["Moving", "Still", "calm"],
            "segments": [
                {"label": "Moving", "start_s": 0.2, "end_s": 0.5},
                {"label": "Still", "start_s": 0.5, "end_s": 0.6},
            ],
        }
    ]
    assert said(done.problems) == []
    check_counts(done)


def test_of_a_taxonomy_the_end_of_each_path_counts() -> None:
    tree = {"taxonomy": [["Sport", "Running"], ["News"], [], ["Sport", 3], "Sport"]}
    result = {"from_name": "t", "to_name": "video", "type": "taxonomy", "value": tree}
    small = {"video": "b.mp4", "id": 4, "labels": [["Sport", "Running"], ["News"]], "annotator": 1, "annotation_id": 2}
    done = run(
        label_studio.parse([as_json("full.json", [task(result)]), as_json("min.json", [small])]), "a.mp4", "b.mp4"
    )
    assert rows(done) == [
        {"video_id": "a.mp4", "labels": ["Running", "News"]},
        {"video_id": "b.mp4", "labels": ["Running", "News"]},
    ]
    assert said(done.problems) == []
    check_counts(done)


def test_frames_without_a_rate_leave_the_label_without_times() -> None:
    file = as_json("export.json", [task(timeline("Moving", 3, 5))])
    done = run(label_studio.parse([file]), "a.mp4")
    assert rows(done) == [{"video_id": "a.mp4", "labels": ["Moving"]}]
    hint = "frames, but no frame rate: importing.frame_rate_fps says that of the Video tag"
    place = "export.json, [0].annotations[0].result[0]"
    assert said(done.problems) == [(place, "no_frame_rate", f"Moving, 3–5: {hint}")]
    told = run(label_studio.parse([file], frame_rate_fps=24.0), "a.mp4")
    assert told.rows[0]["segments"] == [{"label": "Moving", "start_s": 2 / 24, "end_s": 5 / 24}]
    check_counts(done)


def test_boxes_hold_from_key_frame_to_key_frame_and_tell_rate_and_length() -> None:
    sequence = (
        key(1, enabled=True),
        key(18, enabled=True),
        key(25, enabled=False),
        key(51, enabled=False),
        key(101, enabled=True),
    )
    file = as_json("export.json", [task(box("Man", *sequence), timeline("Walk", 26, 50))])
    done = run(label_studio.parse([file], frame_rate_fps=99), "a.mp4")
    assert rows(done) == [
        {
            "video_id": "a.mp4",
            "labels": ["Man", "Walk"],
            "segments": [
                {"label": "Man", "start_s": 0.0, "end_s": 1.0},
                {"label": "Walk", "start_s": 1.0, "end_s": 2.0},
                {"label": "Man", "start_s": 2.0, "end_s": 51 / 25},
                {"label": "Man", "start_s": 4.0, "end_s": 10.0},
            ],
            "duration_s": 10.0,
        }
    ]
    check_counts(done)


def test_regions_labelled_through_the_sound_are_in_seconds_already() -> None:
    value = {"start": 0.5, "end": 2.25, "labels": ["Speech"], "channel": 0}
    file = as_json("export.json", [task({"type": "labels", "value": value})])
    done = run(label_studio.parse([file]), "a.mp4")
    assert done.rows[0]["segments"] == [{"label": "Speech", "start_s": 0.5, "end_s": 2.25}]


def test_what_counts_among_several_annotations() -> None:
    both = task(choice("a"))
    both["annotations"] += [{"result": [choice("b")]}, {"was_cancelled": True, "result": [choice("c")]}, "x"]
    truth = task(choice("a"), video="b.mp4")
    truth["annotations"] += [{"ground_truth": True, "result": [choice("b")]}]
    skipped = task(choice("a"), video="c.mp4")
    skipped["annotations"][0]["was_cancelled"] = True
    new = {"id": 9, "data": {"video": "d.mp4"}, "annotations": [], "predictions": [{"result": [choice("p")]}]}
    old = {"id": 9, "data": {"video": "e.mp4"}, "completions": [{"result": [choice("o"), {"type": "rating"}, 3]}]}
    nothing = task(video="f.mp4")
    file = as_json("export.json", [both, truth, skipped, new, old, nothing])
    done = run(label_studio.parse([file]), "a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "f.mp4")
    assert [(r["video_id"], r["labels"]) for r in done.rows] == [
        ("a.mp4", ["a", "b"]),
        ("b.mp4", ["b"]),
        ("c.mp4", None),
        ("d.mp4", None),
        ("e.mp4", ["o"]),
        ("f.mp4", []),
    ]
    assert said(done.problems) == [
        ("export.json, [2]", "no_truth", "c.mp4: nobody has annotated it, or all skipped it"),
        ("export.json, [3]", "no_truth", "d.mp4: nobody has annotated it, or all skipped it"),
        (
            "export.json, [4].annotations[0].result[1]",
            "not_a_class",
            "a result of type 'rating' names no class",
        ),
        ("export.json, [4].annotations[0].result[2]", "not_a_class", "a result of type 3 names no class"),
    ]
    check_counts(done)


@pytest.mark.parametrize(
    ("address", "on_disk"),
    [
        ("/data/upload/3/1a2b3c4d-my%20clip.mp4", "my clip.mp4"),
        ("/data/upload/3/1a2b3c4d-my_clip.mp4", "raw/1a2b3c4d-my_clip.mp4"),
        ("/data/local-files/?d=set%20one/b/x.mp4", "b/x.mp4"),
        ("s3://bucket/some/x.mp4", "some/x.mp4"),
        ("https://host/some/x.mp4?X-Amz-Signature=1%2F2", "x.mp4"),
        ("some\\folder\\x.mp4", "folder/x.mp4"),
        ("plain#1.mp4", "plain#1.mp4"),
    ],
)
def test_addresses_are_found_by_what_is_left_of_them(address: str, on_disk: str) -> None:
    done = run(label_studio.parse([as_json("e.json", task(choice("a"), video=address))]), on_disk)
    assert [r["video_id"] for r in done.rows] == [on_disk]


def test_the_video_may_be_under_another_name() -> None:
    other = task(choice("a"))
    other["data"] = {"title": "First", "clip": "x/a.mp4", "number": 3}
    upload = task(choice("a")) | {"data": {"text": "none"}, "file_upload": "1a2b3c4d-b.mp4"}
    nowhere = task(choice("a")) | {"data": {"text": "none"}}
    odd = task(choice("a"), video="http://[")
    done = run(label_studio.parse([as_json("e.json", [other, upload, nowhere, odd, 5])]), "a.mp4", "b.mp4")
    assert [r["video_id"] for r in done.rows] == ["a.mp4", "b.mp4"]
    assert said(done.problems) == [
        ("e.json, [2]", "bad_row", "no field of the task's data names a video"),
        ("e.json, [3]", "bad_row", "no field of the task's data names a video"),
        ("e.json, [4]", "bad_row", "expected a task, got 5"),
    ]


def minimal(annotation_id: int | None, **results: Any) -> dict[str, Any]:
    """Make a row of a JSON-MIN export."""
    begin = {"video": "/data/upload/1/1a2b3c4d-a.mp4", "title": "A clip", "id": 4}
    return begin | results | {"annotator": 1, "annotation_id": annotation_id, "created_at": "2024", "lead_time": 1.5}


def test_minimal_exports_have_one_row_per_annotation() -> None:
    first = minimal(1, tl=[{"ranges": [{"start": 1, "end": 12}], "timelinelabels": ["Moving"]}])
    second = minimal(2, tl=[{"ranges": [{"start": 13, "end": 24}], "timelinelabels": ["Moving"]}], mood="calm")
    done = run(label_studio.parse([as_json("min.json", [first, second])], frame_rate_fps=12), "a.mp4")
    assert rows(done) == [
        {
            "video_id": "a.mp4",
            "labels": ["Moving"],
            "segments": [
                {"label": "Moving", "start_s": 0.0, "end_s": 1.0},
                {"label": "Moving", "start_s": 1.0, "end_s": 2.0},
            ],
        }
    ]
    what = "'calm' may be free text; if it is a choice: --columns label=mood"
    assert said(done.problems) == [("min.json, [1].mood", "not_a_class", what)]
    check_counts(done)


def test_minimal_choices_are_classes_where_the_user_says_so() -> None:
    given_rows = [
        minimal(1, mood="calm", many={"choices": ["x", "y"]}),
        minimal(2, mood=["calm", "loud"], note=3),
        minimal(None) | {"video": "b.mp4"},
        minimal(3) | {"video": "c.mp4"},
    ]
    parsed = label_studio.parse([as_json("min.json", given_rows)], choice_field="mood")
    done = run(parsed, "a.mp4", "b.mp4", "c.mp4")
    assert [r["labels"] for r in done.rows] == [["calm", "x", "y", "loud"], None, []]
    assert said(done.problems) == [
        ("min.json, [1].note", "not_a_class", "names no class"),
        ("min.json, [2]", "no_truth", "b.mp4: nobody has annotated it, or all skipped it"),
    ]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"e\.json: expected a list of tasks, got str"):
        label_studio.parse([as_json("e.json", "x")])


@settings(deadline=None, max_examples=200)
@given(results=st.lists(json_values(), max_size=3), data=json_values(), rest=json_values())
def test_any_json_gives_rows_that_add_up_or_a_clear_error(results: list[Any], data: Any, rest: Any) -> None:
    full = task() | {"annotations": [{"result": [{"type": "x", "value": v} for v in results]}, rest]}
    for given_tasks in ([full, data], [task() | {"data": data}], [minimal(1, a=data, b=results)], rest):
        with suppress(FormatError):
            parsed = label_studio.parse([as_json("e.json", given_tasks)], frame_rate_fps=25, choice_field="b")
            check_counts(run(parsed, "a.mp4"))
