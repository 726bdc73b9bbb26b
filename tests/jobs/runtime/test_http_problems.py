import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from fal_model.errors import FailureKind
from jobs.runtime import http_problems
from jobs.runtime.http_problems import ApiError, video_problem


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_of_failure_has_a_status(kind: FailureKind) -> None:
    problem = video_problem(kind.value, "why", 9)
    assert (problem.kind, problem.detail) == (kind.value, "why")
    own = {FailureKind.NOT_FOUND: 404, FailureKind.STORAGE_ERROR: 503, FailureKind.INTERNAL_ERROR: 500}
    assert problem.status == own.get(kind, 422)
    assert problem.retry_after_s == (9 if kind is FailureKind.STORAGE_ERROR else None)


def test_the_detail_is_one_printable_line() -> None:
    assert ApiError(400, "bad_request", "a\nb\x1b[31m" + "x" * 9999).detail.startswith("a b [31mx")
    assert len(ApiError(400, "bad_request", "x" * 9999).detail) == 500


def test_what_libraries_raise_becomes_a_problem() -> None:
    app = FastAPI()
    http_problems.install(app)

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    data = TestClient(app).get("/teapot").json()
    assert (data["status"], data["kind"], data["detail"]) == (418, "bad_request", "short and stout")
