from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.importers.annotations import (
    MEANT,
    ROW_LEFT_OUT,
    SEGMENT_LEFT_OUT,
    Kind,
    Parsed,
    Problem,
    is_text,
    split_in,
    split_named,
    tails,
)
from tests.helpers.importing import said

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "importing.md"


def test_the_document_explains_every_kind() -> None:
    named = re.findall(r"^\| `([a-z_]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(kind.value for kind in Kind)


def test_reasons_are_of_one_sort() -> None:
    assert MEANT < ROW_LEFT_OUT
    assert ROW_LEFT_OUT.isdisjoint(SEGMENT_LEFT_OUT)


def test_a_row_left_out_is_an_entry_and_a_problem() -> None:
    parsed = Parsed()
    parsed.leave_out("a, line 1", Kind.BAD_ROW, "broken", ("a.mp4",))
    parsed.note("a, line 2", Kind.NOT_A_CLASS, "odd")
    assert [(e.place, e.names, e.left_out) for e in parsed.entries] == [("a, line 1", ("a.mp4",), Kind.BAD_ROW)]
    assert said(parsed.problems) == [("a, line 1", "bad_row", "broken"), ("a, line 2", "not_a_class", "odd")]


def test_a_problem_is_written_on_one_short_line() -> None:
    problem = Problem("a", Kind.BAD_ROW, "x\n\x00y" + "z" * 600)
    assert problem.to_dict() == {"place": "a", "kind": "bad_row", "what": "x y" + "z" * 496 + "…"}


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"), ("Training", "train"), (" val ", "val"), ("validate", "val"), ("Validation", "val"),
        ("valid", "val"), ("test", "test"), ("TESTING", "test"), ("holdout", None), ("", None),
    ],
)  # fmt: skip
def test_published_words_for_splits(word: str, split: str | None) -> None:
    assert split_named(word) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train/kinetics-600_test.csv", "test"), ("k700_val.csv", "val"), ("val_1", "val"), ("train_val.json", None),
        ("Charades_v1_train.csv", "train"), ("annotations.json", None), ("contest.csv", None), ("train", "train"),
    ],
)  # fmt: skip
def test_splits_that_file_names_speak_of(name: str, split: str | None) -> None:
    assert split_in(name) == split


def test_tails_of_paths() -> None:
    assert tails("/a/./b\\c.mp4") == ("a/b/c.mp4", "b/c.mp4", "c.mp4")
    assert tails("") == ()


@pytest.mark.parametrize(
    ("value", "is_one"), [("a", True), (" ", False), ("a\ud800", False), (3, False), (None, False)]
)
def test_texts_that_say_something(value: object, is_one: bool) -> None:
    assert is_text(value) is is_one
