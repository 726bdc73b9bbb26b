"""Decode a labelled corpus once and write training shards: one shard per part, and what could not be used.

Layout of an output folder::

    train/part-00000.parquet   val/…   test/…      clips, one row each
    failures/part-00000.parquet                    videos that could not be used
    taxonomy.json                                  the label tree the shards were checked against
    _fal/…                                         manifest in parts, finished parts
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import pyarrow as pa

from fal_model.errors import ManifestError, VideoError
from fal_model.spec import ClipSpec, content_id
from fal_model.taxonomy import Node, Taxonomy
from pipelines import parts, storage, tables
from pipelines.clip_batches import Failure
from pipelines.clips import Clip
from pipelines.config import PrepareConfig
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.prepare import MAX_ATTEMPTS, RETRIED_KINDS, failure_of
from pipelines.records import FAILURES
from pipelines.shard_writing import Row, new_shard, shard_row
from pipelines.splits import SplitConfig, assign_splits

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """What the shard-writing graph needs to know."""

    output: str
    spec: ClipSpec
    limits: DecodeLimits
    prepare: PrepareConfig
    taxonomy: Taxonomy


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """What a written part holds."""

    split: str
    seen: int
    failed: int
    clips: int
    failures_by_kind: dict[str, int]

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ShardCounts:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def plan_parts(table: pa.Table, config: PrepareConfig, split: SplitConfig) -> list[list[dict[str, Any]]]:
    """Cut a labelled manifest into parts of one split each, every part a random mix of the corpus.

    Where a video has no split, the corpus is divided as ``jobs/split_corpus.py`` divides it.

    Raises:
        ManifestError: videos without labels, a split of another name, or given splits that divide a group.
    """
    rows = table.to_pylist()
    unknown = [r["video_id"] for r in rows if r["labels"] is None]
    problems = (
        [f"{len(unknown)} videos have no labels, first {unknown[0]!r}; [] says that none holds"] if unknown else []
    )
    if not (split.keeps_given and all(row["split"] for row in rows)):
        found = assign_splits(rows, split).split_of
        rows = [row | {"split": found[row["video_id"]]} for row in rows]
    wrong = Counter(r["split"] for r in rows if r["split"] not in SPLITS)
    problems += [f"split {name!r} ({n} videos): must be one of {', '.join(SPLITS)}" for name, n in wrong.items()]
    if problems:
        raise ManifestError(problems)
    rows.sort(key=lambda r: (SPLITS.index(r["split"]), content_id(r["video_id"])))
    return [part for split in SPLITS for part in _cut([r for r in rows if r["split"] == split], config.part_videos)]


def _cut(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def flat_taxonomy(table: pa.Table) -> Taxonomy:
    """Make a tree of one level from the labels of a manifest, for users who bring none.

    Raises:
        ManifestError: no video has a label.
    """
    labels = sorted({label for row in table["labels"].to_pylist() for label in row or []})
    if not labels:
        raise ManifestError(["no video of the manifest has a label"])
    return Taxonomy([Node(label, label) for label in labels])


def open_output(output: str, plan: ShardPlan, planned: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Claim the output folder and write the parts, or recognise a run to go on with.

    Raises:
        OutputError: not writable, or it belongs to a run with other videos or settings.
    """
    rows = [row for part in planned for row in part]
    fingerprints = storage.fingerprints([row["uri"] for row in rows])
    key = parts.RunKey(
        manifest_id=content_id([list(pair) for pair in zip(rows, fingerprints, strict=True)]),
        model_id="",
        taxonomy_id=plan.taxonomy.taxonomy_id,
        pipeline_id=plan.spec.pipeline_id,
        # How many failures are too many does not change the shards.
        settings_id=content_id([asdict(replace(plan.prepare, max_failed_share=0.0)), asdict(plan.limits)]),
    )
    parts.claim(output, key, (*SPLITS, "failures"))
    for table in (*SPLITS, "failures"):
        storage.clear_leftovers(storage.join(output, table))
    for i, part in enumerate(planned):
        storage.write_bytes(_rows_uri(output, i), json.dumps(part).encode())
    storage.write_bytes(storage.join(output, "taxonomy.json"), json.dumps(plan.taxonomy.to_dict(), indent=1).encode())


def _rows_uri(output: str, part_index: int) -> str:
    return storage.join(output, "_fal", "parts", f"{parts.part_name(part_index)}.json")


def _marker_uri(output: str, part_index: int) -> str:
    return storage.join(output, "_fal", "done", f"{parts.part_name(part_index)}.json")


def finished(output: str) -> dict[int, ShardCounts]:
    """Return the counts of every part already written."""
    folder = storage.join(output, "_fal", "done")
    names = [n for n in storage.names_in(folder) if n.startswith("part-") and n.endswith(".json")]
    return {int(n[5:-5]): ShardCounts.from_json(storage.read_bytes(storage.join(folder, n))) for n in names}


class ShardWriter:
    """Write parts, with one decoder process."""

    def __init__(self, plan: ShardPlan) -> None:
        self.plan = plan
        self._decoder = IsolatedPreparer(plan.spec, plan.limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder process."""
        self._decoder.close()

    def write(self, part_index: int) -> ShardCounts:
        """Decode the videos of one part; write its shard and its failures, then mark it finished.

        Raises:
            OutputError: the place cannot be written.
        """
        plan = self.plan
        videos = json.loads(storage.read_bytes(_rows_uri(plan.output, part_index)))
        failures: list[dict[str, Any]] = []
        num_clips, split = 0, videos[0]["split"]
        name = f"{parts.part_name(part_index)}.parquet"
        uri = storage.join(plan.output, split, name)
        with new_shard(uri, plan.spec, plan.taxonomy, plan.prepare.group_clips) as shard:
            for video in videos:
                found = self._rows_of(video)
                if isinstance(found, Failure):
                    failures.append(asdict(found))
                else:
                    shard.add(found)
                    num_clips += len(found)
        tables.write_table(storage.join(plan.output, "failures", name), pa.Table.from_pylist(failures, schema=FAILURES))
        by_kind = dict(sorted(Counter(f["kind"] for f in failures).items()))
        counts = ShardCounts(
            split=split, seen=len(videos), failed=len(failures), clips=num_clips, failures_by_kind=by_kind
        )
        storage.write_bytes(_marker_uri(plan.output, part_index), counts.to_json().encode())
        return counts

    def _rows_of(self, video: dict[str, Any]) -> list[Row] | Failure:
        """Decode one video; what may pass, a crash of the decoder or of the store, is tried once more."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return [shard_row(video, clip, self.plan.prepare.jpeg_quality) for clip in self._clips(video)]
            except VideoError as error:
                failure = failure_of(video, error, attempt)
                if error.kind not in RETRIED_KINDS:
                    break
        return failure

    def _clips(self, video: dict[str, Any]) -> Iterator[Clip]:
        with storage.open_video(video["uri"], self.plan.limits.max_bytes) as source:
            if video["sha256"]:
                storage.check_sha256(storage.sha256_of(source), video["sha256"])
            _, clips = self._decoder.prepare(source)
            yield from clips  # one at a time: all pixels of a long video do not fit into memory
