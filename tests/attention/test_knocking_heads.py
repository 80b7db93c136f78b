"""Knocking heads: it starts as softmax attention, and always equals one whose maps are products."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.knocking_heads import KnockingHeads
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import noise, pair_of


@pytest.mark.parametrize("values_only", [False, True])
@pytest.mark.parametrize("position", ["none", "rotary", "alibi"])
def test_it_is_softmax_attention_with_the_products_of_the_maps(values_only: bool, position: str) -> None:
    part = Part(name="knocking-heads", options={"values_only": values_only})
    knocking, built_position = pair_of(part, Part(name=position))
    softmax, _ = pair_of(Part(name="softmax"), Part(name=position))
    assert isinstance(knocking, KnockingHeads)
    x = noise(2, 9, 8)
    softmax.load_state_dict({n: w for n, w in knocking.state_dict().items() if not n.startswith("shared")})
    same = softmax(x, built_position, LayerInputs()).output_BTD
    assert torch.equal(knocking(x, built_position, LayerInputs()).output_BTD, same)
    with torch.no_grad():
        for seed, difference in enumerate(knocking.shared):
            difference.copy_(0.5 * noise(4, 4, seed=seed + 5))
        maps = [softmax.value] if values_only else [softmax.query, softmax.key, softmax.value]
        for own, difference in zip(maps, knocking.shared, strict=True):
            for head in range(2):
                rows = own.weight[4 * head : 4 * head + 4]
                rows.copy_((torch.eye(4, dtype=torch.float64) + difference) @ rows)
    changed = knocking(x, built_position, LayerInputs()).output_BTD
    assert (changed - same).abs().max() > 0.01
    torch.testing.assert_close(changed, softmax(x, built_position, LayerInputs()).output_BTD, rtol=1e-11, atol=1e-11)
