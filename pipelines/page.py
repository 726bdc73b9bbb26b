"""What every page has in common: safe templates, a policy that lets nothing in, and numbers as people read them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

DASH = "–"
KILO = 1000.0
MINUTE_S, HOUR_S = 60, 3600
THREE_DIGITS = 100
"""From here on a whole number has the three digits that matter."""


def render(template: str, styles: Sequence[str], script: str | None = None, **values: Any) -> str:
    """Fill one of our templates into a page that needs no other file.

    Args:
        template: Name of the template, which extends ``base.html``.
        styles: Names of its style sheets.
        script: Name of its script, if it has one.
        values: What it shows.

    Returns:
        HTML.
    """
    style, code = "".join(map(asset, styles)), asset(script) if script else None
    page = environment().get_template(template)
    return page.render(values, style=style, script=code, policy=policy(style, code))


def environment() -> Environment:
    """Return what renders our templates: everything is escaped, and a name that does not exist is an error."""
    made = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(count=count, rate=rate)
    return made


def asset(name: str) -> str:
    """Read one of our templates, style sheets or scripts."""
    return (resources.files("pipelines") / "templates" / name).read_text(encoding="utf-8")


def policy(style: str, script: str | None = None) -> str:
    """Allow this style sheet, this script and embedded pictures; nothing else, and no network."""
    scripts = f"script-src 'sha256-{_hash(script)}'; " if script is not None else ""
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_hash(style)}'; {scripts}"
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def script_json(value: Any) -> Markup:
    """Write JSON that may stand inside ``<script>``: no character that could end or open an element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def picture(jpeg: bytes) -> str:
    """Write a JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def count(value: float | None) -> str:
    """Write a whole number; a dash where there is none."""
    return DASH if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Write a number with the three digits that matter."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if value >= THREE_DIGITS else f"{value:.3g}"


def time(value_s: float | None) -> str:
    """Write a time in the two units that matter."""
    if value_s is None:
        return DASH
    if value_s < MINUTE_S:
        return f"{value_s:.1f} s"
    minutes, seconds = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def amount(value: float | None, unit: str) -> str:
    """Write an amount with a prefix for thousands, as ``1.2 MB``."""
    if value is None:
        return DASH
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < KILO or prefix == "T":
            break
        value /= KILO
    return f"{value:.3g} {prefix}{unit}"
