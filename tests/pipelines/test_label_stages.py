"""The decoding stage: work items become batches, what is known is not decoded, and a worker that hangs ends itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from fal_model.errors import FalError
from pipelines import known, label_parts, storage, tables
from pipelines.clip_batches import BatchMeta
from pipelines.known import INDEX
from pipelines.label_stages import PrepareItems, StallGuard, hash_share, text_of
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.label_plan import begin_run, item_table


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("place")
    write_videos(folder / "videos", 2)
    write_broken(folder / "videos")
    return folder / "videos", write_model(folder / "model")


def metas_of(stage: PrepareItems, item: pa.Table) -> list[BatchMeta]:
    rows = [row for table in stage(item) for row in table.to_pylist()]
    stage.preparer.close()
    assert [row["error"] for row in rows] == [""] * len(rows)
    return [BatchMeta.from_json(row["meta"]) for row in rows]


def test_an_item_is_some_of_the_videos_of_a_part(place: tuple[Path, Path], tmp_path: Path) -> None:
    plan, parts = begin_run(place[0], tmp_path, place[1], 100)
    rows = label_parts.read_part(plan.merge.manifest, 0)
    metas = metas_of(PrepareItems(replace(plan, thumbnail_share=1.0)), item_table(parts.names[0], videos=[1, 4]))
    reported = [v.video_id for m in metas for v in m.videos] + [f.video_id for m in metas for f in m.failures]
    assert sorted(reported) == sorted(rows[i]["video_id"] for i in (1, 4))
    assert all(m.versions["ffmpeg"] for m in metas)
    assert {i for m in metas for i in m.thumbnails} == {v.video_id for m in metas for v in m.videos}
    assert not storage.exists(label_parts.begun_uri(str(tmp_path), "run", parts.names[0], 3))


def test_what_is_tried_again_is_marked_as_begun(place: tuple[Path, Path], tmp_path: Path) -> None:
    plan, parts = begin_run(place[0], tmp_path, place[1], 100)
    metas_of(PrepareItems(plan), item_table(parts.names[0], videos=[0], attempt=2))
    assert storage.exists(label_parts.begun_uri(str(tmp_path), "run", parts.names[0], 3))


def test_known_files_are_not_decoded_by_look_nor_by_content(place: tuple[Path, Path], tmp_path: Path) -> None:
    plan, parts = begin_run(place[0], tmp_path, place[1], 100)
    (first, second), rest = _good_rows(plan.merge.manifest)
    index = [
        {"seen_as": known.seen_as(first["uri"], first["fingerprint"]), "sha256": b"a" * 32, "part": "part-a"},
        {"seen_as": bytes(16), "sha256": bytes.fromhex(_sha256_of(second["uri"])), "part": "part-b"},
    ]
    uri = str(tmp_path / "known.parquet")
    tables.write_table(uri, pa.Table.from_pylist(index, schema=INDEX))
    metas = metas_of(PrepareItems(replace(plan, known=uri)), item_table(parts.names[0]))
    assert [(k.video_id, k.part) for m in metas for k in m.known] == [
        (first["video_id"], "part-a"),
        (second["video_id"], "part-b"),
    ]
    assert [m.clips for m in metas] == [[]] * len(metas)
    assert sorted(f.video_id for m in metas for f in m.failures) == sorted(row["video_id"] for row in rest)


def _good_rows(manifest: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    rows = label_parts.read_part(manifest, 0)
    names = ("empty.mp4", "text.mp4", "zeros.mkv")
    return [r for r in rows if r["video_id"] not in names], [r for r in rows if r["video_id"] in names]


def _sha256_of(uri: str) -> str:
    with Path(uri).open("rb") as file:
        return storage.sha256_of(file)


HANGS = """
import time
from pipelines.label_stages import StallGuard

def rows():
    yield "given"
    time.sleep(1000)

for row in StallGuard(0.3).watch(rows()):
    print(row, flush=True)
"""


def test_a_worker_that_hangs_ends_itself_and_says_where() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == "given\n"
    assert "Timeout (0:00:00.300000)!" in done.stderr
    assert "in rows" in done.stderr


def test_a_guard_hands_on_what_is_watched_and_lets_go() -> None:
    assert list(StallGuard(600.0).watch(iter([1, 2]))) == [1, 2]


def test_the_pictured_share_of_videos_is_fixed_and_even() -> None:
    points = [hash_share(f"video-{i}") for i in range(2000)]
    assert points == [hash_share(f"video-{i}") for i in range(2000)]
    assert all(0 <= p < 1 for p in points)
    assert sum(p < 0.25 for p in points) / 2000 == pytest.approx(0.25, abs=0.03)


def test_errors_are_said_in_a_sentence() -> None:
    assert text_of(FalError("as we say it")) == "as we say it"
    assert text_of(KeyError("x")) == "KeyError: 'x'"
    assert text_of(ValueError()) == "ValueError: no message"
