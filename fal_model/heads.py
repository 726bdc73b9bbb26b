"""Heads: which classes the clip holds, which each frame holds, and an embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.attention import Mlp, layer_norm
from fal_model.batch import ModelOutput
from fal_model.config import ModelConfig
from fal_model.hierarchy import Hierarchy
from fal_model.pyramid import Places
from fal_model.taxonomy import Taxonomy


class Heads(nn.Module):
    """Hierarchical classification, temporal localization and embedding from frame features.

    What frames as wholes say of the clip's classes is read linearly from its embedding, so the embedding is trained
    whenever the classes are.
    """

    def __init__(self, config: ModelConfig, taxonomy: Taxonomy) -> None:
        super().__init__()
        width, num_classes = config.width, len(taxonomy)
        self.time_TD = nn.Parameter(torch.zeros(config.clip.num_frames, width))
        self.mlp_norm = layer_norm(width)
        self.mlp = Mlp(width)
        self.frame_norm = layer_norm(width)
        self.frame_classes = nn.Linear(width, num_classes)
        self.attend = nn.Linear(width, 1, bias=False)  # softmax ignores what is added to all of its inputs
        self.filter_TD = nn.Parameter(torch.zeros(config.clip.num_frames, width))
        self.project = nn.Linear(width, config.embedding_dim)
        self.embedding_norm = layer_norm(config.embedding_dim)
        self.clip_classes = nn.Linear(config.embedding_dim, num_classes)
        self.context = nn.Linear(config.embedding_dim, width)
        self.borders = nn.Linear(width, 2 * (1 + len(taxonomy.leaves)))
        self.drop = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, frame_BTD: Tensor, places: Places | None = None) -> ModelOutput:
        """Return logits [B, K], frame logits [B, T, K], unit embeddings [B, E] and border offsets [B, T, L, 2].

        Args:
            frame_BTD: Frame features.
            places: What the places of the pyramid say: their logits are added to those of the frames as wholes.
        """
        if places is not None:
            frame_BTD = frame_BTD + places.frame_BTD
        # What a frame shows means something else early than late: up, then down is not down, then up.
        timed_BTD = self.mlp_norm(frame_BTD) + self.time_TD
        frame_BTD = self.frame_norm(frame_BTD + self.mlp(timed_BTD))
        weight_BT1 = self.attend(frame_BTD).softmax(dim=1)
        # Attention finds the frames that matter, wherever they are; the filters tell their order: up, then down from
        # down, then up. Each channel has its own weights over time, so order is linear and learned early.
        clip_BD = (frame_BTD * (weight_BT1 + self.filter_TD)).sum(dim=1)
        clip_BE = self.embedding_norm(self.project(clip_BD))
        # A frame says when; which of two mirrored actions it is part of, the clip knows.
        placed_BTD = self.drop(frame_BTD + self.context(clip_BE)[:, None])
        logits_BK, frame_logits_BTK = self.clip_classes(self.drop(clip_BE)), self.frame_classes(placed_BTD)
        if places is not None:
            logits_BK = logits_BK + places.logits_BK.to(logits_BK.dtype)
            frame_logits_BTK = frame_logits_BTK + places.frame_logits_BTK.to(logits_BK.dtype)
        return ModelOutput(
            logits_BK=logits_BK,
            frame_logits_BTK=frame_logits_BTK,
            embedding_BE=F.normalize(clip_BE.float(), dim=-1),
            offsets_BTL2=self._offsets(placed_BTD),
        )

    def _offsets(self, placed_BTD: Tensor) -> Tensor:
        """Return distances from each frame to the borders of each leaf class, strata, [B, T, L, 2], 0 to 1.

        What all classes have in common is learned from all of them, and only the rest from each.
        """
        each_BTL2 = self.borders(placed_BTD).float().unflatten(-1, (self.borders.out_features // 2, 2))
        offsets_BTL2: Tensor = (each_BTL2[:, :, :1] + each_BTL2[:, :, 1:]).sigmoid()
        return offsets_BTL2


def prior_logits(taxonomy: Taxonomy) -> list[float]:
    """Give each class the logit of 1 in its number of siblings: what to say before anything is learned."""
    logits: list[float] = Hierarchy.of(taxonomy).share_K.logit().tolist()
    return logits
