from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings

from pipelines.importers import something
from pipelines.importers.annotations import FormatError
from tests.helpers.importing import as_json, check_counts, json_values, rows, run, said, text

LABELS = as_json("labels/labels.json", {"Holding something next to something": "45", "Turning something": "8"})
TRAIN = as_json(
    "something-something-v2-train.json",
    [
        {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        },
        {"id": 42326, "label": "folding a crêpe", "template": "Folding [something]", "placeholders": ["a crêpe"]},
    ],
)


def test_templates_without_brackets_are_the_labels() -> None:
    test = as_json("something-something-v2-test.json", [{"id": "1420"}, {"id": "1421"}])
    answers = text("test-answers.csv", "1420;Turning something\nnonsense\n")
    done = run(something.parse([LABELS, TRAIN, test, answers]), "78687.webm", "42326.webm", "1420.webm", "1421.webm")
    assert rows(done) == [
        {"video_id": "1420.webm", "labels": ["Turning something"], "split": "test"},
        {"video_id": "1421.webm", "split": "test"},
        {"video_id": "42326.webm", "labels": ["Folding something"], "split": "train"},
        {"video_id": "78687.webm", "labels": ["Holding something next to something"], "split": "train"},
    ]
    assert said(done.problems) == [
        ("test-answers.csv, line 2", "not_a_class", "got 'nonsense', expected id;label"),
        (
            "something-something-v2-train.json, [1]",
            "label_not_in_tree",
            "label 'Folding something' is not in the set's class list; it is added",
        ),
    ]
    assert [n.id for n in done.nodes] == [
        "Holding something next to something",
        "Turning something",
        "Folding something",
    ]
    check_counts(done)


def test_rows_that_cannot_be_used_are_counted() -> None:
    rows_given: list[Any] = [
        {"label": "x"},
        {"id": "1", "template": None},
        "x",
        {"id": True},
        {"id": "2", "template": "[]"},
    ]
    done = run(something.parse([as_json("validation.json", rows_given)]), "1.webm")
    assert said(done.problems) == [
        ("validation.json, [0]", "bad_row", "no id, got {'label': 'x'}"),
        ("validation.json, [1]", "no_label", "1: the template is None"),
        ("validation.json, [2]", "bad_row", "no id, got 'x'"),
        ("validation.json, [3]", "bad_row", "no id, got {'id': True}"),
        ("validation.json, [4]", "no_label", "2: the template is '[]'"),
        ("1.webm", "unnamed_video", "no row of the annotations names this video"),
    ]
    check_counts(done)


def test_the_files_of_both_packages_are_wanted() -> None:
    names = [
        "something-something-v2-train.json",
        "labels/validation.json",
        "labels/labels.json",
        "labels/test-answers.csv",
        "readme.json",
        "labels/train.txt",
    ]
    assert [n for n in names if something.is_wanted(n)] == names[:4]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match="no train, validation or test JSON of Something-Something there"):
        something.parse([LABELS])
    with pytest.raises(FormatError, match=r"train\.json: expected a list of videos, got dict"):
        something.parse([as_json("train.json", {})])
    with pytest.raises(FormatError, match=r"labels\.json: expected an object of labels and numbers"):
        something.parse([as_json("labels.json", ["a"]), TRAIN])


@settings(deadline=None, max_examples=100)
@given(data=json_values(), labels=json_values())
def test_any_json_gives_rows_that_add_up_or_a_clear_error(data: Any, labels: Any) -> None:
    with suppress(FormatError):
        parsed = (
            something.parse([as_json("labels.json", labels), as_json("train.json", [data, *(data or ())])])
            if (isinstance(data, list))
            else something.parse([as_json("train.json", [data])])
        )
        check_counts(run(parsed, "a.mp4"))
