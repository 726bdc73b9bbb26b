"""Generate the stand-in corpus: real encoded files, labelled exactly, with a few broken ones among them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome
from jobs.runtime.config import CorpusSection, FalConfig
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from pipelines import manifest, standin_broken, standin_classes, standin_sheet, storage
from pipelines.standin import SPLITS, StandinCorpus

_SETTINGS = ("classes", "videos_per_class", "seed", "difficulty", "picture")
ARGUMENTS = (
    Argument("output", "folder or s3:// prefix for videos, manifests and taxonomy"),
    Argument("classes", "instead of corpus.classes: 2 to 500; pairs of classes stay together", is_required=False),
    Argument(
        "videos-per-class",
        "instead of corpus.videos_per_class; a tenth of them goes to val and a tenth to test, at least one each where "
        "there are 3 or more, and the rest to train",
        is_required=False,
    ),
    Argument("seed", "instead of corpus.seed: another seed gives other videos", is_required=False),
    Argument("difficulty", "instead of corpus.difficulty: easy, crowded, standard or hard", is_required=False),
    Argument("picture", "instead of corpus.picture: tiny, small or medium", is_required=False),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where the parts of a generated corpus are."""

    train_manifest: str
    test_manifest: str
    taxonomy: str
    contact_sheet: str
    broken: dict[str, str]


def make_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Generate a corpus; files that exist already are kept, so an interrupted run goes on.

    Raises:
        ConfigError: every setting out of range.
        FalError: it cannot be written, or the folder holds videos of another corpus.
    """
    planned = plan(options, config.corpus)
    corpus, counts = generate(options["output"], planned, config)
    summary: dict[str, Any] = {"job": "make_corpus", **asdict(planned), **counts, "broken": corpus.broken}
    lines = [
        f"videos: {', '.join(f'{name} {n}' for name, n in counts.items())}, broken {len(corpus.broken)}",
        f"training: {corpus.train_manifest}",
        f"held out: {corpus.test_manifest}",
        f"to look at: {corpus.contact_sheet}",
    ]
    return Outcome(DONE, summary, lines)


def plan(options: dict[str, str], section: CorpusSection) -> StandinCorpus:
    """Take the settings from the command line, and those that are not there from the section.

    Raises:
        ConfigError: every setting that is no number or out of range.
    """
    values: dict[str, Any] = {name: getattr(section, name) for name in _SETTINGS}
    problems = []
    for name, default in values.items():
        given = options.get(name, "")
        if given and isinstance(default, int) and not given.removeprefix("-").isdecimal():
            problems.append(f"--{name.replace('_', '-')}: got {given!r}, must be a whole number")
        elif given:
            values[name] = int(given) if isinstance(default, int) else given
    if problems:
        raise ConfigError(problems)
    return StandinCorpus(**values)


def generate(output: str, planned: StandinCorpus, config: FalConfig) -> tuple[Corpus, dict[str, int]]:
    """Write videos, broken files, two manifests (train with val; test with the broken files), taxonomy and a page."""
    folder = storage.absolute(output)
    storage.check_writable(folder)
    with ray_session(config.ray):
        rows = {split: _write(folder, planned, split) for split in SPLITS}
    broken = _write_broken(folder) if config.corpus.has_broken else {}
    corpus = Corpus(
        train_manifest=storage.join(folder, "train.jsonl"),
        test_manifest=storage.join(folder, "test.jsonl"),
        taxonomy=storage.join(folder, "taxonomy.json"),
        contact_sheet=storage.join(folder, "contact_sheet.html"),
        broken=broken,
    )
    manifest.write_manifest(corpus.train_manifest, rows["train"] + rows["val"])
    broken_rows = [{"video_id": name, "uri": name} for name in sorted(broken)]
    manifest.write_manifest(corpus.test_manifest, rows["test"] + broken_rows)
    text = json.dumps(standin_classes.standin_taxonomy(planned.classes).to_dict(), indent=1)
    storage.write_bytes(corpus.taxonomy, text.encode())
    storage.write_bytes(corpus.contact_sheet, standin_sheet.contact_sheet(planned).encode())
    return corpus, {split: len(rows[split]) for split in SPLITS}


def _write(folder: str, planned: StandinCorpus, split: str) -> list[dict[str, Any]]:
    from pipelines import graph

    place = storage.join(folder, split)
    with progress(f"generating {split}", planned.count(split), "videos") as update:
        rows = graph.write_standin(planned, split, place, lambda done: update(done, "complete"))
    return [row | {"uri": f"{split}/{row['uri']}"} for row in rows]


def _write_broken(folder: str) -> dict[str, str]:
    kinds = standin_broken.write_broken_files(storage.join(folder, "broken"))
    return {f"broken/{name}": kind for name, kind in kinds.items()}
