"""Training events -> the names and numbers that every tracker writes.

train/loss, train/learning_rate, train/gradient_norm    of the last step, about every ten steps; norm unclipped
train/mean_loss, validation/accuracy, validation/loss   at each validation
diagnostics/METRIC/LAYER                                the logged diagnostics, gradient norms among them
test/..., final/METRIC                                  the results, at the last step
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, Record
from attnlab.run_fields import run_fields
from attnlab.specs import RunSpec
from attnlab.tracking.base import Config, TrackedRun, Tracker
from attnlab.training.events import DiagnosticsLogged, Event, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.schedule import learning_rate

Values = Mapping[str, float]


def write_event(tracker: Tracker, event: Event, opened: set[str]) -> None:
    """Write one event to a tracker.

    Args:
        tracker: The tracker.
        event: Any event; those that say nothing of a run are passed over.
        opened: Ids of the runs that are open; it is kept up to date.
    """
    match event:
        case RunStarted(spec, step, parameters, device):
            _open(tracker, spec, step, {"parameters": parameters, "device": device}, opened)
        case StepsTaken():
            _log(tracker, event.spec, event.step, training_values(event), opened)
        case Validated(spec, point):
            _log(tracker, spec, point.step, validation_values(point), opened)
        case DiagnosticsLogged(spec, diagnostics):
            _log(tracker, spec, diagnostics.step, diagnostics_values(diagnostics), opened)
        case RunFinished(record):
            if record.id not in opened:  # its worker was lost before it started
                _open(tracker, record.spec, record.steps, {"parameters": record.parameters}, opened)
            tracker.finish(record.id, record.steps, result_values(record), result_table(record))
            opened.discard(record.id)
        case _:
            pass


def _open(tracker: Tracker, spec: RunSpec, step: int, more: Config, opened: set[str]) -> None:
    """Open a run with its config."""
    tracker.start(tracked_run(spec, tracker.group, more), step)
    opened.add(spec.id)


def _log(tracker: Tracker, spec: RunSpec, step: int, values: Values, opened: set[str]) -> None:
    """Write numbers of a run that is open."""
    if spec.id in opened and values:
        tracker.log(spec.id, step, values)


def tracked_run(spec: RunSpec, group: str = "", more: Config | None = None) -> TrackedRun:
    """Make a run as trackers see it.

    Args:
        spec: The run.
        group: What it belongs to; empty for a single run.
        more: What is known beside the spec, such as its number of parameters.

    Returns:
        The run with its config.
    """
    fields: dict[str, Any] = {**run_fields(spec), "seed": spec.seed, "run": spec.id}
    if spec.task.level is not None:
        fields["level"] = spec.task.level
    if group:
        fields["group"] = group
    plain = {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in fields.items()}
    return TrackedRun(spec, {**plain, **(more or {})})


def training_values(event: StepsTaken) -> Values:
    """Name the numbers of the last training step.

    Args:
        event: The steps that were taken.

    Returns:
        Name -> number; the loss per query position, in nats, or the squared error of numbers.
    """
    rate = learning_rate(event.spec.train, max(0, event.step - 1))
    values = {"train/loss": event.loss, "train/learning_rate": rate}
    return values if event.gradient_norm is None else {**values, "train/gradient_norm": event.gradient_norm}


def validation_values(point: HistoryPoint) -> Values:
    """Name the numbers of a validation.

    Args:
        point: The validation.

    Returns:
        Name -> number; losses per query position as above, the accuracy as a share of 1.
    """
    values = {"train/mean_loss": point.loss, "validation/accuracy": point.accuracy}
    return values if point.validation_loss is None else {**values, "validation/loss": point.validation_loss}


def diagnostics_values(point: DiagnosticsPoint) -> Values:
    """Name the numbers of logged diagnostics.

    Args:
        point: The diagnostics at one step.

    Returns:
        ``diagnostics/METRIC/INDEX`` -> number; the index counts what the metric has a value for, from 0.
    """
    return {
        f"diagnostics/{name}/{index}": value
        for name, numbers in point.values.items()
        for index, value in enumerate(numbers)
    }


def result_values(record: Record) -> Values:
    """Name the results of a run.

    Args:
        record: Its record.

    Returns:
        Name -> number; nothing of a test for a run that failed before it.
    """
    values = dict(_score("test", record))
    for evaluation in record.evaluations:
        name = f"test/{_place(evaluation)}"
        values |= _score(name, evaluation)
    return values | {f"final/{name}": value for name, value in record.diagnostics.items()}


def _score(name: str, test: Record | Evaluation) -> Iterator[tuple[str, float]]:
    """Name the numbers of one test; none without questions."""
    accuracy, exact_match, loss = test.accuracy, test.exact_match, test.loss
    if not accuracy.total:
        return
    low, high = accuracy.interval
    yield from {
        f"{name}/accuracy": accuracy.mean,
        f"{name}/accuracy_low": low,
        f"{name}/accuracy_high": high,
        f"{name}/chance": accuracy.chance,
        f"{name}/exact_match": exact_match.mean,
    }.items()
    if loss is not None:
        yield f"{name}/loss", loss
    for scorer, score in test.scores.items():
        yield f"{name}/{scorer}", score.mean


def _place(evaluation: Evaluation) -> str:
    """Say where a trained model was tested beside its own test."""
    words = [] if evaluation.level is None else [f"level={evaluation.level}"]
    words += [evaluation.subtask] if evaluation.subtask else []
    words += ["rollout"] if evaluation.rollout else []
    return ",".join(words) or f"length={evaluation.length}"


def result_table(record: Record) -> str:
    """Write the results of a run as a table of Markdown.

    Args:
        record: Its record.

    Returns:
        Two columns: what, and its value to six digits.
    """
    rows = [("run", record.spec.summary), ("id", record.id), ("status", record.status), ("steps", str(record.steps))]
    rows += [("reason", record.reason)] if record.reason else []
    rows += [(name, f"{value:.6g}") for name, value in result_values(record).items()]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)])


def _cell(text: str) -> str:
    """A text that stays in its cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
