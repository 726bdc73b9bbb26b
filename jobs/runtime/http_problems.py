"""Errors as ``application/problem+json`` (RFC 9457), with the ``kind`` that the failures table uses."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fal_model.errors import FailureKind, printable

BAD_REQUEST, NOT_ALLOWED, OVERLOADED = "bad_request", "method_not_allowed", "overloaded"

# A video's fault is 422, except where HTTP has a word of its own.
_STATUS_OF_KIND = {
    FailureKind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    FailureKind.STORAGE_ERROR: HTTPStatus.SERVICE_UNAVAILABLE,
    FailureKind.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_KIND_OF_STATUS = {
    HTTPStatus.NOT_FOUND: FailureKind.NOT_FOUND.value,
    HTTPStatus.METHOD_NOT_ALLOWED: NOT_ALLOWED,
    HTTPStatus.INTERNAL_SERVER_ERROR: FailureKind.INTERNAL_ERROR.value,
}


class ApiError(Exception):
    """A request that gets a problem instead of an answer.

    Args:
        status: HTTP status.
        kind: Stable reason.
        detail: One sentence for a person.
        retry_after_s: When to try again, seconds; None says nothing about it.
    """

    def __init__(self, status: int, kind: str, detail: str, retry_after_s: int | None = None) -> None:
        self.status = status
        self.kind = kind
        self.detail = printable(detail)
        self.retry_after_s = retry_after_s
        super().__init__(f"{kind}: {self.detail}")


class OverloadedError(Exception):
    """Every place in the queue is taken."""


def video_problem(kind: str, message: str, retry_after_s: int) -> ApiError:
    """Turn the failure of a video into its problem.

    Args:
        kind: Value of a ``FailureKind``.
        message: What the failure row would say.
        retry_after_s: When to try again if the store failed, seconds.
    """
    status = _STATUS_OF_KIND.get(FailureKind(kind), HTTPStatus.UNPROCESSABLE_ENTITY)
    is_temporary = status == HTTPStatus.SERVICE_UNAVAILABLE
    return ApiError(status, kind, message, retry_after_s if is_temporary else None)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem, unknown paths and our own faults included."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_fault)


def _answer(request: Request, problem: ApiError) -> JSONResponse:
    request.state.kind = problem.kind
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    body = {
        "type": f"urn:fal:problem:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "kind": problem.kind,
    }
    return JSONResponse(body, int(problem.status), headers, media_type="application/problem+json")


async def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, error if isinstance(error, ApiError) else _fault())


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    detail = "; ".join(f"{e['loc'][-1]}: got {e['input']!r}: {e['msg']}" for e in found)
    return _answer(request, ApiError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, detail))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}; /docs lists what there is"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed at {request.url.path}; /docs lists what is"
    kind = _KIND_OF_STATUS.get(HTTPStatus(status), BAD_REQUEST)
    return _answer(request, ApiError(status, kind, detail))


async def _on_fault(request: Request, _: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, so the server logs it; the client learns nothing of it.
    return _answer(request, _fault())


def _fault() -> ApiError:
    detail = "a fault of FAL, not of the request; the server's log has the error"
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, FailureKind.INTERNAL_ERROR.value, detail)
