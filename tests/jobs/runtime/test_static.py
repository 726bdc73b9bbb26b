"""The page of the server in a real browser, without a server: its script is handed an answer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.runtime.http_api import PAGE
from tests.helpers.browser import drawn

NAMES = {"sport": "Sport", "run": "Running", "jump": "Jumping"}
ROW = {
    "labels": [
        {"label": "sport", "path": ["sport"], "score": 0.95},
        {"label": "run", "path": ["sport", "run"], "score": 0.9},
        {"label": "jump", "path": ["sport", "jump"], "score": 0.3},
    ],
    "segments": [
        {"label": "run", "start_s": 0.0, "end_s": 4.0, "score": 0.9},
        {"label": "jump", "start_s": 4.0, "end_s": 9.0, "score": 0.6},
    ],
    "duration_s": 10.0,
    "frame_times_s": [1.0, 5.0],
}


def shown(tmp_path: Path, thresholds: dict[str, float], slider: int | None) -> dict[str, Any]:
    """Open the page with an answer and the slider where it is put; return what it names, from what is then drawn."""
    move = "" if slider is None else f'$("threshold").value = {slider}; $("threshold").oninput();'
    script = f"""
      for (const [id, name] of Object.entries({json.dumps(NAMES)})) state.names.set(id, name);
      Object.assign(state, {{ row: {json.dumps(ROW)}, thresholds: {json.dumps(thresholds)}, isMoved: false }});
      showListed();
      {move}
      const texts = query => [...document.querySelectorAll(query)].map(node => node.textContent);
      document.title = JSON.stringify({{ labels: texts("#labels .name"), lanes: texts(".lane .who"),
        notes: texts("#timeline .note").length, marks: document.querySelectorAll(".lane .now").length }});
    """
    page = tmp_path / "page.html"
    text = PAGE.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    elements, _ = drawn(page.as_uri(), tmp_path / "browser")
    title = re.search(r"<title>(.*?)</title>", elements)
    assert title
    found: dict[str, Any] = json.loads(title.group(1))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slider", "labels"),
    [
        (None, ["Sport", "Running"]),  # each by its own threshold
        (20, ["Sport", "Running", "Jumping"]),
        (93, ["Sport"]),
        (99, []),
    ],
)
def test_browser_gives_a_lane_to_what_is_listed_and_follows_the_slider(
    tmp_path: Path, slider: int | None, labels: list[str]
) -> None:
    found = shown(tmp_path, {"sport": 0.5, "run": 0.5, "jump": 0.5}, slider)
    lanes = [name for name in labels if name != "Sport"]  # of what is listed, these have segments
    assert found["labels"] == labels
    assert found["lanes"] == [*lanes, "frames seen", ""]
    assert found["notes"] == (0 if lanes else 1)
    assert found["marks"] == len(found["lanes"]) - 1  # the scale has none
