"""Counters of the HTTP endpoint in the text format of Prometheus."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER_PATH = "other"
CLIENT_GONE = (499, "client_gone")
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class HttpMetrics:
    """What one ingress process counts.

    Args:
        paths: Paths that are counted by name; all others share one, so that strangers cannot fill the memory.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths = paths
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fal_http_requests",
            "Answered requests; kind is 'ok' or the kind of the problem.",
            ["path", "status", "kind"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fal_http_request_seconds",
            "Time to the end of the answer.",
            ["path"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._open = Gauge("fal_http_open_requests", "Requests being answered now.", registry=self._registry)
        self._clips = Counter("fal_clips_labelled", "Clips in labelled videos.", registry=self._registry)

    def count_clips(self, num_clips: int) -> None:
        """Count the clips of a labelled video."""
        self._clips.inc(num_clips)

    def start(self) -> float:
        """Note that a request came in, and return when."""
        self._open.inc()
        return time.monotonic()

    def finish(self, path: str, status: int, kind: str, started_s: float) -> None:
        """Count an answered request."""
        path = path if path in self._paths else OTHER_PATH
        self._open.dec()
        self._requests.labels(path, str(status), kind).inc()
        self._seconds.labels(path).observe(time.monotonic() - started_s)

    def text(self) -> bytes:
        """Return all counters."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """Count every request of an app, those that end in an error included."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._metrics.start()
        # Without an answer the request ended in a fault, which is answered further out.
        status, state = 500, scope.setdefault("state", {})

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                state.setdefault("kind", "ok")
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except asyncio.CancelledError:
            status, state["kind"] = CLIENT_GONE
            raise
        finally:
            self._metrics.finish(scope["path"], status, state.get("kind", "internal_error"), started_s)
