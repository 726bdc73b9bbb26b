"""The labelling job with everything in S3, through a store in trouble: the same rows as from local files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import label_corpus
from pipelines import storage, tables
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.processes import PRIVATE_RAY, run_job
from tests.helpers.s3 import bucket, faults, s3_client, s3_environment, s3_proxy, s3_server
from tests.helpers.s3_faults import Fault, FaultyProxy, Harm

__all__ = ["bucket", "faults", "s3_client", "s3_environment", "s3_proxy", "s3_server"]

SETTINGS = ("tracking.is_enabled=false", "label.threshold=0.05", "label.max_failed_share=1", "label.part_videos=8")
BRIEF = (Harm.SLOW_DOWN, Harm.INTERNAL_ERROR, Harm.CUT_BEFORE, Harm.CUT_AFTER, Harm.CUT_BODY, Harm.SHORT_BODY)


def rows(output: str, table: str) -> list[dict[str, Any]]:
    found = tables.read_folder(storage.join(output, table))
    assert found is not None
    plain = [{name: value for name, value in row.items() if name != "uri"} for row in found.to_pylist()]
    return sorted(plain, key=lambda row: (row["video_id"], row.get("clip_index", 0)))


def upload(folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write_bytes(storage.join(prefix, path.relative_to(folder).as_posix()), path.read_bytes())


def arguments(source: str, output: str, model: str) -> list[str]:
    return ["--input", source, "--output", output, "--model", model, *SETTINGS]


@pytest.mark.ray
@pytest.mark.slow
def test_a_store_in_trouble_changes_no_row(
    tmp_path: Path, bucket: str, faults: Callable[..., FaultyProxy], ray_local: tuple[str, ...]
) -> None:
    videos, model = tmp_path / "videos", write_model(tmp_path / "model")
    write_videos(videos, 3)
    write_broken(videos)
    upload(videos, f"{bucket}/videos")
    upload(model, f"{bucket}/model")
    assert label_corpus.main([*arguments(str(videos), str(tmp_path / "out"), str(model)), *ray_local]) == 0

    proxy = faults(*[Fault(h, count=None, share=0.04, seed=i) for i, h in enumerate(BRIEF)], patience_s=60)
    # A Ray of its own: its workers take the address of the store from the environment of this process.
    remote = arguments(f"{bucket}/videos", f"{bucket}/out", f"{bucket}/model")
    done = run_job("label_corpus.py", [*remote, *PRIVATE_RAY])
    num_harmed = proxy.num_harmed
    proxy.faults.clear()

    assert done.returncode == 0, done.stdout + done.stderr
    assert num_harmed > 5
    for table in ("labels", "failures", "predictions"):
        assert rows(f"{bucket}/out", table) == rows(str(tmp_path / "out"), table), table
    summary = json.loads(storage.read_bytes(f"{bucket}/out/summary.json"))
    assert summary["seen"] == summary["labelled"] + summary["failed"]
