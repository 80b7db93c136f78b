"""Gradients at the weights of each layer: norms relative to the weights, norms at the scores, and gradient noise.

    relative = ||dL/dW||_F / ||W||_F                       per layer and kind of weight, mean over batches
    noise    = sqrt(E ||g - E g||^2) / ||E g||             over batches; nan with fewer than two

Gradients are taken before clipping, weight decay and the optimizer, of the loss that the closures return. With a
mean-reduced cross-entropy they scale as one over the number of targets, so only losses over equally many targets are
compared. The gradient at the scores is taken after position and scale and before the mask: masked cells count as zero.

Source   Noci et al., "Signal propagation in transformers", arXiv:2206.03126: with rank collapse the gradients of W_Q
         and W_K vanish while that of W_V stays, so that their ratio is the signature; noise: McCandlish et al., "An
         empirical model of large-batch training", arXiv:1812.06162; its simple noise scale is the square of this noise,
         times the batch size.
Differs  ``noise`` is of batches as they are given, and is not corrected for the noise left in the mean gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.tensors import ParameterRole

WEIGHT_KINDS = ("query", "key", "value", "output", "mlp", "extra", "scores")
"""Kinds of weights in the order of a table; ``extra`` is every other weight of an attention."""
WeightGroup = tuple[int, str]
"""A layer, counted from 1, and a kind of weights: their gradients are measured together."""


class FusedPart(NamedTuple):
    """One part of a weight that holds several, such as queries, keys and values."""

    group: WeightGroup
    axis: int
    """The axis along which the parts lie one after another."""
    start: int
    size: int


@dataclass(frozen=True)
class Gradient:
    """The gradient of one kind of weight in one layer."""

    layer: int
    """From 1."""
    kind: str
    norm: float
    """Frobenius norm of the gradient, the mean over batches."""
    weight_norm: float
    """Frobenius norm of the weight; nan for the scores, which are no weight."""
    noise: float = math.nan
    """Standard deviation over batches, relative to the norm of the mean gradient."""

    @property
    def relative(self) -> float:
        """The norm relative to the weight; the norm itself for the scores; nan for weights of zero."""
        if math.isnan(self.weight_norm):
            return self.norm
        return self.norm / self.weight_norm if self.weight_norm else math.nan


def weight_groups(roles: Mapping[str, ParameterRole]) -> dict[str, WeightGroup]:
    """Group the parameters of the attentions and MLPs; norms and parameters outside of the blocks have no group.

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
    fused: Mapping[str, Sequence[FusedPart]] | None = None,
) -> tuple[Gradient, ...]:
    """Compute the gradients of some losses at each layer of a model.

    The model's gradients, weights and modes are left as they are. Layers with an attention without scores have no
    ``scores`` entry.

    Args:
        model: The model.
        losses: One closure for each batch; each runs the model forward and returns a scalar.
        groups: Layer and kind of each parameter by name; a parameter without an entry is left out.
        fused: The parts of fused weights by name; each part is measured in its own group.

    Returns:
        One entry per layer and kind, in order.
    """
    fused = fused or {}
    wanted = {*groups, *fused}
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad and name in wanted}
    batches: list[dict[str, Tensor]] = []
    score_norms: dict[int, list[float]] = {}
    for loss in losses:
        with recorded_scores(model) as recorded, torch.enable_grad():
            loss_value = loss()
            scores = [(layer, tensor) for layer, tensors in recorded.items() for tensor in tensors]
            inputs = [*named.values(), *(tensor for _, tensor in scores)]
            grads: tuple[Tensor | None, ...] = torch.autograd.grad(loss_value, inputs, allow_unused=True)
        batches.append(dict(zip(named, map(_zeros_if_none, grads, inputs), strict=False)))
        squares: dict[int, float] = {}
        for (layer, _), gradient in zip(scores, grads[len(named) :], strict=True):
            squares[layer] = squares.get(layer, 0.0) + (0.0 if gradient is None else _square(gradient))
        for layer, square in squares.items():
            score_norms.setdefault(layer, []).append(math.sqrt(square))
    split_groups = {f"{name}[{part.start}]": part.group for name, parts in fused.items() for part in parts}
    at_weights = collect_gradients(
        _split(named, fused), [_split(batch, fused) for batch in batches], {**groups, **split_groups}
    )
    at_scores = [Gradient(layer, "scores", fmean(norms), math.nan) for layer, norms in score_norms.items()]
    return _sorted([*at_weights, *at_scores])


