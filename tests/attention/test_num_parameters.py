"""The declared number of parameters is the number that a model has, in every layer and with every kind of position."""

from __future__ import annotations

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.model.transformer import Transformer
from attnlab.position import POSITIONS
from attnlab.specs import Part
from attnlab.testing.check_attention import check_attention
from tests.builders import model_of

LAYERS = 3
VARIANTS = [
    *(Part(name=entry.name) for entry in ATTENTIONS),
    Part(name="dape", options={"form": "add"}),
    Part(name="dape", options={"kernel": 3, "form": "concat"}),
    Part(name="delta", options={"householders": 3, "expand": 2, "conv": "qkv"}),
    Part(name="gated-delta", options={"householders": 2, "conv": "kv"}),
    Part(name="kda", options={"erase": "channel", "write": "channel", "expand": 2, "conv": "q"}),
    Part(name="kda", options={"write": "channel", "expand": 2}),
    Part(name="gated-delta", options={"precond": True}),
    Part(name="kda", options={"precond": True}),
    Part(name="comba", options={"expand": 2, "conv": "v"}),
    Part(name="mesa", options={"expand": 2, "conv": "v"}),
    Part(name="momentum-delta", options={"expand": 2, "conv": "v"}),
    Part(name="gla", options={"conv": "qv"}),
    Part(name="linear", options={"conv": "qkv"}),
    Part(name="mamba2", options={"conv": "qkv"}),
    Part(name="mamba3", options={"state": 6, "expand": 1, "rotated": 1}),
    Part(name="raven", options={"slots": 5, "keep": 2}),
    Part(name="knocking-heads", options={"values_only": True}),
    Part(name="differential", options={"version": 2}),
    Part(name="ttt-linear", options={"batch": 5}),
    Part(name="rwkv7", options={"rank": 5, "shift": False}),
]


def counted(model: Transformer, layer: int) -> int:
    prefix = f"blocks.{layer}.attention."
    return sum(w.numel() for name, w in model.named_parameters() if name.startswith(prefix) and w.requires_grad)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_layer_has_the_declared_number(variant: Part) -> None:
    entry, options = ATTENTIONS.entry(variant.name), ATTENTIONS.entry(variant.name).complete(variant.options)
    positions = [position for position in POSITIONS if entry.cls.has_scores or not position.cls.biases]
    assert len(positions) > LAYERS
    for position in positions:
        model = model_of(variant, Part(name=position.name), layers=LAYERS, width=16, heads=4, length=64)
        for layer in range(LAYERS):
            declared = entry.cls.num_parameters(16, 4, 64, layer, position.cls.biases, **options)
            assert counted(model, layer) == declared, f"{position.name}, layer {layer}"


def test_later_layers_of_rwkv7_have_more() -> None:
    entry = ATTENTIONS.entry("rwkv7")
    first, second = (entry.cls.num_parameters(64, 2, 64, layer, **entry.complete({})) for layer in (0, 1))
    assert (first, second) == (25_344, 29_504)


@pytest.mark.parametrize("name", ["rwkv7", "dape"])
def test_check_finds_a_formula_that_holds_in_the_first_layer_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = ATTENTIONS.entry(name).cls
    true_formula = cls.num_parameters

    def of_the_first_layer(
        width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: object
    ) -> int:
        return true_formula(width, heads, length, **options)

    monkeypatch.setattr(cls, "num_parameters", of_the_first_layer)
    (finding,) = check_attention(Part(name=name), ["declared parameters"]).findings
    assert finding.outcome == "fail"
    where = "in layer 2" if name == "rwkv7" else "in layer 1 with a biased position"
    assert finding.evidence.endswith(f"at D = 16, H = 4 {where}")
