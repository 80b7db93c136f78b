"""Diagnostics logged during training: rank, gradients and attention, measured on a few held-out sequences.

    steps      1, 2, 4, 8, ..., and the last
    measures   the metrics of :mod:`attnlab.metrics`, on copies of the weights in float64
    values     one number per layer and metric; metrics of the residual stream have one more, for the embedding

Logging diagnostics does not change the training: weights, gradients and optimizer are left unchanged, and the
sequences come from a random stream of their own.

Letters  B batch, T tokens as queries, S tokens as keys, D width, H heads, L layers, N query positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from attnlab.choices import DIAGNOSED_SEQUENCES, DiagnosticsKind
from attnlab.metrics import METRICS, collect_gradients
from attnlab.metrics.gradients import WEIGHT_KINDS, weight_groups
from attnlab.model.base import Model, ModelOutput
from attnlab.model.losses import mean_loss
from attnlab.model.modes import evaluation_mode
from attnlab.records import DiagnosticsPoint
from attnlab.tasks import Batch
from attnlab.tensors import ActivationTrace

MAX_PAIRS = 2**21
"""Pairs of query and key tokens in all sequences together, at most; long sequences are measured on fewer of them."""
RANK_METRICS = ("residual", "cosine", "participation")
"""Metrics of the residual stream for the kind ``rank``: none needs singular values, which take longer than a step."""
ATTENTION_METRICS = ("entropy", "sink", "distance", "row-gain")
"""Metrics of the effective matrices for the kind ``attention``."""
Values = dict[str, tuple[float, ...]]
"""Metric -> one number per layer."""


def is_logged_step(step: int) -> bool:
    """Whether diagnostics are logged at a step, counted from 1: whether it is a power of two."""
    return step & (step - 1) == 0


def num_sequences(length: int) -> int:
    """How many sequences of a length diagnostics are measured on: those of ``attnlab diagnose``, or what fits."""
    return max(1, min(DIAGNOSED_SEQUENCES, MAX_PAIRS // length**2))


def final_values(history: Sequence[DiagnosticsPoint]) -> dict[str, float]:
    """The last values at the first and at the last layer: ``residual.first``, ``residual.last``."""
    values = history[-1].values if history else {}
    first = {f"{name}.first": layers[0] for name, layers in values.items()}
    return first | {f"{name}.last": layers[-1] for name, layers in values.items()}


def measure_diagnostics(model: Model, batch: Batch, kinds: Collection[DiagnosticsKind], device: torch.device) -> Values:
    """Measure each metric of the given kinds, per layer.

    A value that is not finite, or that a layer does not have, is nan.
    """
    exact = torch.float32 if device.type == "mps" else torch.float64
    state = {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    copies = {name: tensor.to(exact) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    inputs_BT = torch.from_numpy(np.ascontiguousarray(batch.inputs_BT)).to(device)
    inputs = inputs_BT, torch.from_numpy(batch.query_positions()).to(device)
    draw, model.position.draw = model.position.draw, 0
    try:
        values: Values = {}
        with evaluation_mode(model):
            if "rank" in kinds or "attention" in kinds:
                with torch.no_grad():
                    output: ModelOutput = functional_call(model, copies, inputs, {"trace": True})
                values |= trace_diagnostics(output.trace[0], kinds)
            if "gradients" in kinds:
                targets_N = torch.from_numpy(batch.query_targets()).to(device)
                values |= gradient_diagnostics(model, copies, inputs, targets_N)
    finally:
        model.position.draw = draw
    return values


def trace_diagnostics(trace: ActivationTrace, kinds: Collection[DiagnosticsKind]) -> Values:
    """Measure the residual stream and the effective matrices of one forward pass."""
    values: Values = {}
    if "rank" in kinds:
        values |= {name: _measure(name, trace.residual_BTD) for name in RANK_METRICS}
    if "attention" in kinds:
        nothing = torch.full((1, 1, 1, 1), math.nan)  # of an attention without a matrix
        matrices = [weights[0] if weights else nothing for weights in trace.weights_BHTS]
        values |= {name: _measure(name, matrices) for name in ATTENTION_METRICS}
    return values


def gradient_diagnostics(
    model: Model, weights: Mapping[str, Tensor], inputs: tuple[Tensor, Tensor], targets_N: Tensor
) -> Values:
    """Per layer and kind of weight, the norm of the gradient over the norm of the weight, before any clipping."""
    learned = [name for name, weight in model.named_parameters() if weight.requires_grad]
    state = {name: tensor.requires_grad_() if name in learned else tensor for name, tensor in weights.items()}
    with torch.enable_grad():
        output: ModelOutput = functional_call(model, state, inputs)
        loss = mean_loss(output.logits_NV, targets_N) + output.auxiliary
        own = {name: state[name] for name in learned}
        gradients = torch.autograd.grad(loss, list(own.values()), allow_unused=True, materialize_grads=True)
    named = dict(zip(own, gradients, strict=True))
    groups = weight_groups(model.parameter_roles())
    relative = {(norm.layer, norm.kind): norm.relative for norm in collect_gradients(own, [named], groups)}
    layers = range(1, model.spec.layers + 1)
    kinds = [kind for kind in WEIGHT_KINDS if any((layer, kind) in relative for layer in layers)]
    return {f"{kind}-gradient": tuple(relative.get((layer, kind), math.nan) for layer in layers) for kind in kinds}


def _measure(name: str, tensors: Sequence[Tensor]) -> tuple[float, ...]:
    """Measure one metric of each tensor: the mean over sequences and heads, or nan if it is not finite."""
    metric = METRICS[name]

    def value(tensor: Tensor) -> float:
        return float(metric.average(metric.measure(tensor))) if bool(tensor.isfinite().all()) else math.nan

    return tuple(value(tensor) for tensor in tensors)
