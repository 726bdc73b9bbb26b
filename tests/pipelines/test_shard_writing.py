"""Shards hold what clips and manifest say, and whoever has pyarrow and a JPEG decoder can read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fal_model.errors import OutputError
from fal_model.flow_codec import decode_flow
from pipelines import pixels, shards, storage
from pipelines.records import SHARD
from pipelines.shard_writing import new_shard, shard_row, write_shard
from pipelines.shards import ShardSet
from tests.helpers.model import SPEC, TREE, random_clip

ROOT = Path(__file__).resolve().parents[2]


def video(video_id: str = "v", **changes: Any) -> dict[str, Any]:
    return {"video_id": video_id, "labels": ["run"], "segments": None} | changes


def test_a_row_holds_its_clip() -> None:
    clip = random_clip(1, index=3)
    row = shard_row(video(), clip, 100)
    assert list(row) == SHARD.names
    assert (row["video_id"], row["clip_index"], row["start_s"], row["end_s"]) == ("v", 3, 6.0, 8.0)
    assert row["frame_times_s"] == [6.25, 6.75, 7.25, 7.75]
    frames, flow_q = shards.decode_row(row, SPEC)
    np.testing.assert_array_equal(flow_q, clip.flow_q_THWC)
    np.testing.assert_array_equal(row["flow_valid"], clip.flow_valid_T)
    np.testing.assert_array_equal(np.reshape(row["camera"], (-1, 2, 3)), clip.camera_T23)
    assert [pixels.encode_jpeg(f, 100) for f in clip.frames_THWC] == row["frames_jpeg"]
    assert frames.shape == clip.frames_THWC.shape


RUN = {"label": "run", "start_s": 0.25, "end_s": 0.75}
BALL = {"label": "ball", "start_s": 10.0, "end_s": 20.0}
LABELLED: list[tuple[dict[str, Any], list[str], list[list[str]] | None]] = [
    # A label of a video without segments holds everywhere, when is unknown.
    (video(labels=["run", "ball"]), ["ball", "run"], None),
    # One with segments holds at the frames within, the end not included: frames are at 0.25, 0.75, 1.25 and 1.75.
    (video(segments=[RUN]), ["run"], [["run"], [], [], []]),
    # Elsewhere in the video it does not hold in this clip.
    (video(labels=["ball"], segments=[BALL]), [], [[], [], [], []]),
    # A label that has no segment beside one that has: it holds, and the frames are not known whole.
    (video(labels=["studio", "run"], segments=[RUN]), ["run", "studio"], None),
    (video(labels=["run", "ball"], segments=[RUN, BALL, RUN]), ["run"], [["run"], [], [], []]),
    (video(labels=[]), [], None),
    (video(labels=[], segments=[]), [], [[], [], [], []]),
]


@pytest.mark.parametrize(("row", "labels", "frame_labels"), LABELLED)
def test_truth_is_cut_to_the_clip(row: dict[str, Any], labels: list[str], frame_labels: list[list[str]] | None) -> None:
    found = shard_row(row, random_clip(1), 90)
    assert found["labels"] == labels
    assert found["frame_labels"] == frame_labels


def test_segments_of_the_window_keep_their_whole_length() -> None:
    clip = random_clip(1, 1)  # from 2 to 4 s
    segments = [{"label": "run", "start_s": a, "end_s": b} for a, b in ((0.0, 2.0), (1.0, 2.5), (3.9, 9.0), (4.0, 5.0))]
    assert shard_row(video(segments=segments), clip, 90)["segments"] == segments[1:3]
    assert shard_row(video(segments=[]), clip, 90)["segments"] == []
    assert shard_row(video(segments=None), clip, 90)["segments"] is None


def test_a_shard_carries_its_specification_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [shard_row(video(str(i)), random_clip(i), 90) for i in range(3)]
    for name in ("a", "b"):
        write_shard(str(tmp_path / name / "x.parquet"), rows, SPEC, TREE, group_clips=2)
    assert storage.read_bytes(str(tmp_path / "a/x.parquet")) == storage.read_bytes(str(tmp_path / "b/x.parquet"))
    found = ShardSet.open(str(tmp_path / "a"))
    assert found.spec == SPEC
    assert found.taxonomy.to_dict() == TREE.to_dict()
    assert [g.num_rows for g in found.groups] == [2, 1]
    schema = pq.read_schema(tmp_path / "a/x.parquet")
    assert schema.remove_metadata().equals(SHARD)
    assert {k.decode() for k in schema.metadata} == {"fal_schema_version", "fal_clip_spec", "fal_taxonomy"}


def test_rows_are_written_as_they_come_and_the_shard_appears_at_the_end(tmp_path: Path) -> None:
    rows = [shard_row(video(str(i)), random_clip(i), 90) for i in range(5)]
    with new_shard(str(tmp_path / "a.parquet"), SPEC, TREE, group_clips=2) as shard:
        (half,) = tmp_path.iterdir()
        sizes = []
        for row in rows:
            shard.add([row])
            sizes.append(half.stat().st_size)
        assert not (tmp_path / "a.parquet").exists()
    assert sizes[3] > sizes[0]  # the first row groups are on the disk
    write_shard(str(tmp_path / "b.parquet"), rows, SPEC, TREE, group_clips=2)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_a_shard_whose_rows_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    rows = [shard_row(video(str(i)), random_clip(i), 90) for i in range(5)]
    with pytest.raises(ZeroDivisionError), new_shard(str(tmp_path / "a.parquet"), SPEC, TREE, 2) as shard:
        shard.add(row | {"clip_index": 1 // (3 - i)} for i, row in enumerate(rows))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    rows = [shard_row(video(str(i)), random_clip(i), 90) for i in range(9)]
    code = (
        "import json, resource, sys\n"
        "from pipelines.shard_writing import write_shard\n"
        "from tests.helpers.model import SPEC, TREE, random_clip\n"
        "from tests.pipelines.test_shard_writing import shard_row, video\n"
        "rows = [shard_row(video(str(i)), random_clip(i), 90) for i in range(9)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "write_shard(sys.argv[1], rows, SPEC, TREE, group_clips=2)\n"
    )
    target = tmp_path / "a.parquet"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert sum(len(jpeg) for row in rows for jpeg in row["frames_jpeg"]) > 20_000
    last = done.stderr.splitlines()[-1]
    assert last == f"fal_model.errors.OutputError: cannot write {str(target)!r}: File too large"
    assert "Exception ignored" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^cannot write '.*/file/a\.parquet': "):
        write_shard(str(tmp_path / "file" / "a.parquet"), [], SPEC, TREE, group_clips=2)


# ---- the documented contract --------------------------------------------------------------------------------------


def documented_reader() -> str:
    """Return the script by which ``docs/data-contracts.md`` explains how a shard is read."""
    text = (ROOT / "docs" / "data-contracts.md").read_text(encoding="utf-8")
    scripts: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(scripts) == 1
    return scripts[0]


def test_the_documented_script_reads_a_shard_without_anything_of_ours(tmp_path: Path) -> None:
    clips = [random_clip(i, index=i) for i in range(3)]
    segments = [{"label": "run", "start_s": 2.0, "end_s": 2.6}]
    rows = [shard_row(video(segments=segments), clip, 95) for clip in clips]
    write_shard(str(tmp_path / "shard.parquet"), rows, SPEC, TREE, group_clips=2)
    tail = "print(json.dumps([[m for m in ('fal_model', 'pipelines', 'cv2') if m in sys.modules], clips, names]))"
    (tmp_path / "read.py").write_text(f"{documented_reader()}\n{tail}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "read.py", "shard.parquet"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded, found, names = json.loads(done.stdout)
    assert loaded == []
    assert names["ball"] == "Ball games"
    for clip, row, read in zip(clips, rows, found, strict=True):
        assert read["video_id"] == "v"
        assert read["times_s"] == list(clip.frame_times_s)
        assert read["labels"] == row["labels"]
        assert read["frame_labels"] == row["frame_labels"]
        frames, flow_q = shards.decode_row(row, SPEC)
        seen = np.frombuffer(bytes.fromhex(read["rgb"]), np.uint8).reshape(frames.shape).astype(int)
        assert np.abs(seen - frames).mean() < 1  # another build of the decoder may round otherwise
        np.testing.assert_allclose(read["flow_px_per_s"], decode_flow(flow_q) / SPEC.flow_step_s, rtol=1e-5)
