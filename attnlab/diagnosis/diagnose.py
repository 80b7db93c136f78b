"""Why it fails: what variants and finished runs do to the signal and to its gradient, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from attnlab.attention import ATTENTIONS
from attnlab.diagnosis._measuring import Told, needed, panel, told
from attnlab.diagnosis.load_run import finished
from attnlab.diagnosis.quantities import Kind, asked
from attnlab.diagnosis.result import Diagnosis, Map
from attnlab.diagnosis.subjects import Exhibit, Wanted, asked_task, exhibits
from attnlab.errors import BadValue, unknown
from attnlab.metrics.metric import Metric
from attnlab.specs import ModelSpec
from attnlab.tensors import Trace


def diagnose(
    kind: str,
    wanted: Wanted,
    *,
    runs: Sequence[str] = (),
    store: Path = Path("results"),
    only: Sequence[str] = (),
    at: str = "",
) -> Diagnosis:
    """Measure variants at random initialisation, or finished runs.

    Args:
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        wanted: The variants, and what they are shown.
        runs: Ids of finished runs, or their beginnings; they are measured in the place of fresh variants.
        store: Where those runs are.
        only: Metrics; none tells all.
        at: A head to draw the map of, as ``LAYER.HEAD``.

    Raises:
        AttnlabError: a name, value, run or head that does not exist, or something to measure that is not there.
    """
    named = kind_of(kind)
    metrics = asked(named, tuple(only))
    if runs:
        given = {"complexity": wanted.complexity, "length": wanted.length, "batch": wanted.batch}
        found = [finished(word, store, **given) for word in runs]
        shown: Iterable[Exhibit] = [exhibit for _, exhibit in found]
        subject = "; ".join(f"run {record.id}, {record.spec.words}" for record, _ in found)
    else:
        shown = exhibits(wanted)
        subject = ""
    return told_of(named, metrics, shown, subject=subject, wanted=wanted, only=only, at=at)


def told_of(
    kind: Kind,
    metrics: Sequence[Metric],
    shown: Iterable[Exhibit],
    *,
    subject: str,
    wanted: Wanted,
    only: Sequence[str],
    at: str,
) -> Diagnosis:
    """Every metric of every exhibit, the seeds of a variant together."""
    found: dict[str, dict[str, list[Told]]] = {metric.name: {} for metric in metrics}
    maps: dict[str, Map] = {}
    notes: dict[str, None] = {}
    for exhibit in shown:
        subject = subject or words(wanted, exhibit.model.spec)
        values = told(exhibit, metrics)
        for metric in metrics:
            if metric.name in values:
                found[metric.name].setdefault(exhibit.variant, []).append(values[metric.name])
            elif metric.name in only:
                raise absent(metric.name, exhibit, sorted(told(exhibit, asked(kind))))
        if kind == "reach" and exhibit.variant not in {note.split(":")[0] for note in notes}:
            notes[heard(exhibit)] = None
        if at and exhibit.variant not in maps:
            maps[exhibit.variant] = head_map(exhibit, at)
    panels = [panel(metric, found[metric.name]) for metric in metrics if found[metric.name]]
    notes |= dict.fromkeys(missing(metrics, found))
    return Diagnosis(kind, subject, tuple(panels), tuple(notes), tuple(maps.values()))


def kind_of(word: str) -> Kind:
    """A kind of diagnosis by its name.

    Raises:
        UnknownName: there is none of that name.
    """
    for kind in get_args(Kind):
        if kind == word:
            return kind
    raise unknown("diagnosis", word, get_args(Kind), where="diagnose")


def absent(name: str, exhibit: Exhibit, there: Sequence[str]) -> BadValue:
    """The error for a metric that was asked for by name and cannot be measured of a variant."""
    if name == "scores-gradient":
        silent = [
            part.name for part in exhibit.model.spec.attention if not ATTENTIONS.entry(part.name).kind.forms_scores
        ]
        found = f"'{(silent or [exhibit.variant])[0]}' forms no scores, so there is no gradient at them."
    elif name in ("induction", "duplicate"):
        found = f"'{name}' compares tokens, and noise has none."
        return BadValue(found, "Show it a task: --task recall.", where=f"--only {name}")
    else:
        found = f"'{exhibit.variant}' has nothing to measure '{name}' of."
    return BadValue(found, f"What it has: {', '.join(there) or 'attnlab diagnose attention'}.", where=f"--only {name}")


def missing(metrics: Sequence[Metric], found: dict[str, dict[str, list[Told]]]) -> list[str]:
    """What could not be measured of some variant, in words."""
    variants = dict.fromkeys(variant for held in found.values() for variant in held)
    lines = []
    for variant in variants:
        names = [
            metric.name
            for metric in metrics
            if variant not in found[metric.name] and not metric.name.startswith("extra")
        ]
        lines += [f"{variant}: nothing to measure {', '.join(names)} of."] if names else []
    nowhere = [metric.name for metric in metrics if not found[metric.name]]
    return lines or ([f"Nothing to measure {', '.join(nowhere)} of."] if nowhere else [])


def heard(exhibit: Exhibit) -> str:
    """How many layers it takes, in words."""
    count = needed(exhibit)
    layers = exhibit.model.spec.layers
    if count is None:
        return f"{exhibit.variant}: not every past token can be heard of within {_count(layers, 'layer')}."
    return f"{exhibit.variant}: every past token can be heard of after {_count(count, 'layer')}."


def head_map(exhibit: Exhibit, at: str) -> Map:
    """The matrix of a head on the first sequence.

    Raises:
        BadValue: the model has no such head.
    """
    return drawn_at(exhibit.trace(), exhibit.variant, at)


def drawn_at(trace: Trace, variant: str, at: str) -> Map:
    """The same of a trace."""
    weights = [layer[0] for layer in trace.weights_BHTS if layer]
    if not weights:
        raise BadValue(f"'{variant}' traces no attention matrix.", "Leave the map out.", where="--map")
    heads = [layer.shape[-3] for layer in weights]
    place = re.fullmatch(r"(\d+)\.(\d+)", at)
    hint = f"Layers are 1 to {len(weights)}, heads 1 to {min(heads)}: --map 1.1."
    if not place:
        raise BadValue(f"'{at}' is no head.", f"Write LAYER.HEAD. {hint}", where="--map")
    layer, head = int(place[1]), int(place[2])
    if not layer or not head:
        raise BadValue(f"Layers and heads count from 1: there is no {at}.", hint, where=f"--map {at}")
    if not (1 <= layer <= len(weights) and 1 <= head <= heads[layer - 1]):
        raise BadValue(f"'{variant}' has no head {head} in layer {layer}.", hint, where=f"--map {at}")
    rows = tuple(tuple(row) for row in weights[layer - 1][0, head - 1].tolist())
    return Map(variant, layer, head, rows)


def words(wanted: Wanted, model: ModelSpec) -> str:
    """What was built and shown, in a line."""
    parts = [_count(model.layers, "layer"), f"width {model.width}", _count(model.heads, "head")]
    parts += ["skips" if model.skip else "no skips", f"norm {model.norm}", "MLP" if model.mlp else "no MLP"]
    if wanted.task is None:
        shown = f"gaussian noise, {wanted.length or 32} tokens"
    else:
        task, _ = asked_task(wanted, wanted.task)
        shown = f"{task.name} {task.knob}={task.complexity}"
    seeds = _count(len(wanted.seeds), "seed")
    return f"random initialisation, {', '.join(parts)}; {shown}, {_count(wanted.batch, 'sequence')}; {seeds}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
