import math
from pathlib import Path

import pytest

from pipelines.report_data import Truth, read_report_data
from pipelines.report_rows import label_tree, page_data, rounded
from tests.helpers.report_folder import TAXONOMY, label_row, write_folder


def truth_of(labels: dict[str, list[str]]) -> Truth:
    return Truth(labels=labels, segments={}, metrics={}, confusions=[], reliability=[])


def test_the_tree_holds_what_was_found_most_frequent_first(tmp_path: Path) -> None:
    rows = [label_row("a", "studio"), label_row("b", "run"), label_row("c", "jump"), label_row("d", "jump")]
    data = read_report_data(write_folder(tmp_path, [*rows, label_row("e", "stranger")]))
    tree = label_tree(data, TAXONOMY)
    assert [(n.id, n.num_top) for n in tree] == [("sport", 3), ("news", 1), ("stranger", 1)]
    assert [(n.name, n.num_top, n.num_any) for n in tree[0].children] == [("Jumping", 2, 2), ("Running", 1, 1)]


def test_a_class_nobody_has_is_not_in_the_tree(tmp_path: Path) -> None:
    [root] = label_tree(read_report_data(write_folder(tmp_path, [label_row("a")])), TAXONOMY)
    assert [child.id for child in root.children] == ["run"]


def test_page_data_numbers_classes_parents_first(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a", "studio", 0.75)])
    truth = Truth(
        labels={"a": ["jump"]},
        segments={"a": [{"label": "jump", "start_s": 0.0, "end_s": 4.0}]},
        metrics={},
        confusions=[],
        reliability=[],
    )
    packed = page_data(read_report_data(output, truth), TAXONOMY, truth)
    labels = packed["labels"]
    assert labels[1][:6] == ("studio", "Studio", 0, "", 1, 1)
    assert labels[1][6][15] == sum(labels[1][6]) == 1
    assert labels[3][4:] == (0, 0, [])
    assert [row[0] for row in labels] == ["news", "studio", "sport", "jump"]
    assert [row[2] for row in labels] == [-1, 0, -1, 2]
    [video] = packed["videos"]
    assert video[:5] == ["a", "/videos/a", 10.0, 1, 0.75]
    assert video[5] == [[0, 0.75], [1, 0.75]]
    assert video[6] == [[1, 2.0, 5.0, 0.75]]
    assert video[10] == [3]
    assert video[11] == [[3, 0.0, 4.0, None]]


def test_page_data_tells_unknown_truth_from_none_true(tmp_path: Path) -> None:
    truth = truth_of({"b": []})
    data = read_report_data(write_folder(tmp_path, [label_row("a"), label_row("b")]), truth)
    assert [video[10] for video in page_data(data, TAXONOMY, truth)["videos"]] == [None, []]


def test_long_videos_are_cut_short_in_the_page_and_say_so(tmp_path: Path) -> None:
    segment = {"label": "run", "start_s": 0.0, "end_s": 1.0, "score": 0.9}
    row = label_row("a", segments=[segment] * 203, frame_times_s=[0.5] * 65)
    [video] = page_data(read_report_data(write_folder(tmp_path, [row])), TAXONOMY, None)["videos"]
    assert len(video[6]) == 200
    assert video[7] == 3
    assert video[8] == []


def test_an_unknown_duration_stays_unknown(tmp_path: Path) -> None:
    rows = [label_row("a", duration_s=None), label_row("b", duration_s=math.inf)]
    videos = page_data(read_report_data(write_folder(tmp_path, rows)), TAXONOMY, None)["videos"]
    assert [video[2] for video in videos] == [None, None]


def test_segments_left_out_by_the_run_and_by_the_page_are_counted(tmp_path: Path) -> None:
    segment = {"label": "run", "start_s": 0.0, "end_s": 1.0, "score": 0.9}
    row = label_row("a", segments=[segment] * 203, num_segments_left_out=40)
    [video] = page_data(read_report_data(write_folder(tmp_path, [row])), TAXONOMY, None)["videos"]
    assert video[7] == 43


@pytest.mark.parametrize(("value", "shown"), [(None, None), (math.nan, None), (math.inf, None), (1.2345, 1.23)])
def test_what_is_no_number_is_none_on_the_page(value: float | None, shown: float | None) -> None:
    assert rounded(value) == shown
