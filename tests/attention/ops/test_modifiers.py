"""The modifiers by their formulas, with any attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS
from attnlab.errors import IncompatiblePartsError
from attnlab.model.transformer import build
from attnlab.specs import ModelSpec, Modifiers, Part
from attnlab.tensors import LayerInputs
from attnlab.testing._subject import Subject, build_position, max_difference, random_inputs
from attnlab.testing._template import prepare_qkv

WIDTH, HEADS, LENGTH = 16, 4, 12


def subject(name: str = "softmax") -> Subject:
    return Subject(ATTENTIONS.entry(name))


def test_without_modifiers_there_are_no_parameters() -> None:
    assert not list(subject().build().modifiers.parameters())


def test_a_short_convolution_starts_as_the_identity_and_then_blends_the_past() -> None:
    plain, modified = (subject().build(modifiers=Modifiers(short_conv=taps)) for taps in (0, 3))
    x_BTD = random_inputs(2, LENGTH)
    assert max_difference(modified.modifiers.convolve(x_BTD), x_BTD) == 0.0
    tap_D1K = torch.randn(WIDTH, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    modified.modifiers.tap_D1K.data.copy_(tap_D1K)
    read = modified.modifiers.convolve(x_BTD)
    for token in range(LENGTH):
        slow = sum(
            (tap_D1K[:, 0, 2 - back] * x_BTD[:, token - back] for back in range(3) if token >= back),
            start=torch.zeros(2, WIDTH, dtype=torch.float64),
        )
        assert max_difference(read[:, token], slow) < 1e-12
    assert (
        sum(weight.numel() for weight in modified.parameters()) - sum(w.numel() for w in plain.parameters())
        == 3 * WIDTH
    )


def test_normalized_queries_and_keys_have_unit_size_times_the_gain() -> None:
    attention = subject().build(modifiers=Modifiers(qk_norm=True))
    attention.modifiers.gain_H.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    qkv, _ = prepare_qkv(attention, random_inputs(2, LENGTH))
    root = qkv.queries_BHTC.square().mean(-1).sqrt()
    assert max_difference(root, torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)[:, None].expand_as(root)) < 1e-9
    assert max_difference(qkv.keys_BHSC.square().mean(-1).sqrt(), torch.ones_like(root)) < 1e-9


@pytest.mark.parametrize("gate", ["element", "head"])
def test_a_gate_multiplies_the_output_of_the_heads(gate: str) -> None:
    plain, modified = (subject().build(modifiers=Modifiers.model_validate({"gate": kind})) for kind in ("none", gate))
    modified.load_state_dict({**modified.state_dict(), **plain.state_dict()})
    x_BTD, no_position = random_inputs(2, LENGTH), build_position()
    joined = plain.join(plain.attend(plain.prepare(x_BTD, no_position, LayerInputs()), no_position))
    share = modified.modifiers.gate(x_BTD).sigmoid()
    if gate == "head":
        share = share.repeat_interleave(WIDTH // HEADS, dim=-1)
    expected = plain.out_proj(joined * share)
    assert max_difference(modified(x_BTD, no_position, LayerInputs()).output_BTD, expected) < 1e-12


@pytest.mark.parametrize(("kind", "share"), [("mean", 0.5), ("learned", 0.25)])
def test_the_first_layers_values_are_mixed_in(kind: str, share: float) -> None:
    attention = subject().build(layer=1, modifiers=Modifiers.model_validate({"value_residual": kind}))
    if kind == "learned":
        attention.modifiers.share.data.fill_(share)
    own, no_position = prepare_qkv(attention, random_inputs(2, LENGTH))
    first = own._replace(values_BHSC=torch.ones_like(own.values_BHSC))
    mixed = attention.prepare(random_inputs(2, LENGTH), no_position, LayerInputs((first,)))
    assert max_difference(mixed.values_BHSC, (1 - share) * own.values_BHSC + share) < 1e-12


def test_first_values_of_another_shape_are_refused() -> None:
    attention = subject().build(layer=1, modifiers=Modifiers(value_residual="mean"))
    own, no_position = prepare_qkv(attention, random_inputs(2, LENGTH))
    first = own._replace(values_BHSC=own.values_BHSC[..., :2])
    with pytest.raises(IncompatiblePartsError) as caught:
        attention.prepare(random_inputs(2, LENGTH), no_position, LayerInputs((first,)))
    assert caught.value.problem.startswith("The first layer's values are 4 x 2 (heads x channels), this layer's 4 x 4:")


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_every_attention_is_causal_with_all_modifiers(name: str) -> None:
    modified = Modifiers(qk_norm=True, gate="head", short_conv=3, value_residual="learned")
    spec = ModelSpec(width=16, heads=2, modifiers=modified, attention=(Part(name=name),), position=Part(name="learned"))
    model = build(spec, vocabulary=7, length=LENGTH, seed=0).double()
    tokens = torch.arange(LENGTH)[None] % 7
    changed = torch.cat([tokens[:, :8], (tokens[:, 8:] + 3) % 7], dim=1)
    positions = torch.arange(8)

    def logits(inputs_BT: Tensor) -> Tensor:
        return model(inputs_BT, positions).logits_NV

    assert max_difference(logits(tokens), logits(changed)) < 1e-10
    logits(tokens).square().sum().backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters() if "wardrobe" in key}
    unfelt = {key.rpartition(".")[-1] for key, gradient in gradients.items() if gradient is None}
    assert unfelt <= ({"gain_H"} if "qk_norm" in ATTENTIONS.entry(name).cls.unsupported_modifiers else set())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None)
