import base64
import json
import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fal_model.errors import FailureKind, OutputError
from pipelines import pixels, report_data
from pipelines.report_data import ReportData, Truth, label_tree, page_data, read_report_data
from tests.helpers.report_folder import TAXONOMY, failure_row, label_row, picture, write_folder


def truth_of(labels: dict[str, list[str]]) -> Truth:
    return Truth(labels=labels, segments={}, metrics={}, confusions=[], reliability=[])


def test_counts_cover_every_part(tmp_path: Path) -> None:
    rows = [label_row(f"v{i}", "run" if i % 3 else "studio", 0.51 + i / 100) for i in range(10)]
    data = read_report_data(write_folder(tmp_path, rows, [failure_row("x")], part_rows=3))
    assert data.num_labelled == 10
    assert data.num_failed == 1
    assert data.total_duration_s == pytest.approx(100)
    assert sum(data.bins) == 10
    assert data.bins[10] == 4  # 0.51 to 0.54
    assert data.num_top == {"sport": 6, "run": 6, "news": 4, "studio": 4}
    assert [v["video_id"] for v in data.videos] == [f"v{i}" for i in range(10)]
    assert "embedding" not in data.videos[0]


def test_a_label_below_the_top_one_counts_as_any_only(tmp_path: Path) -> None:
    extra = {"label": "jump", "path": ["sport", "jump"], "level": 1, "score": 0.6}
    row = label_row("a")
    data = read_report_data(write_folder(tmp_path, [row | {"labels": [*row["labels"], extra]}]))
    assert data.num_any["jump"] == 1
    assert data.num_top["jump"] == 0


def test_a_top_label_below_the_threshold_still_counts_in_its_branch(tmp_path: Path) -> None:
    data = read_report_data(write_folder(tmp_path, [label_row("a", "run", 0.2, labels=[])]))
    assert data.num_top == data.num_any == {"sport": 1, "run": 1}


def test_wrong_top_labels_are_counted_where_truth_is_known(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("right"), label_row("wrong", score=0.72), label_row("unknown")])
    data = read_report_data(output, truth_of({"right": ["run", "studio"], "wrong": ["jump"]}))
    assert data.num_wrong == 1
    assert data.wrong_bins[14] == 1
    assert sum(data.wrong_bins) == 1


@pytest.mark.parametrize("score", [float("nan"), -0.5, 1.0, 7.0])
def test_odd_scores_fall_into_a_bin_and_never_into_the_page(tmp_path: Path, score: float) -> None:
    data = read_report_data(write_folder(tmp_path, [label_row("a", score=score, coverage=float("nan"))]))
    assert sum(data.bins) == 1
    text = json.dumps(page_data(data, TAXONOMY, None), allow_nan=False)
    assert "NaN" not in text


def test_an_empty_folder_is_an_empty_report(tmp_path: Path) -> None:
    assert read_report_data(str(tmp_path)) == ReportData()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a")])
    (tmp_path / "labels" / "part-00000.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(OutputError, match=r"cannot read .*part-00000\.parquet"):
        read_report_data(output)


@settings(deadline=None, max_examples=15)
@given(num=st.integers(1, 150), part_rows=st.integers(8, 60), max_videos=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_large_corpus_lists_the_least_certain_the_pictured_and_a_sample(
    tmp_path_factory: pytest.TempPathFactory, num: int, part_rows: int, max_videos: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).permutation(num) / num
    rows = [label_row(f"v{i}", score=float(s)) for i, s in enumerate(scores)]
    output = write_folder(tmp_path_factory.mktemp("out"), rows, pictures={"v0": picture()}, part_rows=part_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_data, "LEAST_CERTAIN", 5)
        data = read_report_data(output, max_videos=max_videos)
    listed = [v["video_id"] for v in data.videos]
    least = {f"v{i}" for i in np.argsort(scores)[:5]}
    assert data.num_labelled == sum(data.bins) == num
    assert len(listed) == len(set(listed)) <= max(max_videos, len(least) + 2)
    assert listed == sorted(listed, key=lambda v: int(v[1:]))
    if num > max_videos:
        assert {"v0", *least} <= set(listed)
        assert len(listed) >= min(num, max_videos / 2 - len(least))
    else:
        assert len(listed) == num


def test_failures_are_grouped_by_kind_most_frequent_first(tmp_path: Path) -> None:
    rows = [failure_row("a", "timeout"), failure_row("b"), failure_row("c"), failure_row("d", "from_the_future")]
    groups = read_report_data(write_folder(tmp_path, failures=rows)).failures
    assert [(g.kind, g.count) for g in groups] == [("corrupt", 2), ("timeout", 1), ("from_the_future", 1)]
    assert [r["video_id"] for r in groups[0].rows] == ["b", "c"]
    assert groups[0].why
    assert groups[2].why == ""


def test_only_the_first_failures_of_a_kind_are_listed(tmp_path: Path) -> None:
    num = report_data.MAX_FAILURES_PER_KIND + 1
    [group] = read_report_data(write_folder(tmp_path, failures=[failure_row(f"v{i}") for i in range(num)])).failures
    assert group.count == num
    assert len(group.rows) == num - 1


def test_every_kind_is_explained() -> None:
    assert set(report_data.WHY) == set(FailureKind)


def test_pictures_are_shrunk_and_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    small = picture()
    strips = {"large": picture(224, 896), "small": small, "text": "bm8gcGljdHVyZQ==", "odd": "%%%", "none": ""}
    pictures = read_report_data(write_folder(tmp_path, [label_row("large")], pictures=strips)).pictures
    assert set(pictures) == {"large", "small"}
    assert pictures["small"] == small
    assert pixels.decode_jpeg(base64.b64decode(pictures["large"])).shape == (112, 448, 3)


def test_pictures_stop_before_the_page_gets_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strip = picture()
    monkeypatch.setattr(report_data, "MAX_PICTURES_BYTES", 2 * len(strip))
    output = write_folder(tmp_path, [label_row("a")], pictures=dict.fromkeys("abc", strip))
    assert list(read_report_data(output).pictures) == ["a", "b"]


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
