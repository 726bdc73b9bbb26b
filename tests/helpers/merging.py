"""Batches of one part by hand, and what merging them leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from fal_model.calibration import Calibration
from pipelines import label_parts, merge, storage, tables
from pipelines.clip_batches import BatchMeta, ClipArrays, ClipMeta, Failure, KnownVideo, VideoMeta
from pipelines.clips import Clip
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey, PartCounts
from pipelines.labels import Labeller
from pipelines.merge import MergePlan
from pipelines.predict import ClipPredictor
from pipelines.records import MANIFEST
from tests.helpers.model import MICRO, SPEC, TREE, random_clip

KEY = LabelKey(
    weights_id="w", pipeline_id=SPEC.pipeline_id, decoding_id="d", model_id="m", taxonomy_id="t", labelling_id="l"
)
BATCH_CLIPS = 4
VERSIONS = {"torch": "2", "device": "abacus"}
LABELLER = Labeller(TREE, Calibration(), LabelConfig(threshold=0.01, segment_threshold=0.01), "m", SPEC.pipeline_id)
TABLES = ("labels", "failures", "predictions")
D, K, L, T = MICRO.embedding_dim, len(TREE), len(TREE.leaves), SPEC.num_frames


@dataclass(slots=True)
class Made:
    """One batch, by hand: what the decode workers would have sent."""

    clips: list[tuple[str, Clip]] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    known: list[KnownVideo] = field(default_factory=list)
    thumbnails: dict[str, str] = field(default_factory=dict)

    def meta(self) -> BatchMeta:
        """Return what the batch says of itself."""
        return BatchMeta(
            clips=[
                ClipMeta(
                    video_id=video_id,
                    clip_index=clip.index,
                    start_s=clip.start_s,
                    end_s=clip.end_s,
                    covered_s=clip.covered_s,
                    num_substituted=clip.num_substituted,
                    input_sha256=f"{video_id} {clip.index}",
                    frame_times_s=list(clip.frame_times_s),
                )
                for video_id, clip in self.clips
            ],
            videos=[
                VideoMeta(
                    video_id=i,
                    uri=f"/{i}",
                    sha256=f"hash of {i}",
                    duration_s=4.0,
                    num_windows=2,
                    first_window=0,
                    next_window=2,
                    num_clips=2,
                )
                for i in self.videos
            ],
            failures=[
                Failure(video_id=i, uri=f"/{i}", stage="decode", kind="corrupt", message="damaged", attempts=2)
                for i in self.failures
            ],
            known=self.known,
            thumbnails=self.thumbnails,
            versions={"ffmpeg": "8"},
            busy_s=0.125,
        )


def clips_of(video_id: str, *indices: int) -> list[tuple[str, Clip]]:
    """Make clips of a video by their numbers, each with its own pixels."""
    return [(video_id, random_clip(sum(video_id.encode()) + i, i)) for i in indices]


def begin(output: str, *video_ids: str, labeller: Labeller = LABELLER, key: LabelKey = KEY) -> MergePlan:
    """Begin a run of one part."""
    table = pa.Table.from_pylist([{"video_id": i, "uri": f"/{i}"} for i in video_ids], schema=MANIFEST)
    planned = label_parts.plan_parts(table, [f"look of {i}" for i in video_ids], key.prediction_id, 100)
    return MergePlan(
        output=output,
        manifest=label_parts.write_manifest(output, planned),
        run="run",
        prediction_id=key.prediction_id,
        label_id=key.label_id,
        weights_id=key.weights_id,
        batch_clips=BATCH_CLIPS,
        sizes=(K, L, T, D),
        labeller=labeller,
    )


def part_of(plan: MergePlan) -> str:
    """Return the name of the only part."""
    (name,) = {row["part"] for row in label_parts.read_part(plan.manifest, 0)}
    return str(name)


Write = Callable[[MergePlan, Sequence[Made]], None]


def write_batches(plan: MergePlan, batches: Sequence[Made], predictor: ClipPredictor) -> None:
    """Predict batches, and keep the predictions as the model's stage does."""
    for i, made in enumerate(batches):
        clips = ClipArrays.from_clips([clip for _, clip in made.clips], SPEC)
        merge.write_batch(uri_of(plan, i), made.meta(), predictor.predict(clips, BATCH_CLIPS), 0.25, VERSIONS)


def uri_of(plan: MergePlan, batch_index: int) -> str:
    """Return where a batch of the only part is kept."""
    return label_parts.batch_uri(plan.output, plan.run, part_of(plan), 0, batch_index)


# Video "b" goes over two batches; "x" failed half-way and left a clip behind; the last batch is empty.
BATCHES = [
    Made(clips=[*clips_of("a", 0, 1), *clips_of("b", 0)], videos=["a"], failures=["y"], thumbnails={"a": "picture"}),
    Made(clips=[*clips_of("b", 1), *clips_of("x", 0)], videos=["b"]),
    Made(failures=["x"]),
]


def merged(plan: MergePlan, write: Write, batches: Sequence[Made] = BATCHES) -> PartCounts:
    """Write batches and merge them."""
    write(plan, batches)
    return merge_all(plan, len(batches))


def merge_all(plan: MergePlan, num_batches: int, lost: Sequence[Failure] = ()) -> PartCounts:
    """Merge the only part."""
    return merge.merge_part(plan, 0, part_of(plan), [(0, i) for i in range(num_batches)], lost)


def read(plan: MergePlan, table: str) -> pa.Table:
    """Read a table of the only part."""
    return tables.read_table(label_parts.table_uri(plan.output, table, part_of(plan)))


def marks(plan: MergePlan) -> dict[str, PartCounts]:
    """Return the counts of the parts that are finished."""
    return {name: mark.counts for name, mark in label_parts.read_marks(plan.output).items()}


def tables_of(plan: MergePlan) -> dict[str, bytes]:
    """Return the bytes of each table of the only part."""
    names = {name: label_parts.table_uri(plan.output, name, part_of(plan)) for name in TABLES}
    return {name: storage.read_bytes(uri) for name, uri in names.items()}
