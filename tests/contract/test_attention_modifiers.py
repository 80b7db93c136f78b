"""Every modifier changes the output of a model with any attention, or is refused when the run is planned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS
from attnlab.errors import IncompatiblePartsError
from attnlab.experiments.compatibility import check_modifiers
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.model.transformer import Transformer
from attnlab.specs import ModelSpec, Modifiers, Part
from tests.builders import all_positions, model_of, noise, tokens

MODIFIERS: dict[str, Modifiers] = {
    "qk_norm": Modifiers(qk_norm=True),
    "gate": Modifiers(gate="head"),
    "gate by element": Modifiers(gate="element"),
    "short_conv": Modifiers(short_conv=3),
    "canon": Modifiers(canon="A"),
    "canon of the MLP": Modifiers(canon="CD"),
    "exclusive": Modifiers(exclusive=True),
    "value_residual": Modifiers(value_residual="mean"),
    "value_residual learned": Modifiers(value_residual="learned"),
}
MIN_CHANGE = 0.01
"""The least root mean square of a change, relative to the output; epsilons in norms alone make up to 0.008."""


def spec_of(attention: str, modifiers: Modifiers) -> ModelSpec:
    return ModelSpec(attention=(Part(name=attention),), modifiers=modifiers)


def randomized(model: Transformer, like: Transformer | None = None) -> Transformer:
    """Noise where a parameter starts at zero, positive numbers in modifiers, all others from the other model."""
    weights = {} if like is None else dict(like.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".modifiers." in name or ".canon_" in name:
                weight.copy_(noise(*weight.shape, seed=len(name)).abs() + 0.5)
            else:
                weight.copy_(weights.get(name, weight if weight.any() else noise(*weight.shape)))
    return model


def logits(model: Transformer, inputs_BT: Tensor) -> Tensor:
    return model(inputs_BT, all_positions(inputs_BT)).logits_NV.detach()


def relative_change(attention: str, modifiers: Modifiers) -> float:
    """The root mean square of the change that modifiers make to the logits, relative to the logits."""
    plain = randomized(model_of(Part(name=attention)))
    modified = randomized(model_of(Part(name=attention), modifiers=modifiers), like=plain)
    before, after = (logits(model, tokens(3, 12)) for model in (plain, modified))
    return float((after - before).square().mean().sqrt() / before.square().mean().sqrt())


def test_every_modifier_is_tested() -> None:
    assert {name.split()[0] for name in MODIFIERS} == set(Modifiers.model_fields)
    assert relative_change("softmax", Modifiers()) == 0.0


@pytest.mark.parametrize("attention", [entry.name for entry in ATTENTIONS])
@pytest.mark.parametrize("modifier", MODIFIERS)
def test_a_modifier_changes_the_output_or_is_refused(attention: str, modifier: str) -> None:
    name = modifier.split()[0]
    change = relative_change(attention, MODIFIERS[modifier])
    if name in ATTENTIONS.entry(attention).cls.unsupported_modifiers:
        assert change < MIN_CHANGE, "it is refused, but it changes the output"
        message = f"^model.modifiers\n  '{attention}' does not support {name}: "
        with pytest.raises(IncompatiblePartsError, match=message):
            check_modifiers(spec_of(attention, MODIFIERS[modifier]))
    else:
        assert change > MIN_CHANGE, "it changes nothing and is not refused"
        check_modifiers(spec_of(attention, MODIFIERS[modifier]))


@pytest.mark.parametrize("attention", [entry.name for entry in ATTENTIONS])
def test_a_canon_layer_of_the_projections_changes_the_output_or_is_refused(attention: str) -> None:
    modifiers = Modifiers(canon="B")
    if ATTENTIONS.entry(attention).cls.own_projections:
        assert relative_change(attention, modifiers) == 0
        with pytest.raises(IncompatiblePartsError, match="canon: B has nowhere to put B"):
            check_modifiers(spec_of(attention, modifiers))
    else:
        assert relative_change(attention, modifiers) > MIN_CHANGE
        check_modifiers(spec_of(attention, modifiers))


def test_an_unsupported_modifier_is_refused_when_the_run_is_planned() -> None:
    request = Request(
        task=Part(name="copy"),
        attentions=[(Part(name="easy"),)],
        settings={"model": {"modifiers": {"qk_norm": True}}},
    )
    with pytest.raises(IncompatiblePartsError) as caught:
        plan(request)
    assert str(caught.value) == (
        "model.modifiers\n"
        "  'easy' does not support qk_norm: it has no queries or keys.\n"
        "  Leave qk_norm out. 'easy' supports: gate, short_conv, value_residual, canon, exclusive."
    )


def test_a_stack_in_which_one_layer_supports_a_modifier_is_planned() -> None:
    hybrid = (Part(name="kda"), Part(name="softmax"))
    check_modifiers(ModelSpec(attention=hybrid, modifiers=Modifiers(qk_norm=True)))
    with pytest.raises(
        IncompatiblePartsError, match="'kda' does not support qk_norm: its queries and keys have unit length already"
    ):
        check_modifiers(ModelSpec(attention=(hybrid[0], Part(name="easy")), modifiers=Modifiers(qk_norm=True)))


def test_value_residual_needs_two_layers() -> None:
    single = ModelSpec(layers=1, modifiers=Modifiers(value_residual="mean"))
    with pytest.raises(IncompatiblePartsError) as caught:
        check_modifiers(single)
    assert str(caught.value) == (
        "model.modifiers\n"
        "  value_residual mixes in the values of the first layer, and this model has one layer.\n"
        "  Use two layers or more, or leave value_residual out."
    )
    check_modifiers(single.model_copy(update={"layers": 2}))
