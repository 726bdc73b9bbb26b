"""Files of the stand-in corpus: readable as planned, the same bytes wherever and in whatever order they are made."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import s3fs

from fal_model.errors import OutputError
from fal_model.spec import ClipSpec
from pipelines.clips import prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.standin import ENCODINGS, SPLITS, StandinCorpus, StandinVideo
from pipelines.standin_files import CHUNK_VIDEOS, Chunk, chunks_of, encoded, manifest_row, write_chunk, write_videos

CORPUS = StandinCorpus(classes=30, videos_per_class=3, picture="tiny")


def short_plan(num_videos: int, split: str = "train") -> list[StandinVideo]:
    """Plan videos and keep one second of each, which suffices for tests of files."""
    return [replace(CORPUS.video(split, i), num_frames=CORPUS.video(split, i).fps) for i in range(num_videos)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def check_read_back(video: StandinVideo, folder: Path) -> None:
    write_videos([video], str(folder))

    with (folder / video.filename).open("rb") as source:
        info, clips = prepare_clips(source, ClipSpec(size_px=32, flow_size_px=8), DecodeLimits())
        clip = next(clips)
    assert (info.width_px, info.height_px, info.num_frames) == (video.width_px, video.height_px, video.num_frames)
    # A container may not know how long its last frame is shown.
    assert info.duration_s == pytest.approx(video.duration_s, abs=0.01 if not video.is_variable_rate else 2 / video.fps)
    assert clip.num_substituted == 0


@pytest.mark.parametrize(("codec", "suffix"), ENCODINGS)
def test_every_encoding_is_read_back_as_planned(tmp_path: Path, codec: str, suffix: str) -> None:
    for interval in (8, 250):
        plan = replace(short_plan(1)[0], codec=codec, suffix=suffix, keyframe_interval=interval, is_variable_rate=False)
        check_read_back(plan, tmp_path / str(interval))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_variable_rate_is_read_back_as_planned(tmp_path: Path, suffix: str) -> None:
    video = replace(short_plan(1)[0], codec="libx264", suffix=suffix, is_variable_rate=True, num_frames=40)
    assert video.duration_s > 1.05 * video.num_frames / video.fps

    check_read_back(video, tmp_path)


def test_bytes_do_not_depend_on_process_or_order(tmp_path: Path) -> None:
    encodings = [replace(v, codec=c, suffix=s) for v, (c, s) in zip(short_plan(8), ENCODINGS, strict=True)]
    write_videos(encodings, str(tmp_path / "here"))
    write_videos(reversed(encodings), str(tmp_path / "backwards"))
    code = (
        "import sys\n"
        "from tests.pipelines.test_standin_files import ENCODINGS, replace, short_plan, write_videos\n"
        "pairs = zip(short_plan(8), ENCODINGS, strict=True)\n"
        "write_videos([replace(v, codec=c, suffix=s) for v, (c, s) in pairs], sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)

    here = contents(tmp_path / "here")
    assert len(here) == 8
    assert here == contents(tmp_path / "backwards") == contents(tmp_path / "there")


def test_no_two_splits_share_a_file(tmp_path: Path) -> None:
    for split in SPLITS:
        write_videos(short_plan(6, split), str(tmp_path / split))

    files = [contents(tmp_path / split) for split in SPLITS]
    assert len({name for f in files for name in f}) == len({data for f in files for data in f.values()}) == 18


def test_the_truth_of_a_video_is_a_row() -> None:
    video = next(v for v in StandinCorpus(classes=30, videos_per_class=3, difficulty="hard").videos("train")
                 if len(v.events) == 3)  # fmt: skip

    row = manifest_row(video)

    assert row["labels"] == [segment["label"] for segment in row["segments"]] == list(video.labels)
    first = video.events[0]
    assert row["segments"][0] == {"label": first.label, "start_s": first.start_s, "end_s": first.end_s}
    assert (row["video_id"], row["uri"]) == (video.video_id, video.filename)
    assert (row["split"], row["duration_s"]) == ("train", video.duration_s)
    assert json.loads(json.dumps(row)) == row


def test_chunks_cover_a_split_and_know_what_is_there(tmp_path: Path) -> None:
    small = replace(CORPUS, classes=CHUNK_VIDEOS + 4)
    names = [small.video("val", index).filename for index in (1, 3, CHUNK_VIDEOS)]
    beyond = replace(small, videos_per_class=40).video("val", 3 * CHUNK_VIDEOS).filename  # of a larger corpus
    for name in [*names, "notes.txt", ".writing-x", beyond]:
        (tmp_path / name).write_bytes(b"complete")

    assert chunks_of(small, "val", str(tmp_path)) == [
        Chunk("val", 0, CHUNK_VIDEOS, tuple(names[:2])),
        Chunk("val", CHUNK_VIDEOS, CHUNK_VIDEOS + 4, tuple(names[2:])),
    ]
    assert chunks_of(replace(small, videos_per_class=1), "val", str(tmp_path)) == []
    assert [c.present for c in chunks_of(small, "test", str(tmp_path / "none"))] == [(), ()]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"classes": 6}, {"difficulty": "hard"}, {"picture": "medium"}], ids=lambda c: next(iter(c))
)
def test_a_folder_of_another_corpus_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    name = replace(CORPUS, **change).video("test", 1).filename
    (tmp_path / name).write_bytes(b"another corpus")
    says = (
        rf"/{name}' is of a corpus with other settings \(classes, seed, difficulty or picture\) .* use another --output"
    )
    with pytest.raises(OutputError, match=says):
        chunks_of(CORPUS, "test", str(tmp_path))


def test_an_interrupted_chunk_is_completed(tmp_path: Path) -> None:
    corpus = replace(CORPUS, classes=3)
    chunk = chunks_of(corpus, "test", str(tmp_path / "whole"))[0]
    rows = write_chunk(corpus, chunk, str(tmp_path / "whole"))
    assert rows == [manifest_row(v) for v in corpus.videos("test")]
    whole = contents(tmp_path / "whole")

    interrupted = tmp_path / "interrupted"
    interrupted.mkdir()
    kept = corpus.video("test", 1).filename
    (interrupted / kept).write_bytes(b"what is there is kept")
    chunk = chunks_of(corpus, "test", str(interrupted))[0]
    assert write_chunk(corpus, chunk, str(interrupted)) == rows

    found = contents(interrupted)
    assert found[kept] == b"what is there is kept"
    assert {n: d for n, d in found.items() if n in whole and n != kept} == {n: whole[n] for n in whole if n != kept}


def test_a_corpus_goes_to_s3(tmp_path: Path, bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    corpus = replace(CORPUS, classes=2)
    place = f"{bucket}/corpus/test"

    rows = write_chunk(corpus, chunks_of(corpus, "test", place)[0], place)
    write_videos(corpus.videos("test"), str(tmp_path))

    assert {r["uri"]: s3_client.cat_file(f"{place}/{r['uri']}") for r in rows} == contents(tmp_path)
    chunk = chunks_of(corpus, "test", place)[0]
    assert sorted(chunk.present) == sorted(contents(tmp_path))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputError, match="cannot write"):
        write_videos(short_plan(1), str(tmp_path / "file" / "train"))


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path) -> None:
    video = replace(short_plan(1)[0], codec="libx264", suffix="mp4")

    assert encoded(video, str(tmp_path))[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == []
