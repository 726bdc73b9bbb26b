import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from jobs.runtime.http_metrics import HttpMetrics, MetricsMiddleware


async def no_receive() -> Message:
    raise AssertionError("nothing is to be received")


async def no_send(_: Message) -> None:
    pass


def call(metrics: HttpMetrics, app: MetricsMiddleware, scope: Scope) -> str:
    asyncio.run(app(scope, no_receive, no_send))
    return metrics.text().decode()


def test_a_request_whose_client_has_gone_is_counted_and_closed() -> None:
    async def gone(_: Scope, __: Receive, ___: Send) -> None:
        raise asyncio.CancelledError

    metrics = HttpMetrics(frozenset({"/a"}))
    with pytest.raises(asyncio.CancelledError):
        call(metrics, MetricsMiddleware(gone, metrics), {"type": "http", "path": "/a"})
    text = metrics.text().decode()
    assert 'fal_http_requests_total{kind="client_gone",path="/a",status="499"} 1.0' in text
    assert "fal_http_open_requests 0.0" in text


def test_strangers_share_one_line() -> None:
    async def answer(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    metrics = HttpMetrics(frozenset({"/a"}))
    app = MetricsMiddleware(answer, metrics)
    for path in ("/x", "/y"):
        text = call(metrics, app, {"type": "http", "path": path})
    assert 'fal_http_requests_total{kind="ok",path="other",status="204"} 2.0' in text
    assert 'path="/' not in text


def test_what_is_no_request_is_not_counted() -> None:
    seen: list[str] = []

    async def lifespan(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["type"])

    metrics = HttpMetrics(frozenset())
    text = call(metrics, MetricsMiddleware(lifespan, metrics), {"type": "lifespan"})
    assert seen == ["lifespan"]
    assert "fal_http_requests_total{" not in text
