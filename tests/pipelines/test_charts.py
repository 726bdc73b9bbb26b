import re
from xml.etree import ElementTree as ET

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipelines import charts

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def shapes(svg: str, tag: str, style: str) -> list[dict[str, str]]:
    return [e.attrib for e in ET.fromstring(svg).iter(tag) if e.get("class") == style]  # noqa: S314 - our own SVG


@settings(deadline=None, max_examples=50)
@given(share=FLOATS, behind=FLOATS)
def test_a_bar_never_leaves_its_track(share: float, behind: float) -> None:
    widths = re.findall(r'width="([^"]*)%"', charts.bar(share, behind))
    assert len(widths) in {2, 3}
    assert all(0 <= float(w) <= 100 for w in widths)


def test_a_bar_is_as_long_as_its_share() -> None:
    assert shapes(charts.bar(0.25), "rect", "fill")[0]["width"] == "25%"
    assert shapes(charts.bar(0.25, 0.5), "rect", "pale")[0]["width"] == "50%"


def test_the_style_of_a_bar_cannot_break_out() -> None:
    assert "<b>" not in charts.bar(0.5, style='"><b>')


def test_histogram_bars_have_heights_in_proportion() -> None:
    svg = charts.histogram([2, 4, 0], [0, 2, 0], "score")
    good = [float(r["height"]) for r in shapes(svg, "rect", "good")]
    bad = [float(r["height"]) for r in shapes(svg, "rect", "bad")]
    assert good[0] == pytest.approx(good[1], abs=0.1)
    assert bad[1] == pytest.approx(good[1] - 1, abs=0.1)  # one pixel of air between the two
    assert good[2] == bad[2] == bad[0] == 0
    assert "0.33–0.67: 4, 2 of them wrong" in svg


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(0, 10**9), max_size=30), data=st.data())
def test_histogram_bars_stay_inside_the_picture(counts: list[int], data: st.DataObject) -> None:
    wrong = [data.draw(st.integers(0, n)) for n in counts]
    svg = charts.histogram(counts, wrong, "score")
    for style in ("good", "bad"):
        for rect in shapes(svg, "rect", style):
            assert float(rect["y"]) >= 0
            assert float(rect["height"]) >= 0
            assert float(rect["y"]) + float(rect["height"]) <= charts.HISTOGRAM_PX[1]


def test_a_distribution_has_bars_in_proportion_and_its_marks() -> None:
    svg = charts.distribution([2, 4, 0], ["a", "b <c>", "d"], {0.0: "1", 1.5: "30"}, "seconds")
    bars = shapes(svg, "rect", "good")
    assert [round(float(b["height"]) / float(bars[1]["height"]), 2) for b in bars] == [0.5, 1, 0]
    assert "<title>b &lt;c&gt;</title>" in svg
    assert ">30</text>" in svg
    assert ">seconds</text>" in svg


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(0, 10**9), max_size=60))
def test_bars_of_a_distribution_stay_inside_the_picture(counts: list[int]) -> None:
    svg = charts.distribution(counts, ["" for _ in counts], {}, "bytes")
    for rect in shapes(svg, "rect", "good"):
        assert float(rect["x"]) >= charts.MARGIN_LEFT_PX
        assert float(rect["x"]) + float(rect["width"]) <= charts.HISTOGRAM_PX[0]
        assert float(rect["y"]) >= 0
        assert float(rect["y"]) + float(rect["height"]) <= charts.HISTOGRAM_PX[1]


def test_reliability_puts_a_perfect_bin_on_the_diagonal() -> None:
    svg = charts.reliability([(0.5, 0.5, 10), (1.0, 0.0, 40), (float("nan"), 0.5, 3), (0.7, 0.5, 0)])
    dots = shapes(svg, "circle", "dot")
    ideal = shapes(svg, "line", "ideal")[0]
    assert len(dots) == 2
    assert float(dots[0]["cx"]) == pytest.approx((float(ideal["x1"]) + float(ideal["x2"])) / 2, abs=0.1)
    assert float(dots[0]["cy"]) == pytest.approx((float(ideal["y1"]) + float(ideal["y2"])) / 2, abs=0.1)
    assert float(dots[1]["cy"]) == float(ideal["y1"])
    assert float(dots[1]["r"]) > float(dots[0]["r"])


def test_reliability_of_nothing_is_an_empty_frame() -> None:
    assert shapes(charts.reliability([]), "circle", "dot") == []


def points(svg: str, number: int) -> list[tuple[float, float]]:
    (line,) = shapes(svg, "polyline", f"line line-{number}")
    pairs = (point.split(",") for point in line["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_curves_rise_from_the_left_corner_below_to_the_right_one_above() -> None:
    svg = charts.curves({"parent": [(0, 0), (500, 100), (1000, 200)], "child": [(1000, 50)]}, "videos", "MB")
    left, middle, right = points(svg, 1)
    (child,) = points(svg, 2)
    width_px, height_px = charts.HISTOGRAM_PX
    assert left == pytest.approx((charts.MARGIN_LEFT_PX, height_px - charts.MARGIN_BOTTOM_PX))
    assert right == pytest.approx((width_px - charts.MARGIN_RIGHT_PX, charts.MARGIN_TOP_PX))
    assert middle == pytest.approx(((left[0] + right[0]) / 2, (left[1] + right[1]) / 2), abs=0.1)
    assert child[1] == pytest.approx(left[1] + (right[1] - left[1]) / 4, abs=0.1)
    text = [element.text for element in ET.fromstring(svg).iter("text")]  # noqa: S314 - our own SVG
    assert {"0", "250", "500", "750", "1,000", "parent: 200", "child: 50", "videos", "MB"} <= set(text)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e9))), max_size=4))
def test_curves_stay_inside_the_picture(lines: list[list[tuple[float, float]]]) -> None:
    svg = charts.curves({str(number): line for number, line in enumerate(lines)}, "videos", "MB")
    for number, line in enumerate(lines):
        drawn = points(svg, number + 1)
        assert len(drawn) == len(line)
        assert all(0 <= x <= charts.HISTOGRAM_PX[0] and 0 <= y <= charts.HISTOGRAM_PX[1] for x, y in drawn)
