"""Scan a corpus in parts: one table of facts per part, and one of what could not be used.

Layout of an output folder::

    videos/part-00000.parquet      usable videos: facts, hashes of pictures, warnings
    failures/part-00000.parquet    videos that could not be used
    _fal/pictures/part-00000.parquet   three small pictures of each usable video, for the report
    _fal/…                         which run made the folder, manifest in parts, finished parts
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from fal_model.errors import VideoError
from fal_model.spec import content_id
from pipelines import parts, pixels, storage, tables
from pipelines.clip_batches import Failure
from pipelines.config import ScanConfig
from pipelines.isolated_scan import IsolatedScanner, Scan
from pipelines.limits import DecodeLimits
from pipelines.picture_hash import hash_pictures
from pipelines.prepare import MAX_ATTEMPTS, RETRIED_KINDS, failure_of
from pipelines.records import FAILURES, SCANNED

SCAN_VERSION = 1
"""Raised whenever the same file gives other facts or hashes than before."""
STRIP_QUALITY = 70
STRIP_GAP_PX = 2
SEGMENT_TOLERANCE_S = 0.5
SHORT_S = 1.0
TINY_PX = 32
FEW_KEYFRAMES_S = 30.0
HOLE_S = 5.0
PICTURES = pa.schema([("video_id", pa.string()), ("strip_jpeg", pa.binary())])
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What every worker of the scanning graph is told."""

    output: str
    limits: DecodeLimits
    scan: ScanConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCounts:
    """What a finished part holds."""

    seen: int
    failed: int
    failures_by_kind: dict[str, int]

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ScanCounts:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def open_output(plan: ScanPlan, manifest: pa.Table) -> int:
    """Claim the output folder and write the manifest in parts, or recognise a run to go on with.

    Returns:
        The number of parts.

    Raises:
        OutputError: not writable, or it belongs to a run with other videos or settings.
    """
    output, scan = plan.output, plan.scan
    # The others only change what is made of the parts.
    settings = [scan.part_videos, scan.is_deep, scan.has_pictures, scan.duration_tolerance_s, asdict(plan.limits)]
    key = parts.RunKey(
        manifest_id=_manifest_id(manifest, storage.fingerprints(manifest["uri"].to_pylist())),
        model_id="",
        taxonomy_id="",
        pipeline_id=content_id({"scan_version": SCAN_VERSION}),
        settings_id=content_id(settings),
    )
    parts.claim(output, key, ("videos", "failures"))
    for folder in ("videos", "failures", "_fal", "_fal/pictures", "_fal/done"):
        storage.clear_leftovers(storage.join(output, folder))
    if not storage.exists(parts.manifest_uri(output)):
        tables.write_table(parts.manifest_uri(output), manifest, row_group_rows=scan.part_videos)
    num_videos: int = manifest.num_rows
    return -(-num_videos // scan.part_videos)


def _manifest_id(manifest: pa.Table, fingerprints: list[str]) -> str:
    """Hash every row of the manifest, and what tells that a file has changed."""
    digest = hashlib.sha256(json.dumps(fingerprints).encode())
    for batch in manifest.to_batches(max_chunksize=1024):
        digest.update(json.dumps(batch.to_pylist(), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def finished(output: str) -> dict[int, ScanCounts]:
    """Return the counts of every part already scanned."""
    folder = storage.join(output, "_fal", "done")
    names = [n for n in storage.names_in(folder) if n.startswith("part-") and n.endswith(".json")]
    return {int(n[5:-5]): ScanCounts.from_json(storage.read_bytes(storage.join(folder, n))) for n in names}


def pictures_uri(output: str, part_index: int) -> str:
    """Return where the pictures of a part's videos are."""
    return storage.join(output, "_fal", "pictures", f"{parts.part_name(part_index)}.parquet")


class PartScanner:
    """Scan parts, with one decoder process."""

    def __init__(self, plan: ScanPlan) -> None:
        self.plan = plan
        self._scanner = IsolatedScanner(plan.limits, is_deep=plan.scan.is_deep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder process."""
        self._scanner.close()

    def write(self, part_index: int) -> ScanCounts:
        """Scan the videos of one part; write its tables, then mark it finished.

        Raises:
            OutputError: the place cannot be written.
        """
        output = self.plan.output
        rows: list[Row] = []
        failures: list[Row] = []
        strips: list[Row] = []
        videos = parts.read_part(output, part_index)
        for video in videos:
            found = self._scan(video)
            if isinstance(found, Failure):
                failures.append(asdict(found))
            else:
                scan, facts = found
                rows.append(facts)
                strips.append({"video_id": video["video_id"], "strip_jpeg": strip_of(scan)})
        for table, schema, held in (("videos", SCANNED, rows), ("failures", FAILURES, failures)):
            tables.write_table(parts.table_uri(output, table, part_index), pa.Table.from_pylist(held, schema=schema))
        if self.plan.scan.has_pictures:
            tables.write_table(pictures_uri(output, part_index), pa.Table.from_pylist(strips, schema=PICTURES))
        by_kind = dict(sorted(Counter(f["kind"] for f in failures).items()))
        counts = ScanCounts(seen=len(videos), failed=len(failures), failures_by_kind=by_kind)
        marker = storage.join(output, "_fal", "done", f"{parts.part_name(part_index)}.json")
        storage.write_bytes(marker, counts.to_json().encode())
        return counts

    def _scan(self, video: Row) -> tuple[Scan, Row] | Failure:
        """Scan one video; what may pass, a crash of the decoder or of the store, is tried once more."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with storage.open_video(video["uri"], self.plan.limits.max_bytes) as source:
                    digest = storage.sha256_of(source)
                    storage.check_sha256(digest, video["sha256"])
                    scan = self._scanner.scan(source)
                    num_bytes = source.seek(0, 2)
                return scan, row_of(video, scan, digest, num_bytes, self.plan.scan)
            except VideoError as error:
                failure = failure_of(video, error, attempt)
                if error.kind not in RETRIED_KINDS:
                    break
        return failure


def row_of(video: Mapping[str, Any], scan: Scan, sha256: str, num_bytes: int, config: ScanConfig) -> Row:
    """Make the row of a usable video.

    Args:
        video: Its row of the manifest.
        scan: What was found.
        sha256: Hash of the file.
        num_bytes: Size of the file.
        config: What to warn of.
    """
    facts = asdict(scan.facts)
    duration_s = scan.facts.duration_s
    stream_bytes = facts.pop("stream_bytes")
    facts.pop("num_pictures")
    return {
        **{name: video[name] for name in ("video_id", "uri")},
        "sha256": sha256,
        "num_bytes": num_bytes,
        **facts,
        "keyframe_gap_s": duration_s / max(1, scan.facts.num_keyframes),
        "bit_rate_bps": 8 * num_bytes / duration_s,
        "video_bit_rate_bps": 8 * stream_bytes / duration_s,
        "picture_times_s": list(scan.times_s),
        "picture_hashes": (hashes := hash_pictures(list(scan.pictures_NHWC))),
        "num_decoded": scan.count.num_decoded if scan.count else None,
        "num_damaged": scan.count.num_damaged if scan.count else None,
        "warnings": warnings_of(video, scan, hashes, config),
    }


def warnings_of(video: Mapping[str, Any], scan: Scan, hashes: list[int | None], config: ScanConfig) -> list[str]:
    """Name what is odd about a usable video; ``docs/scanning.md`` explains each word."""
    facts, stated_s = scan.facts, video["duration_s"]
    last_s = max((segment["end_s"] for segment in video["segments"] or ()), default=0.0)
    found = {
        "duration_differs": stated_s is not None and abs(stated_s - facts.duration_s) > config.duration_tolerance_s,
        "segment_after_end": last_s > facts.duration_s + SEGMENT_TOLERANCE_S,
        "shows_nothing": all(value is None for value in hashes),
        "damaged": facts.num_damaged_pictures > 0 or (scan.count is not None and scan.count.num_damaged > 0),
        "frames_missing": scan.count is not None and scan.count.num_decoded < facts.num_frames,
        "hole": facts.longest_gap_s > HOLE_S,
        "short": facts.duration_s < SHORT_S,
        "tiny": min(facts.width_px, facts.height_px) < TINY_PX,
        "few_keyframes": facts.duration_s > FEW_KEYFRAMES_S * max(1, facts.num_keyframes),
    }
    return [name for name, is_so in found.items() if is_so]


def strip_of(scan: Scan) -> bytes:
    """Put the first, the middle and the last picture side by side as one JPEG, in the video's own proportions."""
    pictures = scan.pictures_NHWC
    chosen = sorted({0, len(pictures) // 2, len(pictures) - 1})
    height_px = pictures.shape[1] * 3 // 4
    share = scan.facts.width_px / max(1, scan.facts.height_px)
    width_px = round(height_px * min(3.0, max(1 / 3, share)))
    gap_HWC = np.full((height_px, STRIP_GAP_PX, 3), 255, np.uint8)
    shown = [part for i in chosen for part in (gap_HWC, pixels.resize(pictures[i], height_px, width_px))]
    return pixels.encode_jpeg(np.concatenate(shown[1:], axis=1), STRIP_QUALITY)
