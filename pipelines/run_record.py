"""What made an output folder of the labelling job, ``_fal/run.json``: who may go on in it, and what differs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fal_model.errors import ConfigError, OutputError
from pipelines import storage, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import TABLES, LabelKey
from pipelines.limits import DecodeLimits

JOB = "labelling"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that have a say in the tables, so that any row can be made again."""

    label: LabelConfig
    limits: DecodeLimits

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return {"label": asdict(self.label), "limits": self.limits.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Settings:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: a value out of range, or an unknown limit.
            TypeError: an unknown setting.
            KeyError: a section is missing.
        """
        return cls(LabelConfig(**data["label"]), DecodeLimits.from_dict(data["limits"]))


@dataclass(frozen=True, slots=True)
class LastRun:
    """What made an output folder: the hashes, the manifest's address, and the settings."""

    key: LabelKey
    manifest: str
    settings: Settings


def claim(output: str, key: LabelKey, video_ids: Sequence[str]) -> LabelKey | None:
    """Check that a run may write into an output folder, before anything is written but a probe.

    Args:
        output: The folder.
        key: What the run is made with.
        video_ids: Ids of all videos of the run.

    Returns:
        What the folder's last run was made with, None if there was none.

    Raises:
        OutputError: not writable, or holds tables of another job, of another corpus, or of a newer FAL.
    """
    storage.check_writable(output)
    uri = _run_uri(output)
    if not storage.exists(uri):
        for table in TABLES:
            if storage.names_in(storage.join(output, table)):
                raise OutputError(
                    f"{output!r} already holds {table!r} that this FAL did not begin; use another --output"
                )
        return None
    run = _read_run(uri)
    last = run.key
    if last.schema_version > key.schema_version:
        raise OutputError(
            f"{output!r} was made by a newer FAL: schema version {last.schema_version}, this one writes "
            f"{key.schema_version}; use another --output, or update FAL"
        )
    before = _ids_of(run.manifest)
    if before and before.isdisjoint(video_ids):
        raise OutputError(
            f"{output!r} holds another corpus: none of its {len(before)} videos is among the {len(video_ids)} of "
            "this run; use another --output, or delete it"
        )
    return last


def num_videos_gone(output: str, video_ids: Sequence[str]) -> int:
    """Count the videos of the folder's last run that are not among those of this one: their rows will be deleted."""
    uri = _run_uri(output)
    return len(_ids_of(_read_run(uri).manifest).difference(video_ids)) if storage.exists(uri) else 0


def check_no_run(output: str) -> None:
    """Refuse the output folder of a job that keeps its books there: its summary would be lost.

    Raises:
        ConfigError: it is one.
    """
    if storage.exists(storage.join(output, "_fal")):
        raise ConfigError([f"--output: {output!r} is the output folder of another job; take another one"])


def begin(output: str, key: LabelKey, manifest: str, settings: Settings) -> None:
    """Write down what the folder's tables are made with from now on.

    Raises:
        OutputError: the folder cannot be written.
    """
    name = manifest.rpartition("/")[2]
    data = {"job": JOB, "key": asdict(key), "manifest": name, "settings": settings.to_dict()}
    storage.write_bytes(_run_uri(output), (json.dumps(data, indent=2) + "\n").encode())


def last_run(output: str) -> LastRun:
    """Return what an output folder was last made with.

    Raises:
        OutputError: no labelling run made the folder.
    """
    uri = _run_uri(output)
    if not storage.exists(uri):
        raise OutputError(f"{output!r} is no output folder of label_corpus: there is no _fal/run.json")
    return _read_run(uri)


def _run_uri(output: str) -> str:
    return storage.join(output, "_fal", "run.json")


def _read_run(uri: str) -> LastRun:
    try:
        data = json.loads(storage.read_bytes(uri))
    except ValueError:
        raise OutputError(f"{uri!r} is damaged: it does not say which run made the folder") from None
    if not isinstance(data, dict) or data.get("job") != JOB:
        raise OutputError(f"{uri!r} was written by another job, or by an older FAL; use another --output")
    try:
        manifest = storage.join(uri.rpartition("/")[0], str(data["manifest"]))
        return LastRun(LabelKey(**data["key"]), manifest, Settings.from_dict(data["settings"]))
    except (TypeError, KeyError, AttributeError, ConfigError):
        raise OutputError(f"{uri!r} is damaged: it does not say which run made the folder") from None


def _ids_of(manifest: str) -> set[str]:
    if not storage.exists(manifest):
        return set()  # killed before it was written
    return set(tables.read_table(manifest, ["video_id"])["video_id"].to_pylist())


def differences(last: LabelKey, key: LabelKey) -> list[str]:
    """Say in words what is another than in the folder's last run, videos aside."""
    words = {
        "weights_id": "the model's weights",
        "pipeline_id": "the preprocessing",
        "decoding_id": "limits or sizes of batches",
        "taxonomy_id": "the taxonomy",
        "model_id": "the model",
        "labelling_id": "thresholds or other settings of labels",
        "schema_version": "the version of the tables",
    }
    found = [text for name, text in words.items() if getattr(last, name) != getattr(key, name)]
    has_cause = {"the model's weights", "the taxonomy"} & set(found)
    # Calibration is all that is left of a model when weights and classes are the same.
    return [t if t != "the model" else "the calibration" for t in found if t != "the model" or not has_cause]
