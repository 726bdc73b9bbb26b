from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings

from pipelines.importers import charades
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, csv_texts, rows, run, said, text

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
CLASSES = text(
    "Charades_v1_classes.txt", "c092 Watching/Looking outside of a window\nc147 Playing with a phone/camera\nc999\n"
)


def test_actions_become_segments_and_the_person_the_group() -> None:
    file = text(
        "Charades_v1_train.csv",
        f"{HEADER}\n"
        '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking.\nThen ""eats"".",food;stove,desc,'
        "c092 11.90 21.20;c147 0.00 24.90,24.83\n"
        "ZZZZZ,HR43,Garage,4,4,No,nothing,car,desc,,10.00\n"
        "AAAAA,KL01,Garage,4,4,No,nothing,car,desc,c092 1.0;c500 0 1;c147 3.0 2.0,\n"
        ",KL01,Garage,4,4,No,nothing,car,desc,,1\n",
    )
    done = run(charades.parse([CLASSES, file]), "46GP8.mp4", "ZZZZZ.mp4", "AAAAA.mp4")
    assert rows(done) == [
        {
            "video_id": "46GP8.mp4",
            "labels": ["c092", "c147"],
            "segments": [
                {"label": "c147", "start_s": 0.0, "end_s": 24.83},
                {"label": "c092", "start_s": 11.9, "end_s": 21.2},
            ],
            "split": "train",
            "duration_s": 24.83,
            "group": "HR43",
        },
        {"video_id": "AAAAA.mp4", "labels": ["c147"], "split": "train", "group": "KL01"},
        {"video_id": "ZZZZZ.mp4", "labels": [], "split": "train", "duration_s": 10.0, "group": "HR43"},
    ]
    at = "Charades_v1_train.csv, line"
    assert said(done.problems) == [
        (f"{at} 5, action 1", "not_a_class", "AAAAA: got 'c092 1.0', expected a class, a start and an end"),
        (f"{at} 5, action 2", "not_a_class", "AAAAA: class c500 is not in Charades_v1_classes.txt"),
        (f"{at} 6", "bad_row", "no id"),
        (f"{at} 3, action 2", "segment_cut", "c147, 0.00–24.90 s: cut to the video, 0–24.83 s"),
        (f"{at} 5, action 3", "segment_reversed", "c147, 3.0–2.0: ends before it begins"),
    ]
    assert [(n.id, n.name) for n in done.nodes][1:] == [("c147", "Playing with a phone/camera"), ("c999", "c999")]
    check_counts(done)


def test_without_the_class_list_ids_are_taken_as_they_are() -> None:
    file = text("Charades_v1_test.csv", "id,subject,actions,length\nA,B,c500 0 1,2\n")
    done = run(charades.parse([file]), "A.mp4")
    assert (done.rows[0]["labels"], done.rows[0]["split"]) == (["c500"], "test")


def test_only_the_tables_and_the_class_list_are_wanted() -> None:
    names = ["Charades_v1_train.csv", "Charades_v1_classes.txt", "Charades_v1_objectclasses.txt", "x.csv"]
    assert [n for n in names if charades.is_wanted(n)] == names[:2]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"no Charades_v1_train\.csv or Charades_v1_test\.csv there"):
        charades.parse([CLASSES])
    with pytest.raises(FormatError, match=r"a_train\.csv: no column subject, actions, length; the first line has: id"):
        charades.parse([text("a_train.csv", "id\n")])


@settings(deadline=None, max_examples=100)
@given(content=csv_texts("id,subject,actions,length"))
def test_any_text_gives_rows_that_add_up_or_a_clear_error(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(charades.parse([CLASSES, text("train.csv", content)]), "a.mp4", "1.mp4"))
