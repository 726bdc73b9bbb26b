"""What the deployments do by themselves; ``tests/jobs/test_serve.py`` runs them in a real Ray."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from jobs.runtime import ray_serve
from jobs.runtime.analyse import Refusal
from jobs.runtime.http_problems import OverloadedError
from jobs.runtime.ray_serve import LONGEST_WAIT_S, Predict, RayBackend
from pipelines.clip_batches import ClipArrays
from pipelines.config import Resources
from pipelines.predict import ClipPredictor
from tests.helpers.serving import TINY, write_tiny_model


class Handle:
    """Stands where Ray Serve puts the handle of a deployment."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[Any, ...]] = []

    async def remote(self, *args: Any) -> Refusal:
        self.calls.append(args)
        if self.error is not None:
            raise self.error
        return Refusal(kind="corrupt", message="")


def random_clip(seed: int) -> ClipArrays:
    dice, spec = np.random.default_rng(seed), TINY.clip
    return ClipArrays(
        dice.integers(0, 256, (1, spec.num_frames, spec.size_px, spec.size_px, 3), np.uint8),
        dice.integers(-100, 100, (1, spec.num_frames, spec.flow_size_px, spec.flow_size_px, 2), np.int8),
        np.ones((1, spec.num_frames), np.bool_),
    )


def test_a_shared_batch_gives_each_clip_its_own_outputs(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    clips = [random_clip(i) for i in range(3)]
    together = Predict(str(tmp_path / "model"), max_batch_clips=4, device="cpu")._predict(clips)
    predictor = ClipPredictor.load(str(tmp_path / "model"), "cpu")
    for clip, out in zip(clips, together, strict=True):
        alone = predictor.predict(clip)
        np.testing.assert_allclose(out.logits_BK, alone.logits_BK, atol=1e-3)
        np.testing.assert_allclose(out.embedding_BD, alone.embedding_BD, atol=1e-4)
        assert out.frame_logits_BTK.shape == alone.frame_logits_BTK.shape
    assert np.abs(together[0].logits_BK - together[1].logits_BK).max() > 0.01


def test_the_model_sets_its_batching_by_what_a_batch_takes(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    predict = Predict(str(tmp_path / "model"), max_batch_clips=3, device="cpu")
    assert predict._gather._get_max_batch_size() == 3
    assert 0 < predict._gather._get_batch_wait_timeout_s() <= LONGEST_WAIT_S


def test_an_address_goes_to_the_decoder_without_bytes() -> None:
    handle = Handle()
    assert asyncio.run(RayBackend(handle).analyse("s3://b/a.mp4")) == Refusal(kind="corrupt", message="")
    assert handle.calls == [("s3://b/a.mp4", [])]


@pytest.mark.parametrize("error", [BackPressureError(9, 8), DeploymentUnavailableError("gone")])
def test_a_full_queue_is_told_in_our_words(error: Exception) -> None:
    with pytest.raises(OverloadedError):
        asyncio.run(RayBackend(Handle(error)).analyse("s3://b/a.mp4"))


@pytest.mark.ray
def test_an_upload_is_cut_into_pieces(ray_local: tuple[str, ...]) -> None:
    del ray_local  # that it is there is enough
    data = np.random.default_rng(0).bytes(2 * ray_serve.CHUNK_BYTES + 3)
    handle = Handle()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        asyncio.run(RayBackend(handle).analyse(file))
        assert not file.closed
    ((uri, references),) = handle.calls
    pieces = ray.get(references)
    assert uri == ""
    assert [len(piece) for piece in pieces] == [ray_serve.CHUNK_BYTES, ray_serve.CHUNK_BYTES, 3]
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("found", "resources", "expected"),
    [
        ({"CPU": 4.0}, Resources(decode_workers=3), (3, 1, 0.0)),
        ({"CPU": 2.0}, Resources(), (1, 1, 0.0)),
        ({"CPU": 64.0, "GPU": 4.0}, Resources(decode_workers=50), (50, 4, 1.0)),
        ({"CPU": 64.0, "GPU": 1.0}, Resources(decode_workers=5, model_gpus=0.5), (5, 2, 0.5)),
        ({"CPU": 0.0}, Resources(model_gpus=1.0), (1, 1, 1.0)),  # a cluster whose workers have not come up yet
    ],
)
def test_replicas_follow_the_machine(
    found: dict[str, float], resources: Resources, expected: tuple[int, int, float]
) -> None:
    assert ray_serve._replicas(resources, found) == expected


def test_decoders_are_no_more_than_cores() -> None:
    assert ray_serve._replicas(Resources(), {"CPU": 1000.0})[0] == os.cpu_count()


def test_the_innermost_cause_is_found_in_a_traceback() -> None:
    text = (
        "Deploying failed:\nTraceback:\nRuntimeError: outer\n  File x\nfal_model.errors.ModelLoadError: damaged: y\n\n"
    )
    assert ray_serve._cause_of(text) == "fal_model.errors.ModelLoadError: damaged: y"
    assert ray_serve._cause_of("just words\n") == "just words"
    assert ray_serve._cause_of("") == "no message"
