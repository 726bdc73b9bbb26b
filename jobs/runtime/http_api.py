"""The HTTP endpoint as an ASGI app. What analyses videos is handed in; Ray is not known here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from fal_model.errors import FailureKind
from fal_model.pretrained import ModelMeta
from jobs.runtime import http_problems
from jobs.runtime.analyse import Analysis, Backend, Refusal
from jobs.runtime.http_body import ACCEPTED, Submission, read_submission
from jobs.runtime.http_metrics import HttpMetrics, MetricsMiddleware
from jobs.runtime.http_problems import OVERLOADED, ApiError, OverloadedError
from jobs.runtime.http_types import LabelRow, ModelAnswer, Problem, Status, TaxonomyAnswer
from jobs.runtime.serve_config import ServeSection
from pipelines.config import LabelConfig
from pipelines.labels import Labeller, Row
from pipelines.records import labels_schema

PAGE = Path(__file__).parent / "static" / "index.html"
# The page is one file that talks to its own server only; pictures and videos are made in the browser.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PATHS = frozenset({"/", "/v1/label", "/v1/taxonomy", "/v1/model", "/healthz", "/readyz", "/metrics", "/docs"})
VERSIONED_PACKAGES = ("torch", "av", "opencv-python-headless", "ray")
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for code, text in (
        (400, "Malformed request, option or address."),
        (404, "The address names nothing."),
        (408, "The body did not arrive in time."),
        (413, "The body is too large."),
        (415, f"The body must be {ACCEPTED}."),
        (422, "The video cannot be labelled; `kind` says why."),
        (503, "Too busy, or the store failed; come again after `Retry-After` seconds."),
        (504, "The answer took too long."),
    )
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string"}}}
            },
        },
    }
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """What a request asks for; None stands for the server's setting."""

    top_k: int | None = None
    threshold: float | None = None
    has_segments: bool = True
    has_embedding: bool = True
    video_id: str = ""


def label_options(
    *,
    top_k: Annotated[int | None, Query(ge=1, le=10_000, description="Most labels, best first.")] = None,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="Lowest score of a label, instead of the fitted ones.")
    ] = None,
    segments: Annotated[bool, Query(description="Say when each category holds.")] = True,
    embedding: Annotated[bool, Query(description="Include the embedding.")] = True,
    video_id: Annotated[str, Query(max_length=200, description="Copied into the answer.")] = "",
) -> LabelOptions:
    """Read the options of a labelling request."""
    return LabelOptions(
        top_k=top_k, threshold=threshold, has_segments=segments, has_embedding=embedding, video_id=video_id
    )


