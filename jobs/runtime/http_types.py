"""What the HTTP endpoint answers, as types: the source of ``/docs`` and of the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScoredLabel(_Closed):
    """One category that holds for the video."""

    label: str
    path: list[str] = Field(description="Ids from the root of the taxonomy to the label.")
    level: int
    score: float = Field(description="Calibrated probability.")


class ScoredSegment(_Closed):
    """When a category holds."""

    label: str
    start_s: float
    end_s: float
    score: float


class LabelRow(_Closed):
    """A labelled video: a row of the ``labels`` table."""

    video_id: str
    uri: str = Field(description="Where the video was fetched from; empty for an upload.")
    sha256: str
    duration_s: float
    top_label: str
    top_path: list[str]
    top_score: float
    is_abstained: bool = Field(description="Whether the model is not sure: its top score is below what was fitted.")
    labels: list[ScoredLabel] = Field(description="Best first.")
    segments: list[ScoredSegment] | None = Field(default=None, description="Left out with segments=false.")
    num_segments_left_out: int = Field(description="Found beyond the most that are listed; of the lowest scores.")
    embedding: list[float] | None = Field(default=None, description="Unit length; left out with embedding=false.")
    frame_times_s: list[float] = Field(description="Exactly the frames that were looked at.")
    coverage: float = Field(description="Share of the duration that was looked at.")
    model_id: str
    taxonomy_id: str
    pipeline_id: str


class Problem(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    kind: str = Field(description="Stable reason, as in the failures table.")


class TaxonomyNode(_Closed):
    """One class."""

    id: str
    name: str
    parent: str | None
    definition: str


class TaxonomyAnswer(_Closed):
    """The label tree, parents first."""

    taxonomy_id: str
    nodes: list[TaxonomyNode]


class ModelAnswer(_Closed):
    """Which model answers, and how it looks at a video."""

    model_id: str
    taxonomy_id: str
    pipeline_id: str
    num_classes: int
    embedding_dim: int
    threshold: float | None = Field(
        description="Lowest score of a label, unless the request says otherwise; null takes `thresholds`."
    )
    thresholds: dict[str, float] = Field(description="The fitted threshold of each category, by id.")
    abstain_below: float = Field(description="Top score below which the model is not sure.")
    max_labels: int
    max_body_bytes: int
    clip: dict[str, Any] = Field(description="The clip specification.")
    versions: dict[str, str]


class Status(_Closed):
    """State of the service."""

    status: str
