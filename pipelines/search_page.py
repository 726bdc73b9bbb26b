"""One page with the videos that a search found, for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import page, storage
from pipelines.embeddings import Neighbour
from pipelines.report_pictures import read_pictures


def write_page(output: str, labelled: str, asked: str, found: Sequence[Neighbour], how: str) -> str:
    """Write ``search.html``.

    Args:
        output: Folder of the search.
        labelled: Output folder of the labelling run, which may keep pictures of the videos.
        asked: What was asked for, in words.
        found: The videos, nearest first.
        how: How they were found, in words.

    Returns:
        Its address.

    Raises:
        OutputError: the folder cannot be written.
    """
    pictures = read_pictures(labelled, [neighbour.video_id for neighbour in found])
    rows = [(neighbour, pictures.get(neighbour.video_id)) for neighbour in found]
    html = page.render("search.html", ["search.css"], title=f"Nearest to {asked}", asked=asked, rows=rows, how=how)
    uri = storage.join(output, "search.html")
    storage.write_bytes(uri, html.encode())
    return uri
