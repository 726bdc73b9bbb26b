"""A real server that speaks S3, on the loopback interface."""

from __future__ import annotations

import itertools
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

import pytest
import s3fs

KEY, SECRET = "nobody", "nothing"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start the server on a free port and return its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3fs.S3FileSystem.clear_instance_cache()  # clients are kept, and keep the server they were made for
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def s3_client(s3_server: str) -> s3fs.S3FileSystem:
    """Return a client beside FAL's own, as another process would have."""
    keys = {"key": KEY, "secret": SECRET}
    return s3fs.S3FileSystem(endpoint_url=s3_server, use_listings_cache=False, skip_instance_cache=True, **keys)


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the standard AWS variables at the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(s3_environment: None, s3_client: s3fs.S3FileSystem) -> str:  # noqa: ARG001 - sets the variables
    """Make an empty bucket and return its address."""
    name = f"corpus-{next(_numbers)}"
    s3_client.mkdir(name)
    return f"s3://{name}"


class TroubledStore(ThreadingHTTPServer):
    """A store with one object that first answers as it is told: a status, or ``cut`` in the middle of the data."""

    def __init__(self, data: bytes, *trouble: int | str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.data = data
        self.trouble = list(trouble)
        self.num_requests = 0

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let FAL talk to this store."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{self.server_port}")
        s3fs.S3FileSystem.clear_instance_cache()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reasons: ClassVar = {403: "AccessDenied", 400: "InvalidRequest", 503: "SlowDown"}

    def do_HEAD(self) -> None:
        self._answer(is_whole=True)

    def do_GET(self) -> None:
        self._answer(is_whole=False)

    def _answer(self, *, is_whole: bool) -> None:
        assert isinstance(self.server, TroubledStore)
        self.server.num_requests += 1
        trouble = self.server.trouble.pop(0) if self.server.trouble else 200
        if isinstance(trouble, int) and trouble != 200:
            code = self.reasons[trouble]
            self._send(trouble, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), {})
            return
        data, total = self.server.data, len(self.server.data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or is_whole:
            self._send(200, data, {"ETag": '"1"'})
            return
        first, last = int(asked[1]), min(int(asked[2]), total - 1)
        body = data[first : last + 1]
        self._send(
            206, body, {"ETag": '"1"', "Content-Range": f"bytes {first}-{last}/{total}"}, is_cut=trouble == "cut"
        )

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, is_cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
