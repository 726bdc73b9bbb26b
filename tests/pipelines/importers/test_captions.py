from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings

from pipelines.importers import captions
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import as_json, check_counts, json_values, rows, run, said, text


def test_published_files_give_videos_lengths_and_splits_but_no_labels() -> None:
    train = {"v_a": {"duration": 82.73, "timestamps": [[0.83, 19.86]], "sentences": ["A young woman is seen."]}}
    val = {"v_b": {"duration": 9.5, "timestamps": [[0, 2], [2, 9]], "sentences": ["Un café.", " Then."]}}
    files = [as_json("train.json", train), as_json("val_1.json", val), as_json("val_2.json", val)]
    done = run(captions.parse(files), "v_a.mp4", "b.mkv")
    assert rows(done) == [
        {"video_id": "b.mkv", "split": "val", "duration_s": 9.5},
        {"video_id": "v_a.mp4", "split": "train", "duration_s": 82.73},
    ]
    assert said(done.problems) == [
        ("train.json, v_a", "not_a_class", "1 sentences, which are not taken as labels"),
        ("val_1.json, v_b", "not_a_class", "2 sentences, which are not taken as labels"),
        ("val_2.json, v_b", "not_a_class", "2 sentences, which are not taken as labels"),
        ("val_2.json, v_b", "duplicate_row", "b.mkv: the same was said before"),
    ]
    assert (done.rows_read, done.rows_merged, done.taxonomy()) == (3, 1, None)
    check_counts(done)


def test_files_that_join_the_three_are_read() -> None:
    part = {"duration": 14.05, "timestamps": [[0, 1.97]], "sentences": ["A dog."]}
    data = {"v_a": {"train": part}, "v_b": {"val_1": part, "val_2": part}, "v_c": 3}
    done = run(captions.parse([as_json("x.json", data)]), "v_a.mp4", "v_b.mp4")
    assert [(r["split"], r["duration_s"]) for r in done.rows] == [("train", 14.05), ("val", 14.05)]
    assert [p.what for p in done.problems] == [
        "1 sentences, which are not taken as labels",
        "2 sentences, which are not taken as labels",
        "expected timestamps and sentences, got 3",
    ]
    check_counts(done)


def test_a_key_that_is_there_twice_is_said() -> None:
    parsed = captions.parse([text("x.json", '{"v_a": {"sentences": []}, "v_a": {"sentences": []}}')])
    assert parsed.problems[0].what == "'v_a' is there twice in one object; the last one counts"


def test_files_of_another_form_are_refused() -> None:
    others: list[Any] = [{"database": {}}, [], {"v_a": {"train": {"duration": 3}}}]
    for data in others:
        with pytest.raises(FormatError, match=r"x\.json: no videos with 'timestamps' and 'sentences'"):
            captions.parse([as_json("x.json", data)])


@settings(deadline=None, max_examples=100)
@given(data=json_values())
def test_any_json_gives_rows_that_add_up_or_a_clear_error(data: Any) -> None:
    with suppress(FormatError):
        check_counts(run(captions.parse([as_json("x.json", {"a": {"sentences": [data]}, "b": data})]), "a.mp4"))
