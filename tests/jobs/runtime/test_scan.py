"""The scan job, from a manifest to a clean one."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from fal_model.errors import TaxonomyError
from jobs import scan_corpus
from jobs.runtime import scan
from jobs.runtime.config import load_config
from pipelines import tables
from pipelines.config import Duplicates
from pipelines.manifest import read_manifest, write_manifest
from tests.helpers.corpus import digests
from tests.helpers.processes import PRIVATE_RAY, kill_job_when
from tests.helpers.scanned import FAILED, ROWS, USABLE, scene, write_scanned, write_scene

MADE = ("videos", "failures", "_fal", "manifest.parquet", "duplicates.parquet")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scanned(tmp_path_factory.mktemp("corpus"))


def arguments(source: Path, output: Path, *settings: str) -> list[str]:
    return ["--input", str(source), "--output", str(output), "scan.part_videos=4", *settings]


@pytest.fixture(scope="module")
def output(manifest: Path, tmp_path_factory: pytest.TempPathFactory, ray_local: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "out"
    assert scan_corpus.main(arguments(manifest, folder, *ray_local, "scan.max_failed_share=0.5")) == 0
    return folder


def made(folder: Path) -> dict[str, str]:
    """Hash what a run leaves, but for the summary and the report, which say how long it took and where it was."""
    return {name: digest for name, digest in digests(folder).items() if name.startswith(MADE)}


@pytest.mark.ray
def test_the_summary_counts_everything(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["job"], summary["exit_code"]) == ("scan_corpus", 0)
    assert summary["seen"] == len(ROWS) == summary["usable"] + summary["failed"]
    assert (summary["usable"], summary["failed"]) == (USABLE, FAILED)
    assert summary["usable"] == summary["kept"] + summary["duplicates_dropped"]
    assert (summary["kept"], summary["duplicates_dropped"], summary["same_bytes"]) == (USABLE - 1, 1, 1)
    assert summary["failures_by_kind"] == {"corrupt": 1, "empty_file": 1, "not_a_video": 2, "not_found": 1}
    assert (summary["near_duplicate_pairs"], summary["clusters"]) == (3, 1)
    assert summary["leaks"] == {"same_bytes": 1, "near": 1, "group": 1}
    assert read_manifest(str(output / "manifest.parquet")).num_rows == USABLE - 1
    assert (output / "report.html").is_file()


@pytest.mark.ray
def test_the_same_command_again_only_sums_up(output: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = made(output)
    # How many may fail is no property of the tables.
    code = scan_corpus.main(arguments(manifest, output, "scan.max_failed_share=0.1"))
    out = capfd.readouterr().out
    assert code == 3
    assert "14 videos in 4 parts, 4 parts finished before" in out
    assert "every video is scanned already" in out
    assert f"seen 14 = usable {USABLE} + failed {FAILED}" in out
    assert f"usable {USABLE} = kept {USABLE - 1} + duplicates dropped 1" in out
    assert "in more than one split: 1 files, 1 clusters, 1 groups" in out
    assert "same bytes under different labels: 1" in out
    assert out.rstrip().endswith("exit code 3: done, but more videos failed than max_failed_share allows")
    assert made(output) == before


@pytest.mark.ray
def test_what_becomes_of_copies_can_be_changed_without_a_new_scan(
    output: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree.csv").write_text("id,parent,name\nrun,,Run\nswim,,Swim\n", encoding="utf-8")
    settings = ["scan.max_failed_share=1", "scan.duplicates=keep", "--taxonomy", str(tmp_path / "tree.csv")]
    assert scan_corpus.main(arguments(manifest, output, *settings)) == 0
    assert "labels that the taxonomy does not know: 3; its classes without a video: 1" in capfd.readouterr().out
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["kept"], summary["duplicates_dropped"]) == (USABLE, 0)
    assert summary["classes"] == 4
    assert summary["unknown_labels"] == {"walk": 3, "day": 1, "night": 1}
    assert scan_corpus.main(arguments(manifest, output, "scan.max_failed_share=1")) == 0


@pytest.mark.ray
def test_a_deep_scan_needs_another_output(output: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert scan_corpus.main([*arguments(manifest, output), "--deep"]) == 1
    assert "was made by another run: settings differ" in capfd.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_scan_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, ray_local: tuple[str, ...]) -> None:
    first = write_scene(tmp_path / "v.mp4", scene(1, 40))
    write_manifest(str(tmp_path / "m.jsonl"), [{"uri": str(first), "video_id": f"{n:03d}"} for n in range(400)])
    wanted = ("scan.part_videos=2", "resources.decode_workers=1", "scan.max_failed_share=1", "--deep")
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "out"
    assert scan_corpus.main(arguments(tmp_path / "m.jsonl", undisturbed, *wanted, *ray_local)) == 0
    done = output / "_fal" / "done"

    killed = kill_job_when(
        "scan_corpus.py",
        arguments(tmp_path / "m.jsonl", output, *wanted, *PRIVATE_RAY),
        lambda: any(done.glob("*.json")),
    )

    assert killed == -9, "the run ended before it could be killed"
    assert 0 < len(list(done.glob("*.json"))) < 200
    assert scan_corpus.main(arguments(tmp_path / "m.jsonl", output, *wanted, *ray_local)) == 0
    assert made(output) == made(undisturbed)


@pytest.mark.ray
@pytest.mark.real
@pytest.mark.slow
def test_every_real_recording_is_usable_or_failed_as_labelling_says(
    real_videos: Path, tmp_path: Path, ray_local: tuple[str, ...]
) -> None:
    expected = outcomes()
    rows = [{"video_id": name, "uri": str(real_videos / name)} for name in expected]
    write_manifest(str(tmp_path / "m.jsonl"), rows)
    assert scan_corpus.main(arguments(tmp_path / "m.jsonl", tmp_path / "out", *ray_local)) == 0

    videos = tables.read_folder(str(tmp_path / "out" / "videos"), ["video_id"])
    failures = tables.read_folder(str(tmp_path / "out" / "failures"), ["video_id", "kind"])
    assert videos is not None
    assert failures is not None
    found = Counter(videos["video_id"].to_pylist() + failures["video_id"].to_pylist())
    assert set(found) == set(expected)
    assert set(found.values()) == {1}
    kinds = dict.fromkeys(videos["video_id"].to_pylist(), "ok")
    kinds |= {row["video_id"]: row["kind"] for row in failures.to_pylist()}
    assert kinds == expected
    assert {kind for name, kind in kinds.items() if name.startswith("odd/")} == {"ok"}


def outcomes() -> dict[str, str]:
    """Read what labelling made of each recording, from the table that its bench has written."""
    text = (Path(scan_corpus.__file__).parents[1] / "bench" / "outcomes.md").read_text(encoding="utf-8")
    lines = [line[2:-2] for line in text.splitlines() if line.startswith("| ")]
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("folder | file | num_bytes")) :]
    rows = csv.DictReader([line.replace(" | ", "\t") for line in table if not line.startswith("---")], delimiter="\t")
    return {f"{row['folder']}/{row['file']}": row["outcome"] for row in rows}


# ---- before anything runs -----------------------------------------------------------------------------------------


def test_an_empty_input_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.jsonl").write_text("", encoding="utf-8")
    assert scan_corpus.main(arguments(tmp_path / "m.jsonl", tmp_path / "out")) == 2
    assert "holds no videos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_settings_out_of_range_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["scan.max_distance=7", "scan.min_share=2", "scan.duplicates=burn"]
    assert scan_corpus.main(arguments(tmp_path, tmp_path / "out", *wrong)) == 2
    text = capsys.readouterr().err
    assert "scan.duplicates: got 'burn'" in text
    assert load_config(None, ["scan.duplicates=keep"]).scan.duplicates is Duplicates.KEEP
    assert scan_corpus.main(arguments(tmp_path, tmp_path / "out", *wrong[:2])) == 2
    text = capsys.readouterr().err
    assert "2 problems" in text
    assert "scan.max_distance: got 7: Input should be less than or equal to 6" in text
    assert "scan.min_share: got 2: Input should be less than or equal to 1" in text


def test_a_taxonomy_that_is_not_there_is_told_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")
    options = {"input": str(tmp_path / "videos"), "output": str(tmp_path / "out"), "taxonomy": "none.csv", "deep": ""}
    with pytest.raises(TaxonomyError, match=r"taxonomy: no file at 'none\.csv'"):
        scan.scan_corpus(options, load_config(None))
    assert not (tmp_path / "out").exists()
