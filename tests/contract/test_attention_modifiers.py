"""Every modifier changes what a model says, whatever attention wears it, or is refused when the run is planned."""

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

WORN: dict[str, Modifiers] = {
    "qk_norm": Modifiers(qk_norm=True),
    "gate": Modifiers(gate="head"),
    "gate by element": Modifiers(gate="element"),
    "short_conv": Modifiers(short_conv=3),
    "value_residual": Modifiers(value_residual="mean"),
    "value_residual learned": Modifiers(value_residual="learned"),
}
HEARD = 0.01
"""The least root mean square of a change, as a share of what is changed; epsilons in norms alone make up to 0.008."""


def spec_of(attention: str, worn: Modifiers) -> ModelSpec:
    return ModelSpec(attention=(Part(name=attention),), modifiers=worn)


def woken(model: Transformer, like: Transformer | None = None) -> Transformer:
    """Noise where it starts at zero, positive numbers in what is worn, and else the weights of the other model."""
    own = {} if like is None else dict(like.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "wardrobe" in name:
                weight.copy_(noise(*weight.shape, seed=len(name)).abs() + 0.5)
            else:
                weight.copy_(own.get(name, weight if weight.any() else noise(*weight.shape)))
    return model


def said(model: Transformer, inputs_BT: Tensor) -> Tensor:
    return model(inputs_BT, all_positions(inputs_BT)).logits_NV.detach()


def change(attention: str, worn: Modifiers) -> float:
    """How much of what a model of that attention says is due to what it wears."""
    plain = woken(model_of(Part(name=attention)))
    dressed = woken(model_of(Part(name=attention), modifiers=worn), like=plain)
    before, after = (said(model, tokens(3, 12)) for model in (plain, dressed))
    return float((after - before).square().mean().sqrt() / before.square().mean().sqrt())


def test_all_modifiers_there_are_worn() -> None:
    assert {name.split()[0] for name in WORN} == set(Modifiers.model_fields)
    assert change("softmax", Modifiers()) == 0.0


@pytest.mark.parametrize("attention", [entry.name for entry in ATTENTIONS])
@pytest.mark.parametrize("worn", WORN)
def test_a_modifier_is_heard_or_refused(attention: str, worn: str) -> None:
    name = worn.split()[0]
    reached = change(attention, WORN[worn])
    if name in ATTENTIONS.entry(attention).cls.unsupported_modifiers:
        assert reached < HEARD, "it is refused, though it would be heard"
        with pytest.raises(IncompatiblePartsError, match=f"^model.modifiers\n  '{attention}' cannot hear {name}: "):
            check_modifiers(spec_of(attention, WORN[worn]))
    else:
        assert reached > HEARD, "it changes nothing, and nobody is told"
        check_modifiers(spec_of(attention, WORN[worn]))


def test_what_is_refused_is_told_when_it_is_planned() -> None:
    asked = Request(
        task=Part(name="copy"),
        attentions=[(Part(name="easy"),)],
        settings={"model": {"modifiers": {"qk_norm": True}}},
    )
    with pytest.raises(IncompatiblePartsError) as caught:
        plan(asked)
    assert str(caught.value) == (
        "model.modifiers\n"
        "  'easy' cannot hear qk_norm: it has no queries or keys.\n"
        "  Leave qk_norm out. It hears: gate, short_conv, value_residual."
    )


def test_a_stack_in_which_one_layer_hears_it_is_planned() -> None:
    hybrid = (Part(name="kda"), Part(name="softmax"))
    check_modifiers(ModelSpec(attention=hybrid, modifiers=Modifiers(qk_norm=True)))
    with pytest.raises(
        IncompatiblePartsError, match="'kda' cannot hear qk_norm: its queries and keys have unit length already"
    ):
        check_modifiers(ModelSpec(attention=(hybrid[0], Part(name="easy")), modifiers=Modifiers(qk_norm=True)))


def test_one_layer_has_no_first_values_to_mix_in() -> None:
    alone = ModelSpec(layers=1, modifiers=Modifiers(value_residual="mean"))
    with pytest.raises(IncompatiblePartsError) as caught:
        check_modifiers(alone)
    assert str(caught.value) == (
        "model.modifiers\n"
        "  One layer has no values of an earlier one to mix in: value_residual would change nothing.\n"
        "  Give it two layers or more, or leave value_residual out."
    )
    check_modifiers(alone.model_copy(update={"layers": 2}))
