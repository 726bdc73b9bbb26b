"""A model in S3 is loaded as one in a folder is, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fal_model.errors import ModelLoadError
from fal_model.model import FALModel
from pipelines import storage
from pipelines.model_files import FILES, described, load_model, local_model
from pipelines.predict import ClipPredictor
from tests.helpers.corpus import write_model
from tests.helpers.s3_faults import Fault, FaultyProxy, Harm


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def remote(model_dir: Path, bucket: str) -> str:
    for path in model_dir.iterdir():
        storage.write_bytes(f"{bucket}/model/{path.name}", path.read_bytes())
    storage.write_bytes(f"{bucket}/model/notes.txt", b"not of the model")
    return f"{bucket}/model"


def test_a_local_directory_is_used_where_it_is(model_dir: Path) -> None:
    with local_model(str(model_dir)) as place:
        assert place == str(model_dir)
    with local_model("owner/name") as place:
        assert place == "owner/name"


def test_a_model_in_s3_is_fetched_and_deleted(remote: str, model_dir: Path) -> None:
    with local_model(f"{remote}/") as place:
        assert {p.name for p in Path(place).iterdir()} <= set(FILES)
        assert (Path(place) / "config.json").read_bytes() == (model_dir / "config.json").read_bytes()
    assert not Path(place).exists()


def test_the_same_model_comes_from_both_places(
    remote: str, model_dir: Path, faults: Callable[..., FaultyProxy]
) -> None:
    model_id = FALModel.from_pretrained(model_dir).model_id
    faults(*[Fault(harm, method="GET", key=r"\.safetensors") for harm in (Harm.SHORT_BODY, Harm.SLOW_DOWN)])
    assert load_model(remote).model_id == model_id
    assert ClipPredictor.load(remote, "cpu").model.model_id == model_id


def test_a_model_that_is_not_there_or_not_whole(remote: str, faults: Callable[..., FaultyProxy]) -> None:
    with pytest.raises(ModelLoadError, match=r"no model is at 's3://.*/none': it has no config\.json"):
        load_model(f"{remote}/none")
    storage.remove(f"{remote}/model.safetensors")
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        load_model(remote)
    faults(Fault(Harm.FORBIDDEN, count=None))
    with pytest.raises(ModelLoadError, match=r"cannot read the model 's3://.*': Told to say so \(AccessDenied\)"):
        load_model(remote)


def test_what_a_model_is_can_be_asked_without_loading_it(remote: str, model_dir: Path) -> None:
    here, there = described(str(model_dir)), described(remote)
    assert (here[0], there[0]) == (str(model_dir), remote)
    assert here[1].model_id == there[1].model_id == FALModel.from_pretrained(model_dir).meta().model_id
    with pytest.raises(ModelLoadError, match="no such directory"):
        described("nowhere/at/all")
