"""The HTTP endpoint on Ray Serve. The only file that knows ray.serve.

A request crosses three deployments: ``Ingress`` speaks HTTP and makes the row, ``Prepare`` decodes, ``Predict`` runs
the model on batches of clips gathered over all requests. Each is a plain class; what it may use is said in
:func:`build_application`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from fal_model.errors import FalError
from fal_model.pretrained import ModelMeta
from fal_model.spec import ClipSpec
from jobs.runtime.analyse import Analysis, Refusal, Source, VideoAnalyser
from jobs.runtime.config import FalConfig
from jobs.runtime.http_api import LabelService, make_app
from jobs.runtime.http_problems import OverloadedError
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.config import Resources
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor

APPLICATION = "fal"
CHUNK_BYTES = 4 << 20
# While one video waits for the model, its replica decodes the next.
VIDEOS_PER_PREPARE = 2
SHARE_OF_MODEL_TIME = 1 / 3
LONGEST_WAIT_S = 0.05
# A model that cannot be loaded will not load the twentieth time either.
START_ATTEMPTS = 2


class Predict:
    """The model, loaded once; clips of all requests share its batches.

    Args:
        model_dir: Model directory, readable on this node.
        max_batch_clips: Most clips per batch.
        device: Where to compute; None takes the GPU if there is one.
    """

    def __init__(self, model_dir: str, max_batch_clips: int, device: str | None = None) -> None:
        self._predictor = ClipPredictor.load(model_dir, device)
        batch = [_blank_clip(self._predictor.model.config.clip)] * max_batch_clips
        self._predict(batch)  # the first call pays for set-up; the second is what a batch takes
        start_s = time.monotonic()
        self._predict(batch)
        model_s = time.monotonic() - start_s
        self._gather.set_max_batch_size(max_batch_clips)
        self._gather.set_batch_wait_timeout_s(min(LONGEST_WAIT_S, SHARE_OF_MODEL_TIME * model_s))

    async def __call__(self, clip: ClipArrays) -> ClipOutputs:
        """Run the model on one clip, together with others that arrive about now."""
        outputs: ClipOutputs = await self._gather(clip)
        return outputs

    @serve.batch(max_concurrent_batches=1)  # type: ignore[untyped-decorator]  # Ray ships no types
    async def _gather(self, clips: list[ClipArrays]) -> list[ClipOutputs]:
        return await asyncio.to_thread(self._predict, clips)

    def _predict(self, clips: Sequence[ClipArrays]) -> list[ClipOutputs]:
        out = self._predictor.predict(
            ClipArrays(
                np.concatenate([c.frames_BTHWC for c in clips]),
                np.concatenate([c.flow_q_BTHWC for c in clips]),
                np.concatenate([c.flow_valid_BT for c in clips]),
            )
        )
        return [
            ClipOutputs(
                out.logits_BK[i : i + 1],
                out.frame_logits_BTK[i : i + 1],
                out.offsets_BTL2[i : i + 1],
                out.embedding_BD[i : i + 1],
            )
            for i in range(len(clips))
        ]


class Prepare:
    """A decoder child process on one core.

    Args:
        spec: Input contract of the model.
        limits: What a video may cost.
        predict: The ``Predict`` deployment.
    """

    def __init__(self, spec: ClipSpec, limits: DecodeLimits, predict: DeploymentHandle) -> None:
        self._predict = predict
        self._analyser = VideoAnalyser(spec, limits, self._remote_predict)

    async def __call__(self, uri: str, chunks: Sequence[ray.ObjectRef]) -> Analysis | Refusal:
        """Analyse an upload, in pieces, or a video at an address."""
        if uri:
            return await self._analyser.analyse(uri)
        with tempfile.TemporaryFile(prefix="fal-") as file:
            for chunk in chunks:
                file.write(await chunk)
            file.flush()
            return await self._analyser.analyse(file)

    async def _remote_predict(self, clip: ClipArrays) -> ClipOutputs:
        outputs: ClipOutputs = await self._predict.remote(clip)
        return outputs


class RayBackend:
    """Analyse videos in the ``Prepare`` deployment."""

    def __init__(self, prepare: DeploymentHandle) -> None:
        self._prepare = prepare

    async def analyse(self, source: Source) -> Analysis | Refusal:
        """Analyse one video.

        Raises:
            OverloadedError: too many videos wait for a decoder already.
        """
        uri = source if isinstance(source, str) else ""
        # In pieces through the object store, which may spill to disk: no process holds a large upload in memory.
        chunks = [] if isinstance(source, str) else await asyncio.to_thread(_put_chunks, source)
        try:
            result: Analysis | Refusal = await self._prepare.remote(uri, chunks)
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise OverloadedError(str(error)) from None
        return result

    async def is_ready(self) -> bool:
        """Tell whether every deployment has its replicas. Asks Ray, not the replicas: a busy one is ready too."""
        return await asyncio.to_thread(_is_running)


class Ingress:
    """HTTP; makes the rows."""

    def __init__(self, meta: ModelMeta, config: FalConfig, prepare: DeploymentHandle) -> None:
        self._service = LabelService(meta, config.label, config.serve, RayBackend(prepare))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Give Ray Serve the app of this replica."""
        return make_app(self._service)