class LabelService:
    """Everything a request needs.

    Args:
        meta: The model, without its weights.
        label: Thresholds.
        serve: Limits of the endpoint.
        backend: What analyses videos.
    """

    def __init__(self, meta: ModelMeta, label: LabelConfig, serve: ServeSection, backend: Backend) -> None:
        self.meta = meta
        self.backend = backend
        self.metrics = HttpMetrics(PATHS)
        self._config = label
        self._serve = serve
        self._schema = labels_schema(meta.config.embedding_dim)
        self._num_open = 0

    async def label(self, request: Request, options: LabelOptions) -> Row:
        """Take the video of a request and make its row.

        Raises:
            ApiError: whatever stands in the way.
        """
        with self._place():
            submission = await _in_time(
                read_submission(request, self._serve.max_body_bytes, self._serve.uri_prefix),
                self._serve.upload_timeout_s,
                ApiError(HTTPStatus.REQUEST_TIMEOUT, FailureKind.TIMEOUT.value, "the body did not arrive in time"),
            )
            try:
                result = await self._analyse(submission)
            finally:
                if submission.file is not None:
                    submission.file.close()
        if isinstance(result, Refusal):
            raise http_problems.video_problem(result.kind, result.message, self._serve.retry_after_s)
        self.metrics.count_clips(len(result.predictions.windows_s))
        return self._row(submission, result, options)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._num_open >= self._serve.max_open_videos:
            raise self._overloaded()
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1

    def _overloaded(self) -> ApiError:
        detail = "every place in the queue is taken"
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, detail, self._serve.retry_after_s)

    async def _analyse(self, submission: Submission) -> Analysis | Refusal:
        seconds = self._serve.answer_timeout_s
        late = ApiError(HTTPStatus.GATEWAY_TIMEOUT, FailureKind.TIMEOUT.value, f"no answer within {seconds:g} seconds")
        source = submission.uri if submission.file is None else submission.file
        try:
            return await _in_time(self.backend.analyse(source), seconds, late)
        except OverloadedError:
            raise self._overloaded() from None

    def _row(self, submission: Submission, result: Analysis, options: LabelOptions) -> Row:
        config = replace(
            self._config,
            max_labels=self._config.max_labels if options.top_k is None else options.top_k,
            threshold=self._config.threshold if options.threshold is None else options.threshold,
        )
        meta = self.meta
        labeller = Labeller(meta.taxonomy, meta.calibration, config, self._model_id, meta.config.clip.pipeline_id)
        video_id = options.video_id or submission.name or submission.uri or result.sha256[:16]
        row = labeller.row(video_id, submission.uri, result.sha256, result.predictions)
        # Through the table and back, so that an answer has the very numbers that a corpus row would have.
        stored: Row = pa.Table.from_pylist([row], schema=self._schema).to_pylist()[0]
        if not options.has_segments:
            del stored["segments"]
        if not options.has_embedding:
            del stored["embedding"]
        return stored

    @cached_property
    def _model_id(self) -> str:
        return self.meta.model_id

    def model_answer(self) -> dict[str, Any]:
        """Say which model answers."""
        config, taxonomy = self.meta.config, self.meta.taxonomy
        thresholds_K = self.meta.calibration.class_thresholds(taxonomy)
        return {
            "model_id": self._model_id,
            "taxonomy_id": self.meta.taxonomy.taxonomy_id,
            "pipeline_id": config.clip.pipeline_id,
            "num_classes": len(self.meta.taxonomy),
            "embedding_dim": config.embedding_dim,
            "threshold": self._config.threshold,
            "thresholds": dict(zip((node.id for node in taxonomy.nodes), thresholds_K.tolist(), strict=True)),
            "abstain_below": self.meta.calibration.abstain_below,
            "max_labels": self._config.max_labels,
            "max_body_bytes": self._serve.max_body_bytes,
            "clip": config.clip.to_dict(),
            "versions": {"fal": version("fal-video")} | {name: version(name) for name in VERSIONED_PACKAGES},
        }

    def taxonomy_answer(self) -> dict[str, Any]:
        """Return the label tree with its hash."""
        return {"taxonomy_id": self.meta.taxonomy.taxonomy_id} | self.meta.taxonomy.to_dict()


async def _in_time(work: Awaitable[T], seconds: float, late: ApiError) -> T:
    try:
        async with asyncio.timeout(seconds) as clock:
            return await work
    except TimeoutError:
        if clock.expired():
            raise late from None
        raise


def make_app(service: LabelService) -> FastAPI:
    """Make the ASGI app of a service."""
    app = FastAPI(
        title="FAL",
        summary="Labels for videos: categories, segments and embeddings.",
        version=version("fal-video"),
        redoc_url=None,
    )
    http_problems.install(app)
    app.add_middleware(MetricsMiddleware, metrics=service.metrics)
    _add_labelling(app, service)
    _add_operations(app, service)
    return app


def _add_labelling(app: FastAPI, service: LabelService) -> None:
    @app.post("/v1/label", responses={200: {"model": LabelRow}, **PROBLEMS}, openapi_extra=BODY)
    async def label(request: Request, options: Annotated[LabelOptions, Depends(label_options)]) -> JSONResponse:
        """Label one video: a multipart field `file`, the bytes as the body, or JSON `{"uri": "s3://…"}`."""
        return JSONResponse(await service.label(request, options))

    @app.get("/v1/taxonomy", responses={200: {"model": TaxonomyAnswer}})
    async def taxonomy() -> JSONResponse:
        """Return the label tree."""
        return JSONResponse(service.taxonomy_answer())

    @app.get("/v1/model", responses={200: {"model": ModelAnswer}})
    async def model() -> JSONResponse:
        """Say which model answers, and how it looks at a video."""
        return JSONResponse(service.model_answer())


def _add_operations(app: FastAPI, service: LabelService) -> None:
    page = PAGE.read_text(encoding="utf-8")

    @app.get("/healthz", responses={200: {"model": Status}})
    async def healthz() -> JSONResponse:
        """Say that this process lives."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", responses={200: {"model": Status}, 503: PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """Say whether a video sent now would be labelled."""
        if not await service.backend.is_ready():
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, "decoder or model are not ready", 1)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)
