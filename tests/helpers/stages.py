"""What every stage of an encoder gives, where the model itself uses the last alone."""

from __future__ import annotations

from torch import Tensor

from fal_model.encoder import VideoEncoder


def stage_features(encoder: VideoEncoder, frames_BTCHW: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """Return the tokens [B, T, P, D] after each stage, finest first, and the frame tokens [B, T, D] of the last."""
    found: list[Tensor] = []
    lasts = [list(stage.children())[-1] for stage in encoder.stages]
    hooks = [last.register_forward_hook(lambda _block, _inputs, output: found.append(output)) for last in lasts]
    _, token_BTD = encoder(frames_BTCHW)
    for hook in hooks:
        hook.remove()
    return [x_BTPD[:, :, encoder.num_frame_tokens :] for x_BTPD in found], token_BTD
