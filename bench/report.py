"""How long a report takes to write, how heavy it is, and how it behaves in a browser, for corpora of several sizes.

The page is opened from a file, with a script added that measures it and tells this process over loopback; the page's
own policy, which forbids just that, is taken out of this copy. Run it as: python bench/report.py --videos 10000
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from bench.report_corpus import taxonomy, write_corpus
from pipelines.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_TIMEOUT_S = 120
MIB = 1 << 20
MEASURE = """
addEventListener("load", () => setTimeout(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)));
  const took = async (act) => { await frame(); const from = performance.now(); act(); return await frame() - from; };
  const set = (id, value, kind) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event(kind));
  };
  const found = {};
  const timing = performance.getEntriesByType("navigation")[0];
  found["first paint"] = (performance.getEntriesByName("first-contentful-paint")[0] || {}).startTime;
  found["interactive"] = timing.domContentLoadedEventEnd;
  const label = [...document.getElementById("label").options].at(-1).value;
  found["choose a label"] = await took(() => set("label", label, "change"));
  found["back to all"] = await took(() => set("label", "", "change"));
  found["sort by certainty"] = await took(() => set("sort", "least", "change"));
  found["next page"] = await took(() => document.getElementById("next").click());
  found["more examples"] = await took(() => document.getElementById("more-examples").click());
  found["open the tree"] = await took(() => document.getElementById("open-tree").click());
  const before = document.getElementById("shown").textContent;
  const from = performance.now();
  set("text", "group 7.7", "input");
  while (document.getElementById("shown").textContent === before) await frame();
  found["search (120 ms of it waiting)"] = performance.now() - from;
  scrollTo(0, 0);
  const gaps = [];
  let last = await frame();
  for (let i = 0; i < 60; i += 1) {
    scrollBy(0, 150);
    const now = await frame();
    gaps.push(now - last);
    last = now;
  }
  gaps.sort((a, b) => a - b);
  found["scrolling, median frame"] = gaps[30];
  found["scrolling, slowest of 60 frames"] = gaps[59];
  found.heap_bytes = performance.memory.usedJSHeapSize;
  found.elements = document.getElementsByTagName("*").length;
  await fetch(ADDRESS, { method: "POST", mode: "no-cors", body: JSON.stringify(found) });
}, 500));
"""


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--pictures", type=int, default=400, help="videos with key frames")
    parser.add_argument("--keep", default="", help="folder to keep the outputs in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for num_videos in options.videos:
            folder = Path(options.keep or scratch) / str(num_videos)
            for name, value in measure(folder, num_videos, options.pictures).items():
                print(f"{num_videos:>9,} videos  {name:<34} {value}")
    return 0


def measure(folder: Path, num_videos: int, num_pictures: int) -> dict[str, str]:
    """Write one report and open it."""
    summary = write_corpus(str(folder), num_videos, num_pictures)
    before, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    page = Path(write_report(str(folder), "Bench", summary, taxonomy()))
    figures = {
        "time to write": f"{time.perf_counter() - start_s:.2f} s",
        "peak memory": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB (before: {before // 1024})",
        "size": f"{page.stat().st_size / MIB:.1f} MiB",
    }
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        return figures | {"browser": "none found"}
    found = in_browser(browser, page, folder)
    figures["heap of the page"] = f"{found.pop('heap_bytes') / MIB:.0f} MiB"
    figures["elements"] = f"{found.pop('elements'):,}"
    return figures | {name: f"{ms:.0f} ms" for name, ms in found.items()}


def in_browser(browser: str, page: Path, folder: Path) -> dict[str, Any]:
    """Open a page and return what it measures about itself."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = MEASURE.replace("ADDRESS", json.dumps(f"http://127.0.0.1:{server.server_port}/"))
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = folder / "measured.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--window-size=1280,900", "--enable-precise-memory-info", "--remote-debugging-port=0"),
        f"--user-data-dir={folder / 'browser'}",
    ]
    process = subprocess.Popen([browser, *flags, copy.as_uri()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return told.get(timeout=BROWSER_TIMEOUT_S)
    finally:
        process.terminate()
        process.wait()
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
