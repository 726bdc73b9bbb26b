"""What made a label is written down in the same words every time."""

from __future__ import annotations

import numpy as np
import pytest

from fal_model.errors import OutputError
from pipelines import receipts
from pipelines.receipts import Receipt

RECEIPT = Receipt({"ffmpeg": ["8"]}, {"torch": ["2"]}, 16, "w", "p")


def test_a_receipt_comes_back_as_it_was() -> None:
    assert Receipt.from_json(RECEIPT.to_json()) == RECEIPT


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"decoding": {}}', b'{"surprise": 1}'])
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(OutputError, match="the receipt of the file is damaged: "):
        Receipt.from_json(data)


def test_versions_of_many_workers_stand_side_by_side() -> None:
    met = receipts.gathered([{"b": "2", "a": "1"}, {"a": "3"}, {"a": "1"}])
    assert met == {"a": ["1", "3"], "b": ["2"]}
    assert list(met) == ["a", "b"]
    both = RECEIPT.with_other(Receipt({"ffmpeg": ["7"], "numpy": ["2"]}, {"torch": ["2"]}, 16, "w", "p"))
    assert both == Receipt({"ffmpeg": ["7", "8"], "numpy": ["2"]}, {"torch": ["2"]}, 16, "w", "p")


def test_everything_that_decodes_is_named() -> None:
    versions = receipts.decoding_versions()
    assert {"ffmpeg", "pyav", "opencv", "numpy", "libavcodec", "libavformat", "libswscale"} <= set(versions)
    assert versions["numpy"] == np.__version__


def test_the_digest_of_a_clip_changes_with_every_array() -> None:
    frames, flow, valid = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 2, 2, 2), np.int8), np.zeros(2, np.bool_)
    same = receipts.input_digest(frames, flow, valid)
    assert same == receipts.input_digest(frames.copy(), flow[:, ::-1], valid)  # not all of one piece in memory
    others = [
        receipts.input_digest(frames + 1, flow, valid),
        receipts.input_digest(frames, flow + 1, valid),
        receipts.input_digest(frames, flow, ~valid),
    ]
    assert len({same, *others}) == 4
    assert len(same) == 64
