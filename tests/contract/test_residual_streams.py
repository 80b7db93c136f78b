"""Every residual stream with every modifier, position, MLP and block: causal with gradients everywhere, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.block import BLOCKS
from attnlab.mlp import MLPS
from attnlab.position import POSITIONS
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.specs import Modifiers, Part
from tests.builders import all_positions, model_of, tokens

MODIFIERS: list[dict[str, Any]] = [
    *({"canon": place} for place in ("A", "B", "C", "D", "ABCD")),
    {"exclusive": True},
    {"qk_norm": True, "gate": "head", "short_conv": 3, "value_residual": "learned", "canon": "ABCD", "exclusive": True},
]
CASES: list[dict[str, Any]] = [
    *({"modifiers": Modifiers(**modifiers)} for modifiers in MODIFIERS),
    *({"position": Part(name=entry.name)} for entry in POSITIONS),
    *({"mlp": (Part(name=entry.name),)} for entry in MLPS),
    *({"block": Part(name=entry.name)} for entry in BLOCKS),
    *({"attention": Part(name=entry.name)} for entry in ATTENTIONS),
    *(
        {"position": Part(name=name), "modifiers": Modifiers(canon="ABCD", exclusive=True)}
        for name in ("rotary", "alibi")
    ),
]


@pytest.mark.parametrize("stream", [entry.name for entry in RESIDUAL_STREAMS if entry.name != "plain"])
def test_a_stream_with_every_part_is_causal(stream: str) -> None:
    inputs_BT = tokens(1, 6)
    changed_BT = inputs_BT.clone()
    changed_BT[:, 4:] = (changed_BT[:, 4:] + 1) % 11
    for case in CASES:
        model = model_of(**case, residual_stream=Part(name=stream))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "residual_stream" in name:
                    weight.add_(torch.linspace(-1, 1, weight.numel(), dtype=weight.dtype).view_as(weight))
            before, after = (model(one, all_positions(one)).logits_NV for one in (inputs_BT, changed_BT))
        assert (before[:4] - after[:4]).abs().max() < 1e-12, case
        assert (before[4:] - after[4:]).abs().max() > 1e-6, case
