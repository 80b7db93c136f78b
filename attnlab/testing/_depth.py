"""What holds in the first layer holds in the second, which has weights of its own and may read the heads below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from attnlab.position import Position
from attnlab.specs import Modifiers
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._subject import Subject, gap, position, stream
from attnlab.testing.finding import Finding, judged

TOKENS, CUTS = 70, (1, 5, 16, 65)
"""More than one chunk of every scan."""
EXACT = 1e-9
"""What float64 may differ by through two layers when only the order of sums differs."""
WORN = {"": Modifiers(), " under a value residual": Modifiers(value_residual="learned")}


@final
class Pair(nn.Module):
    """Two layers of one attention, each added to the stream.

    Args:
        subject: The attention.
        position: The position that both share.
        worn: What both wear.
        seed: Where their weights come from.
    """

    def __init__(self, subject: Subject, position: Position, worn: Modifiers, seed: int = 0) -> None:
        super().__init__()
        self.place = position
        built = [
            subject.build(layer=layer, seed=seed + layer, biased=position.biases, modifiers=worn) for layer in (0, 1)
        ]
        self.first, self.second = built

    def go(self, fast: bool) -> Pair:
        """The pair by its fast path, or by the plain one."""
        self.first.fast = self.second.fast = fast
        return self

    def heads(self, x_BTD: Tensor) -> tuple[Tensor, LayerInputs, QKV]:
        """What the second layer reads, what it knows of the first, and its heads."""
        x_BTD = self.place.embed(x_BTD)
        below = self.first(x_BTD, self.place, LayerInputs())
        layer_inputs = LayerInputs((below.qkv,))
        read_BTD = x_BTD + below.output_BTD
        return read_BTD, layer_inputs, self.second.prepare(read_BTD, self.place, layer_inputs)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The stream above both."""
        read_BTD, layer_inputs, _ = self.heads(x_BTD)
        return read_BTD + self.second(read_BTD, self.place, layer_inputs).output_BTD


def second(subject: Subject) -> Finding:
    """Future, prefixes, values, fast path and lanes of a second layer, with the first layer's values and without."""
    worst, told = 0.0, ""
    for words, worn in WORN.items():
        for name in ("none", "xl" if subject.entry.cls.has_scores else "rotary"):
            for promise, result in _promises(subject, position(name), worn):
                worst, told = max((worst, told), (result, f": {promise}, position {name}{words}"))
    return judged("second layer", worst <= EXACT, f"largest difference {worst:.1e}{told if worst > EXACT else ''}")


def _promises(subject: Subject, position: Position, worn: Modifiers) -> Iterator[tuple[str, float]]:
    """What is promised, and by how much it is missed."""
    pair, x_BTD = Pair(subject, position, worn), stream(2, TOKENS)
    whole = pair(x_BTD)
    for cut in CUTS:
        changed = torch.cat([x_BTD[:, :cut], 3.0 * stream(2, TOKENS - cut, seed=5)], dim=1)
        yield f"a later token is heard at {cut}", gap(pair(changed)[:, :cut], whole[:, :cut])
        yield f"a prefix of {cut} is not the whole", gap(pair(x_BTD[:, :cut]), whole[:, :cut])
    _, _, qkv = pair.heads(x_BTD)
    mixed = pair.second.attend(qkv, position)
    yield (
        "matrix times values is not the mix",
        gap(pair.second.effective_matrix(qkv, position) @ qkv.values_BHSC, mixed),
    )
    plain = pair.go(fast=False)(x_BTD)
    yield "the fast path is not the plain one", gap(whole, plain)
    yield "lanes are not the models alone", _lanes(subject, position, worn)


def _lanes(subject: Subject, position: Position, worn: Modifiers) -> float:
    """How far two models that run as one are from what each says alone."""
    pairs = [Pair(subject, position, worn, seed).go(fast=False) for seed in (0, 2)]
    weights, buffers = stack_module_state(pairs)
    x_BTD = stream(1, 11)

    def alone(own: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return functional_call(pairs[0], (own, fixed), (x_BTD,))

    together = vmap(alone)(weights, buffers)
    return max(gap(together[lane], pair(x_BTD)) for lane, pair in enumerate(pairs))
