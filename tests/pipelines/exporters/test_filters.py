"""Which labels are exported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.exporters.filters import filtered
from pipelines.exporters.settings import ExportConfig
from pipelines.exporters.video import Segment
from tests.helpers.exporting import failed, label, video
from tests.helpers.report_folder import TAXONOMY

FOUND = video(
    "a",
    *(label("sport", 0.9), label("run", 0.8), label("jump", 0.6), label("news", 0.5), label("studio", 0.4)),
    segments=[Segment("run", 1, 2, 0.8), Segment("run", 3, 4, 0.3), Segment("studio", 5, 6, 0.7)],
)


def names(**asked: Any) -> tuple[list[str], list[tuple[str, float]]] | None:
    kept = filtered(FOUND, ExportConfig(**asked))
    return None if kept is None else ([x.label for x in kept.labels], [(s.label, s.score) for s in kept.segments])


@pytest.mark.parametrize(
    ("asked", "labels", "segments"),
    [
        ({}, ["sport", "run", "jump", "news", "studio"], [("run", 0.8), ("run", 0.3), ("studio", 0.7)]),
        ({"min_score": 0.6}, ["sport", "run", "jump"], [("run", 0.8)]),
        ({"labels": "sport"}, ["sport", "run", "jump"], [("run", 0.8), ("run", 0.3)]),
        ({"labels": ("studio", "run")}, ["run", "studio"], [("run", 0.8), ("run", 0.3), ("studio", 0.7)]),
        ({"levels": (0,)}, ["sport", "news"], []),
        ({"top_k": 1}, ["sport", "run"], [("run", 0.8), ("run", 0.3)]),
        ({"top_k": 2}, ["sport", "run", "jump"], [("run", 0.8), ("run", 0.3)]),
        ({"top_k": 1, "labels": "news"}, ["news", "studio"], [("studio", 0.7)]),
        ({"top_k": 2, "levels": (1,), "min_score": 0.7}, ["run"], [("run", 0.8)]),
    ],
)
def test_each_filter_and_some_together(
    asked: dict[str, Any], labels: list[str], segments: list[tuple[str, float]]
) -> None:
    assert names(**asked) == (labels, segments)


def test_a_video_of_which_no_label_is_left_is_left_out_and_a_failure_never() -> None:
    assert names(min_score=0.95) is None
    assert names(levels=(7,)) is None
    assert filtered(failed(), ExportConfig(min_score=1.0)) == failed()
    unsure = video("b", top_label="run")
    assert filtered(unsure, ExportConfig()) == unsure


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.sampled_from([node.id for node in TAXONOMY.nodes]), st.floats(0, 1), min_size=1),
    st.floats(0, 1),
    st.sampled_from(["", "sport", "run", "news"]),
    st.integers(0, 3),
)
def test_nothing_is_invented(scores: dict[str, float], min_score: float, branch: str, top_k: int) -> None:
    ranked = sorted(scores, key=lambda name: -scores[name])
    found = video("a", *(label(name, scores[name]) for name in ranked))
    kept = filtered(found, ExportConfig(min_score=min_score, labels=branch, top_k=top_k))
    rest = [] if kept is None else list(kept.labels)
    assert [x for x in found.labels if x in rest] == rest
    assert all(x.score >= min_score and (not branch or branch in x.path) for x in rest)
    if top_k and kept is not None:
        assert len(kept.deepest) <= top_k
