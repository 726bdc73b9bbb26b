from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import thumos14
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, rows, run, said, text


def test_lines_of_the_classes_become_segments_of_the_videos() -> None:
    files = [
        text("annotation/Diving_val.txt", "video_validation_0000266  72.8 76.4\nvideo_validation_0000266  80.0 84.5\n"),
        text("annotation/CliffDiving_val.txt", "video_validation_0000266  72.8 76.4\nvideo_validation_0000266  1\n"),
        text("annotation/Diving_test.txt", "video_test_0000004  0.2 1.1\n"),
        text("annotation/Ambiguous_val.txt", "video_validation_0000266  90.0 91.0\n"),
        text("detclasslist.txt", "7 BaseballPitch\n21 CliffDiving\n26 Diving\n"),
    ]
    done = run(thumos14.parse(files), "video_validation_0000266.mp4", "test/video_test_0000004.mp4")
    assert rows(done) == [
        {
            "video_id": "test/video_test_0000004.mp4",
            "labels": ["Diving"],
            "segments": [{"label": "Diving", "start_s": 0.2, "end_s": 1.1}],
            "split": "test",
        },
        {
            "video_id": "video_validation_0000266.mp4",
            "labels": ["CliffDiving", "Diving"],
            "segments": [
                {"label": "CliffDiving", "start_s": 72.8, "end_s": 76.4},
                {"label": "Diving", "start_s": 72.8, "end_s": 76.4},
                {"label": "Diving", "start_s": 80.0, "end_s": 84.5},
            ],
            "split": "val",
        },
    ]
    assert said(done.problems) == [
        (
            "annotation/Ambiguous_val.txt, line 1",
            "unused",
            "video_validation_0000266: marked as ambiguous by the authors",
        ),
        (
            "annotation/CliffDiving_val.txt, line 2",
            "bad_row",
            "got 'video_validation_0000266  1', expected a video, a start and an end",
        ),
    ]
    assert [n.id for n in done.nodes] == ["BaseballPitch", "CliffDiving", "Diving"]
    assert (done.rows_read, done.rows_merged) == (6, 2)
    check_counts(done)


def test_only_annotations_and_class_list_are_wanted() -> None:
    names = ["a/Diving_val.txt", "a/Diving_test.txt", "detclasslist.txt", "readme.txt", "a/Diving_train.txt"]
    assert [n for n in names if thumos14.is_wanted(n)] == names[:3]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"no <Class>_val\.txt or <Class>_test\.txt there"):
        thumos14.parse([text("detclasslist.txt", "")])
    with pytest.raises(FormatError, match=r"x\.txt: expected a name like BaseballPitch_val\.txt"):
        thumos14.parse([text("x.txt", "")])


@settings(deadline=None, max_examples=100)
@given(content=st.text())
def test_any_text_gives_rows_that_add_up(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(thumos14.parse([text("A_val.txt", f"a 1 2\n{content}")]), "a.mp4"))
