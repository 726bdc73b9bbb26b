from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import moments
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, rows, run, said, text


def test_rows_without_a_header_are_read() -> None:
    files = [
        text("moments_categories.txt", "adult+female+singing,0\nblocking,1\n"),
        text(
            "trainingSet.csv",
            "blocking/getty-karate-video-id635808620_4.mp4,blocking,3,0\n"
            "adult+female+singing/yt-0rvJOREmAv4_60.mp4,adult+female+singing,4,1\n"
            "blocking/x.mp4, ,3,0\nx,blocking,3,0\n",
        ),
        text("validationSet.csv", "blocking/y.mp4,blocking,2,1\n"),
    ]
    names = (
        "training/adult+female+singing/yt-0rvJOREmAv4_60.mp4",
        "training/blocking/getty-karate-video-id635808620_4.mp4",
        "validation/blocking/y.mp4",
    )
    done = run(moments.parse(files), *names)
    assert rows(done) == [
        {"video_id": names[0], "labels": ["adult+female+singing"], "split": "train"},
        {"video_id": names[1], "labels": ["blocking"], "split": "train"},
        {"video_id": names[2], "labels": ["blocking"], "split": "val"},
    ]
    assert said(done.problems) == [
        ("trainingSet.csv, line 3", "no_label", "blocking/x.mp4: the label is empty"),
        ("trainingSet.csv, line 4", "bad_row", "got 'x,blocking,3,0', expected class/video.mp4,class,3,0"),
    ]
    assert [n.id for n in done.nodes] == ["adult+female+singing", "blocking"]
    check_counts(done)


def test_only_the_tables_and_the_class_list_are_wanted() -> None:
    names = ["moments_categories.txt", "trainingSet.csv", "validationSet.csv", "license.txt", "x.csv"]
    assert [n for n in names if moments.is_wanted(n)] == names[:3]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"no trainingSet\.csv or validationSet\.csv there"):
        moments.parse([text("moments_categories.txt", "a,0\n")])
    with pytest.raises(FormatError, match=r"x\.csv: no row is filename,label,agree,disagree"):
        moments.parse([text("x.csv", "label,youtube_id\na,b\n")])


@settings(deadline=None, max_examples=100)
@given(content=st.text())
def test_any_text_gives_rows_that_add_up_or_a_clear_error(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(moments.parse([text("trainingSet.csv", f"a/b.mp4,a,1,1\n{content}")]), "a/b.mp4"))
