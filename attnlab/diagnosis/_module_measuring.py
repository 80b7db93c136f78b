"""The measurement of any module by what forward hooks see of it; what cannot be measured is named with its reason.

Letters  B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._attention_maps import labeled_map_of
from attnlab.diagnosis._labeled_matrices import (
    LabeledMatrices,
    Layer,
    Quantity,
    inapplicable_note,
    label_note,
    labeled_matrices,
    measure_labeled,
    merge_matrices,
    reason_against,
)
from attnlab.diagnosis._measuring import MetricValues, labeled_metric_values, metric_values
from attnlab.diagnosis._model_inputs import main_input
from attnlab.diagnosis._observed_model import observe
from attnlab.diagnosis._parameter_roles import name_parameters, skipped_notes
from attnlab.diagnosis.result import AttentionMap
from attnlab.errors import InvalidValueError
from attnlab.metrics.gradients import WEIGHT_KINDS, FusedPart, WeightGroup, gradients, query_to_value, weight_groups
from attnlab.metrics.measure import measure_trace
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace

ONE_BATCH = "noise is measured between batches, and there is one"
TRACE_METHOD = """\
def trace(self, inputs):
    residual, scores, weights = ...  # tuples: B x T x D before and after every layer; per layer (B x H x T x T,) or ()
    return attnlab.tensors.ActivationTrace(residual, scores, weights)"""


@dataclass(frozen=True)
class ModuleMeasures:
    """What was measured of a module."""

    values: dict[Quantity, MetricValues]
    notes: tuple[str, ...]
    """What was read, what was skipped, and what does not apply, with the reasons."""
    reasons: Mapping[str, str]
    """The name of a metric that was not measured -> why."""
    layers: int
    trace: ActivationTrace
    matrices: tuple[LabeledMatrices, ...]

    def attention_map(self, variant: str, head: str) -> AttentionMap:
        """Get the map of one head.

        Args:
            variant: The name of the module in tables.
            head: The head, as ``LAYER.HEAD``, both from 1.

        Returns:
            The map, with its kind.

        Raises:
            InvalidValueError: No layer has a matrix, or the module has no such head.
        """
        effective: list[tuple[Tensor, ...]] = [()] * self.layers
        return labeled_map_of(self.trace, *merge_matrices(effective, self.matrices), variant, head)


@dataclass(frozen=True)
class LossGradients:
    """The gradients at the weights of a module."""

    values: dict[Quantity, MetricValues]
    notes: tuple[str, ...]
    frozen: frozenset[str] = frozenset()
    """Kinds of weights of which no gradient is asked for."""


def measure_module(
    module: nn.Module,
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    inputs: Any,
    losses: Sequence[Callable[[], Tensor]],
    words: str,
    label: str,
) -> ModuleMeasures:
    """Measure a module on some inputs, and the gradients of some losses.

    Args:
        module: The module.
        kind: The diagnosis.
        metrics: The metrics.
        inputs: Its inputs, checked.
        losses: For gradients, one closure for each batch.
        words: The loss in words.
        label: The name of the module, for messages.

    Returns:
        Values, notes and reasons.

    Raises:
        InvalidValueError: The module has no blocks that are recognized.
        PluginError: The module or a loss fails.
    """
    observed = observe(module, inputs, kind)
    if observed is None:
        problem = f"'{label}' has no blocks that are recognized: no modules in it map a stream to its own shape."
        looked = (
            "Looked for: items of a ModuleList or Sequential, or modules of one parent, from B x T x D to B x T x D."
        )
        raise InvalidValueError(problem, f"{looked}\nOr add this method to it:\n{TRACE_METHOD}", where="diagnose")
    sequences = main_input(inputs)
    inputs_BT = None if sequences.is_floating_point() else sequences
    notes = list(observed.notes)
    trace = ActivationTrace(observed.blocks.residual_BTD, (), ())
    on_stream = [metric for metric in metrics if metric.name in METRICS and metric.point is Point.RESIDUAL]
    values = measure_trace(trace, on_stream, (), inputs_BT)
    measured = {Quantity(name): metric_values(layers) for name, layers in values.items()}
    matrices, skipped = labeled_matrices(observed.layers, kind)
    for one in matrices:
        of_kind = labeled_metric_values(one.label, measure_labeled(one, metrics, inputs_BT))
        measured |= of_kind
        notes += [label_note(one, _width(observed.layers, one))] if of_kind else []
    notes += skipped
    frozen: frozenset[str] = frozenset()
    if losses:
        found = loss_gradients(module, losses, observed.blocks.names)
        names = {metric.name for metric in metrics}
        measured |= {quantity: one for quantity, one in found.values.items() if quantity.metric in names}
        notes += [f"Gradients of {words}.", *found.notes]
        frozen = found.frozen
    names = {quantity.metric for quantity in measured}
    missing = [metric for metric in metrics if metric.name not in names]
    matrix_label = matrices[-1].label if matrices else ""
    reasons = _reasons(missing, matrix_label, inputs_BT, len(losses), frozen)
    note = inapplicable_note({name: why for name, why in reasons.items() if not name.startswith("extra")})
    notes += [note[0].upper() + note[1:]] if note else []
    return ModuleMeasures(measured, tuple(notes), reasons, len(observed.blocks.names), trace, tuple(matrices))


def loss_gradients(
    module: nn.Module, losses: Sequence[Callable[[], Tensor]], layers: Sequence[Sequence[str]]
) -> LossGradients:
    """Measure gradients by layer and kind: by declared roles, or by the names of parameters.

    Args:
        module: The module.
        losses: One closure for each batch; the noise is measured between them.
        layers: For each layer the modules of it.

    Returns:
        Relative gradients, their noise where there are several batches, and what was skipped.
    """
    groups: dict[str, WeightGroup]
    fused: dict[str, tuple[FusedPart, ...]] = {}
    notes: list[str] = []
    frozen: dict[str, str] = {}
    if isinstance(module, Transformer):
        groups = weight_groups(module.parameter_roles())
    else:
        named = name_parameters(module, layers)
        groups, fused = weight_groups(named.roles), named.fused
        if fused:
            notes.append("Fused weights are read as equal parts in the order query, key, value.")
        frozen = {name: "no gradient is asked for" for name, one in module.named_parameters() if not one.requires_grad}
        notes += skipped_notes({**named.skipped, **frozen}, [name for name, _ in module.named_parameters()])
    # The recurrent kernels of cuDNN have no gradient in evaluation mode.
    with evaluation_mode(module), torch.backends.cudnn.flags(enabled=False):
        grads = gradients(module, losses, groups, fused)
    count = max((len(layers), *(gradient.layer for gradient in grads)), default=0)

    def row(by_layer: dict[int, float]) -> MetricValues:
        values = tuple(by_layer.get(layer, float("nan")) for layer in range(1, count + 1))
        return MetricValues(values, tuple(value < FLOAT_FLOOR for value in values))

    measured: dict[Quantity, MetricValues] = {}
    for kind in dict.fromkeys(gradient.kind for gradient in grads):
        of_kind = [gradient for gradient in grads if gradient.kind == kind]
        measured[Quantity(f"{kind}-gradient")] = row({one.layer: one.relative for one in of_kind})
        if len(losses) > 1 and kind != "scores":
            measured[Quantity(f"{kind}-noise")] = row({one.layer: one.noise for one in of_kind})
    if ratios := query_to_value(grads):
        measured[Quantity("query-to-value")] = row(ratios)
    groups_of_frozen = [group for name in frozen for group in _groups(name, groups, fused)]
    return LossGradients(measured, tuple(notes), frozenset(kind for _, kind in groups_of_frozen))


def _groups(
    name: str, groups: Mapping[str, WeightGroup], fused: Mapping[str, Sequence[FusedPart]]
) -> list[WeightGroup]:
    """List the groups of one parameter, or of the parts of a fused one."""
    own = [groups[name]] if name in groups else []
    return own + [part.group for part in fused.get(name, ())]


def _reasons(
    missing: Sequence[Metric], label: str, inputs_BT: Tensor | None, batches: int, frozen: frozenset[str]
) -> dict[str, str]:
    """Tell why metrics were not measured."""
    kinds = {metric.name: _kinds_of_weights(metric) for metric in missing}
    measured_alone = {of[0] for of in kinds.values() if len(of) == 1}
    without = [kind for kind in WEIGHT_KINDS if kind in measured_alone and kind not in frozen]
    reasons = {}
    for metric in missing:
        of = kinds[metric.name]
        lacking = [kind for kind in of if kind in without] or [kind for kind in of if kind not in frozen]
        if metric.name in ("induction", "duplicate") and inputs_BT is None:
            reason = "it compares tokens, and embeddings are none"
        elif of and any(kind in frozen for kind in of):
            reason = "no gradient is asked for at its weights"
        elif metric.name.endswith("-noise") and batches < 2:
            reason = ONE_BATCH
        elif of:
            reason = _no_role(without if set(lacking) <= set(without) else lacking)
        else:
            reason = reason_against(metric, label)
        reasons[metric.name] = reason
    return reasons


def _no_role(kinds: Sequence[str]) -> str:
    """Tell that there are no weights of some kinds."""
    if len(kinds) == 1:
        return f"there is no parameter of the role {kinds[0]}"
    return f"there is no parameter of the roles {', '.join(kinds[:-1])} or {kinds[-1]}"


def _kinds_of_weights(metric: Metric) -> tuple[str, ...]:
    """List the kinds of weights that a metric needs; none where it is not of weights of one kind."""
    if metric.name == "query-to-value":
        return "query", "value"
    kind = metric.name.removesuffix("-gradient").removesuffix("-noise")
    return (kind,) if kind in WEIGHT_KINDS and kind not in (metric.name, "scores") else ()


def _width(layers: Sequence[Layer | None], matrices: LabeledMatrices) -> int:
    """Get the width of the modules whose matrices these are."""
    return next(
        one.x_BTD.shape[-1] for one, layer in zip(layers, matrices.layers, strict=True) if layer and one is not None
    )
