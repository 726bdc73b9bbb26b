"""Requests to the app, answered by a real decoder process and a real (tiny) model in this process."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from fal_model.calibration import Calibration
from fal_model.errors import FailureKind
from fal_model.pretrained import ModelMeta, read_meta
from jobs.runtime.analyse import Refusal
from jobs.runtime.http_api import PAGE, PATHS, LabelService, make_app
from jobs.runtime.http_problems import OverloadedError
from jobs.runtime.http_types import LabelRow, ModelAnswer, TaxonomyAnswer
from jobs.runtime.serve_config import ServeSection
from pipelines.config import LabelConfig
from pipelines.labels import Row
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.records import labels_schema
from tests.helpers.label_plan import label_in_process
from tests.helpers.serving import TINY, LocalBackend, StubBackend, write_small_video, write_tiny_model

LABEL = LabelConfig(threshold=0.05, segment_threshold=0.05)
RAW = {"Content-Type": "application/octet-stream"}


class Answer(Protocol):
    """What the answers of both clients, the test client's and httpx's, have in common."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Place:
    folder: Path
    meta: ModelMeta
    video: bytes

    @property
    def video_path(self) -> Path:
        return self.folder / "videos" / "video.mp4"

    def service(self, backend: Any, **serve: Any) -> LabelService:
        return LabelService(self.meta, LABEL, ServeSection(**serve), backend)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("serving")
    (folder / "videos").mkdir()
    write_tiny_model(folder / "model")
    write_small_video(folder / "videos" / "video.mp4", duration_s=5.0)
    return Place(folder, read_meta(folder / "model"), (folder / "videos" / "video.mp4").read_bytes())


@pytest.fixture(scope="module")
def backend(place: Place) -> Iterator[LocalBackend]:
    backend = LocalBackend(ClipPredictor.load(str(place.folder / "model"), "cpu"), DecodeLimits())
    yield backend
    backend.analyser.close()


@pytest.fixture(scope="module")
def client(place: Place, backend: LocalBackend) -> Iterator[TestClient]:
    with TestClient(make_app(place.service(backend, max_body_mib=1))) as client:
        yield client


