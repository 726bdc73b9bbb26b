"""The page of a search shows what was found, escaped, with the pictures that were kept."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np

from pipelines import label_parts, pixels, storage
from pipelines.embeddings import Neighbour
from pipelines.search_page import write_page


def neighbour(video_id: str, cosine: float) -> Neighbour:
    uri = f"/v/{video_id}"
    return Neighbour(video_id=video_id, cosine=cosine, uri=uri, top_label="run", top_score=0.5, duration_s=2.0)


def test_it_shows_pictures_and_is_escaped(tmp_path: Path) -> None:
    strip = base64.b64encode(pixels.encode_jpeg(np.full((16, 64, 3), 200, np.uint8), 80)).decode()
    uri = label_parts.thumbnails_uri(str(tmp_path / "run"), "part-a")
    storage.write_bytes(uri, json.dumps({"a": strip}).encode())
    found = [neighbour("a", 0.75), neighbour("<script>alert(1)</script>", 0.5)]
    page = Path(write_page(str(tmp_path / "out"), str(tmp_path / "run"), "video <b>", found, "each of 3 compared"))
    html = page.read_text(encoding="utf-8")
    assert html.count("<img") == html.count("no picture kept") == 1
    assert strip in html
    assert "<script>alert" not in html
    assert "Nearest to video &lt;b&gt;" in html
    assert html.index("0.750") < html.index("0.500")
    assert "default-src &#39;none&#39;" in html
