import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fal_model.calibration import Calibration, Scaling
from fal_model.errors import ConfigError, ModelLoadError, OutputError
from fal_model.model import FALModel
from fal_model.pretrained import MODEL_FILES, read_meta, read_weights, weights_id, write_directory
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.micro import MICRO, micro_model, small_tree


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    micro_model().save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = micro_model().eval()
    model.calibration = Calibration(clip=(Scaling(temperature=1.3, bias=0.1),))
    model.save_pretrained(tmp_path / "deep" / "model")
    back = FALModel.from_pretrained(tmp_path / "deep" / "model")
    inputs = model.example_inputs(2)
    assert all(torch.equal(a, b) for a, b in zip(model(**inputs), back(**inputs), strict=True))
    assert (back.config, back.taxonomy.nodes, back.calibration) == (MICRO, small_tree().nodes, model.calibration)
    assert back.model_id == model.model_id
    assert not back.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in back.parameters())


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (
            Calibration(clip=(Scaling(),) * 4),
            "calibration.clip: got 4 scalings, must be from 1 to 3, the levels of the",
        ),
        (Calibration(thresholds={"golf": 0.5}), "calibration.thresholds.sport: missing"),
        (Calibration(frame_thresholds={"chess": 0.5}), "calibration.frame_thresholds.chess: no such class in the"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, calibration: Calibration, message: str) -> None:
    model = micro_model()
    model.calibration = calibration
    with pytest.raises(ConfigError, match=message):
        model.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_holds_the_four_files_and_no_more(stored: Path) -> None:
    assert sorted(p.name for p in stored.iterdir()) == sorted(MODEL_FILES)
    assert [p.name for p in stored.parent.iterdir()] == ["model"]


def test_sixteen_bit_weights_stay_sixteen_bit(tmp_path: Path) -> None:
    micro_model().half().save_pretrained(tmp_path / "half")
    back = FALModel.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in back.parameters()} == {torch.float16}


def test_saving_over_a_model_replaces_it_and_keeps_other_files(stored: Path) -> None:
    (stored / "README.md").write_text("mine", encoding="utf-8")
    other = micro_model(seed=1)
    other.save_pretrained(stored)
    assert FALModel.from_pretrained(stored).model_id == other.model_id
    assert (stored / "README.md").read_text(encoding="utf-8") == "mine"


def test_the_id_follows_everything_that_decides_the_output() -> None:
    model = micro_model()
    ids = [model.model_id]
    model.calibration = Calibration(clip=(Scaling(bias=0.5),))
    ids.append(model.model_id)
    with torch.no_grad():
        model.heads.clip_classes.bias[0] += 1
    ids.append(model.model_id)
    model.taxonomy = Taxonomy([Node("x", "x"), *small_tree().nodes[1:2], *(Node(str(i), "", "x") for i in range(5))])
    ids.append(model.model_id)
    model.config = replace(MICRO, clip=replace(MICRO.clip, window_s=5))
    ids.append(model.model_id)
    assert len(set(ids)) == 5
    assert micro_model().model_id == ids[0]
    assert len(ids[0]) == 16


def test_metadata_is_read_without_weights(stored: Path) -> None:
    (stored / "model.safetensors").unlink()
    meta = read_meta(stored)
    assert (meta.config, meta.model_id) == (MICRO, micro_model().model_id)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_file_is_named(stored: Path, name: str) -> None:
    (stored / name).unlink()
    with pytest.raises(ModelLoadError, match=f"{name}: (cannot be read: No such file|no such file)"):
        FALModel.from_pretrained(stored)


@pytest.mark.parametrize("name", MODEL_FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(stored: Path, name: str, share: float) -> None:
    os.truncate(stored / name, int(share * (stored / name).stat().st_size))
    with pytest.raises(ModelLoadError, match=f"{name}: (not JSON|cannot be read, it is damaged or cut short)"):
        FALModel.from_pretrained(stored)


def test_a_flipped_bit_in_the_weights_is_noticed(stored: Path) -> None:
    path = stored / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelLoadError, match=r"model.safetensors: the weights are damaged: their content hash must be"):
        FALModel.from_pretrained(stored)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"format_version": 5}, "format_version: got 5, must be at most 4; update FAL"),
        (
            "config.json",
            {"format_version": 1},
            "got 1, must be 4; the model was made by an older version of FAL: train it again",
        ),
        ("config.json", {"format_version": True}, "format_version: got True, must be a whole number from 1"),
        ("config.json", {"format_version": "1"}, "format_version: got '1', must be a whole number from 1"),
        ("config.json", {"model": 3}, "must hold 'model' and 'weights_id'"),
        ("config.json", {"model": {"width": 3}}, "model.clip: missing"),
        ("config.json", {"model": MICRO.to_dict() | {"layers": 3}}, r"model\.layers: unknown field"),
        (
            "config.json",
            {"model": MICRO.to_dict() | {"has_frame_token": "no"}},
            "has_frame_token: got 'no', must be true",
        ),
        ("config.json", {"model_id": "0" * 16}, "model_id: got '0000000000000000', but the files give"),
        ("calibration.json", {"clip": [{"temperature": 0, "bias": 0}]}, r"calibration.clip\[0\].temperature: got 0"),
        ("calibration.json", {"thresholds": {"golf": 0.5}}, "calibration.thresholds.sport: missing"),
        (
            "calibration.json",
            {"clip": [{"temperature": 2.0, "bias": 0.0}]},
            "they were changed or do not belong together; if the change was meant, write the new id into the config",
        ),
        ("taxonomy.json", {"nodes": []}, "taxonomy: no classes"),
    ],
)
def test_edited_files_are_refused(stored: Path, name: str, changes: dict[str, Any], message: str) -> None:
    edit(stored / name, **changes)
    with pytest.raises(ModelLoadError, match=message):
        FALModel.from_pretrained(stored)


