"""The diagnosis of variants and finished runs: their residual streams, attentions and gradients, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnlab.attention import ATTENTIONS, RowConstraint
from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._attention_maps import attention_map_of, labeled_map_of
from attnlab.diagnosis._gain_control import blocks, unscaled
from attnlab.diagnosis._labeled_matrices import (
    Quantity,
    headless_layers,
    labeled_matrices,
    merge_matrices,
    reason_against,
)
from attnlab.diagnosis._measuring import Measured, MetricValues, make_panel, measure_subject, subject_layers_needed
from attnlab.diagnosis.quantities import parse_kind, requested_metrics
from attnlab.diagnosis.result import AttentionMap, Diagnosis
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.subjects import (
    NOISE_LENGTH,
    DiagnosisRequest,
    DiagnosisSubject,
    diagnosis_subjects,
    requested_task,
)
from attnlab.diagnosis.whole_models import WholeModelSubject, whole_model_subjects
from attnlab.errors import InvalidValueError
from attnlab.metrics.metric import Metric
from attnlab.records import Record
from attnlab.run_labels import RunLabels
from attnlab.specs import ModelSpec, Modifiers, variant_text
from attnlab.storage.find_run import in_store
from attnlab.training.events import Preparing, Progress, no_callback

Subject = DiagnosisSubject | WholeModelSubject
NO_GRADIENT = "its output has no gradient"
EXCLUSIVE = "exclusive: an attention adds nothing to the first token, which sees its own value alone."


def diagnose(
    kind: str,
    request: DiagnosisRequest,
    *,
    runs: Sequence[str] = (),
    store: Path = Path("results"),
    only: Sequence[str] = (),
    attention_map: str = "",
    progress: Progress = no_callback,
) -> Diagnosis:
    """Measure variants at random initialization, or finished runs.

    Args:
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        request: The variants, and the sequences that they are measured on.
        runs: Ids of finished runs, or their starts; they are measured instead of fresh variants.
        store: The folder of results with those runs.
        only: Metrics; none takes all of the kind.
        attention_map: A head to return the attention map of, as ``LAYER.HEAD``; empty returns none.
        progress: Receives what is built and measured.

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
    description, diverged = "", list[str]()
    subjects: Iterable[Subject] = _fresh_subjects(request)
    if runs:
        command = f"attnlab diagnose {parsed} --run {','.join(runs)}{in_store(store)}"
        options: dict[str, Any] = {"complexity": request.complexity, "length": request.length, "batch": request.batch}
        loaded = [run_subject(run, store, command=command, **options) for run in runs]
        subjects = [subject for _, subject in loaded]
        labels = RunLabels(record.spec for record, _ in loaded)
        description = "; ".join(f"run {record.id}, {labels.of(record.spec)}" for record, _ in loaded)
        diverged = [_diverged_note(record) for record, _ in loaded if record.status == "diverged"]
    progress(Preparing("building the models"))
    diagnosis = diagnose_subjects(
        parsed,
        metrics,
        subjects,
        request=request,
        only=only,
        attention_map=attention_map,
        description=description,
        progress=progress,
    )
    return dataclasses.replace(diagnosis, notes=(*diverged, *diagnosis.notes))


def _diverged_note(record: Record) -> str:
    """Tell that a run has diverged, and at which step."""
    reason = f": {record.reason}" if record.reason else ""
    told = f"run {record.id} has diverged after {record.steps:,} steps{reason}"
    return f"{told}. A dash, where its weights are not finite."


