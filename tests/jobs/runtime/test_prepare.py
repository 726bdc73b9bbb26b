"""The preparation job, from a labelled manifest to shards that training reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fal_model.errors import ManifestError, OutputError
from fal_model.presets import preset
from jobs import prepare_corpus
from jobs.runtime import prepare
from jobs.runtime.config import load_config
from pipelines import tables
from pipelines.shards import ReadPlan, ShardSet, read_batches
from tests.helpers.corpus import CLIP_SETTINGS, SPEC, digests, write_manifest

TRAIN, VAL, CLIPS_PER_VIDEO = 5, 2, 2


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a labelled corpus with one file that is not there."""
    path = write_manifest(tmp_path_factory.mktemp("corpus"), {"train": TRAIN, "val": VAL})
    gone = {"video_id": "gone", "uri": "gone.mp4", "labels": ["disc"], "split": "train"}
    path.write_text(path.read_text(encoding="utf-8") + json.dumps(gone) + "\n", encoding="utf-8")
    return path


def arguments(manifest: Path, output: Path, *settings: str) -> list[str]:
    return ["--input", str(manifest), "--output", str(output), "prepare.part_videos=3", *CLIP_SETTINGS, *settings]


@pytest.fixture(scope="module")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory, ray_local: tuple[str, ...]) -> Path:
    output = tmp_path_factory.mktemp("shards") / "out"
    assert prepare_corpus.main(arguments(manifest, output, *ray_local, "prepare.max_failed_share=0.2")) == 0
    return output


@pytest.mark.ray
def test_shards_hold_every_clip_of_every_good_video(shards: Path, manifest: Path) -> None:
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    for split, count in (("train", TRAIN), ("val", VAL)):
        opened = ShardSet.open(str(shards / split))
        assert opened.spec == SPEC
        assert opened.num_clips == count * CLIPS_PER_VIDEO
        batches = list(read_batches(opened, ReadPlan(batch_clips=4, is_shuffled=False)))
        ids = [video_id for batch in batches for video_id in batch.video_ids]
        wanted = {r["video_id"] for r in rows if r["split"] == split and r["video_id"] != "gone"}
        assert set(ids) == wanted
        assert batches[0].arrays.frames_BTHWC.shape == (4, SPEC.num_frames, SPEC.size_px, SPEC.size_px, 3)
    failures = tables.read_folder(str(shards / "failures"))
    assert failures is not None
    assert [(f["video_id"], f["kind"]) for f in failures.to_pylist()] == [("gone", "not_found")]


@pytest.mark.ray
def test_the_summary_counts_what_was_written(shards: Path) -> None:
    summary = json.loads((shards / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seen"], summary["prepared"], summary["failed"]) == (TRAIN + VAL + 1, TRAIN + VAL, 1)
    assert summary["clips_by_split"] == {"train": TRAIN * CLIPS_PER_VIDEO, "val": VAL * CLIPS_PER_VIDEO}
    assert summary["failures_by_kind"] == {"not_found": 1}
    assert summary["pipeline_id"] == SPEC.pipeline_id


@pytest.mark.ray
def test_the_same_command_again_does_nothing_and_says_so(
    shards: Path, manifest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = digests(shards, "train", "val", "failures", "_fal")

    # One of eight failed; how many may fail is no property of the shards, and may change between runs.
    code = prepare_corpus.main(arguments(manifest, shards, "prepare.max_failed_share=0.1"))

    out = capfd.readouterr().out
    assert code == 3
    assert "8 videos in 3 parts, 3 parts finished before" in out
    assert "all shards are written already: nothing to do" in out
    assert out.rstrip().endswith("exit code 3: done, but more videos failed than max_failed_share allows")
    assert digests(shards, "train", "val", "failures", "_fal") == before


@pytest.mark.ray
def test_shards_of_other_settings_are_refused(shards: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = prepare_corpus.main(arguments(manifest, shards, "prepare.jpeg_quality=50"))
    captured = capfd.readouterr()
    assert code == 1
    assert "was made by another run: settings differ" in captured.err
    assert captured.out.rstrip().endswith("exit code 1: failed")


# ---- before anything runs -----------------------------------------------------------------------------------------


def test_videos_without_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "a.mp4", "labels": ["x"]}\n{"uri": "b.mp4"}\n', encoding="utf-8")
    options = {"input": str(path), "output": str(tmp_path / "out"), "taxonomy": ""}
    with pytest.raises(ManifestError, match=r"1 videos have no labels, first 'b\.mp4'"):
        prepare.prepare_corpus(options, load_config(None))
    assert not (tmp_path / "out").exists()


def test_labels_that_the_taxonomy_does_not_know_are_refused(tmp_path: Path) -> None:
    path, tree = tmp_path / "m.jsonl", tmp_path / "tree.json"
    path.write_text('{"uri": "a.mp4", "labels": ["y"]}\n', encoding="utf-8")
    tree.write_text('{"nodes": [{"id": "x", "name": "X"}]}', encoding="utf-8")
    options = {"input": str(path), "output": str(tmp_path / "out"), "taxonomy": str(tree)}
    with pytest.raises(ManifestError, match=r"label 'y' \(1 videos\) is not in the taxonomy"):
        prepare.prepare_corpus(options, load_config(None))
    assert not (tmp_path / "out").exists()


def test_an_empty_manifest_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.jsonl").write_text("", encoding="utf-8")
    assert prepare_corpus.main(arguments(tmp_path / "m.jsonl", tmp_path / "out")) == 2
    assert "holds no videos" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_fails_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "a.mp4", "labels": ["x"]}\n', encoding="utf-8")
    (tmp_path / "file").write_bytes(b"")
    options = {"input": str(path), "output": str(tmp_path / "file" / "out"), "taxonomy": ""}
    with pytest.raises(OutputError, match="cannot write"):
        prepare.prepare_corpus(options, load_config(None))


def test_the_clip_comes_from_the_settings_else_from_the_preset() -> None:
    assert prepare.clip_spec(load_config(None, CLIP_SETTINGS)) == SPEC
    assert prepare.clip_spec(load_config(None, ["model.preset=fal-375m"])) == preset("fal-375m").clip
    of_both = prepare.clip_spec(load_config(None, ["model.preset=fal-375m", "clip.window_s=5"]))
    assert of_both == replace(preset("fal-375m").clip, window_s=5.0)
