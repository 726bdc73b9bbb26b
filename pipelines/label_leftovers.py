"""What earlier runs left in an output folder of the labelling job, and what a finished run deletes of it."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines import storage
from pipelines.label_parts import TABLES, stems


def delete_all_but(output: str, kept: Iterable[str], manifest: str) -> int:
    """Delete parts, pictures and manifests that are not of this run, and unmerged batches; return how many parts.

    Raises:
        OutputError: something cannot be deleted.
    """
    keep = set(kept)
    # The mark goes first: a part without one is no part.
    folders = {storage.join(output, "_fal", "done"): ".json"}
    folders |= {storage.join(output, table): ".parquet" for table in TABLES}
    folders |= {storage.join(output, "_fal", "thumbnails"): ".json"}
    gone: set[str] = set()
    for folder, suffix in folders.items():
        strangers = {name for name in stems(folder, suffix) if name.startswith("part-")} - keep
        for name in sorted(strangers):
            storage.remove(storage.join(folder, f"{name}{suffix}"))
        gone |= strangers
        storage.clear_leftovers(folder)
    fal = storage.join(output, "_fal")
    for name in storage.names_in(fal):
        if name.startswith(("manifest-", "known-")) and storage.join(fal, name) != manifest:
            storage.remove(storage.join(fal, name))
    storage.remove_folder(storage.join(fal, "batches"))
    return len(gone)
