"""The bench of the report opens what a labelling run could have written."""

from __future__ import annotations

from pathlib import Path

from bench.report_corpus import taxonomy, write_corpus
from pipelines.report_data import read_report_data


def test_made_up_outputs_hold_what_their_summary_says(tmp_path: Path) -> None:
    summary = write_corpus(str(tmp_path), 401, 5)
    data = read_report_data(str(tmp_path))
    assert (data.num_labelled, data.num_failed) == (summary["labelled"], summary["failed"]) == (392, 9)
    assert set(data.num_any) <= {node.id for node in taxonomy().nodes}
    assert len(taxonomy().leaves) == 500
    assert data.same.num_groups == 2
    assert data.near.pairs
    assert data.damage.num_videos == 10
    assert len(data.pictures) >= 5
