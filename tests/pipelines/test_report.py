import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fal_model.errors import OutputError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import storage, tables
from pipelines.receipts import Receipt
from pipelines.records import RECEIPT_KEY
from pipelines.report import Truth, write_report
from pipelines.report_data import LEAST_CERTAIN
from tests.helpers.pages import Page, opened, page_of
from tests.helpers.report_folder import TAXONOMY, failure_row, label_row, picture, write_folder, write_predictions

ATTACK = "</script><script>document.documentElement.dataset.pwned=1</script><img src=x onerror=alert(1)>.mp4"
SUMMARY = {
    "seen": 1234,
    "labelled": 1200,
    "failed": 34,
    "failures_by_kind": {"corrupt": 34},
    "clips": 5678,
    "wall_s": 84.3,
    "videos_per_s": 14.6,
    "stages": {
        "prepare": {"busy_s": 134.88, "videos_per_busy_s": 9.1},
        "predict": {"busy_s": 42.15, "videos_per_busy_s": 29.3},
    },
    "bottleneck": "prepare",
    "model_id": "0123456789abcdef",
    "taxonomy_id": "fedcba9876543210",
    "pipeline_id": "aaaabbbbccccdddd",
    "versions": {"torch": "2.13.0"},
}
TRUTH = Truth(
    labels={"a.mp4": ["run"], "b.mp4": ["jump"]},
    segments={"a.mp4": [{"label": "run", "start_s": 1.0, "end_s": 4.0}]},
    metrics={"other": 3.5, "ece": 0.0187, "top_1": 0.875, "segment_mAP": float("nan")},
    confusions=[("jump", "run", 3), ("studio", "jump", 1)],
    reliability=[(0.9, 0.85, 40)],
)


def written(folder: Path, summary: dict[str, Any] | None = None, truth: Truth | None = None) -> Page:
    return page_of(write_report(str(folder), "A title", summary or {}, TAXONOMY, truth))


def test_the_page_goes_into_the_output_folder_and_is_the_same_each_time(tmp_path: Path) -> None:
    output = write_folder(tmp_path / "out", [label_row("a.mp4")])
    page = tmp_path / "out" / "report.html"
    assert write_report(output, "A title", {}, TAXONOMY) == str(page)
    first = page.read_bytes()
    write_report(output, "A title", {}, TAXONOMY)
    assert page.read_bytes() == first


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    output = write_folder(tmp_path / "out")
    (tmp_path / "out" / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*out/report\.html"):
        write_report(output, "A title", {}, TAXONOMY)


def test_the_summary_is_shown(tmp_path: Path) -> None:
    text = written(Path(write_folder(tmp_path)), SUMMARY).text
    for expected in (
        *("Videos seen 1,234", "Labelled 1,200 97.2% of all", "Failed 34 2.8% of all", "Clips 5,678"),
        *("Wall time 1 min 24 s", "Videos per second 14.6", "torch 2.13.0"),
        *("model 0123456789abcdef", "taxonomy fedcba9876543210", "pipeline aaaabbbbccccdddd"),
        "prepare bottleneck 2 min 15 s of work · 9.1 videos per second of work",
        "predict 42.1 s of work · 29.3 videos per second of work",
    ):
        assert expected in text


def test_videos_of_which_the_model_is_not_sure_are_counted(tmp_path: Path) -> None:
    rows = [label_row("a.mp4"), label_row("b.mp4", is_abstained=True), label_row("c.mp4", is_abstained=True)]
    truth = replace(TRUTH, metrics={"kept_share": 0.25, "kept_top1": 0.9})
    text = written(Path(write_folder(tmp_path, rows)), truth=truth).text
    assert "Labelled 3 100.0% of all" in text
    assert "Not sure 2 66.7% of the labelled" in text
    assert "Kept 25.0%" in text
    assert "Top-1 of what is kept 90.0%" in text


def test_without_a_summary_the_tables_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, [label_row("a.mp4"), label_row("b.mp4", duration_s=3650.0)], [failure_row("c.mp4")])
    text = written(tmp_path).text
    assert "Videos seen 3 1 h 01 min of video" in text
    assert "Labelled 2 66.7% of all" in text
    assert "Failed 1 33.3% of all" in text
    assert "Clips –" in text
    assert "Stages" not in text
    assert "Made with" not in text


@pytest.mark.parametrize("odd", ["text", None, math.nan, math.inf, True, [], {}])
def test_odd_values_in_the_summary_do_not_stop_the_report(tmp_path: Path, odd: object) -> None:
    keys = ("seen", "labelled", "failed", "clips", "wall_s", "videos_per_s", "stages", "bottleneck", "versions")
    write_folder(tmp_path, [label_row("a.mp4")])
    assert "Videos seen 1" in written(tmp_path, dict.fromkeys(keys, odd)).text
    assert "prepare" in written(tmp_path, {"wall_s": 2.0, "stages": {"prepare": odd, "x": {"busy_s": odd}}}).text


