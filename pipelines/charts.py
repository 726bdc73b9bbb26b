"""Small charts as inline SVG. Colours come from the page's style sheet, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

HISTOGRAM_PX = (540, 210)
RELIABILITY_PX = (400, 320)
SHARES = ((0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1, "1"))
MARGIN_LEFT_PX, MARGIN_BOTTOM_PX, MARGIN_TOP_PX, MARGIN_RIGHT_PX = 42, 38, 10, 12
SHORT_TICK = 4
"""Longer numbers at the right end are written leftwards, to stay inside the picture."""


def bar(share: float, behind: float = 0.0, style: str = "") -> Markup:
    """Draw a horizontal bar on a track.

    Args:
        share: Length of the bar, 0 to 1; what lies outside is cut off.
        behind: Length of a paler bar behind it, 0 to 1.
        style: A class of the style sheet.

    Returns:
        An ``<svg>`` that fills the width it is given.
    """
    pale = Markup('<rect class="pale" width="{}%" height="100%" rx="3"/>').format(_percent(behind))
    return Markup(
        '<svg class="bar {}" aria-hidden="true"><rect class="track" width="100%" height="100%" rx="3"/>{}'
        '<rect class="fill" width="{}%" height="100%" rx="3"/></svg>'
    ).format(style, pale if behind > 0 else "", _percent(share))


def histogram(counts: Sequence[int], wrong: Sequence[int], caption: str) -> Markup:
    """Draw how often each score occurs, between 0 and 1.

    Args:
        counts: Videos in each of equally wide bins.
        wrong: Those of them whose label is known to be wrong; drawn on top of the others in another colour.
        caption: What the horizontal axis says.

    Returns:
        An ``<svg>``.
    """
    width, height = HISTOGRAM_PX
    top = _nice_ceiling(max(counts, default=0))
    frame = _Frame(width, height, 1.0, top)
    step = (frame.x(1) - frame.x(0)) / max(1, len(counts))
    bars = []
    for i, (count, bad) in enumerate(zip(counts, wrong, strict=True)):
        left, label = frame.x(0) + i * step, f"{i / len(counts):.2f}–{(i + 1) / len(counts):.2f}: {count:,}"
        label += f", {bad:,} of them wrong" if bad else ""
        middle = frame.y(count - bad)
        bars.append(
            Markup(
                '<g><title>{}</title><rect class="hit" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                '<rect class="good" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
                '<rect class="bad" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/></g>'
            ).format(
                *(label, left, frame.y(top), step, frame.y(0) - frame.y(top)),
                *(left + 1, middle, step - 2, frame.y(0) - middle),
                *(left + 1, frame.y(count), step - 2, max(0.0, middle - frame.y(count) - (1 if bad else 0))),
            )
        )
    axes = frame.axes([(v, f"{v:,.0f}") for v in (0, top / 2, top) if v == int(v)], caption, "videos")
    return _svg("histogram", width, height, Markup("").join([axes, *bars]), f"Histogram: {caption}")


def distribution(counts: Sequence[int], titles: Sequence[str], marks: Mapping[float, str], caption: str) -> Markup:
    """Draw how many videos fall into each bin of some quantity.

    Args:
        counts: Videos in each bin, from the left.
        titles: What is said of each bin when it is pointed at.
        marks: Numbers below the axis, by their place: 0 at the left edge of the first bin, 1 at the next …
        caption: What the horizontal axis says.

    Returns:
        An ``<svg>``.
    """
    width, height = HISTOGRAM_PX
    top = _nice_ceiling(max(counts, default=0))
    frame = _Frame(width, height, max(1, len(counts)), top)
    bars = [
        Markup(
            '<g><title>{}</title><rect class="hit" x="{x:.1f}" y="{:.1f}" width="{w:.1f}" height="{:.1f}"/>'
            '<rect class="good" x="{x:.1f}" y="{:.1f}" width="{w:.1f}" height="{:.1f}" rx="2"/></g>'
        ).format(
            *(title, frame.y(top), frame.y(0) - frame.y(top), frame.y(count), frame.y(0) - frame.y(count)),
            x=frame.x(i) + 1,
            w=max(1.0, frame.x(i + 1) - frame.x(i) - 2),
        )
        for i, (count, title) in enumerate(zip(counts, titles, strict=True))
    ]
    ticks = [(v, f"{v:,.0f}") for v in (0, top / 2, top) if v == int(v)]
    axes = frame.axes(ticks, caption, "videos", list(marks.items()))
    return _svg("histogram", width, height, Markup("").join([axes, *bars]), f"Distribution: {caption}")


def reliability(points: Sequence[tuple[float, float, int]]) -> Markup:
    """Draw how often labels of a score are right: on the diagonal, a score means what it says.

    Args:
        points: Mean score, share correct, and number of decisions of each bin; bins that are not numbers are left out.

    Returns:
        An ``<svg>``; the area of a dot grows with its number of decisions.
    """
    width, height = RELIABILITY_PX
    frame = _Frame(width, height, 1.0, 1.0)
    known = [(s, a, n) for s, a, n in points if math.isfinite(s) and math.isfinite(a) and n > 0]
    most = max((n for _, _, n in known), default=1)
    line = " ".join(f"{frame.x(s):.1f},{frame.y(a):.1f}" for s, a, _ in known)
    dots = [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>').format(
            frame.x(s), frame.y(a), 2.5 + 5.5 * math.sqrt(n / most), f"score {s:.2f}: {a:.1%} correct of {n:,}"
        )
        for s, a, n in known
    ]
    diagonal = Markup('<line class="ideal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        frame.x(0), frame.y(0), frame.x(1), frame.y(1)
    )
    path = Markup('<polyline class="line" points="{}"/>').format(line)
    axes = frame.axes([(0, "0"), (0.5, "0.5"), (1, "1")], "score", "share correct")
    return _svg("reliability", width, height, Markup("").join([axes, diagonal, path, *dots]), "Reliability diagram")


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], caption: str, unit: str) -> Markup:
    """Draw how measured values change over a count that rises from 0.

    Args:
        lines: Points ``(count, value)`` of each named line, values ≥ 0; at most four lines have a colour of their own.
        caption: What is counted, along the horizontal axis.
        unit: What is measured, up the vertical axis, which begins at 0.

    Returns:
        An ``<svg>``; each line says its name and its last value.
    """
    width, height = HISTOGRAM_PX
    right = max((count for points in lines.values() for count, _ in points), default=0) or 1.0
    top = _nice_ceiling(math.ceil(max((value for points in lines.values() for _, value in points), default=0)))
    frame = _Frame(width, height, right, top)
    drawn = []
    for number, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{frame.x(count):.1f},{frame.y(value):.1f}" for count, value in points)
        drawn.append(
            Markup(
                '<g><title>{}</title><polyline class="line line-{n}" points="{}"/>'
                '<text class="tick line-{n}" x="{:.1f}" y="{:.1f}">{}</text></g>'
            ).format(
                *(name, path, frame.x(0) + 8, MARGIN_TOP_PX + 12 + 14 * number),
                f"{name}: {points[-1][1]:,.4g}" if points else f"{name}: none",
                n=number + 1,
            )
        )
    marks = [(share * right, f"{share * right:,.6g}") for share in (0, 0.25, 0.5, 0.75, 1)]
    axes = frame.axes([(v, f"{v:,.6g}") for v in (0, top / 2, top)], caption, unit, marks)
    return _svg("curves", width, height, Markup("").join([axes, *drawn]), f"{unit} over {caption}")


class _Frame:
    """Where values lie on the picture: the axes run from 0 to ``right`` and from 0 to ``top``."""

    def __init__(self, width: float, height: float, right: float, top: float) -> None:
        self.width, self.height, self.right, self.top = width, height, right, top

    def x(self, value: float) -> float:
        return MARGIN_LEFT_PX + value / self.right * (self.width - MARGIN_LEFT_PX - MARGIN_RIGHT_PX)

    def y(self, value: float) -> float:
        return self.height - MARGIN_BOTTOM_PX - value / self.top * (self.height - MARGIN_BOTTOM_PX - MARGIN_TOP_PX)

    def axes(
        self,
        ticks: Sequence[tuple[float, str]],
        caption: str,
        unit: str,
        marks: Sequence[tuple[float, str]] = SHARES,
    ) -> Markup:
        """Draw a line and a number at each tick, a number at each mark below, and what both axes mean."""
        parts = [
            Markup(
                '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                '<text class="tick end" x="{:.1f}" y="{:.1f}">{}</text>'
            ).format(self.x(0), self.x(self.right), self.x(0) - 6, self.y(value) + 4, text, y=self.y(value))
            for value, text in ticks
        ]
        parts += [
            Markup('<text class="tick {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                "end" if v == self.right and len(text) > SHORT_TICK else "mid", self.x(v), self.y(0) + 16, text
            )
            for v, text in marks
        ]
        middle_y = (self.y(0) + self.y(self.top)) / 2
        parts.append(
            Markup(
                '<text class="axis mid" x="{:.1f}" y="{:.1f}">{}</text>'
                '<text class="axis mid" transform="translate(11 {:.1f}) rotate(-90)">{}</text>'
            ).format((self.x(0) + self.x(self.right)) / 2, self.height - 5, caption, middle_y, unit)
        )
        return Markup("").join(parts)


def _svg(style: str, width: int, height: int, content: Markup, title: str) -> Markup:
    return Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        style, width, height, title, content
    )


def _percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}".rstrip("0").rstrip(".") if math.isfinite(share) else "0"


def _nice_ceiling(value: int) -> float:
    """Round up to 1, 2, 4, 5 or 10 times a power of ten, at least 2: axes end on numbers that are easy to halve."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(max(2.0, step * power) for step in (1, 2, 4, 6, 8, 10) if step * power >= value)
