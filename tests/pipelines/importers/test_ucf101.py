from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import ucf101
from pipelines.importers.annotations import FormatError, TextFile
from tests.helpers.importing import check_counts, rows, run, said, text

CLASSES = text("classInd.txt", "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n")
TRAIN = text(
    "trainlist01.txt",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi 1\r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n",
)
TEST = text("testlist01.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n\r\n")


def test_lists_give_classes_splits_and_groups() -> None:
    names = (
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.mp4",
        "UCF-101/HandstandPushups/v_HandstandPushups_g08_c01.avi",
        "UCF-101/YoYo/v_YoYo_g01_c01.avi",
    )
    done = run(ucf101.parse([CLASSES, TRAIN, TEST]), *names)
    listed = "HandstandPushups/v_HandStandPushups_g08_c01.avi"
    makeup = {"labels": ["ApplyEyeMakeup"]}
    assert rows(done) == [
        {"video_id": names[0], **makeup, "split": "test", "group": "ApplyEyeMakeup_g01"},
        {"video_id": names[1], **makeup, "split": "train", "group": "ApplyEyeMakeup_g08"},
        {"video_id": names[2], **makeup, "split": "train", "group": "ApplyEyeMakeup_g08"},
        {"video_id": names[3], "labels": ["HandstandPushups"], "split": "train", "group": "HandStandPushups_g08"},
    ]
    assert said(done.problems) == [
        ("trainlist01.txt, line 3", "other_spelling", f"{listed}: found as {names[3]}, which is spelled another way"),
        (names[4], "unnamed_video", "no row of the annotations names this video"),
    ]
    assert [n.id for n in done.nodes] == ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]
    check_counts(done)


def test_numbers_are_checked_against_folder_and_class_index() -> None:
    wrong = text("trainlist02.txt", "YoYo/v_YoYo_g01_c01.avi 1\nYoYo/v_YoYo_g01_c02.avi 7\nv_YoYo_g01_c03.avi 3\n")
    done = run(ucf101.parse([CLASSES, wrong]), "YoYo/v_YoYo_g01_c01.avi")
    assert said(done.problems)[:3] == [
        ("trainlist02.txt, line 1", "bad_row", "v_YoYo_g01_c01.avi: lies in YoYo, but class 1 is ApplyEyeMakeup"),
        ("trainlist02.txt, line 2", "unknown_class", "v_YoYo_g01_c02.avi: class 7 is not in classInd.txt"),
        ("trainlist02.txt, line 3", "bad_row", "got 'v_YoYo_g01_c03.avi 3', expected Class/video.avi"),
    ]
    assert done.rows == []
    check_counts(done)


def test_without_the_class_index_the_folders_are_the_classes() -> None:
    done = run(ucf101.parse([TRAIN]), "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi")
    assert [n.id for n in done.nodes] == ["ApplyEyeMakeup", "HandstandPushups"]


def test_only_the_files_of_one_split_are_wanted() -> None:
    names = ["a/classInd.txt", "a/trainlist01.txt", "a/trainlist02.txt", "a/testlist02.txt", "a/readme.txt"]
    assert [n for n in names if ucf101.is_wanted(n, 2)] == [names[0], names[2], names[3]]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"no trainlist01\.txt or testlist01\.txt \(or 02, 03\) there"):
        ucf101.parse([CLASSES])
    with pytest.raises(FormatError, match=r"classInd\.txt, line 1: got 'YoYo', expected a number and a class"):
        ucf101.parse([text("classInd.txt", "YoYo\n"), TRAIN])
    with pytest.raises(FormatError, match=r"trainlist01\.txt: not UTF-8 text \(byte 1\)"):
        ucf101.parse([TextFile("trainlist01.txt", b"a\xff")])


@settings(deadline=None, max_examples=100)
@given(content=st.text(), index=st.sampled_from(["1 a\n2 b\n", ""]))
def test_any_text_gives_rows_that_add_up(content: str, index: str) -> None:
    with suppress(FormatError):
        parsed = ucf101.parse([text("classInd.txt", index), text("trainlist01.txt", f"a/b.avi 1\n{content}")])
        check_counts(run(parsed, "a/b.avi"))
