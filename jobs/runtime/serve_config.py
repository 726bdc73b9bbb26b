"""Settings of the HTTP endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSection:
    """How videos are taken over HTTP. Thresholds, decoding limits and replicas come from their own sections.

    Attributes:
        host: Address that is listened on; ``0.0.0.0`` takes requests from other machines.
        port: TCP port.
        max_body_mib: Largest request body, MiB.
        uri_prefix: What a ``uri`` must start with to be fetched; it is read with the server's own credentials.
        upload_timeout_s: Longest time for a request body to arrive, seconds.
        answer_timeout_s: Longest time from the whole body to the answer, seconds.
        max_open_videos: Videos uploaded or labelled at once; more are told to come again.
        max_queued_videos: Videos that wait for a free decoder; more are told to come again.
        retry_after_s: When those are told to come again, seconds.
        ingress_replicas: Processes that take requests; each counts its own ``/metrics``.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(ge=1, le=65535)] = 8000
    max_body_mib: Annotated[int, Range(ge=1, le=65_536)] = 512
    uri_prefix: str = "s3://"
    upload_timeout_s: Annotated[float, Range(gt=0, le=86_400)] = 300.0
    answer_timeout_s: Annotated[float, Range(gt=0, le=86_400)] = 300.0
    max_open_videos: Annotated[int, Range(ge=1, le=100_000)] = 64
    max_queued_videos: Annotated[int, Range(ge=0, le=100_000)] = 32
    retry_after_s: Annotated[int, Range(ge=1, le=3600)] = 5
    ingress_replicas: Annotated[int, Range(ge=1, le=1000)] = 1

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if not self.uri_prefix.startswith("s3://"):
            problems.append(f"uri_prefix: got {self.uri_prefix!r}, must start with 's3://'")
        if problems:
            raise ConfigError([f"serve.{p}" for p in problems])

    @property
    def max_body_bytes(self) -> int:
        """Return the largest request body, bytes."""
        return self.max_body_mib << 20


class ServeArgs(BaseModel):
    """Arguments of ``serve run jobs.serve:app`` and of ``args:`` in a Serve config file."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Model directory, the same on every node, or a hub id.")
    config: str = Field(default="", description="YAML file with settings, read where the application is built.")
    overrides: list[str] = Field(default=[], description="Settings that win over the file, as section.key=value.")
