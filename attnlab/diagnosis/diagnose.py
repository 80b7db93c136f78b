"""The diagnosis of variants and finished runs: their residual streams, attentions and gradients, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from attnlab.attention import ATTENTIONS
from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._measuring import MetricValues, make_panel, measure_subject, subject_layers_needed
from attnlab.diagnosis.quantities import requested_metrics
from attnlab.diagnosis.result import AttentionMap, Diagnosis
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.subjects import (
    NOISE_LENGTH,
    DiagnosisRequest,
    DiagnosisSubject,
    diagnosis_subjects,
    requested_task,
)
from attnlab.errors import InvalidValueError, unknown
from attnlab.metrics.metric import Metric
from attnlab.specs import ModelSpec, variant_text
from attnlab.tensors import ActivationTrace


def diagnose(
    kind: str,
    request: DiagnosisRequest,
    *,
    runs: Sequence[str] = (),
    store: Path = Path("results"),
    only: Sequence[str] = (),
    attention_map: str = "",
) -> Diagnosis:
    """Measure variants at random initialization, or finished runs.

    Args:
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        request: The variants, and the sequences that they are measured on.
        runs: Ids of finished runs, or their starts; they are measured instead of fresh variants.
        store: The folder of results with those runs.
        only: Metrics; none takes all of the kind.
        attention_map: A head to return the attention map of, as ``LAYER.HEAD``; empty returns none.

    Returns:
        One panel per metric, notes and maps.

    Raises:
        UnknownNameError: A kind, metric, task, part, option or run does not exist.
        InvalidValueError: A value is out of range, a head does not exist, or a metric of ``only`` cannot be measured.
        IncompatiblePartsError: An attention cannot be combined with the position or with a modifier.
        StoreError: The store is empty, or the weights of a run were not kept.
    """
    parsed = parse_kind(kind)
    metrics = requested_metrics(parsed, tuple(only))
    description = ""
    subjects: Iterable[DiagnosisSubject] = diagnosis_subjects(request)
    if runs:
        options = {"complexity": request.complexity, "length": request.length, "batch": request.batch}
        loaded = [run_subject(run, store, **options) for run in runs]
        subjects = [subject for _, subject in loaded]
        description = "; ".join(f"run {record.id}, {record.spec.summary}" for record, _ in loaded)
    return diagnose_subjects(
        parsed, metrics, subjects, request=request, only=only, attention_map=attention_map, description=description
    )


def diagnose_subjects(
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    subjects: Iterable[DiagnosisSubject],
    *,
    request: DiagnosisRequest,
    only: Sequence[str] = (),
    attention_map: str = "",
    description: str = "",
) -> Diagnosis:
    """Measure every metric of every subject, the seeds of a variant together.

    Args:
        kind: The kind of diagnosis.
        metrics: The metrics.
        subjects: The models with their sequences.
        request: The request that they were built from.
        only: Metrics that must be measurable.
        attention_map: A head to return the attention map of, as ``LAYER.HEAD``; empty returns none.
        description: The subjects in one line; empty describes the request.

    Returns:
        One panel per metric, notes and maps.

    Raises:
        InvalidValueError: A metric of ``only`` cannot be measured, or a head does not exist.
    """
    measured: dict[str, dict[str, list[MetricValues]]] = {metric.name: {} for metric in metrics}
    maps: dict[str, AttentionMap] = {}
    reach_notes: dict[str, str] = {}
    for subject in subjects:
        description = description or _describe(request, subject.model.spec)
        values = measure_subject(subject, metrics)
        for metric in metrics:
            if metric.name in values:
                measured[metric.name].setdefault(subject.variant, []).append(values[metric.name])
            elif metric.name in only:
                raise _not_measurable(metric.name, subject, sorted(measure_subject(subject, requested_metrics(kind))))
        if kind == "reach" and subject.variant not in reach_notes:
            reach_notes[subject.variant] = _receptive_field_note(subject)
        if attention_map and subject.variant not in maps:
            maps[subject.variant] = attention_map_of(subject.trace(), subject.variant, attention_map)
    panels = [make_panel(metric, measured[metric.name]) for metric in metrics if measured[metric.name]]
    notes = (*reach_notes.values(), *_missing_notes(metrics, measured))
    return Diagnosis(kind, description, tuple(panels), notes, tuple(maps.values()))


def parse_kind(word: str) -> DiagnosisKind:
    """Parse a kind of diagnosis.

    Args:
        word: Its name.

    Returns:
        The kind.

    Raises:
        UnknownNameError: No kind has the name.
    """
    for kind in get_args(DiagnosisKind):
        if kind == word:
            return kind
    raise unknown("diagnosis", word, get_args(DiagnosisKind), where="diagnose")


def attention_map_of(trace: ActivationTrace, variant: str, head: str) -> AttentionMap:
    """Get the effective matrix of one head on the first sequence.

    Args:
        trace: The trace of a model.
        variant: The name of the variant.
        head: The head, as ``LAYER.HEAD``, both from 1.

    Returns:
        The map.

    Raises:
        InvalidValueError: The trace has no matrix, or the model has no such head.
    """
    weights = [layer[0] for layer in trace.weights_BHTS if layer]
    if not weights:
        problem = f"The trace of '{variant}' has no attention matrix."
        raise InvalidValueError(problem, "Leave --attention-map out.", where="--attention-map")
    heads = [layer.shape[-3] for layer in weights]
    match = re.fullmatch(r"(\d+)\.(\d+)", head)
    hint = f"Layers are 1 to {len(weights)}, heads 1 to {min(heads)}: --attention-map 1.1."
    if not match:
        raise InvalidValueError(f"'{head}' is not a head.", f"Write LAYER.HEAD. {hint}", where="--attention-map")
    layer, number = int(match[1]), int(match[2])
    where = f"--attention-map {head}"
    if not layer or not number:
        raise InvalidValueError(f"Layers and heads count from 1: there is no {head}.", hint, where=where)
    if not (1 <= layer <= len(weights) and 1 <= number <= heads[layer - 1]):
        raise InvalidValueError(f"'{variant}' has no head {number} in layer {layer}.", hint, where=where)
    rows = tuple(tuple(row) for row in weights[layer - 1][0, number - 1].tolist())
    return AttentionMap(variant, layer, number, rows)


def _not_measurable(name: str, subject: DiagnosisSubject, measurable: Sequence[str]) -> InvalidValueError:
    """Make the error for a metric of ``only`` that cannot be measured of a variant."""
    where = f"--only {name}"
    if name in ("induction", "duplicate"):
        problem = f"'{name}' compares tokens, and noise has no tokens."
        return InvalidValueError(problem, "Choose a task: --task recall.", where=where)
    problem = f"'{name}' cannot be measured of '{subject.variant}'."
    if name == "scores-gradient":
        parts = [part.name for part in subject.model.spec.attention]
        without = [part for part in parts if not ATTENTIONS.entry(part).cls.has_scores]
        problem = f"'{(without or [subject.variant])[0]}' has no attention scores, so there is no gradient at them."
    hint = f"Metrics of it: {', '.join(measurable)}." if measurable else "Try: attnlab diagnose attention."
    return InvalidValueError(problem, hint, where=where)


def _missing_notes(metrics: Sequence[Metric], measured: dict[str, dict[str, list[MetricValues]]]) -> list[str]:
    """Name the metrics that could not be measured, by variant."""
    variants = dict.fromkeys(variant for by_variant in measured.values() for variant in by_variant)
    lines = []
    for variant in variants:
        names = [
            metric.name
            for metric in metrics
            if variant not in measured[metric.name] and not metric.name.startswith("extra")
        ]
        lines += [f"{variant}: not measurable: {', '.join(names)}."] if names else []
    nowhere = [metric.name for metric in metrics if not measured[metric.name]]
    return lines or ([f"Not measurable: {', '.join(nowhere)}."] if nowhere else [])


def _receptive_field_note(subject: DiagnosisSubject) -> str:
    """Describe the number of layers until the receptive field is complete."""
    if not all(subject.trace().weights_BHTS):
        return f"{subject.variant}: not applicable: a module of its own shows no matrix."
    layers = subject_layers_needed(subject)
    if layers is None:
        depth = _count(subject.model.spec.layers, "layer")
        return f"{subject.variant}: some tokens cannot get information from all earlier ones within {depth}."
    return f"{subject.variant}: every token can get information from all earlier ones after {_count(layers, 'layer')}."


def _describe(request: DiagnosisRequest, model: ModelSpec) -> str:
    """Describe the models and the sequences in one line."""
    parts = [_count(model.layers, "layer"), f"width {model.width}", _count(model.heads, "head")]
    parts.append("residual" if model.residual else "no residual")
    parts += [f"norm {model.norm}", "MLP" if model.mlp_ratio else "no MLP"]
    own = {"norm": model.norm_layer, "MLP": model.mlp, "block": model.block, "residual stream": model.residual_stream}
    fields = ("norm_layer", "mlp", "block", "residual_stream")
    defaults = [ModelSpec.model_fields[field].default for field in fields]
    for (name, part), default in zip(own.items(), defaults, strict=True):
        if part != default:
            parts.append(f"{name} {variant_text(part) if isinstance(part, tuple) else part}")
    if request.task is None:
        sequences = f"gaussian noise, {request.length or NOISE_LENGTH} tokens"
    else:
        task, _ = requested_task(request, request.task)
        sequences = f"{task.name} {task.complexity}={task.level}"
    seeds = _count(len(request.seeds), "seed")
    return f"random initialization, {', '.join(parts)}; {sequences}, {_count(request.batch, 'sequence')}; {seeds}"


def _count(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
