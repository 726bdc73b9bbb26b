import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fal_model.errors import FailureKind, OutputError
from pipelines import report_data, report_rows, storage, tables
from pipelines.receipts import Receipt
from pipelines.records import RECEIPT_KEY
from pipelines.report_data import ReportData, Truth, read_report_data
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
    text = json.dumps(report_rows.page_data(data, TAXONOMY, None), allow_nan=False)
    assert "NaN" not in text


def test_an_empty_folder_is_an_empty_report(tmp_path: Path) -> None:
    assert read_report_data(str(tmp_path)) == ReportData()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a")])
    (tmp_path / "labels" / "part-0000000000000000.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(OutputError, match=r"cannot read .*part-0000000000000000\.parquet"):
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
    assert len(listed) == len(set(listed)) <= max(max_videos, len(least) + 3)
    assert listed == sorted(listed)
    if num > max_videos:
        assert {"v0", f"v{np.argmax(scores)}", *least} <= set(listed)
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


def test_a_class_named_twice_in_a_row_counts_once(tmp_path: Path) -> None:
    row = label_row("a")
    data = read_report_data(write_folder(tmp_path, [row | {"labels": [*row["labels"], *row["labels"]]}]))
    assert data.num_any == data.num_top == {"sport": 1, "run": 1}


def test_scores_are_spread_by_class_and_branch(tmp_path: Path) -> None:
    rows = [label_row("a", "run", 0.91), label_row("b", "run", 0.31), label_row("c", "jump", 0.93)]
    data = read_report_data(write_folder(tmp_path, rows, part_rows=2))
    assert {n: i for i, n in enumerate(data.label_bins["sport"]) if n} == {1: 6, 2: 18}
    assert [i for i, n in enumerate(data.label_bins["run"]) if n] == [6, 18]
    assert set(data.label_bins) == {"sport", "run", "jump"}


def test_examples_of_each_class_get_their_pictures_first(tmp_path: Path) -> None:
    rows = [label_row(f"r{i}", "run", 0.5 + i / 100) for i in range(9)] + [label_row("s", "studio", 0.99)]
    strip = picture()
    output = write_folder(tmp_path, rows, pictures=dict.fromkeys([r["video_id"] for r in rows], strip))
    data = read_report_data(output, max_pictures_bytes=3 * len(strip))
    assert set(data.pictures) == {"r0", "r8", "s"}
    assert data.num_pictured == 10


def test_a_sample_holds_the_best_and_the_least_certain_of_each_class(tmp_path: Path) -> None:
    rows = [label_row(f"v{i:03d}", "run" if i % 2 else "studio", 0.5 + ((i * 37) % 100) / 250) for i in range(100)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_data, "LEAST_CERTAIN", 0)
        data = read_report_data(write_folder(tmp_path, rows, part_rows=10), max_videos=5)
    listed = {v["video_id"] for v in data.videos}
    assert len(listed) < 12
    for top in ("run", "studio"):
        of_class = sorted((r for r in rows if r["top_label"] == top), key=lambda r: float(r["top_score"]))
        assert {of_class[0]["video_id"], of_class[-1]["video_id"]} <= listed


def test_receipts_of_all_parts_are_put_together(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a"), label_row("b")], part_rows=1)
    for name, version in zip(storage.names_in(f"{output}/labels"), ("7", "8"), strict=True):
        uri = f"{output}/labels/{name}"
        table = tables.read_table(uri)
        receipt = Receipt({"ffmpeg": [version]}, {"device": ["cpu"]}, 16, "w", "p")
        notes = {**(table.schema.metadata or {}), RECEIPT_KEY: receipt.to_json()}
        tables.write_table(uri, table.replace_schema_metadata(notes))
    found = read_report_data(output).receipt
    assert found == Receipt({"ffmpeg": ["7", "8"]}, {"device": ["cpu"]}, 16, "w", "p")