def test_a_summary_that_disagrees_with_the_tables_is_pointed_out(tmp_path: Path) -> None:
    write_folder(tmp_path, [label_row("a.mp4")])
    assert "The run's summary counts 2 labelled videos, its tables hold 1." in written(tmp_path, {"labelled": 2}).text
    assert "The run's summary" not in written(tmp_path, {"labelled": 1, "failed": 0}).text


def test_a_page_that_lists_a_sample_says_so(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row(f"v{i}") for i in range(LEAST_CERTAIN + 100)])
    page = page_of(write_report(output, "A title", {}, TAXONOMY, max_videos=LEAST_CERTAIN))
    assert "All counts cover 1,100 videos; 1,001 of them are listed below" in page.text


def test_nothing_labelled_and_nothing_failed_are_said(tmp_path: Path) -> None:
    empty = written(tmp_path).text
    assert "No video was labelled." in empty
    assert "No failure is recorded." in empty
    assert "Score against truth" not in empty
    assert "Every video could be read." in written(Path(write_folder(tmp_path, [label_row("a.mp4")]))).text


def test_the_score_against_truth(tmp_path: Path) -> None:
    write_folder(tmp_path, [label_row("a.mp4"), label_row("b.mp4")])
    page = written(tmp_path, {}, TRUTH)
    text = page.text
    assert "Top-1 87.5% best label is true Segment mAP – when it happens, not only what" in text
    assert "Calibration error (ECE) 1.9% lower is better 1 more other 3.5" in text
    assert "Jumping Running 3 Studio Jumping 1" in text
    assert "top label is wrong (1)" in text
    assert "score 0.90: 85.0% correct of 40" in text
    assert "#label=run&truth=jump" in page.addresses


def test_truth_without_figures(tmp_path: Path) -> None:
    write_folder(tmp_path, [label_row("a.mp4")])
    text = written(tmp_path, {}, replace(TRUTH, metrics={}, confusions=[], reliability=[])).text
    assert "No class was taken for another one." in text
    assert "Not measured." in text


def test_files_with_the_same_bytes_are_listed(tmp_path: Path) -> None:
    rows = [label_row(name, sha256="1" * 64) for name in ("a.mp4", ATTACK)] + [label_row("c.mp4")]
    page = written(Path(write_folder(tmp_path, rows)))
    assert "Same bytes 2 videos hold 1 different file " in page.text
    assert ATTACK in page.text
    assert "#video=a.mp4" in page.addresses


def test_videos_that_look_alike_are_counted(tmp_path: Path) -> None:
    rows = [label_row(name, embedding=[0.6, 0.8]) for name in ("a.mp4", "b.mp4", "c.mp4")] + [label_row("d.mp4")]
    page = written(Path(write_folder(tmp_path, rows)))
    assert "Look alike 3 pairs with a cosine of 0.999 or more; 4 videos were compared" in page.text
    assert json.loads(page.scripts["page-data"])["near"][0] == ["a.mp4", "b.mp4", 1.0]
    assert "Look alike" not in written(Path(write_folder(tmp_path / "other", rows[2:]))).text


def test_a_run_with_nothing_to_do_has_no_speed(tmp_path: Path) -> None:
    text = written(Path(write_folder(tmp_path)), {"videos_per_s": 0.0, "parts_done_now": 0}).text
    assert "Videos per second – nothing was left to do" in text


def test_stages_that_say_how_long_they_were_busy(tmp_path: Path) -> None:
    stages = {"prepare": {"busy_s": 9.5, "workers": 2, "busy_share": 0.95}, "predict": {"busy_s": 2, "workers": 1}}
    text = written(Path(write_folder(tmp_path)), {"stages": stages, "bottleneck": "prepare"}).text
    assert "prepare bottleneck 2 workers · 9.5 s of work busy 95% of the time idle 5%" in text
    assert "predict 1 worker · 2.0 s of work" in text
    assert "prepare held the run up: its workers were busy 95% of the time." in text


def test_a_run_that_no_stage_held_up_says_so(tmp_path: Path) -> None:
    stages = {"prepare": {"busy_share": 0.2}, "predict": {"busy_share": 0.3}}
    text = written(Path(write_folder(tmp_path)), {"stages": stages, "bottleneck": "predict"}).text
    assert "No stage was busy for more than 30% of the time" in text
    assert "bottleneck" not in text