def _is_running() -> bool:
    name = serve.get_replica_context().app_name
    state = serve.status().applications.get(name)
    return state is not None and state.status == "RUNNING"


def _put_chunks(file: BinaryIO) -> list[ray.ObjectRef]:
    file.seek(0)
    chunks: list[ray.ObjectRef] = []
    while chunk := file.read(CHUNK_BYTES):
        chunks.append(ray.put(chunk))
    return chunks


def _blank_clip(spec: ClipSpec) -> ClipArrays:
    size, grid, num = spec.size_px, spec.flow_size_px, spec.num_frames
    return ClipArrays(
        np.zeros((1, num, size, size, 3), np.uint8),
        np.zeros((1, num, grid, grid, 2), np.int8),
        np.zeros((1, num), np.bool_),
    )


def build_application(model_dir: str, meta: ModelMeta, config: FalConfig) -> serve.Application:
    """Say what runs where, with how much. Needs a Ray that has been started or joined.

    Args:
        model_dir: Model directory, readable on every node.
        meta: What that directory says about the model.
        config: Settings.
    """
    num_prepare, num_predict, gpus_each = _replicas(config.resources, ray.cluster_resources())
    batch_clips = config.label.batch_clips
    predict = serve.deployment(
        Predict,
        num_replicas=num_predict,
        ray_actor_options={"num_cpus": config.resources.model_cpus, "num_gpus": gpus_each},
        # Enough waiting clips for the next batch while one is computed.
        max_ongoing_requests=2 * batch_clips,
        max_constructor_retry_count=START_ATTEMPTS,
    ).bind(model_dir, batch_clips)
    prepare = serve.deployment(
        Prepare,
        num_replicas=num_prepare,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=VIDEOS_PER_PREPARE,
        max_queued_requests=config.serve.max_queued_videos,
        max_constructor_retry_count=START_ATTEMPTS,
    ).bind(meta.config.clip, config.limits, predict)
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        num_replicas=config.serve.ingress_replicas,
        # It waits, it does not compute.
        ray_actor_options={"num_cpus": 0},
        # Over ``max_open_videos`` the app itself says so, and the small answers always have room.
        max_ongoing_requests=2 * config.serve.max_open_videos + 100,
    )
    application: serve.Application = ingress.bind(meta, config, prepare)
    return application


def _replicas(resources: Resources, found: Mapping[str, float]) -> tuple[int, int, float]:
    """Count decoders, models, and GPUs per model in a cluster, by the same rule as the labelling job."""
    num_gpus = int(found.get("GPU", 0))
    gpus_each = resources.model_gpus or (1.0 if num_gpus else 0.0)
    num_predict = resources.model_workers or (max(1, int(num_gpus / gpus_each)) if gpus_each else 1)
    spare = int(found.get("CPU", 1)) - int(num_predict * resources.model_cpus) - 1
    num_prepare = resources.decode_workers or max(1, min(spare, os.cpu_count() or 1))
    return num_prepare, num_predict, gpus_each


def start(application: serve.Application, config: FalConfig) -> None:
    """Run the application in this Ray and listen; returns when it is ready.

    Raises:
        FalError: a replica does not start.
    """
    # Otherwise it tells that the options set in the next line are ignored by the line after it.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    options = HTTPOptions(host=config.serve.host, port=config.serve.port)
    quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
    serve.start(http_options=options, logging_config=quiet)
    try:
        serve.run(application, name=APPLICATION, route_prefix="/", logging_config=quiet)
    except RuntimeError as error:
        raise FalError(f"the endpoint does not start: {_cause_of(str(error))}") from error


def _cause_of(traceback: str) -> str:
    """Find the sentence that helps in what Ray Serve says: the last line of the innermost traceback."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b.*:", line)]
    return (errors or lines or ["no message"])[-1]


def stop() -> None:
    """End the application and what listens for it."""
    serve.shutdown()
