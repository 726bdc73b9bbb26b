"""A proxy before a server that speaks S3: it does harm by rule and counts what goes through."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

PIECE_BYTES = 1 << 16
TRICKLE_BYTES, TRICKLE_S = 512, 0.05
OVER_S = 1.0
"""How long a request may take to be over after its answer; one that is held in silence takes longer."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length", "date", "server"}


class Harm(StrEnum):
    """What the proxy does to a request."""

    SLOW_DOWN = "503 SlowDown"
    INTERNAL_ERROR = "500 InternalError"
    FORBIDDEN = "403 AccessDenied"
    EXPIRED = "400 ExpiredToken"
    CUT_BEFORE = "cut before the server has seen it"
    CUT_AFTER = "cut after the server has done it"
    CUT_BODY = "cut in the middle of the body"
    SHORT_BODY = "body that ends before its Content-Length"
    WRONG_LENGTH = "body and Content-Length too short"
    FLIPPED = "one bit of the body changed"
    STALLED = "silence in the middle of the body"
    SILENT = "silence before the answer"
    TRICKLED = "slow trickle"


@dataclass(slots=True)
class Fault:
    """One rule: which requests are harmed, and how.

    Args:
        harm: What is done.
        method: Only requests of this method; empty for all.
        key: Only requests whose decoded path has this pattern.
        first: How many matching requests pass before the first harmed one.
        count: How many are harmed from there on; None for all.
        share: Share of these that is harmed, drawn by ``seed``.
        seed: Of the draw.
    """

    harm: Harm
    method: str = ""
    key: str = ""
    first: int = 0
    count: int | None = 1
    share: float = 1.0
    seed: int = 0
    num_matched: int = 0

    def hits(self, method: str, path: str) -> bool:
        """Tell whether this request is to be harmed, and count it."""
        if self.method not in ("", method) or not re.search(self.key, path):
            return False
        index = self.num_matched - self.first
        self.num_matched += 1
        is_due = index >= 0 and (self.count is None or index < self.count)
        return is_due and random.Random(f"{self.seed}-{index}").random() < self.share


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came through: bytes of the bodies, to the server and to the client."""

    method: str
    path: str
    harm: Harm | None
    bytes_up: int
    bytes_down: int


@dataclass(slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)


class FaultyProxy(ThreadingHTTPServer):
    """The proxy. Its rules may change at any time; of several that hit, the first does its harm."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: str, *faults: Fault) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_url = urlsplit(server)
        self.faults = list(faults)
        self.closing = threading.Event()
        self._seen: list[Seen] = []
        self._num_open = 0
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def seen(self) -> list[Seen]:
        """Return the requests that are over; one whose answer a client has just had is over in a moment."""
        with self._changed:
            self._changed.wait_for(lambda: not self._num_open, timeout=OVER_S)
            return self._seen

    @property
    def num_harmed(self) -> int:
        """Return how many requests were harmed."""
        return sum(seen.harm is not None for seen in self.seen)

    @property
    def bytes_down(self) -> int:
        """Return how many bytes of bodies went to clients."""
        return sum(seen.bytes_down for seen in self.seen)

    def choose(self, method: str, path: str) -> Harm | None:
        """Return what is to be done to a request."""
        with self._changed:
            self._num_open += 1
            hits = [fault.harm for fault in self.faults if fault.hits(method, path)]
        return hits[0] if hits else None

    def forget(self) -> None:
        """Drop rules and counts, and end what is stalled."""
        self.closing.set()
        self.closing = threading.Event()
        self.faults, self._seen = [], []

    def note(self, seen: Seen) -> None:
        """Count a request."""
        with self._changed:
            self._num_open -= 1
            self._seen.append(seen)
            self._changed.notify_all()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


@contextmanager
def faulty_proxy(server: str, *faults: Fault) -> Iterator[FaultyProxy]:
    """Run a proxy before a server."""
    with FaultyProxy(server, *faults) as proxy:
        yield proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy
    sent = 0

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # the names that the base class looks for

    def _serve(self) -> None:
        self.sent = 0
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(self.path)
        harm = self.server.choose(self.command, path)
        try:
            self._do(harm, body)
        finally:
            self.server.note(Seen(self.command, path, harm, len(body), self.sent))

    def _do(self, harm: Harm | None, body: bytes) -> None:
        if harm in (Harm.SLOW_DOWN, Harm.INTERNAL_ERROR, Harm.FORBIDDEN, Harm.EXPIRED):
            status, code = harm.split()
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Told to say so</Message></Error>".encode()
            self._send(Answer(int(status), [("Content-Type", "application/xml")], text))
        elif harm is Harm.CUT_BEFORE:
            self._cut()
        elif harm is Harm.SILENT:
            self.server.closing.wait()
            self._cut()
        else:
            self._harm_answer(harm, self._forward(body))

    def _forward(self, body: bytes) -> Answer:
        url = self.server.server_url
        connection = HTTPConnection(url.hostname or "", url.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            data = answer.read()
            if self.command == "HEAD":  # a length without a body
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return Answer(answer.status, kept, data)
        finally:
            connection.close()

    def _harm_answer(self, harm: Harm | None, answer: Answer) -> None:
        half = len(answer.body) // 2
        if harm is Harm.CUT_AFTER:
            self._cut()
        elif harm in (Harm.CUT_BODY, Harm.SHORT_BODY, Harm.STALLED):
            self._send(answer, half)
            if harm is Harm.STALLED:
                self.server.closing.wait()
            if harm is not Harm.SHORT_BODY:
                self._cut()
            self.close_connection = True
        elif harm is Harm.TRICKLED:
            self._send(answer, 0)
            for start in range(0, len(answer.body), TRICKLE_BYTES):
                if self.server.closing.wait(TRICKLE_S):
                    return
                self._write(answer.body[start : start + TRICKLE_BYTES])
        elif harm is Harm.FLIPPED:
            wrong = bytes([answer.body[half] ^ 1]) if answer.body else b""
            self._send(Answer(answer.status, answer.headers, answer.body[:half] + wrong + answer.body[half + 1 :]))
        elif harm is Harm.WRONG_LENGTH:
            self._send(Answer(answer.status, answer.headers, answer.body[:half]))
        else:
            self._send(answer)

    def _send(self, answer: Answer, num_bytes: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body = b"" if self.command == "HEAD" else answer.body[:num_bytes]
        for start in range(0, len(body), PIECE_BYTES):
            self._write(body[start : start + PIECE_BYTES])

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.sent += len(data)

    def _cut(self) -> None:
        """Break the connection as a router that forgets it does: with a reset, not with a good-bye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
