from pathlib import Path

import pytest

from fal_model.errors import OutputError
from pipelines import label_parts, report_findings, tables
from pipelines.embedding_duplicates import NearDuplicates
from pipelines.report_findings import Damage, SameFiles, read_damage, read_near_duplicates, read_same_files
from tests.helpers.report_folder import label_row, part_name, write_folder, write_predictions


def test_damaged_frames_are_added_up_over_clips_and_parts(tmp_path: Path) -> None:
    write_predictions(str(tmp_path), 0, [("a", 2), ("a", 3), ("b", 0)])
    write_predictions(str(tmp_path), 1, [("c", 9)])
    assert read_damage(str(tmp_path)) == Damage(num_frames=14, num_videos=2, frames={"c": 9, "a": 5})


def test_only_the_most_damaged_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_findings, "MAX_DAMAGED", 1)
    write_predictions(str(tmp_path), 0, [("a", 2), ("b", 3)])
    assert read_damage(str(tmp_path)) == Damage(num_frames=5, num_videos=2, frames={"b": 3})


def test_an_empty_folder_holds_nothing_to_point_at(tmp_path: Path) -> None:
    assert read_damage(str(tmp_path)) == Damage()
    assert read_same_files(str(tmp_path)) == SameFiles()
    assert read_near_duplicates(str(tmp_path)) == NearDuplicates()


def test_files_with_the_same_bytes_are_found_over_parts_largest_group_first(tmp_path: Path) -> None:
    hashes = {"a": "1" * 64, "b": "2" * 64, "c": "1" * 64, "d": "2" * 64, "e": "2" * 64, "f": "3" * 64}
    rows = [label_row(name, sha256=sha256) for name, sha256 in hashes.items()]
    found = read_same_files(write_folder(tmp_path, rows, part_rows=2))
    assert found == SameFiles(num_groups=2, num_videos=5, groups=[["b", "d", "e"], ["a", "c"]])


def test_hashes_that_only_begin_alike_are_different_files(tmp_path: Path) -> None:
    rows = [label_row("a", sha256="1" * 64), label_row("b", sha256="1" * 63 + "2")]
    assert read_same_files(write_folder(tmp_path, rows)) == SameFiles()


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    write_predictions(str(tmp_path), 0, [("a", 2)])
    (tmp_path / "predictions" / f"{part_name(0)}.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(OutputError, match=r"cannot read .*predictions/part-0+\.parquet"):
        read_damage(str(tmp_path))


def test_videos_that_look_alike_are_found_over_parts_but_one_content_is_compared_once(tmp_path: Path) -> None:
    rows = [label_row(name, embedding=[0.6, 0.8], sha256=name * 64) for name in "abc"]
    rows += [label_row("copy", embedding=[0.6, 0.8], sha256="a" * 64), label_row("d", embedding=[1.0, 0.0])]
    found = read_near_duplicates(write_folder(tmp_path, rows, part_rows=2))
    assert found.num_compared == 4
    assert [pair[:2] for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_of_very_many_an_even_sample_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_findings, "MAX_COMPARED", 10)
    rows = [label_row(f"v{i:02d}", embedding=[0.6, 0.8]) for i in range(50)]
    found = read_near_duplicates(write_folder(tmp_path, rows, part_rows=7))
    assert found.num_compared == 7
    assert found.pairs[0] == ("v00", "v08", 1.0)


def test_a_part_without_labels_among_others_changes_nothing(tmp_path: Path) -> None:
    rows = [label_row(name, embedding=[0.6, 0.8]) for name in "ab"]
    output = write_folder(tmp_path, rows, part_rows=1)
    no_rows = tables.read_table(label_parts.table_uri(output, "labels", part_name(0))).slice(0, 0)
    tables.write_table(label_parts.table_uri(output, "labels", part_name(2)), no_rows)
    assert read_near_duplicates(output).pairs == [("a", "b", 1.0)]
    assert read_same_files(output) == SameFiles()
