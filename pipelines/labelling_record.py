"""How the labels of an output folder follow from its predictions, ``_fal/labelling.json``.

Predictions speak of the model's classes and know no calibration. What turns them into labels is kept beside them, so
that they can be labelled again without the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from fal_model.calibration import Calibration
from fal_model.class_head import ClassHead
from fal_model.errors import ConfigError, ModelLoadError, OutputError
from fal_model.spec import content_id
from fal_model.taxonomy import Taxonomy
from pipelines import head_files, label_parts, storage
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellingRecord:
    """How labels follow from predictions.

    Attributes:
        source: Classes of the predictions, or of the head.
        taxonomy: Classes of the labels.
        calibration: Of the predictions, or of the head; None where it is not known.
        model_id: Content hash of the model, calibration and head included.
        class_map: Ids among the former, and what they are among the latter.
        head: What gives the classes, from embeddings; None where the predictions do.
    """

    source: Taxonomy
    taxonomy: Taxonomy
    calibration: Calibration | None
    model_id: str
    class_map: Mapping[str, str] = field(default_factory=dict)
    head: ClassHead | None = None


def labelling_id(config: LabelConfig) -> str:
    """Hash the settings that turn predictions into labels, and no others."""
    # How many videos share a part says nothing about any of them; what is left turns predictions into labels.
    neutral = replace(
        config, part_videos=1, batch_clips=1, piece_windows=1, max_failed_share=0.0, limit=0, thumbnails=0
    )
    return content_id(asdict(neutral))


def write(output: str, key: LabelKey, record: LabellingRecord) -> None:
    """Write down how labels follow from predictions, and the classes of the labels.

    Raises:
        OutputError: the folder cannot be written.
    """
    data = {
        "label_id": key.label_id,
        "model_id": record.model_id,
        "source": record.source.to_dict(),
        "class_map": dict(sorted(record.class_map.items())),
        "calibration": record.calibration.to_dict() if record.calibration else None,
        "head": record.head.head_id if record.head else None,
    }
    if record.head:
        head_files.write_head(_head_place(output), record.head)
    tree = json.dumps(record.taxonomy.to_dict(), ensure_ascii=False)
    storage.write_bytes(label_parts.taxonomy_uri(output), tree.encode())
    # It names the run that all of this is of, so it comes last.
    storage.write_bytes(_uri(output), json.dumps(data, ensure_ascii=False).encode())


def read(output: str, key: LabelKey) -> LabellingRecord:
    """Read how the labels of a folder were made.

    Args:
        output: The folder.
        key: What its last run was made with.

    Raises:
        OutputError: the classes are not there, or a file is damaged.
    """
    uri = label_parts.taxonomy_uri(output)
    try:
        taxonomy = Taxonomy.from_json(storage.read_bytes(uri).decode())
        uri = _uri(output)
        data = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
        if data.get("label_id") != key.label_id:  # of an earlier version, or killed in between
            return LabellingRecord(source=taxonomy, taxonomy=taxonomy, calibration=None, model_id=key.model_id)
        source = Taxonomy.from_dict(data["source"])
        stored = data["calibration"]
        calibration = None if stored is None else Calibration.from_dict(stored, source)
        return LabellingRecord(
            source=source,
            taxonomy=taxonomy,
            calibration=calibration,
            model_id=str(data["model_id"]),
            class_map=dict(data["class_map"]),
            head=_read_head(output, data.get("head")),
        )
    except FileNotFoundError:
        raise OutputError(f"{output!r} does not say its classes: there is no {uri!r}; run label_corpus again") from None
    except (ValueError, TypeError, KeyError, AttributeError, ConfigError, ModelLoadError) as error:
        raise OutputError(f"{uri!r} is damaged: {error}; run label_corpus again") from None


def _uri(output: str) -> str:
    return storage.join(output, "_fal", "labelling.json")


def _head_place(output: str) -> str:
    return storage.join(output, "_fal", "head")


def _read_head(output: str, head_id: object) -> ClassHead | None:
    if head_id is None:
        return None
    head = head_files.read_head(_head_place(output))
    if head.head_id != head_id:
        raise ValueError(f"it names the head {head_id!r}, {_head_place(output)!r} holds {head.head_id!r}")
    return head
