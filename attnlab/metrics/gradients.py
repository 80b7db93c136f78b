"""What reaches the weights of each layer: norms of gradients relative to the weights, at the scores, and their noise.

    relative = ||dL/dW||_F / ||W||_F                       per layer and kind of weight, mean over batches
    noise    = sqrt(E ||g - E g||^2) / ||E g||             over batches; nan with fewer than two

Gradients are taken before clipping, decay and the optimizer, of whatever loss the closures return: with a mean-reduced
cross-entropy they scale as one over the number of answers, so only losses over equally many are compared.
The gradient at the scores is taken after position and scale and before the mask: masked cells count as zero.

Source   Noci et al., "Signal propagation in transformers", arXiv:2206.03126: with rank collapse the gradients of W_Q
         and W_K vanish while that of W_V stays, so that their ratio is the signature; noise: McCandlish et al., "An
         empirical model of large-batch training", arXiv:1812.06162, whose simple noise scale is its square, times the
         size of a batch.
Differs  ``noise`` is of batches as they are given, and is not corrected for the noise left in the mean gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.tensors import ParameterRole

WEIGHT_KINDS = ("query", "key", "value", "output", "mlp", "extra", "scores")
"""Kinds of weights in the order of a table; ``extra`` is whatever else an attention learns."""
WeightGroup = tuple[int, str]
"""A layer, counted from 1, and a kind of weights: their gradients are measured together."""


@dataclass(frozen=True)
class Gradient:
    """What reaches one kind of weight in one layer."""

    layer: int
    """From 1."""
    kind: str
    norm: float
    """Frobenius norm of the gradient, the mean over batches."""
    size: float
    """Frobenius norm of the weight; nan for the scores, which are none."""
    noise: float = math.nan
    """How much single batches disagree, relative to the mean gradient."""

    @property
    def relative(self) -> float:
        """The norm relative to the weight; the norm itself for the scores; nan for weights of zero."""
        if math.isnan(self.size):
            return self.norm
        return self.norm / self.size if self.size else math.nan


def weight_groups(roles: Mapping[str, ParameterRole]) -> dict[str, WeightGroup]:
    """The group of each parameter of the attentions and MLPs; norms and parameters outside of the blocks have none.

    Args:
        roles: Layer and role of each parameter by name, as ``Transformer.parameter_roles`` returns them.

    Returns:
        Layer and kind by name; the two maps of an MLP are of one kind.

    >>> weight_groups({"a": ParameterRole(3, "query"), "b": ParameterRole(1, "mlp_up")})
    {'a': (3, 'query'), 'b': (1, 'mlp')}
    """
    kinds = {name: (layer, "mlp" if role in ("mlp_up", "mlp_down") else role) for name, (layer, role) in roles.items()}
    return {name: (layer, kind) for name, (layer, kind) in kinds.items() if layer is not None and kind in WEIGHT_KINDS}


def gradients(
    model: nn.Module,
    losses: Sequence[Callable[[], Tensor]],
    groups: Mapping[str, WeightGroup],
) -> tuple[Gradient, ...]:
    """What the losses send to each layer of a model.

    The model's gradients, weights and modes are left as they are. In the layers whose attention forms no scores, there
    is no ``scores``.

    Args:
        model: The model.
        losses: One closure for each batch; each runs the model forward and returns a scalar.
        groups: Layer and kind of each parameter by name; a parameter without an entry is left out.
    """
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad and name in groups}
    batches: list[dict[str, Tensor]] = []
    at_scores: dict[int, list[float]] = {}
    for loss in losses:
        with recorded_scores(model) as reached, torch.enable_grad():
            value = loss()
            scores = [(layer, tensor) for layer, tensors in reached.items() for tensor in tensors]
            wanted = [*named.values(), *(tensor for _, tensor in scores)]
            result: tuple[Tensor | None, ...] = torch.autograd.grad(value, wanted, allow_unused=True)
        batches.append(dict(zip(named, map(_filled, result, wanted), strict=False)))
        squares: dict[int, float] = {}
        for (layer, _), gradient in zip(scores, result[len(named) :], strict=True):
            squares[layer] = squares.get(layer, 0.0) + (0.0 if gradient is None else _square(gradient))
        for layer, square in squares.items():
            at_scores.setdefault(layer, []).append(math.sqrt(square))
    gathered_ = collect_gradients(named, batches, groups)
    listened = [Gradient(layer, "scores", fmean(norms), math.nan) for layer, norms in at_scores.items()]
    return _ordered([*gathered_, *listened])


def collect_gradients(
    weights: Mapping[str, Tensor],
    batches: Sequence[Mapping[str, Tensor]],
    groups: Mapping[str, WeightGroup],
) -> tuple[Gradient, ...]:
    """The same of gradients that are already there, one mapping by name for each batch; scores are not among them."""
    grouped: dict[WeightGroup, list[str]] = {}
    for name in weights:
        if name in groups:
            grouped.setdefault(groups[name], []).append(name)
    answers = []
    for (layer, kind), names in grouped.items():
        flat = [torch.cat([batch[name].detach().double().flatten() for name in names]) for batch in batches]
        size = math.sqrt(sum(_square(weights[name]) for name in names))
        norm = fmean(float(gradient.norm()) for gradient in flat)
        answers.append(Gradient(layer, kind, norm, size, _noise(flat)))
    return _ordered(answers)


def query_to_value(grads: Iterable[Gradient]) -> dict[int, float]:
    """Relative gradient of W_Q over that of W_V, by layer: towards 0 with rank collapse."""
    relative = {(one.layer, one.kind): one.relative for one in grads}
    return {
        layer: size / relative[layer, "value"]
        for (layer, kind), size in relative.items()
        if kind == "query" and relative.get((layer, "value"), 0.0) > 0
    }


@contextmanager
def recorded_scores(model: nn.Module) -> Iterator[dict[int, list[Tensor]]]:
    """While it lasts, the scores that each attention of the model forms, by layer from 1, on the plain path.

    A fused path never shows its scores, so fast paths are left for as long.
    """
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    fast = [attention.fast for attention in attentions]
    reached: dict[int, list[Tensor]] = {}
    try:
        for layer, attention in enumerate(attentions, 1):
            attention.fast = False
            vars(attention)["scores"] = _recorded(attention, reached.setdefault(layer, []))
        yield reached
    finally:
        for attention, was in zip(attentions, fast, strict=True):
            attention.fast = was
            vars(attention).pop("scores", None)


def _recorded(attention: Attention, saved: list[Tensor]) -> Callable[..., Tensor]:
    """The attention's own scores, each kept."""
    own = attention.scores

    def scores(*args: object) -> Tensor:
        formed: Tensor = own(*args)  # type: ignore[arg-type]  # whatever the attention passes itself
        if formed.requires_grad:
            saved.append(formed)
        return formed

    return scores


def _filled(gradient: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if gradient is None else gradient


def _square(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().sum())


def _noise(flat: Sequence[Tensor]) -> float:
    if len(flat) < 2:
        return math.nan
    mean = torch.stack(list(flat)).mean(0)
    spread = sum(_square(gradient - mean) for gradient in flat) / (len(flat) - 1)
    size = float(mean.norm())
    return math.sqrt(spread) / size if size else math.nan


def _ordered(grads: Iterable[Gradient]) -> tuple[Gradient, ...]:
    return tuple(
        sorted(
            grads,
            key=lambda one: (
                one.layer,
                WEIGHT_KINDS.index(one.kind) if one.kind in WEIGHT_KINDS else len(WEIGHT_KINDS),
            ),
        )
    )
