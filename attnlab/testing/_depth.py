"""Second layer: the properties of the first layer hold in a second one, which may read the heads of the first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from attnlab.position import Position
from attnlab.specs import Modifiers
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._stacked import vmap_obstacle
from attnlab.testing._subject import Subject, build_position, max_difference, random_inputs
from attnlab.testing._template import has_heads
from attnlab.testing.finding import Finding, check_result
from attnlab.training.batched_sdpa import BatchedSDPAMode

TOKENS, CUTS = 70, (1, 5, 16, 65)
"""More than one chunk of every scan."""
EXACT = 1e-9
"""Largest difference in float64 through two layers that a different order of sums may cause."""
MODIFIERS = {"": Modifiers(), ", with a value residual": Modifiers(value_residual="learned")}


@final
class TwoLayers(nn.Module):
    """Two layers of one attention, each added to the residual stream.

    Args:
        subject: The attention.
        position: The position of both layers.
        modifiers: The modifiers of both layers.
        seed: Seed of the weights of the first layer; the second layer uses the next one.
    """

    def __init__(self, subject: Subject, position: Position, modifiers: Modifiers, seed: int = 0) -> None:
        super().__init__()
        self.position = position
        built = [
            subject.build_with_context(layer=layer, seed=seed + layer, biased=position.biases, modifiers=modifiers)
            for layer in (0, 1)
        ]
        (self.first, context), (self.second, _) = built
        self.has_heads = has_heads(self.first, context.width)

    def set_fast(self, fast: bool) -> TwoLayers:
        """Select the fast path of both layers, or the plain one."""
        self.first.fast = self.second.fast = fast
        return self

    def first_layer(self, x_BTD: Tensor) -> tuple[Tensor, LayerInputs]:
        """The input of the second layer, B x T x D, and what it can read of the first layer."""
        x_BTD = self.position.embed(x_BTD)
        below = self.first(x_BTD, self.position, LayerInputs())
        return x_BTD + below.output_BTD, LayerInputs((below.qkv,))

    def prepare_second(self, x_BTD: Tensor) -> QKV:
        """Queries, keys and values of the second layer."""
        residual_BTD, layer_inputs = self.first_layer(x_BTD)
        return self.second.prepare(residual_BTD, self.position, layer_inputs)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The residual stream after both layers."""
        residual_BTD, layer_inputs = self.first_layer(x_BTD)
        return residual_BTD + self.second(residual_BTD, self.position, layer_inputs).output_BTD


def second_layer(subject: Subject) -> Finding:
    """Causality, prefixes, values, fast path and vmap of a second layer, with a value residual and without."""
    worst, where = 0.0, ""
    positions = ("none", "xl" if subject.entry.cls.has_scores else "rotary")
    for suffix, modifiers in MODIFIERS.items() if not subject.adapted else [("", Modifiers())]:
        for name in positions if not subject.adapted else positions[:1]:
            position = build_position(name).to(subject.dtype)
            for violation, difference in _differences(subject, position, modifiers):
                named = "" if subject.adapted else f", position {name}{suffix}"
                worst, where = max((worst, where), (difference, f": {violation}{named}"))
    passed = worst <= subject.tolerance(EXACT)
    evidence = f"largest difference {worst:.1e}{subject.rounding if passed else where}"
    return check_result("second layer", passed, evidence)


def _differences(subject: Subject, position: Position, modifiers: Modifiers) -> Iterator[tuple[str, float]]:
    """The name of each possible violation, and the largest difference measured for it."""
    model, x_BTD = TwoLayers(subject, position, modifiers), random_inputs(2, TOKENS, dtype=subject.dtype)
    whole = model(x_BTD)
    for cut in CUTS:
        changed = torch.cat([x_BTD[:, :cut], 3.0 * random_inputs(2, TOKENS - cut, seed=5, dtype=subject.dtype)], dim=1)
        yield f"a later token changes outputs before {cut}", max_difference(model(changed)[:, :cut], whole[:, :cut])
        yield f"a prefix of {cut} differs from the whole", max_difference(model(x_BTD[:, :cut]), whole[:, :cut])
    if model.has_heads:
        qkv = model.prepare_second(x_BTD)
        attended = model.second.attend(qkv, position)
        yield (
            "matrix times values differs from the attention output",
            max_difference(model.second.effective_matrix(qkv, position) @ qkv.values_BHSC, attended),
        )
    if not subject.adapted:
        yield "the fast path differs from the plain one", max_difference(whole, model.set_fast(False)(x_BTD))
    if not vmap_obstacle(subject):
        yield "vmapped models differ from single ones", _vmap_difference(subject, position, modifiers)


def _vmap_difference(subject: Subject, position: Position, modifiers: Modifiers) -> float:
    """Largest difference between two vmapped models and the same models run one by one."""
    models = [TwoLayers(subject, position, modifiers, seed).set_fast(False) for seed in (0, 2)]
    parameters, buffers = stack_module_state(models)
    x_BTD = random_inputs(1, 11, dtype=subject.dtype)

    def single(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (parameters, buffers), (x_BTD,))

    with torch.no_grad(), BatchedSDPAMode():  # as stacked runs are evaluated
        outputs = vmap(single)(parameters, buffers)
    return max(max_difference(outputs[index], model(x_BTD)) for index, model in enumerate(models))
