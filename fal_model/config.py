"""What a model is made of and how it is trained: checked dataclasses, readable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems
from fal_model.spec import ClipSpec

MAX_DEPTH = 64
"""Blocks of one stage."""

NUM_PYRAMID_SCALES = 3
"""Stages of the encoder, and so scales of the feature pyramid."""


class Activation(StrEnum):
    """What the MLPs of the encoder do between their layers.

    Attributes:
        GELU: x·Φ(x), exact.
        QUICK_GELU: x·sigmoid(1.702·x); the weights of CLIP are made for it.
    """

    GELU = "gelu"
    QUICK_GELU = "quick_gelu"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes of every part. The number of classes is not here: it comes from the taxonomy.

    Attributes:
        clip: Input contract.
        patch_px: Edge of the square patch that becomes one token, pixels; divides ``clip.size_px``.
        width: Channels of a token, in every stage and in the motion stream.
        num_heads: Attention heads; divides ``width``.
        stage_depths: Blocks per encoder stage; between stages 2×2 neighbouring tokens are merged into one.
        has_frame_token: Give each frame a token of its own beside its patches: the class token of image models.
        has_input_norm: Normalise tokens before the first block; CLIP does.
        activation: Of the encoder's MLPs.
        motion_depth: Blocks of the optical-flow stream; 0 leaves the stream out and flow is ignored.
        fusion_depth: Blocks that fuse appearance with motion patch by patch; 0 leaves that out. The mean motion
            of each frame is added before the heads either way.
        pyramid_width: Channels of the feature pyramid; 0 uses the coarsest stage alone.
        embedding_dim: Length of the clip embedding.
        dropout: Share of the values dropped on residual branches during training.
    """

    clip: ClipSpec = field(default_factory=ClipSpec)
    patch_px: Annotated[int, Range(ge=4, le=64)] = 16
    width: Annotated[int, Range(ge=8, le=4096)] = 768
    num_heads: Annotated[int, Range(ge=1, le=64)] = 12
    stage_depths: tuple[int, ...] = (4, 16, 4)
    has_frame_token: bool = True
    has_input_norm: bool = False
    activation: Activation = Activation.GELU
    motion_depth: Annotated[int, Range(ge=0, le=64)] = 4
    fusion_depth: Annotated[int, Range(ge=0, le=64)] = 9
    pyramid_width: Annotated[int, Range(ge=0, le=4096)] = 512
    embedding_dim: Annotated[int, Range(ge=8, le=4096)] = 512
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if not _are_depths(self.stage_depths):
            problems.append(
                f"stage_depths: got {self.stage_depths!r}, "
                f"must be {NUM_PYRAMID_SCALES} whole numbers from 1 to {MAX_DEPTH}"
            )
        problems += [
            f"{name}: got {getattr(self, name)!r}, must be {text}"
            for name, kind, text in (
                ("activation", Activation, "an Activation"),
                ("clip", ClipSpec, "a ClipSpec"),
            )
            if not isinstance(getattr(self, name), kind)
        ]
        if not problems and self.width % self.num_heads:
            problems.append(f"width: got {self.width}, must be a multiple of num_heads ({self.num_heads})")
        if not problems and self.width % 4:
            problems.append(f"width: got {self.width}, must be a multiple of 4")
        if not problems and self.clip.size_px % self.patch_px:
            problems.append(f"patch_px: got {self.patch_px}, must divide clip.size_px ({self.clip.size_px})")
        if problems:
            raise ConfigError([f"model.{p}" for p in problems])

    @property
    def grids(self) -> tuple[int, ...]:
        """Return the edge of the token grid of each stage; odd grids are padded before they are merged."""
        edges = [self.clip.size_px // self.patch_px]
        for _ in self.stage_depths[1:]:
            edges.append(-(-edges[-1] // 2))
        return tuple(edges)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self) | {
            "clip": self.clip.to_dict(),
            "stage_depths": list(self.stage_depths),
            "activation": self.activation.value,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: unknown or missing fields, wrong types, or values out of range; all are listed.
        """
        if not isinstance(data, dict):
            raise ConfigError([f"model: got {data!r}, must be a mapping"])
        known = {f.name for f in fields(cls)}
        problems = [f"model.{k}: unknown field" for k in sorted(set(data) - known)]
        problems += [f"model.{k}: missing" for k in sorted(known - set(data))]
        problems += [
            f"model.{key}: got {data[key]!r}, must be {text}"
            for key, kind, text in (("clip", dict, "a mapping"), ("stage_depths", list | tuple, "a list"))
            if key in data and not isinstance(data[key], kind)
        ]
        names = [a.value for a in Activation]
        if data.get("activation", "gelu") not in names:
            problems.append(f"model.activation: got {data['activation']!r}, must be one of {names}")
        if problems:
            raise ConfigError(problems)
        parsed = {
            "clip": ClipSpec.from_dict(data["clip"]),
            "stage_depths": tuple(data["stage_depths"]),
            "activation": Activation(data["activation"]),
        }
        return cls(**(data | parsed))


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights of the losses, 0 leaves one out; and how they treat hard, easy and doubtful labels.

    With ``positive_focus``, ``negative_focus`` and ``negative_margin`` at 0 the cross-entropies are plain, and scores
    are probabilities; otherwise they rank better where true classes are rare, and need calibration to be probabilities.

    Attributes:
        hierarchy_weight: Conditional binary cross-entropy over all classes of the tree; makes scores probabilities.
        leaf_weight: Cross-entropy among the leaves; ranks them.
        frame_weight: Conditional binary cross-entropy of each frame; says when.
        boundary_weight: Smooth L1 of where between two frames something begins and ends.
        embedding_weight: Contrast between clips of like and unlike labels; brings like clips together for search.
        label_smoothing: Share of the target that is spread: over all leaves, and over yes and no as siblings are.
        embedding_temperature: Cosine similarities are divided by it; the smaller, the more the nearest clips count.
        positive_focus: Exponent by which classes that hold and are scored high count less.
        negative_focus: The same for classes that do not hold and are scored low.
        negative_margin: A class that does not hold and is scored below this counts nothing.
    """

    hierarchy_weight: Annotated[float, Range(ge=0, le=100)] = 1.0
    leaf_weight: Annotated[float, Range(ge=0, le=100)] = 1.0
    frame_weight: Annotated[float, Range(ge=0, le=100)] = 0.5
    boundary_weight: Annotated[float, Range(ge=0, le=100)] = 0.5
    embedding_weight: Annotated[float, Range(ge=0, le=100)] = 0.1
    label_smoothing: Annotated[float, Range(ge=0, lt=1)] = 0.0
    embedding_temperature: Annotated[float, Range(ge=0.01, le=10)] = 0.1
    positive_focus: Annotated[float, Range(ge=0, le=10)] = 0.0
    negative_focus: Annotated[float, Range(ge=0, le=10)] = 0.0
    negative_margin: Annotated[float, Range(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if not problems and self.hierarchy_weight + self.leaf_weight + self.frame_weight <= 0:
            problems.append("hierarchy_weight, leaf_weight and frame_weight: all are 0, one must be greater")
        if problems:
            raise ConfigError([f"train.loss.{p}" for p in problems])


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How weights are learned: AdamW, linear warm-up, cosine decay.

    Attributes:
        learning_rate: Highest learning rate.
        min_lr_share: Share of it that is left at the last step.
        warmup_steps: Steps of linear rise at the start.
        total_steps: Steps of the whole schedule; it stays at its end beyond them.
        weight_decay: AdamW's decay of weight matrices; biases, norms and positions are left alone.
        beta1: AdamW's memory of the gradient.
        beta2: AdamW's memory of its square.
        grad_clip: Longest gradient over all weights; 0 does not clip.
        micro_batch: Clips per forward pass; a larger batch is accumulated. 0 takes every batch whole.
        is_bf16: Compute in bfloat16 where that is safe; weights stay float32.
        is_recomputed: Keep only what goes into each block and compute the block again for its gradient: much less
            memory for about a third more compute.
        is_compiled: Compile the model with ``torch.compile``; the first steps take minutes, the others are faster.
        ema_decay: Share kept per step by the moving average of the weights that is evaluated and stored; 0 has none.
        max_bad_steps: Steps in a row whose gradient may be infinite or NaN; they are skipped.
        seed: Of first weights, order of data and dropout.
        loss: Weights of the losses.
    """

    learning_rate: Annotated[float, Range(gt=0, le=1)] = 1e-4
    min_lr_share: Annotated[float, Range(ge=0, le=1)] = 0.01
    warmup_steps: Annotated[int, Range(ge=0)] = 100
    total_steps: Annotated[int, Range(ge=1)] = 1000
    weight_decay: Annotated[float, Range(ge=0, le=1)] = 0.05
    beta1: Annotated[float, Range(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Range(ge=0, lt=1)] = 0.98
    grad_clip: Annotated[float, Range(ge=0)] = 1.0
    micro_batch: Annotated[int, Range(ge=0)] = 0
    is_bf16: bool = False
    is_recomputed: bool = False
    is_compiled: bool = False
    ema_decay: Annotated[float, Range(ge=0, lt=1)] = 0.0
    max_bad_steps: Annotated[int, Range(ge=0, le=10_000)] = 10
    seed: Annotated[int, Range(ge=0, lt=2**31)] = 0
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        problems = range_problems(self)
        has_losses = isinstance(self.loss, LossConfig)
        if not has_losses:
            problems.append(f"loss: got {self.loss!r}, must be a LossConfig")
        if not problems and self.warmup_steps > self.total_steps:
            problems.append(f"warmup_steps: got {self.warmup_steps}, must be at most total_steps ({self.total_steps})")
        if problems:
            raise ConfigError([f"train.{p}" for p in problems])


def _are_depths(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == NUM_PYRAMID_SCALES and all(_is_depth(depth) for depth in value)


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_DEPTH