def problem(answer: Answer, status: int, kind: str) -> str:
    """Check a problem and return its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    data = answer.json()
    assert set(data) == {"type", "title", "status", "detail", "kind"}
    assert (data["status"], data["kind"], data["type"]) == (status, kind, f"urn:fal:problem:{kind}")
    assert data["title"]
    return str(data["detail"])


def corpus_row(place: Place, output: Path) -> Row:
    """Label the video through the stages of the labelling job."""
    (row,) = label_in_process(place.video_path.parent, output, place.folder / "model", LABEL)
    return row


def test_an_upload_gets_the_row_that_the_corpus_job_writes(client: TestClient, place: Place, tmp_path: Path) -> None:
    answer = client.post("/v1/label", files={"file": ("video.mp4", place.video, "video/mp4")})
    assert answer.status_code == 200, answer.text
    row, expected = answer.json(), corpus_row(place, tmp_path)
    assert list(row) == labels_schema(TINY.embedding_dim).names
    for name in ("video_id", "sha256", "duration_s", "top_label", "top_path", "frame_times_s"):
        assert row[name] == expected[name], name
    for name in ("model_id", "taxonomy_id", "pipeline_id"):
        assert row[name] == expected[name], name
    assert row["uri"] == ""
    assert row["coverage"] == pytest.approx(expected["coverage"])
    assert row["embedding"] == pytest.approx(expected["embedding"], abs=1e-5)
    assert [x["label"] for x in row["labels"]] == [x["label"] for x in expected["labels"]]
    assert [x["score"] for x in row["labels"]] == pytest.approx([x["score"] for x in expected["labels"]], abs=1e-5)
    assert [x["label"] for x in row["segments"]] == [x["label"] for x in expected["segments"]]
    assert row["labels"]
    assert row["segments"]
    assert len(row["frame_times_s"]) == 3 * TINY.clip.num_frames


def test_an_answer_is_exactly_what_the_table_can_hold(client: TestClient, place: Place) -> None:
    row = client.post("/v1/label", content=place.video, headers=RAW).json()
    table = pa.Table.from_pylist([row], schema=labels_schema(TINY.embedding_dim))
    assert table.to_pylist() == [row]
    assert LabelRow.model_validate(row).top_label == row["top_label"]


@pytest.mark.parametrize("media_type", ["application/octet-stream", "video/mp4", "Video/X-Whatever; a=b"])
def test_a_raw_body_gets_the_same_row(client: TestClient, place: Place, media_type: str) -> None:
    form = client.post("/v1/label?video_id=me", files={"file": ("a.mp4", place.video)}).json()
    raw = client.post("/v1/label?video_id=me", content=place.video, headers={"Content-Type": media_type}).json()
    assert raw == form
    assert raw["video_id"] == "me"


def test_a_raw_body_without_a_name_is_called_by_its_hash(client: TestClient, place: Place) -> None:
    row = client.post("/v1/label", content=place.video, headers=RAW).json()
    assert row["video_id"] == row["sha256"][:16]


def test_a_file_name_loses_its_folders_and_control_characters(client: TestClient, place: Place) -> None:
    row = client.post("/v1/label", files={"file": ("C:\\secret/../of me\x07.mp4", place.video)}).json()
    assert "/" not in row["video_id"]
    assert row["video_id"].startswith("of me")
    assert row["video_id"].isprintable()


def test_options_choose_labels_and_columns(client: TestClient, place: Place) -> None:
    def ask(query: str) -> Row:
        row: Row = client.post(f"/v1/label?{query}", content=place.video, headers=RAW).json()
        return row

    everything = ask("threshold=0")
    assert len(everything["labels"]) == len(place.meta.taxonomy)
    assert ask("threshold=0&top_k=2")["labels"] == everything["labels"][:2]
    least = everything["labels"][4]["score"]
    assert ask(f"threshold={least!r}")["labels"] == [x for x in everything["labels"] if x["score"] >= least]
    small = ask("segments=false&embedding=false")
    assert set(everything) - set(small) == {"segments", "embedding"}


def test_without_a_threshold_the_fitted_ones_hold_and_doubt_is_told(place: Place, backend: LocalBackend) -> None:
    nodes = place.meta.taxonomy.nodes
    fitted = Calibration(thresholds={n.id: 0.0 if n is nodes[-1] else 1.0 for n in nodes}, abstain_below=1.0)
    service = LabelService(replace(place.meta, calibration=fitted), LabelConfig(), ServeSection(), backend)
    with TestClient(make_app(service)) as client:
        row = client.post("/v1/label", content=place.video, headers=RAW).json()
        assert client.get("/v1/model").json()["threshold"] is None
        assert client.get("/v1/model").json()["thresholds"] == fitted.thresholds
        every = client.post("/v1/label?threshold=0", content=place.video, headers=RAW).json()
    assert row["is_abstained"] is True
    assert [x["label"] for x in row["labels"]] == place.meta.taxonomy.path(len(nodes) - 1)
    assert len(every["labels"]) == len(nodes)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.EMPTY_FILE),
        (b"hello, I am no video\n" * 9, FailureKind.NOT_A_VIDEO),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", FailureKind.UNSUPPORTED_FORMAT),
    ],
)
def test_a_bad_video_is_422_with_its_kind(client: TestClient, body: bytes, kind: FailureKind) -> None:
    raw = client.post("/v1/label", content=body, headers=RAW)
    form = client.post("/v1/label", files={"file": ("x.mp4", body)})
    assert problem(raw, 422, kind.value) == problem(form, 422, kind.value)


def test_a_video_over_a_limit_is_422(place: Place) -> None:
    backend = LocalBackend(ClipPredictor.load(str(place.folder / "model"), "cpu"), DecodeLimits(max_duration_s=1.0))
    with TestClient(make_app(place.service(backend))) as client:
        detail = problem(client.post("/v1/label", content=place.video, headers=RAW), 422, "limit_exceeded")
    backend.analyser.close()
    assert "1" in detail


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("top_k=0", "top_k: got '0': Input should be greater than or equal to 1"),
        ("threshold=1.5", "threshold: got '1.5'"),
        ("threshold=nan", "threshold: got 'nan'"),
        ("segments=perhaps", "segments: got 'perhaps'"),
        ("top_k=0&threshold=x", "threshold: got 'x'"),
    ],
)
def test_a_bad_option_is_400(client: TestClient, place: Place, query: str, words: str) -> None:
    answer = client.post(f"/v1/label?{query}", content=place.video, headers=RAW)
    assert words in problem(answer, 400, "bad_request")


def test_a_body_over_the_limit_is_413(client: TestClient) -> None:
    answer = client.post("/v1/label", content=b"\0" * (2 << 20), headers=RAW)
    assert "1048576 bytes allowed" in problem(answer, 413, "limit_exceeded")


def test_unknown_places_and_methods_are_problems_too(client: TestClient) -> None:
    assert "/v2/label" in problem(client.get("/v2/label"), 404, "not_found")
    assert "GET is not allowed at /v1/label" in problem(client.get("/v1/label"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"),
    [("not_found", 404, None), ("storage_error", 503, "7"), ("permission_denied", 422, None), ("timeout", 422, None)],
)
def test_an_address_that_cannot_be_read(place: Place, kind: str, status: int, retry_after: str | None) -> None:
    stub = StubBackend(Refusal(kind=kind, message="as the store says"))
    client = TestClient(make_app(place.service(stub, retry_after_s=7)))
    answer = client.post("/v1/label", json={"uri": "s3://bucket/a.mp4"})
    assert stub.source == "s3://bucket/a.mp4"
    assert problem(answer, status, kind) == "as the store says"
    assert answer.headers.get("retry-after") == retry_after


def test_a_full_queue_is_503(place: Place) -> None:
    client = TestClient(make_app(place.service(StubBackend(OverloadedError()), retry_after_s=3)))
    answer = client.post("/v1/label", content=b"x", headers=RAW)
    assert problem(answer, 503, "overloaded") == "every place in the queue is taken"
    assert answer.headers["retry-after"] == "3"


def test_a_fault_of_ours_is_500_and_keeps_its_secrets(place: Place) -> None:
    app = make_app(place.service(StubBackend(KeyError("secret"))))
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.post("/v1/label", content=b"x", headers=RAW)
    assert "secret" not in problem(answer, 500, "internal_error")
    counted = 'fal_http_requests_total{kind="internal_error",path="/v1/label",status="500"} 1.0'
    assert counted in client.get("/metrics").text


def test_an_answer_that_takes_too_long_is_504(place: Place) -> None:
    stub = StubBackend(Refusal(kind="corrupt", message=""), gate=asyncio.Event())
    client = TestClient(make_app(place.service(stub, answer_timeout_s=0.05)))
    answer = client.post("/v1/label", content=b"x", headers=RAW)
    assert problem(answer, 504, "timeout") == "no answer within 0.05 seconds"


def test_a_timeout_within_the_backend_is_not_taken_for_ours(place: Place) -> None:
    app = make_app(place.service(StubBackend(TimeoutError())))
    answer = TestClient(app, raise_server_exceptions=False).post("/v1/label", content=b"x", headers=RAW)
    problem(answer, 500, "internal_error")


def in_loop(service: LabelService, talk: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://fal") as client:
            await talk(client)

    asyncio.run(main())


def test_more_videos_than_places_are_503_and_the_others_are_served(place: Place) -> None:
    stub = StubBackend(Refusal(kind="corrupt", message="after all"), gate=asyncio.Event())

    async def talk(client: httpx.AsyncClient) -> None:
        assert stub.gate is not None
        first = asyncio.create_task(client.post("/v1/label", content=b"x", headers=RAW))
        await stub.seen.wait()
        problem(await client.post("/v1/label", content=b"x", headers=RAW), 503, "overloaded")
        assert (await client.get("/healthz")).status_code == 200
        stub.gate.set()
        problem(await first, 422, "corrupt")
        problem(await client.post("/v1/label", content=b"x", headers=RAW), 422, "corrupt")

    in_loop(place.service(stub, max_open_videos=1), talk)


def test_a_body_that_never_ends_is_408(place: Place) -> None:
    sent: list[Message] = []
    app = make_app(place.service(StubBackend(Refusal(kind="corrupt", message="")), upload_timeout_s=0.05))

    async def main() -> None:
        chunks = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive() -> Message:
            if not chunks:
                await asyncio.Event().wait()
            return chunks.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"content-type", b"video/mp4")]
        scope = {"type": "http", "method": "POST", "path": "/v1/label", "query_string": b"", "headers": headers}
        await app(scope, receive, send)

    asyncio.run(main())
    assert sent[0]["status"] == 408
    assert b'"kind":"timeout"' in sent[1]["body"]


def test_the_model_and_its_taxonomy_are_described(client: TestClient, place: Place) -> None:
    model = ModelAnswer.model_validate(client.get("/v1/model").json())
    assert (model.model_id, model.num_classes) == (place.meta.model_id, len(place.meta.taxonomy))
    assert model.clip == TINY.clip.to_dict()
    assert model.max_body_bytes == 1 << 20
    assert (model.threshold, model.abstain_below) == (LABEL.threshold, place.meta.calibration.abstain_below)
    assert list(model.thresholds) == [node.id for node in place.meta.taxonomy.nodes]
    taxonomy = TaxonomyAnswer.model_validate(client.get("/v1/taxonomy").json())
    assert taxonomy.taxonomy_id == place.meta.taxonomy.taxonomy_id == model.taxonomy_id
    assert [node.id for node in taxonomy.nodes] == [node.id for node in place.meta.taxonomy.nodes]


def test_readiness_follows_the_backend(client: TestClient, backend: LocalBackend) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    backend.ready = False
    try:
        problem(client.get("/readyz"), 503, "overloaded")
    finally:
        backend.ready = True


def test_metrics_count_by_status_and_kind(place: Place, backend: LocalBackend) -> None:
    with TestClient(make_app(place.service(backend))) as client:
        client.post("/v1/label", content=place.video, headers=RAW)
        client.post("/v1/label", content=b"text", headers=RAW)
        client.get("/who/knows")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'fal_http_requests_total{kind="ok",path="/v1/label",status="200"} 1.0' in answer.text
    assert 'fal_http_requests_total{kind="not_a_video",path="/v1/label",status="422"} 1.0' in answer.text
    assert 'fal_http_requests_total{kind="not_found",path="other",status="404"} 1.0' in answer.text
    assert 'fal_http_request_seconds_count{path="/v1/label"} 2.0' in answer.text
    assert "fal_clips_labelled_total 3.0" in answer.text
    assert "fal_http_open_requests 1.0" in answer.text  # this very request


def test_the_description_names_every_path_and_body(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == PATHS - {"/", "/docs"}
    body = paths["/v1/label"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/octet-stream", "application/json"}
    assert {"400", "404", "408", "413", "415", "422", "503", "504"} <= set(paths["/v1/label"]["post"]["responses"])
    assert client.get("/docs").status_code == 200


def test_the_page_needs_no_other_server(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == PAGE.read_text(encoding="utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    addresses = set(re.findall(r"https?://[^\s'\"<>]+", answer.text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches
    assert not re.search(r"<(script|link)[^>]+(src|href)=\"(?!data:)", answer.text)


def test_every_element_the_page_asks_for_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", text)) <= set(re.findall(r"\bid=\"([\w-]+)\"", text))
