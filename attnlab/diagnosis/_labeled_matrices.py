"""Matrices that are no effective matrices: weights that a module returns, and the row norms of its Jacobian.

Each kind has tables of its own, under its label, and is never averaged or shown with another one.

Letters  B batch, H heads, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._gain_control import blocks, unscaled
from attnlab.metrics.measure import LayerValue, float_floor, measure_trace
from attnlab.metrics.metric import Metric, Point
from attnlab.metrics.row_norms import DIRECTIONS, as_weights, jacobian_row_norms
from attnlab.model.transformer import Transformer
from attnlab.tensors import ActivationTrace, LayerInputs

EFFECTIVE, RETURNED, ROW_NORMS = "effective matrix", "returned weights", "Jacobian row norms"
BLOCK_NORMS = "Jacobian row norms of the block"
"""Labels of the kinds of matrices; the last are those of a block in which no attention is found."""
POINTS = {
    RETURNED: "the weights that the module of each layer returns",
    ROW_NORMS: "the Jacobian row norms",
    BLOCK_NORMS: "the Jacobian row norms of each block",
}
SUMMARIES = {
    "entropy": "The entropy of a row of norms relative to that of equal norms.",
    "entropy-nats": "The entropy of a row of norms in nats; equal norms have log(T!) / T.",
    "sink": "The share of a row of norms that is the first token's.",
    "sink-rate": "The share of sequences in which the first token has a large share of the norms.",
    "distance": "The mean distance from an output to the inputs, weighted by norm, relative to the longest possible.",
    "peak": "The largest share of one input in a row of norms.",
    "saturation": "The share of outputs that depend on one input only.",
    "singular-gap": "The ratio of the two largest singular values of the matrix of norms; 1 for a matrix of zeros.",
    "previous-token": "The share of a row of norms that is the previous token's.",
    "duplicate": "The share of a row of norms that is that of earlier copies of the token.",
    "induction": "The share of a row of norms that is that of the tokens after earlier copies of the token.",
}
"""What each metric says of row norms: there are no heads, and no attention."""
SEQUENCES = 2
"""Sequences on which row norms are measured, at most."""
SEED = 0
"""The seed of the random directions."""
NO_MATRIX = "a module of its own shows no effective matrix"
ROW_NORM_REASONS = {
    "negative-mass": "norms have no sign",
    "row-gain": "rows are normalized",
    "row-sum": "rows are normalized",
    "diversity": "there is one matrix, without heads",
}


class Quantity(NamedTuple):
    """A metric, and the kind of matrix that it is measured on."""

    metric: str
    label: str = ""
    """Empty for effective matrices, and where a metric is not measured on a matrix."""


@dataclass(frozen=True)
class LabeledMatrices:
    """The matrices of one kind."""

    label: str
    layers: tuple[tuple[Tensor, ...], ...]
    """Per layer B x H x T x T, or nothing."""


class Layer(NamedTuple):
    """A module without an effective matrix, and its input."""

    returned_BHTT: Tensor | None
    """Its returned weights; None where it returns none."""
    function: Callable[[Tensor], Tensor]
    """The module, from B x T x D to the same shape."""
    x_BTD: Tensor
    takes_any_batch: bool = True
    reason: str = ""
    """Why its row norms cannot be measured; empty where they can."""
    is_block: bool = False
    """Whether it is a whole block, in which no attention is found."""


def headless_layers(model: Transformer, trace: ActivationTrace) -> list[Layer | None]:
    """List the adapted modules of a model with their inputs; None for the other layers.

    Args:
        model: The model.
        trace: Its trace.

    Returns:
        One entry per layer.
    """
    layers: list[Layer | None] = []
    for index, block in enumerate(blocks(model)):
        attention = unscaled(block.attention)
        if not isinstance(attention, Adapted):
            layers.append(None)
            continue
        x_BTD = trace.inputs_BTD[index].detach()
        layers.append(Layer(attention.returned_weights(x_BTD), _function(model, attention, index), x_BTD))
    return layers


def labeled_matrices(
    layers: Sequence[Layer | None], kind: DiagnosisKind
) -> tuple[list[LabeledMatrices], tuple[str, ...]]:
    """Take the returned weights of some layers, and for patterns of attention the row norms of the others.

    Args:
        layers: The layers without effective matrix.
        kind: The diagnosis.

    Returns:
        One entry for each kind of matrix that there is, and why layers have no row norms.
    """
    returned = [(one.returned_BHTT,) if one is not None and one.returned_BHTT is not None else () for one in layers]
    wanted = [one if one is not None and one.returned_BHTT is None and kind == "attention" else None for one in layers]
    norms: dict[str, list[tuple[Tensor, ...]]] = {label: [()] * len(layers) for label in (ROW_NORMS, BLOCK_NORMS)}
    reasons: dict[tuple[str, str], list[str]] = {}
    for index, one in enumerate(wanted):
        if one is None:
            continue
        label = BLOCK_NORMS if one.is_block else ROW_NORMS
        norms[label][index], reason = _row_norms(one)
        if reason:
            reasons.setdefault((label, reason), []).append(str(index + 1))
    every = [
        LabeledMatrices(RETURNED, tuple(returned)),
        *(LabeledMatrices(label, tuple(one)) for label, one in norms.items()),
    ]
    skipped = [f"{label}: not applicable in layer {', '.join(at)}: {why}." for (label, why), at in reasons.items()]
    return [one for one in every if any(one.layers)], tuple(skipped)


def merge_matrices(
    effective: Sequence[tuple[Tensor, ...]], labeled: Sequence[LabeledMatrices]
) -> tuple[tuple[tuple[Tensor, ...], ...], tuple[str, ...]]:
    """Take for each layer its matrix, whatever its kind, with its label.

    Args:
        effective: The effective matrix of each layer, or nothing.
        labeled: The matrices of other kinds.

    Returns:
        One matrix per layer, or nothing, and the label of each.
    """
    merged, labels = list(effective), [EFFECTIVE] * len(effective)
    for one in labeled:
        for index, layer in enumerate(one.layers):
            if layer:
                merged[index], labels[index] = layer, one.label
    return tuple(merged), tuple(labels)


def measure_labeled(
    matrices: LabeledMatrices, metrics: Sequence[Metric], inputs_BT: Tensor | None
) -> dict[Quantity, tuple[LayerValue, ...]]:
    """Measure the metrics that apply to matrices of one kind.

    Args:
        matrices: The matrices.
        metrics: The metrics.
        inputs_BT: The tokens of all sequences; None for noise.

    Returns:
        The values by metric and label.
    """
    applying = [metric for metric in metrics if not reason_against(metric, matrices.label)]
    batch = max(len(layer[0]) for layer in matrices.layers if layer)
    trace = ActivationTrace((), ((),) * len(matrices.layers), matrices.layers)
    values = measure_trace(trace, applying, (), None if inputs_BT is None else inputs_BT[:batch])
    return {Quantity(name, matrices.label): layers for name, layers in values.items()}


def reason_against(metric: Metric, label: str) -> str:
    """Tell why a metric does not apply to a module without effective matrix.

    Args:
        metric: The metric.
        label: The kind of matrix that the module has instead; empty where it has none.

    Returns:
        The reason; empty where the metric applies.
    """
    match metric.point:
        case Point.RESIDUAL:
            return "it is measured on the stream"
        case Point.BRANCH:
            return "its values are not seen"
        case Point.SCORES:
            return "its scores are not seen"
        case Point.WEIGHTS:
            return "its weights declare no roles"
        case Point.MATRIX:
            if metric.name.startswith("jacobian"):
                return "its scores are not seen"
            if not label or metric.name in ("reach", "keys"):
                return NO_MATRIX
            return ROW_NORM_REASONS.get(metric.name, "") if is_row_norms(label) else ""


def is_row_norms(label: str) -> bool:
    """Tell whether matrices of a kind are norms, one for each sequence, without heads.

    Args:
        label: The kind of matrix.

    Returns:
        Whether they are.
    """
    return label in (ROW_NORMS, BLOCK_NORMS)


def inapplicable_note(reasons: Mapping[str, str]) -> str:
    """Write which metrics do not apply, with the reasons.

    Args:
        reasons: The name of a metric -> the reason; empty where it applies.

    Returns:
        One sentence; empty where there are none.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)} ({reason})" for reason, names in by_reason.items()]
    return f"not applicable: {'; '.join(parts)}." if parts else ""


