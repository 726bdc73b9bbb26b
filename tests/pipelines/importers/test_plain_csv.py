from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings

from pipelines.importers import plain_csv
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, csv_texts, rows, run, said, text


def test_columns_are_what_the_user_says_or_what_they_are_called() -> None:
    file = text(
        "split.csv", "File,label,Split,source,other\nfight/a.mp4,fight| crowd,train,src-1,x\nb.mp4,calm,test,,\n"
    )
    done = run(plain_csv.parse([file], {"uri": "file", "group": "source"}), "fight/a.mp4", "calm/b.mp4")
    assert rows(done) == [
        {"video_id": "calm/b.mp4", "labels": ["calm"], "split": "test"},
        {"video_id": "fight/a.mp4", "labels": ["fight", "crowd"], "split": "train", "group": "src-1"},
    ]
    assert said(done.problems) == []
    check_counts(done)


def test_rows_with_times_are_segments_and_addresses_are_shortened_to_names() -> None:
    file = text(
        "a.tsv",
        "uri\tlabel\tstart_s\tend_s\tduration_s\n"
        "s3://b/x/my%20clip.mp4\trun\t1\t2\t9.5\n"
        "s3://b/x/my%20clip.mp4\trun\t4\t6\t9.5\n"
        "s3://b/x/my%20clip.mp4\tjump\t\t\t\n"
        "https://h/y.mp4\t\t1\t2\t\n"
        "\trun\t1\t2\t\n"
        "z.mp4\trun\n",
    )
    done = run(plain_csv.parse([file], {}), "x/my clip.mp4")
    assert rows(done) == [
        {
            "video_id": "x/my clip.mp4",
            "labels": ["run", "jump"],
            "segments": [
                {"label": "run", "start_s": 1.0, "end_s": 2.0},
                {"label": "run", "start_s": 4.0, "end_s": 6.0},
            ],
            "duration_s": 9.5,
        }
    ]
    assert said(done.problems) == [
        ("a.tsv, line 5", "no_label", "https://h/y.mp4: the label is empty"),
        ("a.tsv, line 6", "bad_row", "no name of a video"),
        ("a.tsv, line 7", "bad_row", "another number of cells than the first line"),
    ]
    check_counts(done)


def test_without_a_label_column_videos_come_without_truth() -> None:
    done = run(plain_csv.parse([text("a.csv", "uri,start_s\na.mp4,1\n")], {}), "a.mp4")
    assert rows(done) == [{"video_id": "a.mp4"}]


def test_files_and_columns_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError) as caught:
        plain_csv.parse([], {"class": "x", "start_s": "begin"})
    meanings = "uri, label, split, group, duration_s, start_s, end_s"
    assert caught.value.problems == [
        f"--columns: got 'class', allowed are {meanings}",
        "--columns: start_s and end_s go together",
    ]
    with pytest.raises(FormatError, match=r"a\.csv: no column uri; the first line has: file, label"):
        plain_csv.parse([text("a.csv", "file,label\n")], {})


@settings(deadline=None, max_examples=100)
@given(content=csv_texts("uri,label,start_s,end_s,split,group,duration_s", "uri,label"))
def test_any_text_gives_rows_that_add_up_or_a_clear_error(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(plain_csv.parse([text("x.csv", content)], {}), "a.mp4", "1.mp4"))
