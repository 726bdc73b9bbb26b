"""The contact sheet of a stand-in corpus: for a sample of its classes, what happens, in order, with its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fal_model.taxonomy import Node
from pipelines import page, pixels
from pipelines.standin import Event, StandinCorpus, StandinVideo
from pipelines.standin_classes import choose_classes, standin_taxonomy
from pipelines.standin_render import Frame, render_frames

NUM_CLASSES = 60
NUM_FRAMES = 8
HEIGHT_PX = 96
JPEG_QUALITY = 80
BLOCKS_SEARCHED = 4


@dataclass(frozen=True, slots=True)
class Example:
    """A class as one of its videos shows it.

    Attributes:
        node: The class.
        video: The video.
        event: The occurrence in it.
        pictures: Frames at equal distances from its beginning to its end, as they were drawn.
    """

    node: Node
    video: StandinVideo
    event: Event
    pictures: tuple[Frame, ...]


def contact_sheet(corpus: StandinCorpus) -> str:
    """Return a page for people, as HTML: at most ``NUM_CLASSES`` classes, evenly chosen, both of a pair together."""
    pixels.use_one_thread()  # pictures as small as these are drawn faster by one
    classes = choose_classes(corpus.classes)
    pairs = [classes[i : i + 2] for i in range(0, len(classes), 2)]
    step = max(1, -(-len(classes) // NUM_CLASSES))
    found = examples(corpus, [leaf for pair in pairs[::step] for leaf in pair])
    rows = [
        {
            "example": example,
            "pictures": [page.picture(pixels.encode_jpeg(_small(p), JPEG_QUALITY)) for p in example.pictures],
            "size_px": (round(HEIGHT_PX * example.video.width_px / example.video.height_px), HEIGHT_PX),
        }
        for example in found
    ]
    return page.render("contact_sheet.html", ["contact_sheet.css"], corpus=corpus, rows=rows)


def examples(corpus: StandinCorpus, leaves: Iterable[str]) -> list[Example]:
    """Draw an example of each class, from the training videos.

    Args:
        corpus: The corpus.
        leaves: Which of its classes.
    """
    taxonomy, wanted = standin_taxonomy(corpus.classes), list(leaves)
    # Any run of as many videos as there are classes shows all of them; a few more give most of them a video alone.
    num_planned = min(BLOCKS_SEARCHED * corpus.classes, corpus.count("train"))
    planned = [corpus.video("train", index) for index in range(num_planned)]
    shown: dict[str, tuple[StandinVideo, Event]] = {}
    for video in sorted(planned, key=lambda video: len(video.events)):
        for event in video.events:
            shown.setdefault(event.label, (video, event))
    return [Example(taxonomy.nodes[taxonomy.index(leaf)], *shown[leaf], _pictures(*shown[leaf])) for leaf in wanted]


def _pictures(video: StandinVideo, event: Event) -> tuple[Frame, ...]:
    frames = list(render_frames(video))
    # Frames in the middle of equal parts: all of them lie inside the event.
    wanted_s = event.start_s + (np.arange(NUM_FRAMES) + 0.5) / NUM_FRAMES * (event.end_s - event.start_s)
    return tuple(frames[int(np.abs(video.times_s - time_s).argmin())] for time_s in wanted_s)


def _small(picture: Frame) -> Frame:
    height_px, width_px = picture.shape[:2]
    return pixels.resize(picture, HEIGHT_PX, round(HEIGHT_PX * width_px / height_px))
