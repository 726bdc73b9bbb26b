"""The model: frames and flow in; class logits for clip and frames, and an embedding, out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fal_model.batch import ModelOutput, check_clips
from fal_model.calibration import Calibration
from fal_model.config import ModelConfig
from fal_model.encoder import VideoEncoder
from fal_model.fusion import TemporalFusion
from fal_model.heads import Heads, prior_logits
from fal_model.motion import MotionStream
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import preset
from fal_model.pretrained import ModelMeta, locate, read_meta, read_weights, weights_id, write_model
from fal_model.pyramid import FeaturePyramid
from fal_model.taxonomy import Taxonomy

INIT_GAIN = 0.55
"""Weights start with a deviation of this over the root of their inputs: 0.02 at width 768."""

STEM_GAIN = 1.6
"""Three convolutions in a row must not make motion fainter: it would drown in the positions added to it. A norm would
do the same but take away how fast things move."""

POSITION_STD = 0.2
ALIGNMENT = 64
"""Bytes: where torch itself lets a tensor begin."""
CLASSIFIER_STD = 0.01


class FALModel(nn.Module):
    """Label clips of video.

    Args:
        config: Sizes and input contract.
        taxonomy: The label tree; decides the number of classes K.
        calibration: How logits become scores; kept with the model, not applied by ``forward``.

    Raises:
        ValueError: something else than a config or a taxonomy was given.
    """

    def __init__(self, config: ModelConfig, taxonomy: Taxonomy, calibration: Calibration | None = None) -> None:
        super().__init__()
        for name, value, kind in (("config", config, ModelConfig), ("taxonomy", taxonomy, Taxonomy)):
            is_fine = isinstance(value, kind)
            if not is_fine:
                raise ValueError(f"{name}: got {value!r}, must be a {kind.__name__}")
        self.config = config
        self.taxonomy = taxonomy
        self.calibration = calibration or Calibration()
        self.encoder = VideoEncoder(config)
        self.motion = MotionStream(config) if config.motion_depth else None
        self.fusion = TemporalFusion(config)
        self.pyramid = FeaturePyramid(config, len(taxonomy)) if config.pyramid_width else None
        self.heads = Heads(config, taxonomy)
        _initialise(self)

    def forward(self, frames: Tensor, flow: Tensor, flow_valid: Tensor | None = None) -> ModelOutput:
        """Say what B clips show.

        Args:
            frames: RGB, uint8 [B, T, 3, H, W] of the size in ``config.clip``.
            flow: (u, v), frame pixels per flow step, floating point [B, T, 2, h, w].
            flow_valid: Where flow is known, bool [B, T]; None means everywhere. Elsewhere flow is never looked at.

        Returns:
            Logits [B, K] and [B, T, K], conditional on each class's parent, unit embeddings [B, E], and how far the L
            leaf classes' borders are from each frame, strata from 0 to 1 [B, T, L, 2]; of no clips, when B is 0.

        Raises:
            ValueError: a wrong shape, type or device; and, looked at on the CPU only, flow that is NaN, infinite or
                out of range.
        """
        self._check(frames, flow, flow_valid)
        if flow_valid is None:
            flow_valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        x_BTPD, token_BTD = self.encoder(frames)
        motion_BTMD = self.motion(flow, flow_valid) if self.motion is not None else None
        frame_BTD = self.fusion(x_BTPD, token_BTD, motion_BTMD)
        places = self.pyramid(frames, flow, flow_valid) if self.pyramid is not None else None
        output: ModelOutput = self.heads(frame_BTD, places)
        return output

    def _check(self, frames: Tensor, flow: Tensor, flow_valid: Tensor | None) -> None:
        check_clips(frames, flow, flow_valid)
        clip = self.config.clip
        want = [clip.num_frames, 3, clip.size_px, clip.size_px]
        if list(frames.shape[1:]) != want:
            raise ValueError(f"frames: got {list(frames.shape)}, must be [B, {str(want)[1:]} for this model")
        want = [clip.num_frames, 2, clip.flow_size_px, clip.flow_size_px]
        if list(flow.shape[1:]) != want:
            raise ValueError(f"flow: got {list(flow.shape)}, must be [B, {str(want)[1:]} for this model")
        device = self.heads.filter_TD.device
        if frames.device != device:
            raise ValueError(f"frames: got a tensor on {frames.device}, must be on {device} as the model")

    def example_inputs(self, batch_size: int, seed: int = 0) -> dict[str, Tensor]:
        """Make random valid inputs, the arguments of :meth:`forward` by name.

        Args:
            batch_size: Clips, ≥ 0.
            seed: The same seed gives the same inputs.

        Raises:
            ValueError: ``batch_size`` is no such number.
        """
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 0:
            raise ValueError(f"batch_size: got {batch_size!r}, must be a whole number from 0")
        clip = self.config.clip
        device = next(self.parameters()).device
        dice = torch.Generator().manual_seed(seed)
        shape = (batch_size, clip.num_frames)
        frames = torch.randint(0, 256, (*shape, 3, clip.size_px, clip.size_px), dtype=torch.uint8, generator=dice)
        flow = 4 * torch.randn(*shape, 2, clip.flow_size_px, clip.flow_size_px, generator=dice)
        valid = torch.ones(shape, dtype=torch.bool)
        return {"frames": frames.to(device), "flow": flow.to(device), "flow_valid": valid.to(device)}

    @property
    def model_id(self) -> str:
        """Content hash of weights, sizes, taxonomy and calibration, 16 hex digits. Reads all weights: keep it."""
        return self.meta().model_id

    def meta(self) -> ModelMeta:
        """Return everything about the model but its weights, of which it gives the hash. Reads all weights."""
        return ModelMeta(self.config, self.taxonomy, self.calibration, weights_id(self.state_dict()))

    @classmethod
    def from_preset(cls, name: str, taxonomy: Taxonomy | None = None) -> FALModel:
        """Make an untrained model of a named size.

        Args:
            name: One of ``presets.PRESET_NAMES``, such as ``fal-375m`` or ``fal-nano``.
            taxonomy: The label tree; by default Open FAL-500.

        Raises:
            ConfigError: no size of that name.
        """
        return cls(preset(name), taxonomy or open_fal_500())

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config, taxonomy, calibration and weights; nothing is left half written.

        Raises:
            OutputError: the directory cannot be written.
            ConfigError: the calibration is of another taxonomy.
        """
        write_model(directory, self.meta(), self.state_dict())

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> FALModel:
        """Load a model, on the CPU and in evaluation mode.

        Args:
            path_or_hub_id: A directory of :meth:`save_pretrained`, or "owner/name" on the Hugging Face hub.
            revision: Branch, tag or commit on the hub.
            cache_dir: Where downloads are kept.
            local_files_only: Never use the network.

        Raises:
            ModelLoadError: not found, damaged, of a newer version, or files that do not belong together.
        """
        folder = locate(path_or_hub_id, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        meta = read_meta(folder)
        with torch.device("meta"):
            model = cls(meta.config, meta.taxonomy, meta.calibration)
        state = read_weights(folder, model.state_dict(), meta.weights_id)
        # In the file a tensor begins where the one before ends; there, products of matrices are slower, and may differ
        # in the last bit from those of the model that was saved.
        aligned = {name: x if x.data_ptr() % ALIGNMENT == 0 else x.clone() for name, x in state.items()}
        model.load_state_dict(aligned, assign=True)
        return model.eval()


def parameter_budget(model: FALModel) -> dict[str, int]:
    """Count parameters per part; ``total`` comes last."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return parts | {"total": sum(p.numel() for p in model.parameters())}


@torch.no_grad()
def _initialise(model: FALModel) -> None:
    """Draw first weights from torch's global generator."""
    config = model.config
    depth = sum(config.stage_depths) + config.motion_depth + config.fusion_depth
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            # The last layer of a residual branch starts small, so that depth does not add up.
            gain = INIT_GAIN / depth**0.5 if name.endswith(".out") else INIT_GAIN
            if name.startswith("motion.stem."):
                gain = STEM_GAIN
            std = gain / module.weight[0].numel() ** 0.5
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, parameter in model.named_parameters():
        if name.endswith(("space_PD", "space_MD", "time_TD", "filter_TD", "no_flow_D", "frame_D")):
            nn.init.trunc_normal_(parameter, std=POSITION_STD, a=-2 * POSITION_STD, b=2 * POSITION_STD)
    heads = model.heads
    prior_K = torch.tensor(prior_logits(model.taxonomy))
    for classes in (heads.clip_classes, heads.frame_classes):
        nn.init.trunc_normal_(classes.weight, std=CLASSIFIER_STD, a=-1, b=1)
        classes.bias.copy_(prior_K)
    # A border that nothing is known about lies half-way between two frames.
    nn.init.trunc_normal_(heads.borders.weight, std=CLASSIFIER_STD, a=-1, b=1)
