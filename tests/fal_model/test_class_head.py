"""A head: what it says, and that what is read is what was written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fal_model.calibration import Calibration, Scaling
from fal_model.class_head import HEAD_FILE, WEIGHTS_FILE, ClassHead
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.taxonomy import Node, Taxonomy

TREE = Taxonomy([Node("animal", "Animal"), Node("cat", "Cat", "animal"), Node("dog", "Dog", "animal")])
WEIGHT_KE = np.arange(12, dtype=np.float32).reshape(3, 4)
BIAS_K = np.array([1, 0, -1], np.float32)


def head(**other: Any) -> ClassHead:
    values: dict[str, Any] = {"calibration": Calibration(abstain_below=0.2), "weight_KE": WEIGHT_KE, "bias_K": BIAS_K}
    return ClassHead(taxonomy=TREE, model_weights_id="w", **(values | other))


def test_logits_are_linear_in_the_embedding() -> None:
    logits_NK = head().logits(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2]], np.float32))
    assert logits_NK.tolist() == [[1, 0, -1], [1, 4, 7], [7, 14, 21]]
    with pytest.raises(ValueError, match=r"embedding_NE: got \[2, 3\], must be \[N, 4\]"):
        head().logits(np.zeros((2, 3), np.float32))


def test_what_is_read_is_what_was_written() -> None:
    written = head()
    read = ClassHead.from_files(written.to_files(), "here")
    assert read.head_id == written.head_id
    assert read.to_files() == written.to_files()
    assert (read.taxonomy.nodes, read.calibration, read.embedding_dim) == (TREE.nodes, written.calibration, 4)
    assert np.array_equal(read.weight_KE, WEIGHT_KE)
    assert np.array_equal(read.bias_K, BIAS_K)


def test_the_id_changes_with_everything_that_decides() -> None:
    calibrated = head().with_calibration(Calibration(clip=(Scaling(bias=1.0),)))
    others = [head(weight_KE=WEIGHT_KE + 1), head(bias_K=BIAS_K + 1), calibrated]
    assert len({head().head_id, *(other.head_id for other in others)}) == 4
    assert head().head_id == head().head_id


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"weight_KE": WEIGHT_KE[:2]}, r"got weights and biases float32 \[2, 4\] and float32 \[3\], must be float32"),
        ({"weight_KE": WEIGHT_KE[0]}, r"got weights and biases float32 \[4\]"),
        ({"bias_K": BIAS_K.astype(np.float64)}, r"float64 \[3\], must be float32 \[3, numbers of an embedding\]"),
        ({"bias_K": np.array([0, np.nan, 0], np.float32)}, "head: its weights are not all finite"),
        ({"calibration": Calibration(thresholds={"cow": 0.5})}, "cow: no such class in the taxonomy"),
    ],
)
def test_what_does_not_fit_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        head(**other)


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(head().to_files()[HEAD_FILE]) | values).encode()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({WEIGHTS_FILE: None}, "here: no head is there: it has no head.safetensors"),
        ({WEIGHTS_FILE: None, HEAD_FILE: None}, "no head is there: it has no head.json and no head.safetensors"),
        ({HEAD_FILE: b"{"}, "here/head.json: not JSON"),
        ({HEAD_FILE: b"[]"}, "here/head.json: got a list, must be a JSON object"),
        ({HEAD_FILE: changed(format_version=2)}, "format_version: got 2, must be 1"),
        (
            {HEAD_FILE: b'{"format_version": 1, "taxonomy": {}}'},
            "model_weights_id, weights_sha256, calibration: missing",
        ),
        ({WEIGHTS_FILE: b"12345678"}, "head.safetensors: damaged, or of another head.json: it has other bytes"),
        ({HEAD_FILE: changed(taxonomy={"nodes": [{"id": "cow"}]})}, "here: damaged: head: got weights and biases"),
        ({HEAD_FILE: changed(calibration={})}, "here: damaged: calibration.abstain_below: missing"),
    ],
)
def test_damaged_files_are_refused(files: dict[str, bytes | None], said: str) -> None:
    given = {name: data for name, data in (head().to_files() | files).items() if data is not None}
    with pytest.raises(ModelLoadError, match=said):
        ClassHead.from_files(given, "here")


def test_tensors_that_are_none_are_refused() -> None:
    import hashlib

    from safetensors.numpy import save

    for data, said in ((b"no tensors", "here: damaged: head.safetensors: "), (save({"a": BIAS_K}), "'weight_KE'")):
        of_other = changed(weights_sha256=hashlib.sha256(data).hexdigest())
        with pytest.raises(ModelLoadError, match=said):
            ClassHead.from_files({HEAD_FILE: of_other, WEIGHTS_FILE: data}, "here")