def diagnose_subjects(
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    subjects: Iterable[Subject],
    *,
    request: DiagnosisRequest,
    only: Sequence[str] = (),
    attention_map: str = "",
    description: str = "",
    progress: Progress = no_callback,
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
        progress: Receives what is measured.

    Returns:
        One panel per metric, notes and maps.

    Raises:
        InvalidValueError: A metric of ``only`` cannot be measured, or a head does not exist.
    """
    measured: dict[Quantity, dict[str, list[MetricValues]]] = {}
    maps: dict[str, AttentionMap] = {}
    reach_notes: dict[str, str] = {}
    headless_notes: dict[str, tuple[str, ...]] = {}
    exclusive: dict[str, None] = {}
    for count, subject in enumerate(subjects, start=1):
        progress(Preparing(f"measuring {subject.variant}, model {count}"))
        description = description or _describe(request, subject.model.spec)
        one = _measure(kind, subject, metrics)
        for quantity, values in one.values.items():
            measured.setdefault(quantity, {}).setdefault(subject.variant, []).append(values)
        names = {quantity.metric for quantity in one.values}
        if missing := next((metric for metric in metrics if metric.name in only and metric.name not in names), None):
            raise _not_measurable(kind, missing, subject, one)
        if subject.model.spec.modifiers.exclusive:
            exclusive[subject.variant] = None
        if one.is_headless:
            headless_notes[subject.variant] = one.notes
        if kind == "reach" and isinstance(subject, DiagnosisSubject) and not one.is_headless:
            reach_notes[subject.variant] = reach_notes.get(subject.variant) or _receptive_field_note(subject)
        if attention_map and subject.variant not in maps:
            maps[subject.variant] = _subject_map(kind, subject, attention_map)
    labels = ("", *dict.fromkeys(quantity.label for quantity in measured if quantity.label))
    panels = [
        make_panel(metric, measured[Quantity(metric.name, label)], label)
        for label in labels
        for metric in metrics
        if Quantity(metric.name, label) in measured
    ]
    notes = [f"{variant}: {note}" for variant, lines in headless_notes.items() for note in lines]
    notes += [note for note in _missing_notes(metrics, measured, headless_notes) if note not in notes]
    notes += [f"{variant}: {EXCLUSIVE}" for variant in exclusive]
    return Diagnosis(kind, description, tuple(panels), (*reach_notes.values(), *notes), tuple(maps.values()))


def _fresh_subjects(request: DiagnosisRequest) -> Iterator[Subject]:
    """Build the fresh variants of a request, then its whole models."""
    yield from diagnosis_subjects(request)
    yield from whole_model_subjects(request)


def _measure(kind: DiagnosisKind, subject: Subject, metrics: Sequence[Metric]) -> Measured:
    """Measure one subject."""
    if isinstance(subject, WholeModelSubject):
        return subject.measure(kind, metrics)
    return measure_subject(kind, subject, metrics)


def _subject_map(kind: DiagnosisKind, subject: Subject, head: str) -> AttentionMap:
    """Get the map of one head of a model; of a module without heads, its returned weights or row norms."""
    if isinstance(subject, WholeModelSubject):
        return subject.attention_map(kind, head)
    trace = subject.trace()
    layers = headless_layers(subject.model, trace)
    if not any(layers):
        one = attention_map_of(trace, subject.variant, head)
        attention = unscaled(blocks(subject.model)[one.layer - 1].attention)
        return dataclasses.replace(one, is_share=attention.row_constraint is RowConstraint.STOCHASTIC)
    merged, labels = merge_matrices(trace.weights_BHTS, labeled_matrices(layers, kind)[0])
    return labeled_map_of(trace, merged, labels, subject.variant, head)


def _not_measurable(kind: DiagnosisKind, metric: Metric, subject: Subject, measured: Measured) -> InvalidValueError:
    """Make the error for a metric of ``only`` that cannot be measured of a variant."""
    if isinstance(subject, WholeModelSubject):
        return subject.not_measurable(kind, metric)
    name, where = metric.name, f"--only {metric.name}"
    if name in ("induction", "duplicate"):
        problem = f"'{name}' compares tokens, and noise has no tokens."
        return InvalidValueError(problem, "Choose a task: --task recall.", where=where)
    problem = f"'{name}' cannot be measured of '{subject.variant}'."
    # A layer without heads is reason enough only where all layers are of its kind.
    parts = [part.name for part in subject.model.spec.attention]
    without = [part for part in parts if not ATTENTIONS.entry(part).cls.has_scores]
    every = measure_subject(kind, subject, requested_metrics(kind))
    if measured.is_headless:
        label = every.labels[-1] if every.labels else ""
        reason = reason_against(metric, label)
        problem = f"'{name}' does not apply to '{subject.variant}': {reason or NO_GRADIENT}."
    elif name == "scores-gradient":
        problem = f"'{(without or [subject.variant])[0]}' has no attention scores, so there is no gradient at them."
    measurable = sorted({quantity.metric for quantity in every.values})
    hint = f"Metrics of it: {', '.join(measurable)}." if measurable else "Try: attnlab diagnose rank-collapse."
    return InvalidValueError(problem, hint, where=where)


def _missing_notes(
    metrics: Sequence[Metric],
    measured: Mapping[Quantity, Mapping[str, object]],
    headless: Mapping[str, Sequence[str]],
) -> list[str]:
    """Name the metrics that could not be measured, by variant; those that do not apply have notes with reasons."""
    variants = dict.fromkeys([variant for by_variant in measured.values() for variant in by_variant] + list(headless))
    lines = []
    for variant in variants:
        has = {quantity.metric for quantity, by_variant in measured.items() if variant in by_variant}
        said = " ".join(headless.get(variant, ()))
        names = [
            metric.name
            for metric in metrics
            if metric.name not in has and not metric.name.startswith("extra") and metric.name not in said
        ]
        lines += [f"{variant}: not measurable: {', '.join(names)}."] if names else []
    nowhere = [metric.name for metric in metrics] if not measured and not headless else []
    return lines or ([f"Not measurable: {', '.join(nowhere)}."] if nowhere else [])


def _receptive_field_note(subject: DiagnosisSubject) -> str:
    """Describe the number of layers until the receptive field is complete."""
    layers = subject_layers_needed(subject)
    if layers is None:
        depth = _count(subject.model.spec.layers, "layer")
        return f"{subject.variant}: some tokens cannot get information from all earlier ones within {depth}."
    return f"{subject.variant}: every token can get information from all earlier ones after {_count(layers, 'layer')}."


def _describe(request: DiagnosisRequest, model: ModelSpec) -> str:
    """Describe the models and the sequences in one line; of a whole model, the sizes that it is given."""
    parts = [_count(model.layers, "layer"), f"width {model.width}", _count(model.heads, "head")]
    parts += [f"position {model.position}", "residual" if model.residual else "no residual"]
    parts += [f"norm {model.norm}", "MLP" if model.mlp_ratio else "no MLP"]
    own = {"norm": model.norm_layer, "MLP": model.mlp, "block": model.block, "residual stream": model.residual_stream}
    fields = ("norm_layer", "mlp", "block", "residual_stream")
    defaults = [ModelSpec.model_fields[field].default for field in fields]
    for (name, part), default in zip(own.items(), defaults, strict=True):
        if part != default:
            parts.append(f"{name} {variant_text(part) if isinstance(part, tuple) else part}")
    plain = Modifiers()
    added = {name: value for name, value in model.modifiers if value != getattr(plain, name)}
    parts += [name if value is True else f"{name}={value}" for name, value in added.items()]
    if model.module is not None:
        sizes = {"layers": parts[0], "width": parts[1], "heads": parts[2], "mlp_ratio": f"MLP {model.mlp_ratio:g}"}
        parts = [text for name, text in sizes.items() if name in model.module.sizes]
    if request.task is None:
        sequences = f"gaussian noise, {request.length or NOISE_LENGTH} tokens"
    else:
        task, _ = requested_task(request, request.task)
        sequences = f"{task.name} {task.complexity}={task.level}"
    seeds = _count(len(request.seeds), "seed")
    return f"{', '.join(['random initialization', *parts])}; {sequences}, {_count(request.batch, 'sequence')}; {seeds}"


def _count(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
