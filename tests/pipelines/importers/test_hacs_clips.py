from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings

from pipelines.importers import hacs_clips
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import check_counts, csv_texts, rows, run, said, text

HEADER = "classname,youtube_id,subset,start,end,label"


def test_positives_become_segments_and_negatives_are_counted() -> None:
    file = text(
        "HACS_clips_v1.1.csv",
        f"{HEADER}\nArchery,a2X2hz1G6i8,training,15.5,17.5,1\nArchery,a2X2hz1G6i8,training,17.0,19.0,1\n"
        "Archery,a2X2hz1G6i8,training,77.5,79.5,-1\nDodgeball,NUdji_CqvcY,validation,3,5,-1\n"
        "Dodgeball,NUdji_CqvcY,validation,3,5,0\nDodgeball,,validation,3,5,1\n ,x,testing,1,3,1\nDodgeball,x\n",
    )
    done = run(hacs_clips.parse([file]), "v_a2X2hz1G6i8.mp4", "NUdji_CqvcY.mp4")
    assert rows(done) == [
        {
            "video_id": "v_a2X2hz1G6i8.mp4",
            "labels": ["Archery"],
            "segments": [{"label": "Archery", "start_s": 15.5, "end_s": 19.0}],
            "split": "train",
        }
    ]
    at = "HACS_clips_v1.1.csv, line"
    assert said(done.problems) == [
        (f"{at} 4", "negative", "a2X2hz1G6i8: Archery is absent here"),
        (f"{at} 5", "negative", "NUdji_CqvcY: Dodgeball is absent here"),
        (f"{at} 6", "bad_row", "NUdji_CqvcY: label: got '0', must be 1 or -1"),
        (f"{at} 7", "bad_row", "no youtube_id"),
        (f"{at} 8", "no_label", "x: the classname is empty"),
        (f"{at} 9", "bad_row", "another number of cells than the first line"),
        (f"{at} 3", "segments_merged", "Archery, 17–19 s: overlaps 15.5–17.5 s of the same label; joined"),
    ]
    assert (done.rows_merged, dict(done.rows_left_out)) == (1, {"negative": 2, "bad_row": 3, "no_label": 1})
    assert done.left_out_share == pytest.approx(4 / 6)
    check_counts(done)


@settings(deadline=None, max_examples=100)
@given(content=csv_texts(HEADER))
def test_any_text_gives_rows_that_add_up_or_a_clear_error(content: str) -> None:
    with suppress(FormatError):
        check_counts(run(hacs_clips.parse([text("x.csv", content)]), "v_a.mp4", "1.mp4"))
