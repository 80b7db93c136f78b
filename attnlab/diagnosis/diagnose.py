"""Why it fails: what variants and finished runs do to the signal and to its gradient, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from attnlab.attention import ATTENTIONS
from attnlab.diagnosis._measuring import MetricValues, layers_needed_by, measure_subject, panel
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.quantities import DiagnosisKind, requested_metrics
from attnlab.diagnosis.result import Diagnosis, Map
from attnlab.diagnosis.subjects import DiagnosisRequest, DiagnosisSubject, diagnosis_subjects, requested_task
from attnlab.errors import InvalidValueError, unknown
from attnlab.metrics.metric import Metric
from attnlab.specs import ModelSpec
from attnlab.tensors import ActivationTrace


def diagnose(
    kind: str,
    request: DiagnosisRequest,
    *,
    runs: Sequence[str] = (),
    store: Path = Path("results"),
    only: Sequence[str] = (),
    at: str = "",
) -> Diagnosis:
    """Measure variants at random initialization, or finished runs.

    Args:
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        request: The variants, and what they are shown.
        runs: Ids of finished runs, or their beginnings; they are measured in the place of fresh variants.
        store: Where those runs are.
        only: Metrics; none tells all.
        at: A head to draw the map of, as ``LAYER.HEAD``.

    Raises:
        AttnlabError: a name, value, run or head that does not exist, or something to measure that is not there.
    """
    named = kind_of(kind)
    metrics = requested_metrics(named, tuple(only))
    if runs:
        given = {"complexity": request.complexity, "length": request.length, "batch": request.batch}
        result = [run_subject(word, store, **given) for word in runs]
        shown: Iterable[DiagnosisSubject] = [exhibit for _, exhibit in result]
        subject = "; ".join(f"run {record.id}, {record.spec.summary}" for record, _ in result)
    else:
        shown = diagnosis_subjects(request)
        subject = ""
    return diagnose_subjects(named, metrics, shown, subject=subject, request=request, only=only, at=at)


def diagnose_subjects(
    kind: DiagnosisKind,
    metrics: Sequence[Metric],
    shown: Iterable[DiagnosisSubject],
    *,
    subject: str,
    request: DiagnosisRequest,
    only: Sequence[str],
    at: str,
) -> Diagnosis:
    """Every metric of every exhibit, the seeds of a variant together."""
    result: dict[str, dict[str, list[MetricValues]]] = {metric.name: {} for metric in metrics}
    maps: dict[str, Map] = {}
    notes: dict[str, None] = {}
    for exhibit in shown:
        subject = subject or describe_subject(request, exhibit.model.spec)
        values = measure_subject(exhibit, metrics)
        for metric in metrics:
            if metric.name in values:
                result[metric.name].setdefault(exhibit.variant, []).append(values[metric.name])
            elif metric.name in only:
                raise not_measurable(metric.name, exhibit, sorted(measure_subject(exhibit, requested_metrics(kind))))
        if kind == "reach" and exhibit.variant not in {note.split(":")[0] for note in notes}:
            notes[receptive_field_note(exhibit)] = None
        if at and exhibit.variant not in maps:
            maps[exhibit.variant] = head_map(exhibit, at)
    panels = [panel(metric, result[metric.name]) for metric in metrics if result[metric.name]]
    notes |= dict.fromkeys(missing_note(metrics, result))
    return Diagnosis(kind, subject, tuple(panels), tuple(notes), tuple(maps.values()))


def kind_of(word: str) -> DiagnosisKind:
    """A kind of diagnosis by its name.

    Raises:
        UnknownNameError: there is none of that name.
    """
    for kind in get_args(DiagnosisKind):
        if kind == word:
            return kind
    raise unknown("diagnosis", word, get_args(DiagnosisKind), where="diagnose")


def not_measurable(name: str, subject: DiagnosisSubject, there: Sequence[str]) -> InvalidValueError:
    """The error for a metric that was asked for by name and cannot be measured of a variant."""
    if name == "scores-gradient":
        silent = [part.name for part in subject.model.spec.attention if not ATTENTIONS.entry(part.name).cls.has_scores]
        result = f"'{(silent or [subject.variant])[0]}' forms no scores, so there is no gradient at them."
    elif name in ("induction", "duplicate"):
        result = f"'{name}' compares tokens, and noise has none."
        return InvalidValueError(result, "Show it a task: --task recall.", where=f"--only {name}")
    else:
        result = f"'{subject.variant}' has nothing to measure '{name}' of."
    return InvalidValueError(
        result, f"What it has: {', '.join(there) or 'attnlab diagnose attention'}.", where=f"--only {name}"
    )


def missing_note(metrics: Sequence[Metric], result: dict[str, dict[str, list[MetricValues]]]) -> list[str]:
    """What could not be measured of some variant, in words."""
    variants = dict.fromkeys(variant for stored in result.values() for variant in stored)
    lines = []
    for variant in variants:
        names = [
            metric.name
            for metric in metrics
            if variant not in result[metric.name] and not metric.name.startswith("extra")
        ]
        lines += [f"{variant}: nothing to measure {', '.join(names)} of."] if names else []
    nowhere = [metric.name for metric in metrics if not result[metric.name]]
    return lines or ([f"Nothing to measure {', '.join(nowhere)} of."] if nowhere else [])


def receptive_field_note(subject: DiagnosisSubject) -> str:
    """How many layers it takes, in words."""
    count = layers_needed_by(subject)
    layers = subject.model.spec.layers
    if count is None:
        return f"{subject.variant}: not every past token can be heard of within {_count(layers, 'layer')}."
    return f"{subject.variant}: every past token can be heard of after {_count(count, 'layer')}."


def head_map(subject: DiagnosisSubject, at: str) -> Map:
    """The matrix of a head on the first sequence.

    Raises:
        InvalidValueError: the model has no such head.
    """
    return drawn_at(subject.trace(), subject.variant, at)


def drawn_at(trace: ActivationTrace, variant: str, at: str) -> Map:
    """The same of a trace."""
    weights = [layer[0] for layer in trace.weights_BHTS if layer]
    if not weights:
        raise InvalidValueError(f"'{variant}' traces no attention matrix.", "Leave the map out.", where="--map")
    heads = [layer.shape[-3] for layer in weights]
    place = re.fullmatch(r"(\d+)\.(\d+)", at)
    hint = f"Layers are 1 to {len(weights)}, heads 1 to {min(heads)}: --map 1.1."
    if not place:
        raise InvalidValueError(f"'{at}' is no head.", f"Write LAYER.HEAD. {hint}", where="--map")
    layer, head = int(place[1]), int(place[2])
    if not layer or not head:
        raise InvalidValueError(f"Layers and heads count from 1: there is no {at}.", hint, where=f"--map {at}")
    if not (1 <= layer <= len(weights) and 1 <= head <= heads[layer - 1]):
        raise InvalidValueError(f"'{variant}' has no head {head} in layer {layer}.", hint, where=f"--map {at}")
    rows = tuple(tuple(row) for row in weights[layer - 1][0, head - 1].tolist())
    return Map(variant, layer, head, rows)


def describe_subject(request: DiagnosisRequest, model: ModelSpec) -> str:
    """What was built and shown, in a line."""
    parts = [_count(model.layers, "layer"), f"width {model.width}", _count(model.heads, "head")]
    parts += ["skips" if model.residual else "no skips", f"norm {model.norm}", "MLP" if model.mlp_ratio else "no MLP"]
    if request.task is None:
        shown = f"gaussian noise, {request.length or 32} tokens"
    else:
        task, _ = requested_task(request, request.task)
        shown = f"{task.name} {task.complexity}={task.level}"
    seeds = _count(len(request.seeds), "seed")
    return f"random initialization, {', '.join(parts)}; {shown}, {_count(request.batch, 'sequence')}; {seeds}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
