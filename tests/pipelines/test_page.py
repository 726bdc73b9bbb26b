"""Numbers as people read them, and pages that let nothing in."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from pipelines import page

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_survives_and_cannot_end_its_element(value: Any) -> None:
    text = str(page.script_json(value))
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_policy_allows_just_these_texts() -> None:
    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    whole = page.policy("a {}", "run()")
    assert whole.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src {allowed('a {}')}; script-src {allowed('run()')}; " in whole
    assert "script-src" not in page.policy("a {}")


def test_a_page_holds_its_styles_and_its_script_and_allows_just_these() -> None:
    text = page.render("base.html", ["scan.css", "shards.css"], "report.js", title="a <b>")
    style, script = page.asset("scan.css") + page.asset("shards.css"), page.asset("report.js")
    assert "<title>a &lt;b&gt;</title>" in text
    assert f"<style>{style}</style>" in text
    assert f"<script>{script}</script>" in text
    assert page.policy(style, script) in html.unescape(text)
    without = page.render("base.html", ["scan.css"], title="t")
    assert "<script" not in without
    assert page.policy(page.asset("scan.css")) in html.unescape(without)


def test_templates_escape_and_know_no_unknown_names() -> None:
    environment = page.environment()
    assert environment.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        environment.from_string("{{ name }}").render()
    assert "--accent" in page.asset("report.css")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (page.count(1234567), "1,234,567"),
        (page.count(None), "–"),
        (page.rate(1234.4), "1,234"),
        (page.rate(1.2345), "1.23"),
        (page.rate(None), "–"),
        (page.rate(float("nan")), "–"),
        (page.time(None), "–"),
        (page.time(59.94), "59.9 s"),
        (page.time(61), "1 min 01 s"),
        (page.time(7260), "2 h 01 min"),
        (page.amount(None, "B"), "–"),
        (page.amount(999, "B"), "999 B"),
        (page.amount(1_234_567, "B"), "1.23 MB"),
        (page.amount(3e15, "B"), "3e+03 TB"),
        (page.picture(b"\xff\xd8"), "data:image/jpeg;base64,/9g="),
    ],
)
def test_numbers_are_written_for_people(shown: str, text: str) -> None:
    assert shown == text
