"""Which videos an earlier run has predicted already: by what is in the file, wherever it lies now.

The index is one table in the output folder, read by every decode worker of a run that does anything again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.spec import content_id
from pipelines import storage, tables
from pipelines.label_parts import FINGERPRINT, PART, Mark, table_uri

INDEX = pa.schema([("seen_as", pa.binary(16)), ("sha256", pa.binary(32)), ("part", pa.string())])
"""Digest of address and fingerprint, hash of the content, and the part that holds the predictions."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file whose predictions are there."""

    sha256: str
    part: str


class KnownFiles:
    """Look files up by address and fingerprint, or by content. 50 bytes a video in memory, and no more.

    Args:
        index: Rows of ``INDEX``.
    """

    def __init__(self, index: pa.Table) -> None:
        parts = index["part"].combine_chunks().dictionary_encode()
        self._names = parts.dictionary.to_pylist()
        self._part_of = parts.indices.to_numpy()
        self._sha256 = _digests(index["sha256"], 32)
        self._seen_as = _digests(index["seen_as"], 16)
        self._by_content = np.argsort(self._sha256, kind="stable")
        self._by_look = np.argsort(self._seen_as, kind="stable")

    @classmethod
    def read(cls, uri: str) -> Self:
        """Read an index; an empty address means that nothing is known.

        Raises:
            OutputError: it is damaged.
        """
        return cls(tables.read_table(uri) if uri else INDEX.empty_table())

    def by_look(self, row: Mapping[str, Any]) -> KnownFile | None:
        """Find a file that is where it was and looks as it did; None too for one that cannot be told by its looks."""
        if not row.get(FINGERPRINT):
            return None
        found = self._find(self._seen_as, self._by_look, seen_as(row["uri"], row[FINGERPRINT]))
        expected = row.get("sha256")
        # What its manifest now says of it is checked where it is opened.
        return found if found is None or not expected or expected.lower() == found.sha256 else None

    def by_content(self, sha256: str) -> KnownFile | None:
        """Find a file by the hash of its content, 64 hex digits."""
        return self._find(self._sha256, self._by_content, bytes.fromhex(sha256))

    def _find(self, digests: npt.NDArray[np.bytes_], order: npt.NDArray[np.int64], wanted: bytes) -> KnownFile | None:
        # NumPy takes the zeros at the end of such a value for padding, on both sides of every comparison.
        place = int(np.searchsorted(digests, np.bytes_(wanted), sorter=order))
        if place == len(order) or digests[order[place]] != np.bytes_(wanted).rstrip(b"\0"):
            return None
        row = order[place]
        sha256 = bytes(self._sha256[row]).ljust(32, b"\0").hex()
        return KnownFile(sha256, self._names[self._part_of[row]])


def _digests(column: pa.ChunkedArray, num_bytes: int) -> npt.NDArray[np.bytes_]:
    return np.frombuffer(b"".join(column.to_pylist()), np.dtype(f"S{num_bytes}"))


def seen_as(uri: str, fingerprint: str) -> bytes:
    """Digest an address and what the file there looks like, 16 bytes."""
    return hashlib.sha256(f"{uri}\0{fingerprint}".encode()).digest()[:16]


def write_index(output: str, marks: Mapping[str, Mark], wanted: Collection[str], prediction_id: str) -> str:
    """Index what finished parts of earlier runs hold, if any of it can be used, and return where the index is.

    Args:
        output: The output folder.
        marks: All finished parts.
        wanted: Names of this run's parts: what they hold needs no index.
        prediction_id: What this run's predictions depend on; parts of another one are of no use.

    Returns:
        Address of the index; empty where nothing of earlier runs can be used.

    Raises:
        OutputError: a table of an earlier run is damaged, or the folder cannot be written.
    """
    ours = set(wanted)
    old = sorted(n for n, mark in marks.items() if n not in ours and mark.prediction_id == prediction_id)
    if not old:
        return ""
    looks = _looks(output)
    rows = [row for part in old for row in _rows_of(output, part, looks)]
    uri = storage.join(output, "_fal", f"known-{content_id(old)}.parquet")
    tables.write_table(uri, pa.Table.from_pylist(rows, schema=INDEX))
    return uri


def _rows_of(output: str, part: str, looks: Mapping[tuple[str, str], bytes]) -> Iterator[dict[str, Any]]:
    table = tables.read_table(table_uri(output, "predictions", part), ["video_id", "sha256"])
    for video_id, sha256 in dict(zip(*(table[n].to_pylist() for n in ("video_id", "sha256")), strict=True)).items():
        look = looks.get((part, video_id), bytes(16))
        yield {"seen_as": look, "sha256": bytes.fromhex(sha256), "part": part}


def _looks(output: str) -> dict[tuple[str, str], bytes]:
    """Read from all kept manifests what each file looked like when its part was done."""
    folder = storage.join(output, "_fal")
    found: dict[tuple[str, str], bytes] = {}
    for name in storage.names_in(folder):
        if name.startswith("manifest-") and name.endswith(".parquet"):
            table = tables.read_table(storage.join(folder, name), ["video_id", "uri", FINGERPRINT, PART])
            for row in table.to_pylist():
                if row[FINGERPRINT]:
                    found[row[PART], row["video_id"]] = seen_as(row["uri"], row[FINGERPRINT])
    return found
