import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fal_model.batch import ClipBatch, Targets, multi_hot
from tests.helpers.micro import micro_batch, small_tree


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "frames_BTCHW",
            lambda x: x.float(),
            r"frames: got torch.float32 \[2, 3, 3, 40, 40\], must be uint8 \[B, T, 3",
        ),
        ("frames_BTCHW", lambda x: x[:, :, :2], r"frames: got torch.uint8 \[2, 3, 2, 40, 40\]"),
        (
            "flow_BTCHW",
            lambda x: x.int(),
            r"flow: got torch.int32 \[2, 3, 2, 12, 12\], must be floating point \[B, T, 2",
        ),
        ("flow_BTCHW", lambda x: x[0], r"flow: got torch.float32 \[3, 2, 12, 12\]"),
        ("flow_BTCHW", lambda x: x[:, :2], r"flow: got \[2, 2\] clips and frames, must be \[2, 3\]"),
        ("flow_valid_BT", lambda x: x[:, :1], r"flow_valid: got torch.bool \[2, 1\], must be bool \[2, 3\]"),
        ("flow_valid_BT", lambda x: x.int(), r"flow_valid: got torch.int32 \[2, 3\], must be bool"),
    ],
)
def test_a_batch_checks_itself(name: str, change: Callable[[Tensor], Tensor], message: str) -> None:
    batch, _ = micro_batch(2)
    with pytest.raises(ValueError, match=message):
        replace(batch, **{name: change(getattr(batch, name))})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "labels_BK",
            lambda x: x[:, :3],
            r"labels_BK and frame_labels_BTK: got \(2, 3\) and \(2, 3, 7\), must be \[B, K\]",
        ),
        ("frame_labels_BTK", lambda x: x[0], r"got \(2, 7\) and \(3, 7\), must be"),
        ("frame_known_BT", lambda x: x[:, :1], r"got \(2,\) and \(2, 1\), must be \(2,\) and \(2, 3\)"),
        ("label_known_B", lambda x: x[:1], r"got \(1,\) and \(2, 3\), must be \(2,\) and \(2, 3\)"),
        ("labels_BK", lambda x: x.int(), "labels: got torch.int32 and torch.float32, must be floating point"),
        ("label_known_B", lambda x: x.int(), "known: got torch.int32 and torch.bool, must be bool"),
        (
            "offsets_BTL2",
            lambda x: x[..., 0],
            r"offsets_BTL2 and offset_known_BTL: got \(2, 3, 4\) and \(2, 3, 4\), must be \[2, 3, L, 2\]",
        ),
        ("offset_known_BTL", lambda x: x[:, :2], r"got \(2, 3, 4, 2\) and \(2, 2, 4\), must be \[2, 3, L, 2\]"),
        ("offsets_BTL2", lambda x: x.int(), "offsets: got torch.int32 and torch.bool, must be floating point and bool"),
        ("offset_known_BTL", lambda x: x.int(), "offsets: got torch.float32 and torch.int32, must be floating"),
    ],
)
def test_targets_check_themselves(name: str, change: Callable[[Tensor], Tensor], message: str) -> None:
    _, targets = micro_batch(2)
    with pytest.raises(ValueError, match=message):
        replace(targets, **{name: change(getattr(targets, name))})


def test_ancestors_are_added() -> None:
    taxonomy = small_tree()
    rows = multi_hot([[taxonomy.index("golf")], [taxonomy.index("news"), taxonomy.index("water")], []], taxonomy)
    assert rows.tolist() == [[1, 0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0, 0, 0], [0] * 7]


@pytest.mark.parametrize("index", [-1, 7])
def test_a_class_outside_the_tree_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"class index: got {index}, must be from 0 to 6"):
        multi_hot([[index]], small_tree())


@pytest.mark.parametrize("index", ["golf", 1.5, None, True, False])
def test_a_class_is_a_number(index: Any) -> None:
    with pytest.raises(ValueError, match=f"class index: got {index!r}, must be from 0 to 6"):
        multi_hot([[index]], small_tree())


def test_soft_labels_are_targets_and_what_is_no_probability_is_not() -> None:
    _, targets = micro_batch(2)
    soft = replace(targets, labels_BK=0.3 * targets.labels_BK)
    assert soft.labels_BK.max() == pytest.approx(0.3)
    for name in ("labels_BK", "frame_labels_BTK"):
        for factor in (1.5, -0.5, math.nan):
            with pytest.raises(ValueError, match=f"{name}: got values from .*, must be from 0 to 1"):
                replace(targets, **{name: factor * getattr(targets, name)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_known_borders_are_distances_and_unknown_ones_are_not_looked_at(value: float) -> None:
    _, targets = micro_batch(2)
    offsets = targets.offsets_BTL2.clone()
    offsets[~targets.offset_known_BTL] = value
    targets = replace(targets, offsets_BTL2=offsets)
    assert targets.offset_known_BTL[1, 2, 1]
    offsets[1, 2, 1, 0] = value
    with pytest.raises(ValueError, match=f"offsets_BTL2: got {value:g} where it is known, must be finite and ≥ 0"):
        replace(targets, offsets_BTL2=offsets)


def test_a_batch_knows_where_its_flow_holds() -> None:
    batch, _ = micro_batch(2)
    nothing: Any = None
    with pytest.raises(ValueError, match="flow_valid: got a NoneType, must be a dense torch tensor"):
        replace(batch, flow_valid_BT=nothing)
    batch.flow_BTCHW[1, 0] = math.nan
    with pytest.raises(ValueError, match="flow: got nan in clip 1, frame 0, must be finite"):
        replace(batch)
    valid = batch.flow_valid_BT.clone()
    valid[1, 0] = False
    assert len(replace(batch, flow_valid_BT=valid)) == 2


def test_unknown_labels_are_marked() -> None:
    targets = Targets.from_labels([[1], None], [None, [[0], []]], small_tree(), 2)
    assert targets.label_known_B.tolist() == [True, False]
    assert targets.frame_known_BT.tolist() == [[False, False], [True, True]]
    assert targets.labels_BK.sum(dim=1).tolist() == [1, 0]
    assert targets.frame_labels_BTK.sum(dim=2).tolist() == [[0, 0], [1, 0]]


def test_no_clips_are_targets_too() -> None:
    targets = Targets.from_labels([], [], small_tree(), 3)
    assert targets.frame_labels_BTK.shape == (0, 3, 7)


def test_counts_must_agree() -> None:
    with pytest.raises(ValueError, match="frame_labels: got 0 clips, must be 1 as in labels"):
        Targets.from_labels([[1]], [], small_tree(), 2)
    with pytest.raises(ValueError, match="frame_labels: got 1 frames, must be 2"):
        Targets.from_labels([[1]], [[[1]]], small_tree(), 2)
    with pytest.raises(ValueError, match="spans: got 0 clips, must be 1 as in labels"):
        Targets.from_labels([[1]], [[[1], [1]]], small_tree(), 2, [])


def test_slices_and_devices() -> None:
    batch, targets = micro_batch(4)
    assert len(batch) == 4
    part, truth = batch.slice(1, 3), targets.slice(1, 3)
    assert torch.equal(part.frames_BTCHW, batch.frames_BTCHW[1:3])
    assert torch.equal(truth.labels_BK, targets.labels_BK[1:3])
    assert batch.to("meta").flow_valid_BT.device.type == "meta"
    assert targets.to("meta").frame_known_BT.device.type == "meta"
    assert isinstance(batch.to("cpu", non_blocking=True), ClipBatch)
