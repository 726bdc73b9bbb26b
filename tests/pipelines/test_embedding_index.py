"""The index finds nearly all that an exact search finds, is kept, and is never used for other rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fal_model.errors import OutputError
from pipelines.embedding_index import build_index, index_folder, open_index
from pipelines.embeddings import Nearest, read_blocks, unit
from pipelines.exporters.source import Source, open_source
from tests.helpers.label_output import key_of, write_output
from tests.helpers.report_folder import label_row

NUM, DIM, K = 600, 16, 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(20, DIM))
    rows = middles[rng.integers(0, 20, NUM)] + 0.3 * rng.normal(size=(NUM, DIM))
    folder = tmp_path_factory.mktemp("run")
    write_output(folder, [label_row(f"v{i:03d}", embedding=row.tolist()) for i, row in enumerate(rows)], part_videos=64)
    return open_source(str(folder))


def exact(source: Source, query_D: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[tuple[str, float]]:
    nearest = Nearest(query_D, K)
    for block in read_blocks(source):
        nearest.add(block)
    return [(n.video_id, n.cosine) for n in nearest.found()]


def test_it_finds_nearly_everything_with_exact_cosines(source: Source, tmp_path: Path) -> None:
    told: list[int] = []
    index = build_index(source, tmp_path, told.append)
    assert told[-1] == NUM
    queries = unit(np.random.default_rng(1).normal(size=(40, DIM)).astype(np.float32))
    num_same = 0
    for query_D in queries:
        nearest = Nearest(query_D, K)
        nearest.add(index.candidates(source, query_D, 10 * K, num_probes=8))
        wanted = dict(exact(source, query_D))
        for found in nearest.found():
            num_same += found.video_id in wanted
            assert wanted.get(found.video_id, found.cosine) == found.cosine
    assert num_same / (len(queries) * K) > 0.95


def test_it_is_kept_and_opened_again_for_the_same_rows_only(source: Source, tmp_path: Path) -> None:
    assert open_index(source, tmp_path) is None
    built = build_index(source, tmp_path, lambda _: None)
    opened = open_index(source, tmp_path)
    assert opened is not None
    query_D = unit(np.ones((1, DIM), np.float32))[0]
    one, other = (i.candidates(source, query_D, 20, 4).rows for i in (built, opened))
    assert one.equals(other)
    assert [path.name for path in tmp_path.iterdir()] == [index_folder(source, tmp_path).name]
    write_output(tmp_path / "other", [label_row("x", embedding=[1.0] * DIM)], key=key_of())
    assert open_index(open_source(str(tmp_path / "other")), tmp_path) is None


def test_a_damaged_index_is_said(source: Source, tmp_path: Path) -> None:
    build_index(source, tmp_path, lambda _: None)
    place = index_folder(source, tmp_path)
    whole = (place / "rows.json").read_text(encoding="utf-8")
    (place / "rows.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(OutputError, match="is of other rows; delete it"):
        open_index(source, tmp_path)
    (place / "rows.json").write_text(whole, encoding="utf-8")
    (place / "embeddings.faiss").write_bytes(b"nothing")
    with pytest.raises(OutputError, match=r"the search index .* is damaged \(.*\); delete it"):
        open_index(source, tmp_path)


def test_indices_of_other_rows_are_deleted_once_there_is_a_new_one(source: Source, tmp_path: Path) -> None:
    (tmp_path / "index-0123").mkdir()
    (tmp_path / "notes").mkdir()
    build_index(source, tmp_path, lambda _: None)
    assert {path.name for path in tmp_path.iterdir()} == {index_folder(source, tmp_path).name, "notes"}


def test_one_that_another_search_made_meanwhile_is_left_alone(
    source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = index_folder(source, tmp_path)

    def report(_: int) -> None:
        theirs.mkdir(exist_ok=True)
        (theirs / "rows.json").touch()

    assert build_index(source, tmp_path, report).library.ntotal == NUM
    assert [path.name for path in tmp_path.iterdir()] == [theirs.name]
    assert not caplog.records


def test_a_folder_that_takes_no_index_costs_the_next_search_and_not_this_one(
    source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert build_index(source, tmp_path / "file", lambda _: None).library.ntotal == NUM
    assert "the search index is not kept, the next search makes it again: " in caplog.text


def test_without_the_library_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from pipelines.embedding_index import library\n"
        "try:\n    library()\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigError ")
    assert "takes the extra 'fal-video[index]' (faiss-cpu); install it, or set search.exact_rows to more" in done.stdout
