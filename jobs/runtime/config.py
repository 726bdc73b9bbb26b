"""One settings object for every job: defaults in code, then one YAML file, then ``section.key=value``.

Unknown keys, wrong types and values out of range are reported together, each with its path, the value and what is
allowed, before anything starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from fal_model.config import TrainConfig
from fal_model.errors import ConfigError
from fal_model.evaluation import KEPT_ACCURACY
from fal_model.presets import preset
from fal_model.ranges import Range
from fal_model.spec import ClipSpec
from jobs.runtime.serve_config import ServeSection
from pipelines.config import LabelConfig, PrepareConfig, Resources, ScanConfig
from pipelines.exporters.settings import ExportConfig
from pipelines.head_settings import HeadConfig
from pipelines.importers.settings import ImportConfig
from pipelines.limits import DecodeLimits
from pipelines.planning import PlanConfig
from pipelines.search_settings import SearchConfig
from pipelines.shard_survey import ShowConfig
from pipelines.splits import SplitConfig
from pipelines.standin_difficulty import Difficulty, Picture
from pipelines.verify_settings import VerifyConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSection:
    """Which model is trained.

    Attributes:
        preset: Named size, see ``fal_model.presets``.
        init_from: What training starts from: directory or hub id of a FAL model, or a published vision transformer, as
            ``.safetensors`` file or folder with one; empty starts from random weights.
    """

    preset: str = "fal-nano"
    init_from: str = ""

    def __post_init__(self) -> None:
        preset(self.preset)  # refuses a name that no size has


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopSection:
    """How the training run is driven.

    Attributes:
        epochs: Passes over the training clips; sets ``train.total_steps``. 0 leaves that as it is.
        batch_clips: Clips per step over all workers.
        is_mirrored: Mirror half of the clips, left to right: only where no class tells left from right.
        read_threads: Threads of each worker that decode clips; one makes some 400 clips of 8 × 224² pixels a second.
        workers: Training workers.
        gpus_per_worker: GPUs of each worker; 0 trains on the CPU.
        cpus_per_worker: Cores asked of Ray for each worker; its threads share the machine's cores either way.
        checkpoint_every_steps: Steps between checkpoints; the last step always has one.
        log_every_steps: Steps between reported metrics.
        kept_accuracy: Top-1 accuracy that validation clips shall have which the model does not abstain from; 0 never
            abstains.
        keep_checkpoints: How many checkpoints stay on disk.
        max_failures: How often a dead worker group is restarted.
    """

    epochs: Annotated[int, Range(ge=0, le=100_000)] = 0
    batch_clips: Annotated[int, Range(ge=1, le=1_000_000)] = 16
    is_mirrored: bool = False
    read_threads: Annotated[int, Range(ge=1, le=256)] = 1
    workers: Annotated[int, Range(ge=1, le=4096)] = 1
    gpus_per_worker: Annotated[float, Range(ge=0, le=8)] = 0.0
    cpus_per_worker: Annotated[float, Range(gt=0, le=256)] = 1.0
    checkpoint_every_steps: Annotated[int, Range(ge=1)] = 200
    log_every_steps: Annotated[int, Range(ge=1)] = 10
    kept_accuracy: Annotated[float, Range(ge=0, lt=1)] = KEPT_ACCURACY
    keep_checkpoints: Annotated[int, Range(ge=1, le=1000)] = 2
    max_failures: Annotated[int, Range(ge=0, le=1000)] = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusSection:
    """What stand-in corpus is generated.

    Attributes:
        classes: Number of classes; pairs that differ only in the order of time stay together.
        videos_per_class: Videos of each, all splits together: 8 of 10 for training.
        seed: Seed; splits share no video and no texture whatever it is.
        difficulty: How hard the videos are.
        picture: How large they are.
        has_broken: Put damaged files among the held-out videos.
    """

    classes: Annotated[int, Range(ge=2, le=500)] = 500
    videos_per_class: Annotated[int, Range(ge=1, le=1_000_000)] = 20
    seed: Annotated[int, Range(ge=0, lt=2**31)] = 0
    difficulty: Difficulty = "standard"
    picture: Picture = "small"
    has_broken: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSection:
    """Where runs are recorded.

    Attributes:
        uri: MLflow tracking URI; empty writes a SQLite file beside the job's output.
        experiment: Name of the MLflow experiment.
        is_enabled: False records nothing.
    """

    uri: str = ""
    experiment: str = "fal"
    is_enabled: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RaySection:
    """Which Ray runs the job.

    Attributes:
        address: ``local`` starts a private Ray; ``auto`` joins the cluster named by RAY_ADDRESS, or starts a private
            one where that is not set; anything else is joined.
        num_cpus: Logical cores of a private Ray; 0 means the machine's, at least 4.
        object_store_mib: Object store of a private Ray, MiB.
    """

    address: str = "auto"
    num_cpus: Annotated[int, Range(ge=0, le=4096)] = 0
    object_store_mib: Annotated[int, Range(ge=100, le=1_000_000)] = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class FalConfig:
    """All sections. A job reads the ones it needs; each is owned by the package that uses it.

    ``clip`` is None until one of its settings is given; then the others are those of the model's preset.
    """

    clip: ClipSpec | None = None
    model: ModelSection = field(default_factory=ModelSection)
    corpus: CorpusSection = field(default_factory=CorpusSection)
    importing: ImportConfig = field(default_factory=ImportConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    show: ShowConfig = field(default_factory=ShowConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    loop: LoopSection = field(default_factory=LoopSection)
    label: LabelConfig = field(default_factory=LabelConfig)
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    resources: Resources = field(default_factory=Resources)
    plan: PlanConfig = field(default_factory=PlanConfig)
    tracking: TrackingSection = field(default_factory=TrackingSection)
    ray: RaySection = field(default_factory=RaySection)
    serve: ServeSection = field(default_factory=ServeSection)
    verify: VerifyConfig = field(default_factory=VerifyConfig)


def load_config(path: str | None, overrides: Sequence[str] = ()) -> FalConfig:
    """Build the settings from a YAML file and ``section.key=value`` overrides.

    Raises:
        ConfigError: every problem found, one per line.
    """
    data, problems = _read_yaml(path)
    for text in overrides:
        problems += _apply_override(data, text)
    _complete_clip(data)
    config, found = _build(FalConfig, data, "")
    problems += found
    if problems:
        raise ConfigError(problems)
    typed: FalConfig = config
    return typed


def check_clip(config: FalConfig, spec: ClipSpec) -> None:
    """Refuse clip settings where a trained model decides them, unless they are the model's.

    Args:
        config: All settings.
        spec: Input contract of the model.

    Raises:
        ConfigError: a clip setting differs; all that do are named, with both values.
    """
    if config.clip is None or config.clip == spec:
        return
    found = differences(config.clip.to_dict(), spec.to_dict(), "the model's ")
    problem = (
        f"clip: the model decides these settings, they were chosen at prepare_corpus: {found} "
        f"(what is not given is taken from model.preset={config.model.preset}); leave the section out"
    )
    raise ConfigError([problem])


def differences(got: Mapping[str, Any], wanted: Mapping[str, Any], whose: str = "") -> str:
    """Name the settings whose values differ, with both values; those of a section inside by their path.

    Args:
        got: Settings as plain data.
        wanted: The same settings, as they must be.
        whose: What to say before a wanted value.
    """
    flat, ours = _flat(got), _flat(wanted)
    return "; ".join(f"got {k} {v!r}, must be {whose}{ours[k]!r}" for k, v in flat.items() if v != ours[k])


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def to_dict(config: FalConfig) -> dict[str, Any]:
    """Return the settings as plain data, as printed, stored and tracked."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _read_yaml(path: str | None) -> tuple[dict[str, Any], list[str]]:
    if path is None:
        return {}, []
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        return {}, [f"--config: cannot read {path!r}: {error.strerror}"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, [f"--config: {path!r} is not YAML: {' '.join(str(error).split())}"]
    if data is None:
        return {}, []
    if not isinstance(data, dict):
        return {}, [f"--config: {path!r} holds {type(data).__name__}, expected sections"]
    # A section whose every line is commented out reads as null.
    return {name: section for name, section in data.items() if section is not None}, []


def _apply_override(data: dict[str, Any], text: str) -> list[str]:
    path, equals, value = text.partition("=")
    *sections, key = path.split(".")
    if not (equals and sections and key and all(sections)):
        return [f"override {text!r}: expected section.key=value"]
    try:
        parsed = yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        return [f"override {text!r}: the value is not YAML"]
    target = data
    for depth, name in enumerate(sections, start=1):
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            return [f"{'.'.join(sections[:depth])}: got {inner!r}, expected a section"]
        target = inner
    target[key] = parsed
    return []


def _complete_clip(data: dict[str, Any]) -> None:
    """Take the clip settings that are not given from the model's preset, so that one of them changes no other."""
    given, model = data.get("clip"), data.get("model", {})
    if not isinstance(given, dict) or not isinstance(model, dict):
        return
    try:
        of_preset = preset(model.get("preset", ModelSection().preset)).clip
    except ConfigError:
        return  # the section of the model says so
    data["clip"] = of_preset.to_dict() | given


def _build(kind: Any, data: Mapping[Any, Any], prefix: str) -> tuple[Any, list[str]]:
    """Make one section from plain data; None and its problems where it cannot be made.

    Sections inside are made first and on their own: a rule that one of them breaks hides no problem of another.
    """
    hints = get_type_hints(kind, include_extras=True)
    problems = [_unknown(key, hints, prefix) for key in data if key not in hints]
    values = {key: value for key, value in data.items() if key in hints}
    for name, value in list(values.items()):
        section = _section_in(hints[name])
        found = _boolean_problem(hints[name], value, f"{prefix}{name}")
        if section and isinstance(value, Mapping):
            values[name], found = _build(section, value, f"{prefix}{name}.")
        if found:
            problems += found
            del values[name]
    try:
        return TypeAdapter(kind).validate_python(values), problems
    except ConfigError as error:
        return None, problems + error.problems
    except ValidationError as error:
        return None, problems + [
            f"{prefix}{'.'.join(str(p) for p in e['loc'] if p != 'ClipSpec')}: got {e['input']!r}: {e['msg']}"
            for e in error.errors(include_url=False)
            if e["type"] != "none_required"
        ]


def _unknown(key: object, known: Mapping[str, Any], prefix: str) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"allowed: {', '.join(sorted(known))}"
    return f"{prefix}{key}: unknown setting; {hint}"


def _section_in(hint: Any) -> type | None:
    """Return the dataclass of a setting that is a section, be it optional or not."""
    choices = [k for k in (hint, *get_args(hint)) if isinstance(k, type) and is_dataclass(k)]
    return choices[0] if choices else None


def _boolean_problem(hint: Any, value: object, path: str) -> list[str]:
    """Refuse true and false where a number is asked for; pydantic takes them as 1 and 0."""
    kind = (get_args(hint) or (hint,))[0]  # of an optional number, what it is when it is there
    if not isinstance(value, bool) or (get_args(kind) or (kind,))[0] not in {int, float}:
        return []
    return [f"{path}: got {value!r}: Input should be a number"]
