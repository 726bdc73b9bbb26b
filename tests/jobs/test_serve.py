"""The script as a user starts it: real Ray Serve, real HTTP, a real video, and an end."""

import inspect
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from jobs import serve
from jobs.runtime.serve_config import ServeArgs
from pipelines.records import labels_schema
from tests.helpers.serving import TINY, write_small_video, write_tiny_model

ROOT = Path(__file__).resolve().parents[2]
RAW = {"Content-Type": "application/octet-stream"}


def test_ray_serve_sees_the_type_of_the_arguments() -> None:
    (parameter,) = inspect.signature(serve.app).parameters.values()
    assert parameter.annotation is ServeArgs


def test_wrong_usage_ends_with_2_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["serve.port=99999999"]) == 2
    assert "serve.port: got 99999999" in capsys.readouterr().err
    assert serve.main([]) == 2
    assert "--model: missing" in capsys.readouterr().err
    assert serve.main(["--model", "/no/where"]) == 1
    assert "no such directory" in capsys.readouterr().err


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[str]
    url: str
    video: bytes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    write_tiny_model(folder / "model")
    write_small_video(folder / "video.mp4", duration_s=5.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = [f"serve.port={port}", "serve.max_body_mib=1", "ray.address=local", "ray.num_cpus=4"]
    settings += ["ray.object_store_mib=128", "label.threshold=0.05", "resources.decode_workers=1"]
    process = subprocess.Popen(
        [sys.executable, "jobs/serve.py", "--model", str(folder / "model"), *settings],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in {"RAY_ADDRESS", "RAY_AUTH_MODE"}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if line.startswith("ready: "):
            break
    assert process.poll() is None, "".join(said)
    yield Server(process, f"http://127.0.0.1:{port}", (folder / "video.mp4").read_bytes())
    process.send_signal(signal.SIGTERM)  # Ray has a handler of its own for it; Ctrl-C is Python's
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert rest.rstrip().endswith("exit code 0: done")


@pytest.mark.ray
def test_the_endpoint_end_to_end(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}

        form = client.post("/v1/label?video_id=v", files={"file": ("video.mp4", server.video, "video/mp4")})
        assert form.status_code == 200, form.text
        row = form.json()
        assert pa.Table.from_pylist([row], schema=labels_schema(TINY.embedding_dim)).to_pylist() == [row]
        assert len(row["frame_times_s"]) == 3 * TINY.clip.num_frames
        assert row["model_id"] == client.get("/v1/model").json()["model_id"]

        raw = client.post("/v1/label?video_id=v", content=server.video, headers=RAW)
        assert raw.status_code == 200, raw.text
        assert raw.json()["sha256"] == row["sha256"]
        assert raw.json()["top_label"] == row["top_label"]

        broken = client.post("/v1/label", content=b"no video, just words\n", headers=RAW)
        assert (broken.status_code, broken.json()["kind"]) == (422, "not_a_video")
        assert broken.headers["content-type"] == "application/problem+json"

        pieces = (bytes(1 << 16) for _ in range(32))
        for large in (bytes(2 << 20), pieces):
            answer = client.post("/v1/label", content=large, headers=RAW)
            assert (answer.status_code, answer.json()["kind"]) == (413, "limit_exceeded")

        missing = client.get("/nothing/here")
        assert (missing.status_code, missing.json()["kind"]) == (404, "not_found")
        assert "<title>FAL" in client.get("/").text

        with ThreadPoolExecutor(6) as pool:
            several = list(pool.map(lambda _: client.post("/v1/label", content=server.video, headers=RAW), range(6)))
        assert [answer.status_code for answer in several] == [200] * 6
        assert {answer.json()["sha256"] for answer in several} == {row["sha256"]}
        counted = 'fal_http_requests_total{kind="ok",path="/v1/label",status="200"} 8.0'
        assert counted in client.get("/metrics").text
