"""What ``bench/ablation.py`` compares: the model, the model without one of its parts, and models of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench.ablation_data import COARSE, EVENT_SET
from bench.ablation_peers import ALONE, PEERS, fitted
from fal_model.config import LossConfig, ModelConfig
from fal_model.spec import Sampling
from fal_model.taxonomy import Taxonomy

FULL = "full"
TOKENS = "tokens: "
UNIFORM = "uniform instead of key moments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: all that makes its model and data differ from those of the other lines.

    Attributes:
        name: What the table says.
        config: Sizes and input contract; the contract also names the way frames were chosen.
        loss: Weights of the losses.
        peer: Whose encoder, one of ``PEERS``; empty for ours.
    """

    name: str
    config: ModelConfig
    loss: LossConfig = field(default_factory=LossConfig)
    peer: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"config": self.config.to_dict(), "loss": asdict(self.loss), "peer": self.peer}


def rows(data: str, base: ModelConfig, taxonomy: Taxonomy, layouts: Mapping[str, ModelConfig]) -> list[Row]:
    """List the rows of a data set.

    Args:
        data: One of ``ablation_data.DATA_SETS``.
        base: Sizes of the full model, with the input contract of the data set.
        taxonomy: The label tree, which decides the size of the classifiers.
        layouts: Sizes with other arrangements of tokens, by name; they get the input contract of the data set.
    """
    uniform = replace(base, clip=replace(base.clip, sampling=Sampling.UNIFORM))
    ours = [Row(name=FULL, config=base), Row(name=UNIFORM, config=uniform)]
    if data == EVENT_SET:
        return [*ours, _peer(ALONE, base, taxonomy)]
    no_tree = Row(name="without hierarchy loss", config=base, loss=replace(LossConfig(), hierarchy_weight=0.0))
    if data == COARSE:
        return [ours[0], no_tree]
    return [
        ours[0],
        Row(name="without flow", config=replace(base, motion_depth=0)),
        Row(name="without fusion", config=replace(base, fusion_depth=0)),
        Row(name="without pyramid", config=replace(base, pyramid_width=0)),
        *([no_tree] if max(taxonomy.levels) else []),
        ours[1],
        *(Row(name=f"{TOKENS}{name}", config=replace(sizes, clip=base.clip)) for name, sizes in layouts.items()),
        *(_peer(peer, base, taxonomy) for peer in PEERS),
    ]


def _peer(peer: str, base: ModelConfig, taxonomy: Taxonomy) -> Row:
    return Row(name=peer, config=fitted(peer, base, taxonomy), peer=peer)