def collect_gradients(
    weights: Mapping[str, Tensor],
    batches: Sequence[Mapping[str, Tensor]],
    groups: Mapping[str, WeightGroup],
) -> tuple[Gradient, ...]:
    """Summarize gradients that are computed already; the scores are not among them.

    Args:
        weights: The weights by name.
        batches: For each batch, the gradients by the name of the weight.
        groups: Layer and kind of each parameter by name; a parameter without an entry is left out.

    Returns:
        One entry per layer and kind, in order.
    """
    grouped: dict[WeightGroup, list[str]] = {}
    for name in weights:
        if name in groups:
            grouped.setdefault(groups[name], []).append(name)
    grads = []
    for (layer, kind), names in grouped.items():
        flat = [torch.cat([batch[name].detach().double().flatten() for name in names]) for batch in batches]
        weight_norm = math.sqrt(sum(_square(weights[name]) for name in names))
        norm = fmean(float(gradient.norm()) for gradient in flat)
        grads.append(Gradient(layer, kind, norm, weight_norm, _noise(flat)))
    return _sorted(grads)


def query_to_value(grads: Iterable[Gradient]) -> dict[int, float]:
    """Divide the relative gradient of W_Q by that of W_V; the ratio falls towards 0 with rank collapse.

    Args:
        grads: Gradients of any layers and kinds.

    Returns:
        The ratio by layer, where both exist and that of W_V is not zero.
    """
    relative = {(gradient.layer, gradient.kind): gradient.relative for gradient in grads}
    return {
        layer: query / relative[layer, "value"]
        for (layer, kind), query in relative.items()
        if kind == "query" and relative.get((layer, "value"), 0.0) > 0
    }


@contextmanager
def recorded_scores(model: nn.Module) -> Iterator[dict[int, list[Tensor]]]:
    """Record the scores of each attention of a model, as a context manager.

    A fused path forms no scores, so fast paths are off within the context.

    Args:
        model: The model.

    Yields:
        The scores by layer, from 1; they are added as the model runs.
    """
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    fast = [attention.fast for attention in attentions]
    recorded: dict[int, list[Tensor]] = {}
    try:
        for layer, attention in enumerate(attentions, 1):
            attention.fast = False
            vars(attention)["scores"] = _recorder(attention, recorded.setdefault(layer, []))
        yield recorded
    finally:
        for attention, was_fast in zip(attentions, fast, strict=True):
            attention.fast = was_fast
            vars(attention).pop("scores", None)


def _split(tensors: Mapping[str, Tensor], fused: Mapping[str, Sequence[FusedPart]]) -> dict[str, Tensor]:
    """Replace fused tensors by their parts, under the name with the start of the part."""
    split = {name: tensor for name, tensor in tensors.items() if name not in fused}
    for name, parts in fused.items():
        if name in tensors:
            split |= {f"{name}[{part.start}]": tensors[name].narrow(part.axis, part.start, part.size) for part in parts}
    return split


def _recorder(attention: Attention, recorded: list[Tensor]) -> Callable[..., Tensor]:
    """Wrap an attention's method ``scores`` so that its results are recorded."""
    original = attention.scores

    def scores(*args: object) -> Tensor:
        scores_BHTS: Tensor = original(*args)  # type: ignore[arg-type]  # the arguments of the attention itself
        if scores_BHTS.requires_grad:
            recorded.append(scores_BHTS)
        return scores_BHTS

    return scores


def _zeros_if_none(gradient: Tensor | None, weight: Tensor) -> Tensor:
    """Replace the missing gradient of an unused weight by zeros."""
    return torch.zeros_like(weight) if gradient is None else gradient


def _square(tensor: Tensor) -> float:
    """Sum the squares of a tensor in float64."""
    return float(tensor.detach().double().square().sum())


def _noise(flat: Sequence[Tensor]) -> float:
    """Compute the relative noise of the gradients of several batches; nan with fewer than two."""
    if len(flat) < 2:
        return math.nan
    mean = torch.stack(list(flat)).mean(0)
    variance = sum(_square(gradient - mean) for gradient in flat) / (len(flat) - 1)
    norm = float(mean.norm())
    return math.sqrt(variance) / norm if norm else math.nan


def _sorted(grads: Iterable[Gradient]) -> tuple[Gradient, ...]:
    """Sort by layer, then in the order of the kinds; unknown kinds come last."""

    def rank(gradient: Gradient) -> tuple[int, int]:
        known = gradient.kind in WEIGHT_KINDS
        return gradient.layer, WEIGHT_KINDS.index(gradient.kind) if known else len(WEIGHT_KINDS)

    return tuple(sorted(grads, key=rank))
