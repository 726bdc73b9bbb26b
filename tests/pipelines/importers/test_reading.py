from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.importers import reading
from pipelines.importers.annotations import FormatError, TextFile
from tests.helpers.importing import text


def test_a_byte_order_mark_and_any_line_ends_are_taken_off() -> None:
    file = text("a.txt", "\ufeffone\r\n\n  \u2028two\x0b \nthree")
    assert list(reading.lines_of(file)) == [
        ("a.txt, line 1", "one"),
        ("a.txt, line 3", "two"),
        ("a.txt, line 4", "three"),
    ]


def test_csv_rows_come_with_their_last_line_and_the_columns_of_the_header() -> None:
    file = text("a.csv", '\ufeffID , Name\r\n1,"x\ny"\r\n,\r\n2\r\n')
    assert list(reading.csv_rows(file, ["id", "name"])) == [
        ("a.csv, line 3", {"id": "1", "name": "x\ny"}),
        ("a.csv, line 5", None),
    ]


def test_files_of_another_form_are_refused() -> None:
    with pytest.raises(FormatError, match=r"a\.csv: not UTF-8 text \(byte 2\)"):
        list(reading.csv_rows(TextFile("a.csv", b"id\xff"), ["id"]))
    with pytest.raises(FormatError, match=r"a\.csv: empty; needed are the columns id, label"):
        list(reading.csv_rows(text("a.csv", "\n"), ["id", "label"]))
    many = ",".join(f"c{i}" for i in range(20))
    with pytest.raises(FormatError, match=r"a\.csv: no column id; the first line has: c0, c1, .*, c11, …"):
        list(reading.csv_rows(text("a.csv", many), ["id"]))
    with pytest.raises(FormatError, match=r"a\.csv: column id is there more than once"):
        list(reading.csv_rows(text("a.csv", "id,x,ID"), ["id"]))
    with pytest.raises(FormatError, match=r"a\.csv: not CSV after line 2: field larger than field limit"):
        list(reading.csv_cells(text("a.csv", "id\n" + "x" * 200_000)))
    with pytest.raises(FormatError, match=r"a\.json: not JSON: Expecting value"):
        reading.json_of(text("a.json", ""))
    with pytest.raises(FormatError, match=r"a\.json: not JSON: maximum recursion depth exceeded"):
        reading.json_of(text("a.json", "[" * 100_000))
    with pytest.raises(FormatError, match=r"a\.json: not JSON: Exceeds the limit"):
        reading.json_of(text("a.json", "1" * 5000))


def test_keys_that_an_object_has_twice_are_told() -> None:
    data, repeated = reading.json_of(text("a.json", '{"a": {"b": 1, "b": 2, "c": 3}, "d": 4, "d": 5}'))
    assert (data, repeated) == ({"a": {"b": 2, "c": 3}, "d": 5}, ["b", "d"])


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0), (" 2.5 ", 2.5), ("1e3", 1000.0), (-0.5, -0.5), ("", None), ("1_0", None), ("nan", None),
        (float("inf"), None), ("1e400", None), (10**400, None), (True, None), (None, None), ([1], None), ("½", None),
    ],
)  # fmt: skip
def test_numbers(value: object, number: float | None) -> None:
    assert reading.number_in(value) == number


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_from_its_text(number: float) -> None:
    assert reading.number_in(number) == reading.number_in(repr(number)) == number
