"""The page of a scan says what was found, and is safe whatever files are called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fal_model.taxonomy import Node, Taxonomy
from pipelines import scan_summary, storage
from pipelines.config import ScanConfig
from pipelines.manifest import load_input, read_manifest, write_manifest
from pipelines.scan_job import ScanPlan, finished
from pipelines.scan_report import split_name, write_report
from tests.helpers.scanned import FAILED, ROWS, USABLE, scan_into, scene, write_scene

TREE = Taxonomy([Node("run", "Running"), Node("walk", "Walking"), Node("swim", "Swimming")])


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def report_of(plan: ScanPlan, taxonomy: Taxonomy | None = None) -> str:
    found = scan_summary.summarise(plan.output, plan.scan, taxonomy)
    counts = list(finished(plan.output).values())
    summary = scan_summary.counts_of(counts, found)
    uri = write_report(plan.output, "a <b>corpus</b>", summary, found, taxonomy, plan.scan.part_videos)
    return Path(uri).read_text(encoding="utf-8")


def scan_folder(folder: Path, output: Path) -> ScanPlan:
    table, _ = load_input(str(folder))
    write_manifest(str(output.parent / "m.jsonl"), table.to_pylist())
    return scan_into(output, output.parent / "m.jsonl", ScanConfig())


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)).split())


@pytest.fixture(scope="module")
def page(scanned: ScanPlan) -> str:
    return report_of(scanned, TREE)


def test_the_numbers_are_at_the_top(page: str) -> None:
    text = words(page)
    assert f"Videos seen {len(ROWS)} {2.0 * USABLE + 0.5:.1f} s" in text
    assert f"Usable {USABLE} {USABLE / len(ROWS):.1%} of all" in text
    assert f"Failed {FAILED}" in text
    assert "Same bytes 1 1 dropped" in text
    assert "Near-duplicates 3 pairs of videos" in text
    assert "Leaks 3 between splits" in text
    assert f"In the manifest {USABLE - 1}" in text


def test_what_must_be_done_is_said(page: str) -> None:
    text = words(page)
    assert "3 things are in more than one split" in text
    assert "1 files are there more than once under different labels." in text
    assert "2 labels are not in the taxonomy: day, night." in text


def test_every_part_is_there(page: str) -> None:
    text = words(page)
    for part in (
        "Leaks between splits",
        "Duplicates and near-duplicates",
        "Class balance",
        "Usable, but odd",
        "Failures",
    ):
        assert part in text
    for kind in ("empty_file", "not_a_video", "not_found", "corrupt"):
        assert f"<code>{kind}</code>" in page
    assert "same bytes test 1, train 1" in text
    assert "nearly the same pictures test 1, train 2, val 1" in text
    assert "one group of the manifest street train 1, val 1" in text
    assert "Same bytes, different labels bytes : walk first : run" in text
    assert "Running" in text
    assert "Imbalance 3× largest to smallest" in text
    assert "Without videos 1 leaves of the taxonomy" in text
    assert "No video: swim" in text


def test_like_videos_are_shown_side_by_side(page: str) -> None:
    parser = Elements()
    parser.feed(page)
    pictures = [attributes["src"] or "" for tag, attributes in parser.tags if tag == "img"]
    assert len(pictures) >= 4
    assert all(source.startswith("data:image/jpeg;base64,/9j/") for source in pictures)


def test_nothing_is_loaded_or_run(page: str) -> None:
    parser = Elements()
    parser.feed(page)
    tags = {tag for tag, _ in parser.tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "base"})
    (policy,) = [
        a["content"] for t, a in parser.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "script-src" not in policy
    assert not any(name.startswith("on") or name == "style" for _, attributes in parser.tags for name in attributes)
    assert "a &lt;b&gt;corpus&lt;/b&gt;" in page


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = '"><img src=x onerror=alert(1)>.mp4'
    write_scene(tmp_path / "corpus.mp4", scene(1))
    (tmp_path / "videos").mkdir()
    for suffix in ("1", "2"):
        (tmp_path / "videos" / (suffix + name)).write_bytes((tmp_path / "corpus.mp4").read_bytes())
    (tmp_path / "videos" / ("3" + name)).write_bytes(b"")
    page = report_of(scan_folder(tmp_path / "videos", tmp_path / "out"))
    parser = Elements()
    parser.feed(page)
    assert not any("onerror" in attributes for _, attributes in parser.tags)
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_a_corpus_without_splits_labels_or_usable_videos_says_so(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")
    text = words(report_of(scan_folder(tmp_path / "videos", tmp_path / "out")))
    assert "The manifest does not divide the videos into splits." in text
    assert "No two videos are alike." in text
    assert "No video of the manifest has labels." in text
    assert "No video can be used." in text


def test_everything_can_be_in_s3(bucket: str, tmp_path: Path) -> None:
    video = write_scene(tmp_path / "v.mp4", scene(1)).read_bytes()
    rows = [{"uri": f"{bucket}/videos/{name}.mp4", "split": name, "labels": ["run"]} for name in ("test", "train")]
    for row in rows:
        storage.write_bytes(str(row["uri"]), video)
    write_manifest(f"{bucket}/m.jsonl", rows)
    plan = scan_into(f"{bucket}/out", f"{bucket}/m.jsonl", ScanConfig(part_videos=1))
    found = scan_summary.summarise(plan.output, plan.scan, TREE)
    counts = scan_summary.counts_of(list(finished(plan.output).values()), found)
    assert (counts["seen"], counts["kept"], counts["duplicates_dropped"]) == (2, 1, 1)
    uri = write_report(plan.output, "S3", counts, found, TREE, plan.scan.part_videos)
    assert uri == f"{bucket}/out/report.html"
    assert b"same bytes" in storage.read_bytes(uri)
    assert storage.read_bytes(uri).count(b"data:image/jpeg") == 4  # as a leak, and as a cluster
    (row,) = read_manifest(f"{bucket}/out/manifest.parquet").to_pylist()
    assert (row["uri"], row["group"]) == (f"{bucket}/videos/test.mp4", f"like:{bucket}/videos/test.mp4")


def test_a_split_that_is_none_has_a_name() -> None:
    assert (split_name(""), split_name("val")) == ("no split", "val")
