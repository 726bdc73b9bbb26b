"""The training job: what it refuses, what it leaves, and that it goes on where it was killed."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fal_model.errors import ConfigError, OutputError
from fal_model.model import FALModel
from fal_model.presets import preset
from fal_model.taxonomy import Taxonomy
from jobs import prepare_corpus
from jobs import train as train_script
from jobs.runtime import train
from jobs.runtime.config import load_config
from pipelines.shards import Group, ShardSet
from tests.helpers.corpus import CLIP_SETTINGS, SPEC, TAXONOMY, digests, write_manifest
from tests.helpers.micro import numbered_taxonomy
from tests.helpers.processes import PRIVATE_RAY, kill_job_when
from tests.helpers.reference_vit import random_timm_state

STEPS, EVERY = 24, 4
SETTINGS = (
    f"train.total_steps={STEPS}",
    "train.warmup_steps=2",
    "train.learning_rate=1e-3",
    "train.ema_decay=0.9",
    f"loop.checkpoint_every_steps={EVERY}",
    "loop.log_every_steps=1",
    "loop.batch_clips=4",
    "tracking.is_enabled=false",
)


def shard_set(num_clips: int = 100, size_px: int = 96, taxonomy: Taxonomy | None = None) -> ShardSet:
    spec = replace(preset("fal-nano").clip, size_px=size_px)
    return ShardSet(spec, taxonomy or TAXONOMY, (Group("shard.parquet", 0, num_clips),))


# ---- what is decided before anything runs -------------------------------------------------------------------------


def test_epochs_set_the_schedule() -> None:
    config = load_config(None, ["loop.epochs=3", "loop.batch_clips=16"])
    model_config, train_config = train.resolve(config, shard_set(100), shard_set(5))
    assert train_config.total_steps == 3 * 6
    assert train_config.warmup_steps == 1
    assert model_config == preset("fal-nano")


def test_without_epochs_the_schedule_is_the_settings() -> None:
    config = load_config(None, ["train.total_steps=777"])
    assert train.resolve(config, shard_set(), shard_set())[1] == config.train


def test_clips_come_from_the_shards_not_from_the_preset() -> None:
    model_config, _ = train.resolve(load_config(None), shard_set(size_px=48), shard_set(size_px=48))
    assert model_config.clip.size_px == 48
    assert model_config.width == preset("fal-nano").width


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    config = load_config(None, ["clip.size_px=64", "clip.flow_size_px=16"])
    with pytest.raises(ConfigError) as caught:
        train.resolve(config, shard_set(), shard_set(size_px=48, taxonomy=numbered_taxonomy(4, 2)))
    problems = caught.value.problems
    assert problems[:2] == [
        "--val: made with other clip settings than --train",
        "--val: made with another taxonomy than --train",
    ]
    assert problems[2].startswith("clip: the settings differ from the shards' {'num_frames': 8, 'size_px': 96")
    assert problems[2].endswith("leave the section out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["loop.batch_clips=101"], "got 101, but the training shards hold only 100 clips"),
        (["loop.batch_clips=6", "loop.workers=4"], r"got 6, must be a multiple of loop\.workers \(4\)"),
        (["model.preset=fal-huge"], "model preset: got 'fal-huge', must be one of"),
    ],
)
def test_settings_that_do_not_fit_the_shards_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train.resolve(load_config(None, settings), shard_set(), shard_set())


def test_a_model_to_start_from_must_be_the_one_that_is_trained(tmp_path: Path) -> None:
    other = tmp_path / "other"
    smaller = replace(preset("fal-nano"), width=16, num_heads=2)
    FALModel(smaller, numbered_taxonomy(4, 2)).save_pretrained(other)
    with pytest.raises(ConfigError) as caught:
        train.resolve(load_config(None, [f"model.init_from={other}"]), shard_set(), shard_set())
    assert [p.split(": ")[1].split(" has ")[1] for p in caught.value.problems] == [
        "other sizes or clip settings than preset and shards give",
        "another taxonomy than --train",
    ]

    same = tmp_path / "same"
    FALModel(preset("fal-nano"), TAXONOMY).save_pretrained(same)
    config = load_config(None, [f"model.init_from={same}"])
    assert train.resolve(config, shard_set(), shard_set())[0] == preset("fal-nano")


def test_workers_get_a_path_that_does_not_depend_on_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "vit").mkdir()
    assert train._same_everywhere("~/vit") == str(tmp_path / "vit")
    assert train._same_everywhere("owner/name") == "owner/name"
    assert train._same_everywhere("") == ""


def test_a_remote_output_is_refused() -> None:
    options = {"train": "t", "val": "v", "output": "s3://bucket/run"}
    with pytest.raises(ConfigError, match="training writes to a folder that all workers share"):
        train.train(options, load_config(None))


def test_shards_that_are_not_there_are_refused_and_no_output_is_made(tmp_path: Path) -> None:
    options = {"train": str(tmp_path / "t"), "val": str(tmp_path / "v"), "output": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match=r"no \.parquet files in"):
        train.train(options, load_config(None))
    assert not (tmp_path / "out").exists()


# ---- whole runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, ray_local: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("train")
    manifest = write_manifest(folder / "corpus", {"train": 4, "val": 2})
    (folder / "tree.json").write_text(json.dumps(TAXONOMY.to_dict()), encoding="utf-8")
    places = ["--input", str(manifest), "--output", str(folder / "shards"), "--taxonomy", str(folder / "tree.json")]
    assert prepare_corpus.main([*places, *CLIP_SETTINGS, "prepare.part_videos=2", *ray_local]) == 0
    return folder / "shards"


def arguments(shards: Path, output: Path, *settings: str) -> list[str]:
    places = ["--train", str(shards / "train"), "--val", str(shards / "val"), "--output", str(output)]
    return [*places, *SETTINGS, *settings]


@pytest.fixture(scope="module")
def undisturbed(shards: Path, ray_local: tuple[str, ...]) -> Path:
    output = shards.parent / "undisturbed"
    assert train_script.main(arguments(shards, output, *ray_local)) == 0
    return output


@pytest.mark.ray
def test_a_run_leaves_a_model_checkpoints_and_a_summary(undisturbed: Path) -> None:
    model = FALModel.from_pretrained(undisturbed / "model")
    assert model.config == replace(preset("fal-nano"), clip=SPEC)
    assert model.taxonomy.taxonomy_id == TAXONOMY.taxonomy_id

    summary = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))
    assert (summary["job"], summary["steps"], summary["exit_code"]) == ("train", STEPS, 0)
    assert summary["clips"] == {"train": 8, "val": 4}
    assert summary["metrics"]["step"] == STEPS
    assert 0 <= summary["metrics"]["top1"] <= 1
    kept = sorted(p.name for p in (undisturbed / "checkpoints" / "train").glob("step-*"))
    assert kept == [f"step-{STEPS - EVERY:09d}", f"step-{STEPS:09d}"]


@pytest.mark.ray
def test_a_run_can_start_from_a_published_transformer(
    shards: Path, tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    state = random_timm_state(width=128, depth=4, patch_px=16, grid=SPEC.size_px // 16)
    (tmp_path / "vit").mkdir()
    save_file(state, tmp_path / "vit" / "model.safetensors")
    (tmp_path / "vit" / "config.json").write_text(json.dumps({"num_attention_heads": 4}), encoding="utf-8")
    steps = ("train.total_steps=2", "train.warmup_steps=1", "train.learning_rate=1e-6", "loop.checkpoint_every_steps=2")
    settings = (*steps, f"model.init_from={tmp_path / 'vit'}", *ray_local)

    assert train_script.main(arguments(shards, tmp_path / "out", *settings)) == 0

    assert "start: warm start from" in capfd.readouterr().out
    trained = FALModel.from_pretrained(tmp_path / "out" / "model").state_dict()
    for ours, theirs in (
        ("encoder.stages.0.0.mlp.up", "blocks.0.mlp.fc1"),
        ("encoder.stages.2.0.mlp.up", "blocks.3.mlp.fc1"),
    ):
        torch.testing.assert_close(trained[f"{ours}.weight"], state[f"{theirs}.weight"], atol=1e-5, rtol=0)


@pytest.mark.ray
def test_the_same_command_again_does_nothing_and_says_so(
    undisturbed: Path, shards: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = digests(undisturbed, "model", "checkpoints")
    assert train_script.main(arguments(shards, undisturbed, "loop.workers=2")) == 0
    assert "the model is trained already: nothing to do" in capfd.readouterr().out
    assert digests(undisturbed, "model", "checkpoints") == before
    assert json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))["metrics"]["step"] == STEPS


@pytest.mark.ray
def test_an_output_trained_with_other_settings_is_refused(undisturbed: Path, shards: Path) -> None:
    options = {"train": str(shards / "train"), "val": str(shards / "val"), "output": str(undisturbed)}
    config = load_config(None, [*SETTINGS, "train.learning_rate=2e-3"])
    with pytest.raises(OutputError, match="was made by another run: settings differ"):
        train.train(options, config)


@pytest.mark.ray
def test_a_run_that_ended_before_its_summary_is_completed(
    undisturbed: Path, shards: Path, tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    (output / "summary.json").unlink()

    assert train_script.main(arguments(shards, output, *ray_local)) == 0

    assert f"step {STEPS}/{STEPS}" not in capfd.readouterr().out
    summary, whole = (json.loads((p / "summary.json").read_text(encoding="utf-8")) for p in (output, undisturbed))
    assert summary["metrics"] == whole["metrics"]
    assert digests(output, "model") == digests(undisturbed, "model")


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(
    undisturbed: Path, shards: Path, tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    snapshot = output / "checkpoints" / "train" / "checkpoint_manager_snapshot.json"

    killed = kill_job_when(
        "train.py",
        arguments(shards, output, *PRIVATE_RAY),
        lambda: snapshot.exists() and "step-" in snapshot.read_text(encoding="utf-8"),
    )
    assert killed == -9, "the run ended before it could be killed"
    assert not (output / "model").exists()
    more_workers = tmp_path / "more-workers"
    shutil.copytree(output, more_workers)

    assert train_script.main(arguments(shards, output, *ray_local)) == 0
    assert first_step(capfd.readouterr().out) > EVERY
    assert (
        FALModel.from_pretrained(output / "model").model_id == FALModel.from_pretrained(undisturbed / "model").model_id
    )

    # Twice the workers: the same clips in every step, so the same place in the data; sums differ in their last bits.
    assert train_script.main(arguments(shards, more_workers, *ray_local, "loop.workers=2")) == 0
    assert first_step(capfd.readouterr().out) > EVERY
    assert FALModel.from_pretrained(more_workers / "model").config == FALModel.from_pretrained(output / "model").config
    summary = json.loads((more_workers / "summary.json").read_text(encoding="utf-8"))
    assert summary["metrics"]["step"] == STEPS


def first_step(out: str) -> int:
    """Read the first step that a worker spoke of."""
    found = re.search(rf"step (\d+)/{STEPS}: loss", out)
    assert found, out
    return int(found[1])
