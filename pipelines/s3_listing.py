"""Which objects are in S3: below a prefix, in a folder, matching a glob."""

from __future__ import annotations

import errno
import re

from pipelines.s3 import Info, Store

MAGIC = "*?["


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob by one set of rules for folders and S3, so that both find the same.

    Raises:
        ValueError: ``**`` is only a part of a name.
    """
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(glob))


def paths(store: Store, place: str) -> list[str]:
    """Return ``bucket/key`` of every object under a prefix or matching a glob, sorted.

    What the store says of each is kept: asking for its fingerprint afterwards costs no further request.

    Raises:
        OSError: there is no such bucket, or the store refused, or the address is none.
    """
    bucket, key = store.split(place)
    if not bucket:
        raise OSError(errno.EINVAL, "the address has no bucket")
    store.listed.clear()
    if any(c in key for c in MAGIC):
        return _matching(store, place, bucket, key)
    below = f"{key.rstrip('/')}/" if key else ""
    found = _list(store, place, bucket, below)
    if not found and key:  # perhaps one object
        found = [path for path in _list(store, place, bucket, key, max_keys=1) if path == f"{bucket}/{key}"]
    return sorted(found)


def _matching(store: Store, place: str, bucket: str, glob: str) -> list[str]:
    try:
        pattern = glob_pattern(glob)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None
    literal = re.split(r"[*?\[]", glob, maxsplit=1)[0]
    # A pattern within one folder need not walk through the folders below it.
    delimiter = "" if "/" in glob.removeprefix(literal) or "**" in glob else "/"
    found = _list(store, place, bucket, literal, delimiter=delimiter)
    return sorted(path for path in found if pattern.match(path.removeprefix(f"{bucket}/")))


def names_in(store: Store, folder: str) -> list[str]:
    """Return the names of the objects directly in a folder; empty if it or its bucket is not there."""
    key = store.split(folder)[1]
    prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
    try:
        pages = list(store.pages(folder, Prefix=prefix, Delimiter="/"))
    except FileNotFoundError:
        return []
    return [found["Key"].removeprefix(prefix) for page in pages for found in page.get("Contents", [])]


def _list(
    store: Store, place: str, bucket: str, prefix: str, *, delimiter: str = "", max_keys: int | None = None
) -> list[str]:
    asked = ({"Delimiter": delimiter} if delimiter else {}) | ({"MaxKeys": max_keys} if max_keys else {})
    found: list[str] = []
    for page in store.pages(place, Prefix=prefix, **asked):
        for item in page.get("Contents", []):
            path = f"{bucket}/{item['Key']}"
            store.listed[path] = Info(int(item["Size"]), item.get("ETag", ""))
            found.append(path)
        if max_keys:
            break
    return found
