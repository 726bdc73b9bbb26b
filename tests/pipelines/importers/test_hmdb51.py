from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import hmdb51
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, rows, run, said, text


def test_ones_and_twos_are_train_and_test_and_zeros_are_counted() -> None:
    brush = text(
        "splits/brush_hair_test_split1.txt",
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nApril_09_brush_hair_u_nm_np1_ba_goo_1.avi 2 \n"
        "atheistbrush_hair_u_nm_np1_ba_med_0.avi 0 \n",
    )
    wheel = text(
        "splits/cartwheel_test_split1.txt",
        "(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi 1\nAcrobacias_de_un_fenómeno.avi 2\n",
    )
    names = (
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_1.avi",
        "brush_hair/atheistbrush_hair_u_nm_np1_ba_med_0.avi",
        "cartwheel/(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi",
        "cartwheel/Acrobacias_de_un_feno\u0301meno.avi",
    )
    done = run(hmdb51.parse([wheel, brush]), *names)
    assert rows(done) == [
        {"video_id": names[0], "labels": ["brush_hair"], "split": "train", "group": "April_09"},
        {"video_id": names[1], "labels": ["brush_hair"], "split": "test", "group": "April_09"},
        {"video_id": names[3], "labels": ["cartwheel"], "split": "train", "group": "(Rad)Schlag_die_Bank!"},
        {"video_id": names[4], "labels": ["cartwheel"], "split": "test"},
    ]
    assert said(done.problems) == [
        (
            "splits/brush_hair_test_split1.txt, line 3",
            "unused",
            "atheistbrush_hair_u_nm_np1_ba_med_0.avi: 0, not used in this split",
        ),
        (
            "splits/cartwheel_test_split1.txt, line 2",
            "other_spelling",
            f"cartwheel/Acrobacias_de_un_fenómeno.avi: found as {names[4]}, which is spelled another way",
        ),
    ]
    assert done.left_out_share == 0.0
    assert [n.id for n in done.nodes] == ["brush_hair", "cartwheel"]
    check_counts(done)


def test_a_line_of_another_form_is_counted() -> None:
    done = run(hmdb51.parse([text("run_test_split1.txt", "a.avi 3\nb.avi\n2\n")]))
    assert said(done.problems) == [
        ("run_test_split1.txt, line 1", "bad_row", "got 'a.avi 3', expected video.avi and 0, 1 or 2"),
        ("run_test_split1.txt, line 2", "bad_row", "got 'b.avi', expected video.avi and 0, 1 or 2"),
        ("run_test_split1.txt, line 3", "bad_row", "got '2', expected video.avi and 0, 1 or 2"),
    ]
    check_counts(done)


def test_only_the_files_of_one_split_are_wanted() -> None:
    names = ["s/run_test_split1.txt", "s/run_test_split2.txt", "s/readme.txt"]
    assert [n for n in names if hmdb51.is_wanted(n, 2)] == [names[1]]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"no <class>_test_split1\.txt \(or 2, 3\) there"):
        hmdb51.parse([])
    with pytest.raises(FormatError, match=r"list\.txt: expected a name like brush_hair_test_split1\.txt"):
        hmdb51.parse([text("list.txt", "a.avi 1\n")])


@settings(deadline=None, max_examples=100)
@given(content=st.text())
def test_any_text_gives_rows_that_add_up(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(hmdb51.parse([text("run_test_split1.txt", f"a.avi 1\n{content}")]), "run/a.avi"))
