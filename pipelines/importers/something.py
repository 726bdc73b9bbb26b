"""Something-Something v2: JSON.

Source: the files of the published set, ``something-something-v2-train.json`` (in the newer package ``train.json``),
``-validation``, ``-test`` and ``-labels.json``: train and validation are lists of ``{"id": "78687", "label": "holding
potato next to vicks vaporub bottle", "template": "Holding [something] next to [something]", "placeholders": [...]}``,
test of ``{"id": "1420"}``; labels is ``{"Holding something next to something": "45", …}``: the templates without
brackets. ``test-answers.csv`` of the newer package has lines ``1420;Holding something next to something``. Videos are
``<id>.webm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, TextFile, is_text, split_in
from pipelines.importers.reading import json_of, lines_of

ANSWERS = "test-answers.csv"


def is_wanted(name: str) -> bool:
    """Tell whether a file of the annotation folder is read."""
    last = name.rpartition("/")[2].lower()
    return last == ANSWERS or (last.endswith(".json") and ("labels" in last or split_in(last) is not None))


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the JSON files of the set, one or all of them.

    Raises:
        FormatError: no list of videos is there, or a file of another form.
    """
    labels = [f for f in files if "labels" in _last(f)]
    answers = [f for f in files if _last(f) == ANSWERS]
    lists = [f for f in files if f not in labels and f not in answers]
    if not lists:
        raise FormatError(["--annotations: no train, validation or test JSON of Something-Something there"])
    parsed = Parsed(classes=[node for file in labels for node in _classes(file)])
    known = _answers(parsed, answers)
    for file in lists:
        _list(parsed, file, known)
    return parsed


def _last(file: TextFile) -> str:
    return file.name.rpartition("/")[2].lower()


def _classes(file: TextFile) -> list[Node]:
    data, _ = json_of(file)
    if not isinstance(data, dict) or not all(map(is_text, data)):
        raise FormatError([f"{file.name}: expected an object of labels and numbers"])
    return [Node(label, label) for label in data]


def _answers(parsed: Parsed, files: Sequence[TextFile]) -> dict[str, str]:
    answers: dict[str, str] = {}
    for file in files:
        for place, line in lines_of(file):
            video_id, _, label = line.partition(";")
            if is_text(label):
                answers[video_id.strip()] = label.strip()
            else:
                parsed.note(place, Kind.NOT_A_CLASS, f"got {line!r}, expected id;label")
    return answers


def _list(parsed: Parsed, file: TextFile, answers: dict[str, str]) -> None:
    data, _ = json_of(file)
    if not isinstance(data, list):
        raise FormatError([f"{file.name}: expected a list of videos, got {type(data).__name__}"])
    split = split_in(file.name)
    for number, row in enumerate(data):
        _row(parsed, f"{file.name}, [{number}]", row, split, answers)


def _row(parsed: Parsed, place: str, row: Any, split: str | None, answers: dict[str, str]) -> None:
    video_id = row.get("id") if isinstance(row, dict) else None
    if isinstance(video_id, int) and not isinstance(video_id, bool):
        video_id = str(video_id)
    if not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, f"no id, got {row!r}")
        return
    given = row.get("template", answers.get(str(video_id)))
    label = given.replace("[", "").replace("]", "") if isinstance(given, str) else given
    if "template" in row and not is_text(label):
        parsed.leave_out(place, Kind.NO_LABEL, f"{video_id}: the template is {given!r}")
        return
    labels = None if label is None else (str(label),)
    parsed.entries.append(Entry(place, names=(str(video_id),), labels=labels, split=split, is_single_label=True))
