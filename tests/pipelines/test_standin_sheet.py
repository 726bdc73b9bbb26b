"""The contact sheet shows classes as their videos do, in order and with their names."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from pipelines.pixels import decode_jpeg
from pipelines.standin import StandinCorpus
from pipelines.standin_classes import choose_classes, partner_of, standin_taxonomy
from pipelines.standin_render import render_frames
from pipelines.standin_sheet import HEIGHT_PX, NUM_CLASSES, NUM_FRAMES, contact_sheet, examples

SMALL = StandinCorpus(classes=6, videos_per_class=3, picture="tiny", seed=3)


def test_examples_are_frames_of_the_event_in_order() -> None:
    found = examples(SMALL, choose_classes(6))

    assert [example.node.id for example in found] == list(choose_classes(6))
    for example in found:
        assert example.event in example.video.events
        assert example.event.label == example.node.id
        frames, times_s = list(render_frames(example.video)), example.video.times_s
        shown = [next(t for f, t in zip(frames, times_s, strict=True) if f is p or (f == p).all())
                 for p in example.pictures]  # fmt: skip
        assert len(shown) == NUM_FRAMES
        assert shown == sorted(shown)
        slack_s = 1 / example.video.fps
        assert example.event.start_s - slack_s <= shown[0] < shown[-1] <= example.event.end_s + slack_s


def test_the_page_has_every_class_of_a_small_corpus_with_its_pictures() -> None:
    text = contact_sheet(SMALL)

    taxonomy = standin_taxonomy(6)
    for leaf in choose_classes(6):
        node = taxonomy.nodes[taxonomy.index(leaf)]
        assert f"<strong>{node.name}</strong>" in text
        assert node.definition in text
    jpegs = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(jpegs) == 6 * NUM_FRAMES
    picture = decode_jpeg(base64.b64decode(jpegs[0]))
    assert picture.shape[0] == HEIGHT_PX
    assert np.std(picture) > 5
    assert "<script" not in text
    assert text == contact_sheet(SMALL)


@pytest.mark.parametrize("num_classes", [61, 500])
def test_the_page_of_a_large_corpus_shows_a_sample_in_pairs(num_classes: int) -> None:
    text = contact_sheet(StandinCorpus(classes=num_classes, videos_per_class=3, picture="tiny"))

    named = set(re.findall(r"<strong>([^<]+)</strong>", text))
    assert 25 <= len(named) <= NUM_CLASSES
    taxonomy = standin_taxonomy(num_classes)
    leaves = [n.id for n in taxonomy.nodes if n.name in named]
    assert [leaf for leaf in leaves if partner_of(leaf) not in leaves] in ([], [choose_classes(num_classes)[-1]])
    assert len({leaf.partition(".")[0] for leaf in leaves}) >= (50 if num_classes == 500 else 8)