def test_versions_of_workers_and_settings_are_listed(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a.mp4")])
    [name] = storage.names_in(f"{output}/labels")
    table = tables.read_table(f"{output}/labels/{name}")
    receipt = Receipt({"ffmpeg": ["7.1", "8.0"]}, {"device": ["cpu"]}, 16, "w", "p")
    notes = {**(table.schema.metadata or {}), RECEIPT_KEY: receipt.to_json()}
    tables.write_table(f"{output}/labels/{name}", table.replace_schema_metadata(notes))
    settings = {"label": {"threshold": None, "limit": 3}, "seed": 1}
    text = page_of(write_report(output, "A title", SUMMARY, TAXONOMY, settings=settings)).text
    assert "Versions (3) torch 2.13.0 ffmpeg 7.1, 8.0 device cpu" in text
    assert "Settings (3) label.threshold None label.limit 3 seed 1" in text


def test_failures_are_listed_with_their_reason(tmp_path: Path) -> None:
    rows = [failure_row(f"{i}.mp4", "timeout", "decoding took longer than 60 s") for i in range(301)]
    text = written(Path(write_folder(tmp_path, failures=rows))).text
    assert "timeout decoding took longer than its wall-clock limit 301" in text
    assert "299.mp4 decode decoding took longer than 60 s 1" in text
    assert "300.mp4" not in text
    assert "The first 300 of 301" in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    taxonomy = Taxonomy([Node(ATTACK, ATTACK, None, ATTACK)])
    row = label_row(ATTACK, ATTACK)
    write_folder(tmp_path, [row], [failure_row(ATTACK, ATTACK, ATTACK)], {ATTACK: picture()})
    truth = Truth(
        labels={ATTACK: [ATTACK]},
        segments={ATTACK: [{"label": ATTACK, "start_s": 0.0, "end_s": 1.0}]},
        metrics={ATTACK: 0.5},
        confusions=[(ATTACK, ATTACK, 1)],
        reliability=[],
    )
    summary = {"model_id": ATTACK, "versions": {ATTACK: ATTACK}, "stages": {ATTACK: {}}, "bottleneck": ATTACK}
    page = page_of(write_report(str(tmp_path), ATTACK, summary, taxonomy, truth))
    assert page.tags.count("script") == 3
    assert page.tags.count("img") == 0
    assert page.handlers == []
    assert ATTACK in page.text
    assert json.loads(page.scripts["page-data"])["videos"][0][0] == ATTACK
    assert list(json.loads(page.scripts["pictures-data"])) == [ATTACK]


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path, [label_row("a.mp4", uri="https://example.org/a.mp4")], [failure_row("b.mp4")])
    page = written(tmp_path, SUMMARY, TRUTH)
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    assert not set(page.tags) & {"link", "iframe", "object", "embed", "base", "video", "audio", "source"}
    assert not re.search(r"url\(|@import", page.scripts["style"])
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", page.scripts["main"])


def test_ten_thousand_videos_fit_into_a_few_megabytes(tmp_path: Path) -> None:
    rows = [label_row(f"camera-{i % 40}/recording_{i:06d}.mp4", score=0.5 + i / 20_000) for i in range(10_000)]
    uri = write_report(write_folder(tmp_path, rows), "Many", {}, TAXONOMY)
    assert Path(uri).stat().st_size < 4 << 20
    assert len(json.loads(page_of(uri).scripts["page-data"])["videos"]) == 10_000


# ---- in a real browser --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_browser_lists_videos_and_runs_nothing_hostile(tmp_path: Path) -> None:
    rows = [label_row(ATTACK, "studio", 0.3), *(label_row(f"v{i:02d}.mp4", score=0.9) for i in range(40))]
    rows += [label_row("__proto__", duration_s=None, segments=[], frame_times_s=[], coverage=None, score=math.nan)]
    truth = replace(TRUTH, labels={ATTACK: ["jump"], "v00.mp4": ["run"]})
    write_folder(tmp_path, rows, [failure_row(ATTACK, message=ATTACK)], {ATTACK: picture(), "v39.mp4": picture()})
    page = opened(write_report(str(tmp_path), ATTACK, SUMMARY, TAXONOMY, truth), tmp_path)
    assert "42 of 42 videos" in page.text
    assert "Page 1 of 2" in page.text
    assert page.tags.count("img") == 5  # two in the list, one of them among the least certain, both among the examples
    assert f"{ATTACK} News Studio ✗ wrong 0.30 missed: Jumping" in page.text
    assert "no duration known" in page.text
    assert "__proto__ Sport Running –" in page.text
    second = opened(f"{tmp_path}/report.html", tmp_path, "#page=2")
    assert "v38.mp4 Sport Running" in second.text
    assert "no duration known" not in second.text


