"""What a model shows of its inside while it is trained: rank, gradients, attention, on a few held-out sequences.

    step      1, 2, 4, 8, ..., and the last
    measured  by the metrics of :mod:`attnlab.metrics`, on copies in float64
    told      per metric, a number per layer; the stream has one more, the embedding

A watched training takes the same steps as one that nobody watches: weights, gradients and optimizer are left as they
are, and the sequences come from a stream of their own.

Letters  B batch, T tokens, S tokens as keys, D width, H heads, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from attnlab.metrics import METRICS, collect_gradients
from attnlab.metrics.gradients import WEIGHT_KINDS
from attnlab.model.transformer import ModelOutput, Transformer
from attnlab.records import DiagnosticsPoint
from attnlab.specs import DiagnosticsKind
from attnlab.tasks import Batch
from attnlab.tensors import ActivationTrace

SEQUENCES = 8
"""Sequences that are watched."""
ROOM = 2**21
"""Pairs of tokens that are watched at most, if need be on fewer sequences."""
STREAM = ("residual", "cosine", "participation")
"""What is measured of the stream to watch the rank: no singular values, which would take longer than a step."""
MATRIX = ("entropy", "sink", "distance", "row-gain")
"""What is measured of the effective matrices to watch the attention."""
Values = dict[str, tuple[float, ...]]


def is_logged_step(step: int) -> bool:
    """Whether a step, counted from 1, is a power of two."""
    return step & (step - 1) == 0


def num_sequences(length: int) -> int:
    """How many sequences of a length are watched."""
    return max(1, min(SEQUENCES, ROOM // length**2))


def final_values(watched: Sequence[DiagnosticsPoint]) -> dict[str, float]:
    """What was watched last, at the first and at the last layer: ``residual.first``, ``residual.last``."""
    values = watched[-1].values if watched else {}
    first = {f"{name}.first": layers[0] for name, layers in values.items()}
    return first | {f"{name}.last": layers[-1] for name, layers in values.items()}


def diagnostics_of(
    model: Transformer, batch: Batch, kinds: Collection[DiagnosticsKind], device: torch.device
) -> Values:
    """Each metric of the kinds that are asked for, per layer.

    What is not finite, and what a layer does not have, is nan.
    """
    exact = torch.float32 if device.type == "mps" else torch.float64
    stored = {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    copies = {name: tensor.to(exact) if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    inputs_BT = torch.from_numpy(np.ascontiguousarray(batch.inputs_BT)).to(device)
    positions = inputs_BT, torch.from_numpy(batch.query_positions()).to(device)
    drawn, model.position.draw = model.position.draw, 0
    try:
        result: Values = {}
        if "rank" in kinds or "attention" in kinds:
            with torch.no_grad():
                answer: ModelOutput = functional_call(model, copies, positions, {"trace": True})
            result |= trace_diagnostics(answer.trace[0], kinds)
        if "gradients" in kinds:
            answers_N = torch.from_numpy(batch.query_targets()).to(device)
            result |= gradient_diagnostics(model, copies, positions, answers_N)
    finally:
        model.position.draw = drawn
    return result


def trace_diagnostics(trace: ActivationTrace, kinds: Collection[DiagnosticsKind]) -> Values:
    """What the stream and the matrices of a pass say."""
    result: Values = {}
    if "rank" in kinds:
        result |= {name: _measured(name, trace.residual_BTD) for name in STREAM}
    if "attention" in kinds:
        matrices = [weights[0] for weights in trace.weights_BHTS]
        result |= {name: _measured(name, matrices) for name in MATRIX}
    return result


def gradient_diagnostics(
    model: Transformer, weights: Mapping[str, Tensor], positions: tuple[Tensor, Tensor], answers_N: Tensor
) -> Values:
    """Per layer, the norm of each kind of weight's gradient over the norm of the weight, before any clipping."""
    learned = [name for name, weight in model.named_parameters() if weight.requires_grad]
    stored = {name: tensor.requires_grad_() if name in learned else tensor for name, tensor in weights.items()}
    with torch.enable_grad():
        answer: ModelOutput = functional_call(model, stored, positions)
        loss = functional.cross_entropy(answer.logits_NV, answers_N) + answer.auxiliary
        own = {name: stored[name] for name in learned}
        result = torch.autograd.grad(loss, list(own.values()), allow_unused=True, materialize_grads=True)
    relative = {
        (one.layer, one.kind): one.relative for one in collect_gradients(own, [dict(zip(own, result, strict=True))])
    }
    layers = range(1, model.spec.layers + 1)
    kinds = [kind for kind in WEIGHT_KINDS if any((layer, kind) in relative for layer in layers)]
    return {f"{kind}-gradient": tuple(relative.get((layer, kind), math.nan) for layer in layers) for kind in kinds}


def _measured(name: str, tensors: Sequence[Tensor]) -> tuple[float, ...]:
    """One metric of each tensor, the mean over sequences and heads."""
    metric = METRICS[name]

    def one(tensor: Tensor) -> float:
        return float(metric.average(metric.measure(tensor))) if bool(tensor.isfinite().all()) else math.nan

    return tuple(one(tensor) for tensor in tensors)
