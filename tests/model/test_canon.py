"""Canon layers and exclusive attention: against torch's Conv1d and loops, and at each of their places."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnlab.block import Block
from attnlab.errors import IncompatiblePartsError
from attnlab.experiments.compatibility import check_modifiers
from attnlab.mlp import MLPS
from attnlab.specs import ModelSpec, Modifiers, Part, RunSpec, TaskSpec
from attnlab.tensors import CANON_TAPS, Canon, LayerInputs
from tests.builders import all_positions, model_of, noise, pair_of, tokens


def logits(model: nn.Module, inputs_BT: Tensor) -> Tensor:
    """The logits at all tokens."""
    output: Tensor = model(inputs_BT, all_positions(inputs_BT)).logits_NV
    return output


def test_a_canon_layer_is_a_convolution_of_torch_with_a_residual() -> None:
    convolution = nn.Conv1d(6, 6, CANON_TAPS, groups=6, padding=CANON_TAPS - 1, bias=False).double()
    x_BTD = noise(2, 9, 6)
    expected = x_BTD + convolution(x_BTD.mT)[..., :9].mT
    torch.testing.assert_close(Canon(nn.Parameter(convolution.weight))(x_BTD), expected)


@pytest.mark.parametrize("mlp", [entry.name for entry in MLPS if entry.name != "none"])
@pytest.mark.parametrize("block", ["sequential", "parallel"])
def test_every_place_counts_is_causal_and_gives_the_selected_positions(mlp: str, block: str) -> None:
    inputs_BT = tokens(2, 9)
    changed_BT = inputs_BT.clone()
    changed_BT[:, 6:] = (changed_BT[:, 6:] + 1) % 11
    parts: dict[str, Any] = {"mlp": (Part(name=mlp),), "block": Part(name=block)}
    seen = [logits(model_of(**parts), inputs_BT)]
    for canon in ("A", "B", "C", "D", "ABCD"):
        model = model_of(**parts, modifiers=Modifiers(canon=canon))
        layers = [module for module in model.modules() if isinstance(module, Canon)]
        assert len(layers) == 2 * len(canon)
        whole = logits(model, inputs_BT)
        assert all((whole - other).abs().max() > 1e-3 for other in seen)
        seen.append(whole)
        before, after = (one.unflatten(0, (2, 9))[:, :6] for one in (whole, logits(model, changed_BT)))
        assert (before - after).abs().max() < 1e-12
        for positions in (torch.tensor([2, 12]), torch.tensor([[2, 5], [10, 12]])):
            torch.testing.assert_close(model(inputs_BT, positions).logits_NV, whole[positions.flatten()])
        torch.testing.assert_close(logits(copy.deepcopy(model), inputs_BT), whole)
        whole.square().sum().backward()
        assert all(layer.tap_D1K.grad is not None and layer.tap_D1K.grad.any() for layer in layers)


def test_the_default_leaves_the_id_of_a_run_as_it_was() -> None:
    run = RunSpec(task=TaskSpec(name="recall"))
    assert "canon" not in str(run.model.canonical)
    assert "exclusive" not in str(run.model.canonical)
    for modifiers in (Modifiers(canon="A"), Modifiers(exclusive=True)):
        assert run.model_copy(update={"model": ModelSpec(modifiers=modifiers)}).id != run.id


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mlp_ratio": 0.0}, "canon: ABCD has nowhere to put C: the model has no MLP.\n  Use canon: AB."),
        ({"attention": (Part(name="rwkv7"),)}, "nowhere to put B: 'rwkv7' has no joint projection"),
    ],
)
def test_a_place_that_the_model_lacks_is_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(IncompatiblePartsError) as caught:
        check_modifiers(ModelSpec.model_validate({**spec, "modifiers": Modifiers(canon="ABCD")}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "attention",
    [Part(name="softmax"), Part(name="linear"), Part.model_validate({"name": "grouped", "groups": 1})],
    ids=str,
)
def test_an_exclusive_output_has_nothing_of_the_own_value(attention: Part) -> None:
    model = model_of(attention, layers=1, modifiers=Modifiers(exclusive=True))
    block, plain = model.blocks[0], pair_of(attention, Part(name="none"))[0]
    assert isinstance(block, Block)
    built = block.attention
    plain.load_state_dict(built.state_dict())
    qkv = built.prepare(noise(1, 5, 8), model.position, LayerInputs())
    before = plain.attend(qkv, model.position)
    joined: list[Tensor] = []
    built.out_proj.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))
    built(noise(1, 5, 8), model.position, LayerInputs())
    ours = built.split(joined[0])
    assert ours[..., 0, :].abs().max() < 1e-12
    for head in range(2):
        for t in range(5):
            y, v = before[0, head, t].tolist(), qkv.values_BHSC[0, head, t].tolist()
            length = math.sqrt(sum(c * c for c in v))
            dot = sum(a * c for a, c in zip(y, v, strict=True)) / length
            expected = [a - dot * c / length for a, c in zip(y, v, strict=True)]
            assert ours[0, head, t].tolist() == pytest.approx(expected, abs=1e-12)


def test_exclusive_outputs_at_selected_positions_are_those_of_the_whole() -> None:
    model, inputs_BT = model_of(modifiers=Modifiers(exclusive=True)), tokens(2, 7)
    some = model(inputs_BT, torch.tensor([[2, 5], [8, 9]])).logits_NV
    torch.testing.assert_close(some, logits(model, inputs_BT)[[2, 5, 8, 9]])


def test_several_values_per_token_have_canon_layers_and_are_not_exclusive() -> None:
    steps, inputs_BT = Part.model_validate({"name": "delta", "householders": 2}), tokens(1, 6)
    plain, model = model_of(steps), model_of(steps, modifiers=Modifiers(canon="B"))
    assert (logits(model, inputs_BT) - logits(plain, inputs_BT)).abs().max() > 1e-3
    with pytest.raises(IncompatiblePartsError, match="a token has 2 values, and exclusive needs one"):
        model_of(steps, modifiers=Modifiers(exclusive=True))