def test_a_calibration_edited_by_hand_can_be_meant(stored: Path) -> None:
    edit(stored / "calibration.json", abstain_below=0.25)
    with pytest.raises(ModelLoadError) as raised:
        read_meta(stored)
    found = re.search(r"but the files give '(\w+)'", str(raised.value))
    assert found
    edit(stored / "config.json", model_id=found[1])
    assert read_meta(stored).calibration.abstain_below == 0.25


def test_json_of_another_shape_is_refused(stored: Path) -> None:
    (stored / "config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"config\.json: got a list, must be a JSON object"):
        FALModel.from_pretrained(stored)


def test_weights_of_another_taxonomy_are_refused(stored: Path) -> None:
    larger = FALModel(MICRO, Taxonomy([*small_tree().nodes, Node("surfing", "Surfing", "water")]))
    with pytest.raises(ModelLoadError) as caught:
        read_weights(stored, larger.state_dict(), "")
    assert "the weights do not fit config and taxonomy" in str(caught.value)
    assert "heads.clip_classes.weight: got [7, 8], must be [8, 8]" in str(caught.value)


def test_missing_and_unknown_weights_are_listed(stored: Path) -> None:
    save_file({"extra": torch.zeros(1)}, stored / "model.safetensors")
    with pytest.raises(ModelLoadError, match=r"encoder\.embed.*: missing; .*; and \d+ more"):
        FALModel.from_pretrained(stored)
    state = dict(micro_model().state_dict()) | {"extra": torch.zeros(1)}
    save_file(state, stored / "model.safetensors")
    with pytest.raises(ModelLoadError, match="extra: unknown"):
        FALModel.from_pretrained(stored)


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "../x", ""])
def test_what_is_neither_folder_nor_hub_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadError, match=r"no such directory|config.json: cannot be read"):
        FALModel.from_pretrained(name)


@pytest.mark.parametrize("name", [None, 3, b"model", "x" * 5000])
def test_what_cannot_be_a_place(name: Any) -> None:
    with pytest.raises(ModelLoadError, match="no such directory, and not a hub id of the form owner/name"):
        FALModel.from_pretrained(name)


def test_json_of_no_end_is_refused(stored: Path) -> None:
    (stored / "taxonomy.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"taxonomy\.json: not JSON: .*recursion"):
        FALModel.from_pretrained(stored)


def test_a_file_is_not_a_model(stored: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"config\.json: no such directory, and not a hub id"):
        FALModel.from_pretrained(stored / "config.json")


def test_a_hub_model_in_the_cache_is_found_without_network(tmp_path: Path) -> None:
    commit = "a" * 40
    repository = tmp_path / "models--someone--fal-micro"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    model = micro_model()
    model.save_pretrained(repository / "snapshots" / commit)
    back = FALModel.from_pretrained("someone/fal-micro", cache_dir=tmp_path, local_files_only=True)
    assert back.model_id == model.model_id


def test_an_unknown_hub_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="someone/nothing: no such directory, and not found on the hub"):
        FALModel.from_pretrained("someone/nothing", cache_dir=tmp_path, local_files_only=True)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"model: cannot be written: .*No space left on device"):
        write_directory(tmp_path / "model", {"a": lambda path: path.touch(), "b": fail})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_model(stored: Path) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, f"No space left on device for {path.name}")

    with pytest.raises(OutputError, match="No space left"):
        write_directory(stored, {"config.json": lambda path: path.touch(), "model.safetensors": fail})
    assert FALModel.from_pretrained(stored).model_id == micro_model().model_id


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/model: cannot be written"):
        micro_model().save_pretrained(tmp_path / "file" / "model")


def test_names_types_and_values_change_the_weights_id() -> None:
    ids = {
        weights_id({"a": torch.zeros(2)}),
        weights_id({"b": torch.zeros(2)}),
        weights_id({"a": torch.zeros(2, dtype=torch.int32)}),
        weights_id({"a": torch.zeros(1, 2)}),
        weights_id({"a": torch.ones(2)}),
        weights_id({"a": torch.zeros(())}),
    }
    assert len(ids) == 6
