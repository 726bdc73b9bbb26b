"""A real server that speaks S3, on the loopback interface."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

import pytest
import s3fs

from pipelines.s3_patience import PATIENCE_VARIABLE
from tests.helpers.s3_faults import Fault, FaultyProxy

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


@pytest.fixture(scope="session")
def s3_proxy(s3_server: str) -> Iterator[FaultyProxy]:
    """Run one proxy before the server for all tests: each address would take a client of its own."""
    with FaultyProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def faults(
    s3_proxy: FaultyProxy,
    s3_environment: None,  # noqa: ARG001 - sets the variables
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., FaultyProxy]]:
    """Return a function that lets FAL talk through the proxy, which does the harm it is told; FAL waits so long."""

    def use(*rules: Fault, patience_s: float = 10) -> FaultyProxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_proxy.url)
        monkeypatch.setenv(PATIENCE_VARIABLE, str(patience_s))
        s3_proxy.forget()
        s3_proxy.faults.extend(rules)
        return s3_proxy

    yield use
    s3_proxy.forget()