@pytest.mark.slow
def test_browser_follows_filter_and_order_in_the_address(tmp_path: Path) -> None:
    rows = [label_row(f"r{i}.mp4", "run", 0.95 - i / 100) for i in range(30)]
    rows += [label_row("s.mp4", "studio", 0.6), label_row("t.mp4", "jump", 0.7)]
    uri = write_report(write_folder(tmp_path, rows), "A title", {}, TAXONOMY, replace(TRUTH, labels={"t.mp4": ["run"]}))
    least = opened(uri, tmp_path, "#label=sport&sort=least").text
    assert "31 of 32 videos" in least
    assert least.index("r29.mp4 Sport Running") < least.index("t.mp4 Sport Jumping") < least.index("r24.mp4 Sport Run")
    second = opened(uri, tmp_path, "#q=RUNNING%20r1&page=9").text
    assert "11 of 32 videos" in second
    assert "1 of 32 videos" in opened(uri, tmp_path, "#wrong=1").text
    assert "1 of 32 videos truth: Running" in _chips(opened(uri, tmp_path, "#label=jump&truth=run").text)
    assert "No video matches." in opened(uri, tmp_path, "#video=%3Cscript%3E").text


def _chips(text: str) -> str:
    match = re.search(r"(truth: \w+) ✕ (\d+ of \d+ videos)", text)
    return f"{match.group(2)} {match.group(1)}" if match else text


@pytest.mark.slow
def test_browser_marks_and_filters_what_the_model_is_not_sure_of(tmp_path: Path) -> None:
    rows = [label_row("a.mp4"), label_row("b.mp4", "studio", 0.3, is_abstained=True)]
    uri = write_report(write_folder(tmp_path, rows), "A title", {}, TAXONOMY)
    assert "News Studio not sure 0.30" in opened(uri, tmp_path).text
    assert "1 of 2 videos" in opened(uri, tmp_path, "#unsure=1").text


@pytest.mark.slow
def test_browser_shows_examples_of_each_label_and_what_is_known_of_the_chosen_one(tmp_path: Path) -> None:
    rows = [label_row(f"r{i}.mp4", "run", 0.5 + i / 10) for i in range(5)] + [label_row("s.mp4", "studio", 0.7)]
    uri = write_report(
        write_folder(tmp_path, rows, pictures={"r1.mp4": picture(), "r3.mp4": picture()}), "T", {}, TAXONOMY
    )
    page = opened(uri, tmp_path).text
    assert "Running 5 videos most certain 0.80 r3.mp4 least certain 0.60 r1.mp4" in page
    assert "Studio 1 video" not in page  # labels without pictures come only where no label has any
    assert "Top label of" not in page
    about = opened(uri, tmp_path, "#label=run").text
    assert "Somebody runs. Top label of 5 videos, among the labels of 5 videos." in about
    assert "0.50–0.55: 1 video " in about
    assert "0 top scores 1 most certain 0.80 r3.mp4 least certain 0.60 r1.mp4" in about
    assert "Top label of 5 videos" in opened(uri, tmp_path, "#label=sport").text


@pytest.mark.slow
def test_browser_shows_pairs_that_look_alike(tmp_path: Path) -> None:
    rows = [label_row(name, score=score, embedding=[0.6, 0.8]) for name, score in (("a.mp4", 0.9), (ATTACK, 0.8))]
    page = opened(write_report(write_folder(tmp_path, rows), "A title", {}, TAXONOMY), tmp_path)
    assert f"Running 0.80 {ATTACK} Running 0.90 a.mp4 cosine 1.0000" in page.text


@pytest.mark.slow
def test_browser_filters_damaged_videos(tmp_path: Path) -> None:
    output = write_folder(tmp_path, [label_row("a.mp4"), label_row("b.mp4")])
    write_predictions(output, 0, [("a.mp4", 0), ("b.mp4", 3)])
    uri = write_report(output, "A title", {}, TAXONOMY)
    page = opened(uri, tmp_path, "#damaged=1").text
    assert "Damaged frames 3 in 1 video " in page
    assert "1 of 2 videos" in page
    assert "3 damaged frames" in page


@pytest.mark.slow
def test_browser_opens_an_empty_report_and_one_of_ten_thousand(tmp_path: Path) -> None:
    empty = write_report(write_folder(tmp_path / "empty"), "Empty", {}, TAXONOMY)
    assert "No video was labelled." in opened(empty, tmp_path).text
    rows = [label_row(f"v{i:05d}.mp4", score=0.5 + i / 20_000) for i in range(10_000)]
    many = opened(write_report(write_folder(tmp_path / "many", rows), "Many", {}, TAXONOMY), tmp_path)
    assert "10,000 of 10,000 videos" in many.text
    assert many.text.count("100% looked at") == 25
