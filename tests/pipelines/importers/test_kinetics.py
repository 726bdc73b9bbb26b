from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import kinetics
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, csv_texts, rows, run, said, text

HEADER = "label,youtube_id,time_start,time_end,split"


def test_cut_clips_are_found_in_folders_of_either_spelling() -> None:
    file = text(
        "kinetics_400_val.csv",
        f"\ufeff{HEADER},is_cc\r\n"
        "abseiling,-3B32lodo2M,59,69,val,0\r\n"
        '"air drumming",_dbcJuKJQNs,40,50,validate,0\r\n'
        "making tea,aaaaaaaaaaa,0,10,train,1\r\n",
    )
    names = (
        "val/abseiling/-3B32lodo2M_000059_000069.mp4",
        "val/air_drumming/_dbcJuKJQNs_000040_000050.webm",
        "train/making tea/aaaaaaaaaaa_000000_000010.mp4",
    )
    done = run(kinetics.parse([file]), *names)
    assert rows(done) == [
        {"video_id": names[2], "labels": ["making tea"], "split": "train", "group": "aaaaaaaaaaa"},
        {"video_id": names[0], "labels": ["abseiling"], "split": "val", "group": "-3B32lodo2M"},
        {"video_id": names[1], "labels": ["air drumming"], "split": "val", "group": "_dbcJuKJQNs"},
    ]
    assert done.rows[0]["uri"] == f"/v/{names[2]}"
    assert said(done.problems) == []
    assert dict(done.segments_left_out) == {"file_is_cut": 3}
    assert [n.id for n in done.nodes] == ["abseiling", "air drumming", "making tea"]
    check_counts(done)


def test_one_clip_in_two_classes_is_one_row_or_two_files() -> None:
    file = text("train.csv", f"{HEADER}\nwalking,aaaaaaaaaaa,0,10,train\ndancing,aaaaaaaaaaa,0,10,train\n")
    flat = run(kinetics.parse([file]), "aaaaaaaaaaa_000000_000010.mp4")
    assert rows(flat) == [
        {
            "video_id": "aaaaaaaaaaa_000000_000010.mp4",
            "labels": ["walking", "dancing"],
            "split": "train",
            "group": "aaaaaaaaaaa",
        }
    ]
    what = "aaaaaaaaaaa_000000_000010.mp4: dancing here, walking before; both hold"
    assert said(flat.problems) == [("train.csv, line 3", "several_labels", what)]
    assert flat.rows_merged == 1
    check_counts(flat)
    names = ("dancing/aaaaaaaaaaa_000000_000010.mp4", "walking/aaaaaaaaaaa_000000_000010.mp4")
    apart = run(kinetics.parse([file]), *names)
    assert [(r["video_id"], r["labels"]) for r in rows(apart)] == [(names[0], ["dancing"]), (names[1], ["walking"])]
    assert said(apart.problems) == []
    check_counts(apart)


def test_a_file_named_by_the_id_alone_gets_times_only_if_it_is_whole() -> None:
    file = text("train.csv", f"{HEADER}\nwalking,aaaaaaaaaaa,5,15,train\nwalking,aaaaaaaaaaa,30,40,train\n")
    cut = run(kinetics.parse([file]), "aaaaaaaaaaa.mp4")
    assert [(r["labels"], r["segments"]) for r in cut.rows] == [(["walking"], None)]
    hint = "the file may be cut to these times already: importing.is_untrimmed=true says it is whole"
    assert said(cut.problems) == [
        ("train.csv, line 2", "times_unused", f"walking, 5–15: {hint}"),
        ("train.csv, line 3", "times_unused", f"walking, 30–40: {hint}"),
    ]
    whole = run(kinetics.parse([file], is_untrimmed=True), "aaaaaaaaaaa.mp4")
    assert whole.rows[0]["segments"] == [
        {"label": "walking", "start_s": 5.0, "end_s": 15.0},
        {"label": "walking", "start_s": 30.0, "end_s": 40.0},
    ]
    for done in (cut, whole):
        assert (done.rows_read, done.rows_merged) == (2, 1)
        check_counts(done)


def test_a_test_file_without_labels_gives_videos_without_truth() -> None:
    file = text("kinetics_600_test.csv", "youtube_id,time_start,time_end,split\naaaaaaaaaaa,1,11,test\n")
    done = run(kinetics.parse([file]), "aaaaaaaaaaa_000001_000011.mp4")
    assert rows(done) == [{"video_id": "aaaaaaaaaaa_000001_000011.mp4", "split": "test", "group": "aaaaaaaaaaa"}]
    assert done.taxonomy() is None


def test_without_a_split_column_the_file_name_says_it() -> None:
    file = text("k700_val.csv", "youtube_id,time_start,time_end\naaaaaaaaaaa,1,11\n")
    assert run(kinetics.parse([file]), "aaaaaaaaaaa.mp4").rows[0]["split"] == "val"


def test_rows_that_cannot_be_used_are_counted_with_their_lines() -> None:
    file = text(
        "train.csv",
        f"{HEADER}\nwalking,aaaaaaaaaaa,0,10\n ,bbbbbbbbbbb,0,10,train\nwalking,,0,10,train\n\n"
        "walking,ccccccccccc,0,10,train\n",
    )
    done = run(kinetics.parse([file]))
    assert said(done.problems) == [
        ("train.csv, line 2", "bad_row", "another number of cells than the first line"),
        ("train.csv, line 3", "no_label", "bbbbbbbbbbb: the label is empty"),
        ("train.csv, line 4", "bad_row", "no youtube_id"),
        ("train.csv, line 6", "missing_video", "no video ccccccccccc_000000_000010 or ccccccccccc"),
    ]
    assert dict(done.rows_left_out) == {"bad_row": 2, "no_label": 1, "missing_video": 1}
    assert done.left_out_share == 1.0
    check_counts(done)


def test_times_that_are_none_leave_the_id_to_find_the_video() -> None:
    file = text("train.csv", f"{HEADER}\nwalking,aaaaaaaaaaa,nan,,train\n")
    done = run(kinetics.parse([file], is_untrimmed=True), "aaaaaaaaaaa.mp4")
    assert [(r["labels"], r["segments"]) for r in done.rows] == [(["walking"], None)]
    what = "walking, nan–: start and end must be numbers"
    assert said(done.problems) == [("train.csv, line 2", "segment_not_a_number", what)]


def test_another_csv_is_refused() -> None:
    with pytest.raises(FormatError, match=r"x\.csv: no column time_start, time_end; the first line has: youtube_id, a"):
        kinetics.parse([text("x.csv", "youtube_id,a\n1,2\n")])


@settings(deadline=None, max_examples=150)
@given(content=csv_texts(HEADER, "youtube_id,time_start,time_end") | st.text(), is_untrimmed=st.booleans())
def test_any_text_gives_rows_that_add_up_or_a_clear_error(content: str, is_untrimmed: bool) -> None:
    with suppress(FormatError):
        parsed = kinetics.parse([text("train.csv", content)], is_untrimmed=is_untrimmed)
        check_counts(run(parsed, "a.mp4", "1.mp4", "é.mp4"))
