"""Request bodies: a video goes into a temporary file without a name, never into memory as a whole."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.types import Message

from fal_model.errors import FailureKind, printable
from jobs.runtime.http_problems import BAD_REQUEST, ApiError

MAX_JSON_BYTES = 64 << 10
# Boundaries, headers and small fields of a multipart body may come on top of the video itself.
FORM_EXTRA_BYTES = 64 << 10
MAX_NAME_CHARS = 200
RAW_TYPES = ("application/octet-stream", "video/")
ACCEPTED = "multipart/form-data with a field 'file', application/octet-stream, video/*, or application/json"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a request asks to label: a received file (to be closed by who takes it), or an address.

    Attributes:
        file: The upload, at its start; None for an address.
        uri: The address; empty for an upload.
        name: What the client calls the file; may be empty.
    """

    file: BinaryIO | None = None
    uri: str = ""
    name: str = ""


async def read_submission(request: Request, max_bytes: int, uri_prefix: str) -> Submission:
    """Read the body of a labelling request.

    Args:
        request: Its body has not been touched yet.
        max_bytes: Largest video, bytes.
        uri_prefix: What an address must start with.

    Raises:
        ApiError: 400 malformed, 413 too large (known from the header, or as soon as it is), 415 another media type.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_form(_limited(request, max_bytes + FORM_EXTRA_BYTES, max_bytes))
    if media_type == "application/json":
        return await _read_json(_limited(request, MAX_JSON_BYTES, MAX_JSON_BYTES), uri_prefix)
    if media_type.startswith(RAW_TYPES):
        return await _read_raw(_limited(request, max_bytes, max_bytes))
    detail = f"Content-Type: got {media_type!r}, must be {ACCEPTED}"
    raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, FailureKind.UNSUPPORTED_FORMAT.value, detail)


def _limited(request: Request, limit_bytes: int, told_bytes: int) -> Request:
    """Return the request with a body that cannot exceed the limit.

    Raises:
        ApiError: the header already says that it does.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(told_bytes)
    num_bytes = 0

    async def receive() -> Message:
        nonlocal num_bytes
        message = await request.receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > limit_bytes:
            raise _too_large(told_bytes)
        return message

    return Request(request.scope, receive)


def _too_large(limit_bytes: int) -> ApiError:
    detail = f"the body is larger than the {limit_bytes} bytes allowed"
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, FailureKind.LIMIT_EXCEEDED.value, detail)


async def _read_raw(request: Request) -> Submission:
    with ExitStack() as opened:  # whatever cuts the body short, the half-written file goes
        file = opened.enter_context(tempfile.TemporaryFile(prefix="fal-"))
        async for chunk in request.stream():
            file.write(chunk)
        opened.pop_all()  # the caller closes it
    file.seek(0)
    return Submission(file=file)


async def _read_form(request: Request) -> Submission:
    # Starlette keeps a part of up to 1 MB in memory and puts a larger one into a file without a name.
    form = await request.form(max_files=1, max_fields=8)
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        await form.close()
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, f"form: got the fields {sorted(form)}, need a file 'file'")
    name = printable((upload.filename or "").replace("\\", "/").rsplit("/", 1)[-1], MAX_NAME_CHARS)
    await upload.seek(0)
    return Submission(file=upload.file, name=name)


async def _read_json(request: Request, uri_prefix: str) -> Submission:
    try:
        data: Any = json.loads(await request.body())
    except ValueError as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(data, dict) or set(data) != {"uri"} or not isinstance(data["uri"], str):
        detail = f'the body must be {{"uri": "{uri_prefix}…"}}, got {json.dumps(data)[:MAX_NAME_CHARS]}'
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, detail)
    uri = data["uri"]
    if not uri.startswith(uri_prefix):
        detail = f"uri: got {uri[:MAX_NAME_CHARS]!r}, must start with {uri_prefix!r}; send the video itself instead"
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, detail)
    return Submission(uri=uri)
