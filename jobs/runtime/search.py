"""Find the videos nearest to a video, to a file or to a class, by the embeddings of a labelling run."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome
from jobs.runtime.config import FalConfig
from jobs.runtime.label import key_of
from jobs.runtime.progress import progress
from pipelines import run_record, storage
from pipelines.embed_file import embed_file
from pipelines.embedding_index import build_index, open_index
from pipelines.embeddings import Nearest, Neighbour, embedding_of, embedding_of_label, read_blocks, unit
from pipelines.exporters.source import Source, open_source
from pipelines.predict import ClipPredictor
from pipelines.search_page import write_page

ARGUMENTS = (
    Argument("input", "output folder of label_corpus, local or s3://"),
    Argument("video", "id of a labelled video: find others like it", is_required=False),
    Argument("file", "a video, local or s3://: find labelled ones like it; takes --model", is_required=False),
    Argument("label", "id of a class: find what is most like the videos that carry it", is_required=False),
    Argument("model", "the model that labelled the videos, for --file", is_required=False),
    Argument("output", "folder for search.jsonl, search.html and summary.json", is_required=False),
    Argument("index", "local folder that keeps the index of a large run", is_required=False),
)
QUERIES = ("video", "file", "label")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked about: in words, its embedding, and the video that is not to be found."""

    asked: str
    embedding_D: npt.NDArray[np.float32]
    without: str = ""


def search(options: dict[str, str], config: FalConfig) -> Outcome:
    """Find the nearest videos.

    Raises:
        ConfigError: an input that is no finished labelling run, or a question that has no answer.
        FalError: the model, the index or a table cannot be read, or the output cannot be written.
    """
    place = storage.absolute(options["input"])
    if options["output"]:
        run_record.check_no_run(storage.absolute(options["output"]))
    given = [name for name in QUERIES if options[name]]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name in given) or "none of them"
        raise ConfigError([f"search takes one of --video, --file and --label; got {got}"])
    source = open_source(place, is_partial=config.search.is_partial, section="search")
    query = _query(source, options, config)
    found, how = _find(source, query, options, config)
    lines = [f"nearest to {query.asked}, {how}", *map(_line, range(1, len(found) + 1), found)]
    summary = {
        "job": "search",
        "asked": query.asked,
        "found": len(found),
        "searched": source.num_videos,
        "is_exact": source.num_videos <= config.search.exact_rows,
        "model_id": source.key.model_id,
        "taxonomy_id": source.key.taxonomy_id,
    }
    if options["output"]:
        output = storage.absolute(options["output"])
        rows = "".join(json.dumps(asdict(neighbour), ensure_ascii=False) + "\n" for neighbour in found)
        storage.write_bytes(storage.join(output, "search.jsonl"), rows.encode())
        lines.append(f"page: {write_page(output, place, query.asked, found, how)}")
    return Outcome(DONE, summary, lines)


def _query(source: Source, options: dict[str, str], config: FalConfig) -> Query:
    if options["video"]:
        return _of_video(source, options["video"])
    if options["label"]:
        return _of_label(source, options["label"])
    return _of_file(source, options["file"], options["model"], config)


def _of_video(source: Source, video_id: str) -> Query:
    embedding_D = embedding_of(source, video_id)
    if embedding_D is None:
        known = source.ids.to_pylist()
        if video_id in known:
            raise ConfigError([f"--video: {video_id!r} could not be labelled, so it has no embedding; see failures/"])
        raise ConfigError([f"--video: no video {video_id!r} in this run{_similar(video_id, known)}"])
    return Query(f"video {video_id}", embedding_D, without=video_id)


def _of_label(source: Source, label: str) -> Query:
    embedding_D, num_videos = embedding_of_label(source, label)
    if not num_videos:
        seen = {entry for block in read_blocks(source) for entry in block.rows["top_label"].to_pylist()}
        hint = _similar(label, sorted(seen)) or f"; carried are, for example, {', '.join(sorted(seen)[:3])}"
        raise ConfigError([f"--label: no labelled video carries {label!r}{hint}"])
    return Query(f"class {label} ({num_videos} videos carry it)", embedding_D)


def _of_file(source: Source, uri: str, model_dir: str, config: FalConfig) -> Query:
    if not model_dir:
        raise ConfigError(["--file: the video must be embedded by the model that labelled the others; give --model"])
    predictor = ClipPredictor.load(model_dir)
    run = run_record.last_run(source.place)
    ours = key_of(predictor.model.meta(), config)
    if (ours.weights_id, ours.pipeline_id) != (run.key.weights_id, run.key.pipeline_id):
        text = f"--model: {model_dir!r} has other weights or another preprocessing than the model of this run, "
        raise ConfigError([text + f"{run.key.model_id}; embeddings of different models cannot be compared"])
    address = storage.absolute(uri)
    embedding_D = embed_file(address, predictor, run.settings.limits, run.settings.label.batch_clips)
    return Query(f"file {uri}", embedding_D)


def _similar(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {', '.join(map(repr, close))}?" if close else ""


def _find(source: Source, query: Query, options: dict[str, str], config: FalConfig) -> tuple[list[Neighbour], str]:
    """Return the nearest videos, and in words how they were found."""
    nearest = Nearest(query.embedding_D, config.search.k, query.without)
    if source.num_videos <= config.search.exact_rows:
        with progress("comparing", source.num_videos, "videos") as update:
            num_done = 0
            for block in read_blocks(source):
                nearest.add(block)
                num_done += len(block.unit_ND)
                update(num_done, "")
        return nearest.found(), f"each of {source.num_videos:,} videos compared"
    folder = _index_folder(source, options["index"])
    index = open_index(source, folder)
    if index is None:
        with progress("indexing", source.num_videos, "videos") as update:
            index = build_index(source, folder, lambda n: update(n, ""))
    wanted = (config.search.k + 1) * config.search.num_candidates
    (query_D,) = unit(query.embedding_D[None])
    nearest.add(index.candidates(source, query_D, wanted, config.search.num_probes))
    return nearest.found(), f"by an index of {source.num_videos:,} videos, its best {wanted} compared"


def _index_folder(source: Source, asked: str) -> Path:
    if asked:
        return Path(asked).absolute()
    if storage.is_remote(source.place):
        raise ConfigError(["--index: the run lies in S3 and is large; give a local folder to keep its index in"])
    return storage.local_path(source.place) / "_fal" / "search"


def _line(rank: int, found: Neighbour) -> str:
    return f"{rank:>4}  {found.cosine:+.4f}  {found.video_id}  {found.top_label} ({found.top_score:.2f})  {found.uri}"
