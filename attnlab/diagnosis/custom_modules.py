"""Anyone's module, by the trace it gives: what can be measured without knowing what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.diagnosis._measuring import Told, of_readings, panel
from attnlab.diagnosis.diagnose import drawn_at, kind_of
from attnlab.diagnosis.quantities import asked
from attnlab.diagnosis.result import Diagnosis, Map
from attnlab.errors import BadValue
from attnlab.metrics.gradients import Place, gradients, placed
from attnlab.metrics.measure import measured
from attnlab.metrics.metric import FLOOR, METRICS
from attnlab.model.transformer import Transformer
from attnlab.tensors import Trace

NEEDED = """\
def trace(self, inputs):
    streams, scores, weights = ...  # tuples: B x T x D before and after every layer; per layer (B x H x T x T,) or ()
    return attnlab.tensors.Trace(streams, scores, weights)"""


def examine(
    module: nn.Module,
    kind: str,
    inputs: Any,
    *,
    loss: Callable[[], Tensor] | None = None,
    only: Sequence[str] = (),
    at: str = "",
) -> Diagnosis:
    """Measure a module: what it traces, and the gradient of a loss.

    Args:
        module: One whose forward returns a :class:`attnlab.tensors.Trace`, or that has a method ``trace``; or ours.
        kind: The diagnosis.
        inputs: What it is given.
        loss: For gradients, a closure that runs the module and returns a scalar.
        only: Metrics; none tells all.
        at: A head to draw the map of, as ``LAYER.HEAD``.

    Raises:
        BadValue: the module gives no trace, or nothing that was asked for can be measured.
        UnknownName: no such diagnosis or metric.
    """
    named = kind_of(kind)
    metrics = asked(named, tuple(only))
    trace = traced(module, inputs)
    tokens = inputs if isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2 else None
    readings = measured(trace, [metric for metric in metrics if metric.name in METRICS], (), tokens)
    found = {name: of_readings(one) for name, one in readings.items() if one}
    if named == "gradients" and loss is not None:
        found |= of_loss(module, loss)
    label = type(module).__name__
    panels = [panel(metric, {label: [found[metric.name]]}) for metric in metrics if metric.name in found]
    if only and (silent := [name for name in only if name not in found]):
        hint = f"What it has: {', '.join(found) or 'nothing of this kind'}."
        if named == "gradients" and loss is None:
            hint = "Gradients need a loss: diagnose(module, 'gradients', inputs=..., loss=lambda: ...)."
        raise BadValue(f"'{label}' has nothing to measure '{silent[0]}' of.", hint, where="only")
    maps: tuple[Map, ...] = (drawn_at(trace, label, at),) if at else ()
    layers = max(len(trace.stream_BTD) - 1, len(trace.weights_BHTS))
    return Diagnosis(named, f"{label}, {layers} layers, as it is", tuple(panels), (), maps)


def traced(module: nn.Module, inputs: Any) -> Trace:
    """What the module shows of itself, without gradients.

    Raises:
        BadValue: it shows nothing; says the lines it needs.
    """
    if inputs is None:
        raise BadValue("A module is measured on inputs, and none were given.", "Write inputs=...", where="diagnose")
    with torch.no_grad():
        if isinstance(module, Transformer):
            places = torch.arange(inputs.numel(), device=inputs.device)
            return module(inputs, places, trace=True).trace[0]
        own = getattr(module, "trace", None)
        found = own(inputs) if callable(own) else module(inputs)
    if isinstance(found, tuple) and not isinstance(found, Trace):
        found = next((one for one in found if isinstance(one, Trace)), found)
    if not isinstance(found, Trace):
        raise BadValue(
            f"'{type(module).__name__}' returns no trace.", f"Give it these lines:\n{NEEDED}", where="diagnose"
        )
    return found


def of_loss(module: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Told]:
    """Gradients of the parameters whose names say layer and kind, as ours do: ``blocks.0.attention.query.weight``."""
    found = gradients(module, [loss], numbered)
    layers = range(1, max((one.layer for one in found), default=0) + 1)
    rows: dict[str, Told] = {}
    for kind in dict.fromkeys(one.kind for one in found):
        values = {one.layer: one.relative for one in found if one.kind == kind}
        row = tuple(values.get(layer, float("nan")) for layer in layers)
        rows[f"{kind}-gradient"] = Told(row, tuple(value < FLOOR for value in row))
    return rows


def numbered(name: str) -> Place | None:
    """Layer and kind: by our names, or by the first number in a name and what else it says of its use.

    >>> numbered("layers.3.self_attn.q_proj.weight"), numbered("h.0.mlp.c_fc.weight"), numbered("head.weight")
    ((4, 'query'), (1, 'mlp'), None)
    """
    if known := placed(name):
        return known
    words = name.lower().split(".")
    layer = next((int(word) for word in words if word.isdigit()), None)
    if layer is None or words[-1] != "weight":
        return None
    uses = {"q": "query", "k": "key", "v": "value", "o": "output", "out": "output"}
    kinds = ("query", "key", "value", "output", "mlp")
    for word in words:
        start = word.partition("_")[0]
        if word in kinds or (word.endswith("proj") and start in uses):
            return layer + 1, word if word in kinds else uses[start]
    return None
