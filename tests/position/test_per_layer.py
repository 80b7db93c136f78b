"""Positions that alternate over the layers."""

from __future__ import annotations

import copy

import pytest
import torch

from attnlab.block import Block
from attnlab.position.alibi import Alibi
from attnlab.position.none import NoPosition
from attnlab.position.per_layer import LayerPosition
from attnlab.position.rotary import Rotary
from attnlab.specs import Part, joined
from attnlab.tensors import LayerInputs
from tests.builders import all_positions, model_of, tokens


def pattern(*names: str) -> Part:
    return joined(tuple(Part(name=name) for name in names))


def test_each_layer_has_the_position_of_its_place() -> None:
    model = model_of(position=pattern("rotary", "rotary", "none", "alibi"), layers=6)
    kinds = []
    for layer in range(6):
        position = model.position.of_layer(layer)
        assert isinstance(position, LayerPosition)
        kinds.append(type(position.inner))
    assert kinds == [Rotary, Rotary, NoPosition, Alibi, Rotary, Rotary]


@pytest.mark.parametrize("names", [("rotary", "none"), ("none", "alibi", "t5"), ("kerple", "rotary", "kerple")])
def test_a_model_is_its_blocks_each_with_its_own_position(names: tuple[str, ...]) -> None:
    """The reference: each block run by hand with a whole-model position of its layer, and the weights of ours."""
    model, inputs_BT = model_of(position=pattern(*names), layers=4), tokens(2, 7)
    (trace,) = model(inputs_BT, all_positions(inputs_BT), trace=True).trace
    first: tuple[object, ...] = ()
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        name = names[layer % len(names)]
        own = model.position.of_layer(layer)
        assert isinstance(own, LayerPosition)
        whole = model_of(position=Part(name=name), layers=4).position
        # A whole-model position may have a parameter per layer; ours has one per layer that the position serves.
        with torch.no_grad():
            state = whole.state_dict()
            for name, ours in own.inner.state_dict().items():
                stem, dot, entry = name.rpartition(".")
                if not dot:  # one table for all layers
                    state[name].copy_(ours)
                elif int(entry) == own.index:
                    state[f"{stem}.{layer}"].copy_(ours)
        out_BTD, output = block(trace.residual_BTD[layer], whole, LayerInputs(first), False)  # type: ignore[arg-type]
        torch.testing.assert_close(out_BTD, trace.residual_BTD[layer + 1], rtol=1e-12, atol=1e-12)
        first = first or (output.qkv,)


def test_a_layer_without_a_position_differs_from_one_with() -> None:
    inputs_BT = tokens(2, 7)
    logits = [
        model_of(position=pattern(*names), layers=2)(inputs_BT, None).logits_NV
        for names in (("rotary", "none"), ("none", "rotary"), ("rotary",), ("none",))
    ]
    assert all(not torch.allclose(one, other) for i, one in enumerate(logits) for other in logits[:i])


def test_tables_have_entries_for_the_layers_that_a_position_serves() -> None:
    both = model_of(position=pattern("kerple", "none"), layers=4).position
    whole = model_of(position=Part(name="kerple"), layers=2).position
    assert [weight.shape for weight in both.parameters()] == [weight.shape for weight in whole.parameters()]
    assert len(list(both.parameters())) == 4


def test_a_copy_has_its_own_weights_and_every_weight_is_listed_once() -> None:
    model, inputs_BT = model_of(position=pattern("t5", "none"), layers=2), tokens(2, 7)
    other = copy.deepcopy(model)
    (table,) = other.position.parameters()
    expected = model(inputs_BT, None).logits_NV
    with torch.no_grad():
        table.add_(torch.arange(table.numel()).view_as(table))
    assert torch.equal(model(inputs_BT, None).logits_NV, expected)
    assert not torch.allclose(other(inputs_BT, None).logits_NV, expected)
    roles = model.parameter_roles()
    assert [name for name in roles if name.startswith("position.")] == [
        name for name, _ in model.named_parameters() if name.startswith("position.")
    ]


def test_a_part_is_written_as_the_command_line_writes_it() -> None:
    assert str(pattern("rotary", "rotary", "none")) == "rotary*2+none"
    assert pattern("rotary", "rotary") == Part(name="rotary")
    part = pattern("rotary", "none")
    assert part.alternating == (Part(name="rotary"), Part(name="none"))
    assert Part.model_validate(part.model_dump(mode="json")) == part
    assert "then" not in Part(name="rotary").model_dump()
