"""The labelling job, from files to tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fal_model.errors import ConfigError, ModelLoadError, OutputError
from fal_model.model import FALModel
from fal_model.pretrained import read_meta
from jobs import label_corpus
from jobs.runtime.config import load_config
from jobs.runtime.label import key_of, lines_of, open_task, summarise
from pipelines import label_parts, run_record, tables
from pipelines.label_parts import LabelKey, PartCounts
from pipelines.records import FAILURES, RECEIPT_KEY, SCHEMA_VERSION, labels_schema, predictions_schema
from pipelines.run_record import Settings
from tests.helpers.corpus import (
    BROKEN,
    CLIP_SETTINGS,
    SPEC,
    digests,
    write_broken,
    write_manifest,
    write_model,
    write_videos,
)
from tests.helpers.processes import PRIVATE_RAY, kill_job_when

NUM_VIDEOS = 6
TABLES = ("labels", "failures", "predictions")
KEY = LabelKey(weights_id="w", pipeline_id="p", decoding_id="d", model_id="o", taxonomy_id="t", labelling_id="l")


def counts(**changes: Any) -> PartCounts:
    values: dict[str, Any] = {
        "seen": 4,
        "labelled": 3,
        "failed": 1,
        "clips": 6,
        "failures_by_kind": {"corrupt": 1},
        "prepare_busy_s": 2.0,
        "predict_busy_s": 1.0,
        "substituted": 5,
        "abstained": 1,
        "videos_substituted": 2,
    }
    return PartCounts(**(values | changes))


def test_the_summary_adds_up_the_parts() -> None:
    summary = summarise([counts(), counts(failures_by_kind={"timeout": 1})], KEY, 0.25)

    assert (summary["seen"], summary["labelled"], summary["failed"], summary["clips"]) == (8, 6, 2, 12)
    assert summary["failures_by_kind"] == {"corrupt": 1, "timeout": 1}
    assert (summary["substituted_frames"], summary["videos_with_substituted_frames"]) == (10, 4)
    assert summary["abstained"] == 2
    assert summary["stages"]["prepare"] == {"busy_s": 4.0, "videos_per_busy_s": 2.0}
    assert summary["bottleneck"] == "prepare"
    assert (summary["model_id"], summary["labelling_id"], summary["schema_version"]) == ("o", "l", SCHEMA_VERSION)
    assert set(summary["versions"]) >= {"python", "fal", "torch", "av", "ray", "pyarrow"}


@pytest.mark.parametrize(("share", "is_over"), [(0.25, False), (0.24, True), (0.0, True), (1.0, False)])
def test_a_larger_failed_share_than_allowed_is_said(share: float, is_over: bool) -> None:
    assert summarise([counts()], KEY, share)["is_over_failed_share"] is is_over


def test_counts_that_do_not_add_up_stop_the_job() -> None:
    with pytest.raises(ArithmeticError, match=r"seen 5 is not labelled 3 \+ failed 1"):
        summarise([counts(seen=5)], KEY, 1.0)


def test_the_lines_for_people_fit_one_screen_and_name_the_failures() -> None:
    lines = lines_of(summarise([counts()], KEY, 1.0), "/out", "/out/report.html")
    assert lines[0] == "seen 4 = labelled 3 + failed 1"
    assert lines[1] == "failures: corrupt 1"
    assert lines[2] == "not sure of the answer: 1 of 3 labelled videos"
    assert lines[3] == "damaged frames, replaced or mended: 5, in 2 videos"
    assert "slowest: prepare" in lines[4]
    assert lines[-1] == "report: /out/report.html"
    nothing = counts(labelled=4, failed=0, failures_by_kind={}, prepare_busy_s=0.0, predict_busy_s=0.0)
    assert lines_of(summarise([nothing], KEY, 1.0), "/out", "r")[1] == "failures: none"


# ---- before anything runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m")


def test_an_empty_folder_is_refused_and_no_output_is_made(tmp_path: Path, model_dir: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(ConfigError, match="holds no videos"):
        open_task(str(tmp_path / "videos"), str(tmp_path / "out"), str(model_dir), load_config(None))
    assert not (tmp_path / "out").exists()


def test_the_input_folder_is_no_output_folder(tmp_path: Path, model_dir: Path) -> None:
    write_broken(tmp_path)
    with pytest.raises(ConfigError, match=f"--output: got the input folder '{tmp_path}'; take one inside it, or els"):
        open_task(str(tmp_path), str(tmp_path), str(model_dir), load_config(None))
    assert len(list(tmp_path.iterdir())) == len(BROKEN)


def test_a_missing_model_is_found_before_an_output_is_made(tmp_path: Path) -> None:
    write_broken(tmp_path / "videos")
    with pytest.raises(ModelLoadError, match="no such directory"):
        open_task(str(tmp_path / "videos"), str(tmp_path / "out"), str(tmp_path / "none"), load_config(None))
    assert not (tmp_path / "out").exists()


def test_clip_settings_other_than_the_models_are_refused_before_an_output_is_made(
    tmp_path: Path, model_dir: Path
) -> None:
    write_broken(tmp_path / "videos")
    places = str(tmp_path / "videos"), str(tmp_path / "out"), str(model_dir)
    message = r"^clip: the model decides .* got window_overlap 0\.5, must be the model's 0\.0 "
    with pytest.raises(ConfigError, match=message):
        open_task(*places, load_config(None, [*CLIP_SETTINGS, "clip.window_overlap=0.5"]))
    assert not (tmp_path / "out").exists()
    assert open_task(*places, load_config(None, CLIP_SETTINGS)).model.config.clip == SPEC


def test_truth_is_checked_against_the_model_before_an_output_is_made(tmp_path: Path, model_dir: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    out = str(tmp_path / "out")
    manifest.write_text('{"uri": "a.mp4", "labels": ["unicorn"]}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"label 'unicorn' \(1 videos\) is not in the taxonomy"):
        open_task(str(manifest), out, str(model_dir), load_config(None), is_scored=True)
    manifest.write_text('{"uri": "a.mp4"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no video of '.*m\.jsonl' has labels to compare with"):
        open_task(str(manifest), out, str(model_dir), load_config(None), is_scored=True)
    assert not (tmp_path / "out").exists()


def test_an_output_of_another_corpus_is_refused(tmp_path: Path, model_dir: Path) -> None:
    write_broken(tmp_path / "videos")
    config, out = load_config(None), str(tmp_path / "out")
    task = open_task(str(tmp_path / "videos"), out, str(model_dir), config)
    run_record.begin(out, task.key, label_parts.write_manifest(out, task.parts), Settings(config.label, config.limits))
    assert open_task(str(tmp_path / "videos"), out, str(model_dir), config).last == task.key
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "new.mp4").write_bytes(b"x")
    with pytest.raises(OutputError, match="holds another corpus: none of its 3 videos is among the 1 of this run"):
        open_task(str(tmp_path / "others"), out, str(model_dir), config)


def test_what_decides_the_tables_is_in_the_key(tmp_path: Path, model_dir: Path) -> None:
    def key(model: Path = model_dir, *settings: str) -> LabelKey:
        return key_of(read_meta(model), load_config(None, settings))

    same = key()
    other = key(write_model(tmp_path / "other", seed=1))
    assert other.prediction_id != same.prediction_id
    threshold = key(model_dir, "label.threshold=0.25")
    assert threshold.prediction_id == same.prediction_id
    assert threshold.label_id != same.label_id
    for setting in ("limits.max_streams=3", "label.batch_clips=3"):
        assert key(model_dir, setting).prediction_id != same.prediction_id
    for setting in ("label.part_videos=3", "label.thumbnails=0", "label.max_failed_share=0.9", "label.limit=3"):
        assert key(model_dir, setting) == same


@pytest.mark.parametrize("setting", ["label.max_failed_share=0.9", "label.thumbnails=0", "resources.decode_workers=2"])
def test_settings_that_change_no_table_may_change_between_runs(tmp_path: Path, model_dir: Path, setting: str) -> None:
    write_broken(tmp_path / "videos")
    places = str(tmp_path / "videos"), str(tmp_path / "out"), str(model_dir)
    first = open_task(*places, load_config(None))
    assert open_task(*places, load_config(None, [setting])).key == first.key


def test_the_limit_takes_the_first_videos(tmp_path: Path, model_dir: Path) -> None:
    write_broken(tmp_path / "videos")
    config = load_config(None, ["label.limit=2", "label.part_videos=1"])
    task = open_task(str(tmp_path / "videos"), str(tmp_path / "out"), str(model_dir), config)
    assert task.table["video_id"].to_pylist() == sorted(BROKEN)[:2]
    assert sum(task.parts.sizes) == 2


# ---- the whole job ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder / "good", NUM_VIDEOS)
    write_broken(folder)
    (folder / ".hidden.mp4").write_bytes(b"not counted as a video")
    return folder


def arguments(videos: Path, output: Path, model_dir: Path, *settings: str) -> list[str]:
    base = ["--input", str(videos), "--output", str(output), "--model", str(model_dir)]
    return [*base, "tracking.is_enabled=false", "label.threshold=0.05", "label.segment_threshold=0.05", *settings]


@pytest.fixture(scope="module")
def first_run(
    videos: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory, ray_local: tuple[str, ...]
) -> tuple[Path, int]:
    output = tmp_path_factory.mktemp("run") / "out"
    settings = (*ray_local, "label.part_videos=4", "label.max_failed_share=0.4")
    code = label_corpus.main(arguments(videos, output, model_dir, *settings))
    return output, code


def column(output: Path, table: str, name: str) -> list[Any]:
    rows = tables.read_folder(str(output / table))
    assert rows is not None
    return list(rows[name].to_pylist())


@pytest.mark.ray
def test_every_video_is_in_exactly_one_table_once(first_run: tuple[Path, int], videos: Path) -> None:
    output, code = first_run
    labelled, failed = column(output, "labels", "video_id"), column(output, "failures", "video_id")

    assert code == 0
    names = {p.relative_to(videos).as_posix() for p in videos.rglob("*.m??") if not p.name.startswith(".")}
    assert len(names) == NUM_VIDEOS + len(BROKEN)
    assert sorted(labelled + failed) == sorted(names)
    assert dict(zip(failed, column(output, "failures", "kind"), strict=True)) == BROKEN


@pytest.mark.ray
def test_the_tables_keep_their_contract(first_run: tuple[Path, int], model_dir: Path) -> None:
    output, _ = first_run
    model = FALModel.from_pretrained(model_dir)
    num_classes, width = len(model.taxonomy), model.config.embedding_dim
    schemas = {
        "labels": labels_schema(width),
        "failures": FAILURES,
        "predictions": predictions_schema(num_classes, len(model.taxonomy.leaves), SPEC.num_frames, width),
    }
    for name, schema in schemas.items():
        table = tables.read_folder(str(output / name))
        assert table is not None
        assert table.schema.equals(schema), name
        receipt = {} if name == "failures" else {RECEIPT_KEY: (table.schema.metadata or {})[RECEIPT_KEY]}
        assert table.schema.metadata == (schema.metadata or {}) | receipt, name
    for row in read_rows(output, "labels"):
        assert row["model_id"] == model.model_id
        assert row["pipeline_id"] == SPEC.pipeline_id
        assert row["top_label"] == row["top_path"][-1]
        assert len(row["sha256"]) == 64
        assert sum(x * x for x in row["embedding"]) == pytest.approx(1, abs=1e-5)
        assert len(row["frame_times_s"]) == 2 * SPEC.num_frames
        assert row["frame_times_s"] == sorted(row["frame_times_s"])
        assert 0 < row["coverage"] <= 1
        assert all(0 <= s["start_s"] < s["end_s"] <= row["duration_s"] + 1e-6 for s in row["segments"])
    assert len(column(output, "predictions", "clip_index")) == 2 * NUM_VIDEOS


def read_rows(output: Path, table: str) -> list[dict[str, Any]]:
    rows = tables.read_folder(str(output / table))
    assert rows is not None
    return list(rows.to_pylist())


@pytest.mark.ray
def test_the_summary_and_the_report_are_left_behind(first_run: tuple[Path, int]) -> None:
    output, _ = first_run
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert summary["seen"] == summary["labelled"] + summary["failed"] == NUM_VIDEOS + len(BROKEN)
    assert summary["failures_by_kind"] == {"empty_file": 1, "not_a_video": 2}
    assert (summary["job"], summary["exit_code"], summary["parts"]) == ("label_corpus", 0, num_parts(output))
    for stage in summary["stages"].values():
        assert stage["workers"] >= 1
        assert 0 < stage["busy_share"] <= 1
    assert summary["hidden_files_skipped"] == 1
    assert summary["stages"]["prepare"]["busy_s"] > 0
    assert summary["stages"]["predict"]["busy_s"] > 0
    report = (output / "report.html").read_text(encoding="utf-8")
    assert "empty.mp4" in report
    assert list((output / "_fal" / "thumbnails").iterdir())
    assert not (output / "_fal" / "batches").exists() or not list((output / "_fal" / "batches").iterdir())


def num_parts(output: Path) -> int:
    return len(list((output / "labels").iterdir()))


@pytest.mark.ray
def test_the_same_command_again_does_nothing_and_says_so(
    first_run: tuple[Path, int], videos: Path, model_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, _ = first_run
    before = digests(output, *TABLES, "_fal/done", "_fal/thumbnails")
    settings = ("label.part_videos=4", "label.max_failed_share=0.1")

    code = label_corpus.main(arguments(videos, output, model_dir, *settings))

    out = capfd.readouterr().out
    assert f"9 videos in {num_parts(output)} parts, {num_parts(output)} parts finished before" in out
    assert "nothing to do" in out
    assert digests(output, *TABLES, "_fal/done", "_fal/thumbnails") == before
    # 3 of 9 failed: more than the share this command allows.
    assert code == 3
    assert out.rstrip().splitlines()[-1] == "exit code 3: done, but more videos failed than max_failed_share allows"
    assert json.loads((output / "summary.json").read_text(encoding="utf-8"))["exit_code"] == 3


@pytest.mark.ray
def test_the_size_of_parts_and_batches_does_not_change_a_row(
    first_run: tuple[Path, int], videos: Path, model_dir: Path, tmp_path: Path
) -> None:
    settings = ("label.part_videos=100", "label.batch_clips=3", "label.max_failed_share=0.4", "label.thumbnails=0")

    assert label_corpus.main(arguments(videos, tmp_path / "out", model_dir, *settings)) == 0

    for name in ("labels", "failures"):
        first, again = by_id(read_rows(first_run[0], name)), by_id(read_rows(tmp_path / "out", name))
        assert len(again) == len(first)
        for one, other in zip(first, again, strict=True):
            assert other == approximately(one)
    assert not (tmp_path / "out" / "_fal" / "thumbnails").exists()


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["video_id"]))


def approximately(value: Any) -> Any:
    """Compare numbers but for the last bits: a batch of another size multiplies in another order."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-4, abs=1e-5)
    if isinstance(value, dict):
        return {name: approximately(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [approximately(inner) for inner in value]
    return value


@pytest.mark.ray
def test_a_manifest_is_labelled_like_a_folder(
    model_dir: Path, tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path / "corpus", {"test": 2})
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rows[0]["sha256"] = "0" * 64
    rows.append({"video_id": "gone", "uri": "gone.mp4"})
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    code = label_corpus.main(arguments(manifest, tmp_path / "out", model_dir, *ray_local))

    assert code == 3
    assert capfd.readouterr().out.count("exit code") == 1
    failures = {row["video_id"]: row for row in read_rows(tmp_path / "out", "failures")}
    assert {name: row["kind"] for name, row in failures.items()} == {
        rows[0]["video_id"]: "corrupt",
        "gone": "not_found",
    }
    assert failures[rows[0]["video_id"]]["message"].startswith("the manifest says sha256 0000")
    assert column(tmp_path / "out", "labels", "video_id") == [rows[1]["video_id"]]
    assert pa.types.is_float64(labels_schema(1).field("duration_s").type)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_same_command_to_the_same_bytes(
    videos: Path, model_dir: Path, tmp_path: Path, ray_local: tuple[str, ...]
) -> None:
    copies = 5  # parts go on finishing for seconds after the first one: the kill cannot come too late
    for copy in range(copies):
        shutil.copytree(videos, tmp_path / "videos" / str(copy))

    def command(output: Path, *settings: str) -> list[str]:
        wanted = ("label.part_videos=1", "label.max_failed_share=0.4", "label.thumbnails=0")
        return arguments(tmp_path / "videos", output, model_dir, *wanted, *settings)

    undisturbed, output = tmp_path / "undisturbed", tmp_path / "out"
    assert label_corpus.main(command(undisturbed, *ray_local)) == 0
    done = output / "_fal" / "done"

    killed = kill_job_when("label_corpus.py", command(output, *PRIVATE_RAY), lambda: any(done.glob("*.json")))

    assert killed == -9, "the run ended before it could be killed"
    finished = len(list(done.glob("*.json")))
    assert 0 < finished < copies * (NUM_VIDEOS + len(BROKEN))
    assert label_corpus.main(command(output, *ray_local)) == 0
    assert digests(output, *TABLES) == digests(undisturbed, *TABLES)
