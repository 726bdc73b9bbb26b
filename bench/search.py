"""Search over many videos: how long the exact way and the index take, and how much of the exact answer the index finds.

    python bench/search.py --work DIR [--rows 10000 100000 1000000] [--dim 512]

Makes output folders of labels with embeddings in clusters, as a model's are, reads them as the job does, and asks the
same questions both ways. Reading the tables is part of the time. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines import label_parts, run_record, tables
from pipelines.config import LabelConfig
from pipelines.embedding_index import build_index, index_folder, open_index
from pipelines.embeddings import Nearest, read_blocks, unit
from pipelines.exporters.source import Source, open_source
from pipelines.label_parts import LabelKey, Mark, PartCounts
from pipelines.limits import DecodeLimits
from pipelines.records import FAILURES, MANIFEST, labels_schema

K, NUM_QUERIES, PART_VIDEOS, CLUSTERS = 10, 20, 64, 2000
NUM_PROBES = (16, 64, 256)
KEY = LabelKey(weights_id="w", pipeline_id="p", decoding_id="d", model_id="m", taxonomy_id="t", labelling_id="l")


def main(argv: list[str] | None = None) -> int:
    """Measure each size and print the table."""
    options = _options(argv)
    work = Path(options.work).absolute()
    print(
        "| videos | exact, s per question | index: built in s | size, MB | opened in s | cells looked into "
        "| index, s per question | of the 10 nearest found |\n|" + "---|" * 8,
        flush=True,
    )
    for num_rows in options.rows:
        source = _source(work / f"run-{num_rows}-{options.dim}", num_rows, options.dim)
        queries_QD = _questions(num_rows, options.dim)
        start = time.monotonic()
        exact = [_exact(source, query_D) for query_D in queries_QD]
        exact_s = (time.monotonic() - start) / NUM_QUERIES
        folder = work / "index"
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        build_index(source, folder, lambda _: None)
        build_s = time.monotonic() - start
        size_mb = sum(path.stat().st_size for path in index_folder(source, folder).iterdir()) / 1e6
        start = time.monotonic()
        index = open_index(source, folder)
        open_s = time.monotonic() - start
        assert index is not None  # noqa: S101 - it has just been built
        for num_probes in NUM_PROBES:
            start, num_found = time.monotonic(), 0
            for query_D, wanted in zip(queries_QD, exact, strict=True):
                nearest = Nearest(query_D, K)
                nearest.add(index.candidates(source, query_D, 10 * K, num_probes))
                num_found += len({n.video_id for n in nearest.found()} & wanted)
            each_s = (time.monotonic() - start) / NUM_QUERIES
            print(
                f"| {num_rows:,} | {exact_s:.2f} | {build_s:.0f} | {size_mb:.0f} | {open_s:.2f} | {num_probes} "
                f"| {each_s:.3f} | {num_found / (K * NUM_QUERIES):.1%} |",
                flush=True,
            )
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the runs and the index; kept")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="videos")
    parser.add_argument("--dim", type=int, default=512, help="numbers of an embedding")
    return parser.parse_args(argv)


def _exact(source: Source, query_D: npt.NDArray[np.float32]) -> set[str]:
    nearest = Nearest(query_D, K)
    for block in read_blocks(source):
        nearest.add(block)
    return {n.video_id for n in nearest.found()}


def _middles(dim: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(CLUSTERS, dim)).astype(np.float32)


def _rows(rng: np.random.Generator, num_rows: int, dim: int) -> npt.NDArray[np.float32]:
    """Draw embeddings around the middles of clusters, half of their length being noise."""
    noise_ND = rng.normal(size=(num_rows, dim)).astype(np.float32)
    return unit(_middles(dim)[rng.integers(0, CLUSTERS, num_rows)] + noise_ND)


def _questions(num_rows: int, dim: int) -> npt.NDArray[np.float32]:
    return _rows(np.random.default_rng(num_rows), NUM_QUERIES, dim)


def _source(folder: Path, num_rows: int, dim: int) -> Source:
    if not (folder / "_fal" / "run.json").exists():
        output, ids = str(folder), [f"{i:08d}" for i in range(num_rows)]
        manifest = pa.table({"video_id": ids, "uri": ids}).to_pylist()
        table = pa.Table.from_pylist(manifest, schema=MANIFEST)
        parts = label_parts.plan_parts(table, ids, KEY.prediction_id, PART_VIDEOS)
        start = 0
        for number, (name, size) in enumerate(zip(parts.names, parts.sizes, strict=True)):
            mine = parts.table["video_id"].slice(start, size)
            start += size
            _write_part(output, name, mine, _rows(np.random.default_rng(number + 1), size, dim))
        uri = label_parts.write_manifest(output, parts)
        run_record.begin(output, KEY, uri, run_record.Settings(LabelConfig(), DecodeLimits()))
    return open_source(str(folder))


def _write_part(output: str, name: str, ids: pa.ChunkedArray, rows_ND: npt.NDArray[np.float32]) -> None:
    schema = labels_schema(rows_ND.shape[1])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows_ND.ravel()), rows_ND.shape[1])
    known = {"video_id": ids.combine_chunks(), "uri": ids.combine_chunks(), "embedding": flat}
    columns = [known[f.name] if f.name in known else _filler(f, len(ids)) for f in schema]
    tables.write_table(label_parts.table_uri(output, "labels", name), pa.table(columns, schema=schema))
    tables.write_table(label_parts.table_uri(output, "failures", name), FAILURES.empty_table())
    counts = PartCounts(len(ids), len(ids), 0, len(ids), {}, 0.0, 0.0)
    label_parts.mark_finished(output, name, Mark(KEY.prediction_id, KEY.label_id, counts))


def _filler(field: pa.Field, num: int) -> pa.Array:
    """Return a column of nothing; lists are empty, since they may not be null."""
    if pa.types.is_list(field.type):
        return pa.array([[]] * num, field.type)
    return pa.repeat(pa.scalar("x" if pa.types.is_string(field.type) else 0).cast(field.type), num)


if __name__ == "__main__":
    sys.exit(main())