def label_note(matrices: LabeledMatrices, width: int) -> str:
    """Write how the matrices of a kind were made.

    Args:
        matrices: The matrices.
        width: D.

    Returns:
        One sentence.
    """
    if matrices.label == RETURNED:
        return f"{RETURNED}: what the module calls its weights, which need not be its effective matrix."
    batch = next(len(layer[0]) for layer in matrices.layers if layer)
    is_block = matrices.label == BLOCK_NORMS
    what = "the whole block, with its MLP and residual connections" if is_block else "the module"
    how = f"{DIRECTIONS} random orthonormal directions of {width}, seed {SEED}" if width > DIRECTIONS else "exact"
    sequences = f"the first {batch} sequences" if batch > 1 else "the first sequence"
    return (
        f"{matrices.label}: ||d y_t / d x_s||_F of {what}, {how}, on {sequences}; each row is divided by its sum."
        " They are no effective matrix."
    )


def _row_norms(layer: Layer) -> tuple[tuple[Tensor, ...], str]:
    """Measure the row norms of one layer, as weights; or nothing, and why."""
    if layer.reason:
        return (), layer.reason
    x_BTD = layer.x_BTD[:SEQUENCES] if layer.takes_any_batch else layer.x_BTD
    try:
        norms_BTT = jacobian_row_norms(
            layer.function, x_BTD, directions=DIRECTIONS, seed=SEED, rows_are_independent=layer.takes_any_batch
        )
    except (ValueError, RuntimeError) as error:  # autograd raises the latter where an operation has no gradient
        return (), next(iter(str(error).splitlines()), "its output has no gradient")
    floor = float_floor(x_BTD.dtype) * float(norms_BTT.amax())
    if bool((norms_BTT.triu(1) > floor).any()):
        # The metrics of rows count the keys up to the query.
        return (), "an output depends on a later token, and the metrics are of causal rows"
    if layer.is_block and not bool((norms_BTT.tril(-1) > floor).any()):
        return (), "no output depends on another token"
    return (as_weights(norms_BTT.tril()),), ""


def _function(model: Transformer, attention: Attention, index: int) -> Callable[[Tensor], Tensor]:
    """The module of a layer as a function of its input."""
    position = model.position.of_layer(index)

    def function(x_BTD: Tensor) -> Tensor:
        output_BTD: Tensor = attention(x_BTD, position, LayerInputs()).output_BTD
        return output_BTD

    return function
