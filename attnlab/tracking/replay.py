"""Write the finished runs of a store to a tracker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.errors import AttnlabError
from attnlab.records import Record
from attnlab.tracking.base import TRACKERS
from attnlab.tracking.failure import failure_text
from attnlab.tracking.points import tracked_run, write_event
from attnlab.training.events import DiagnosticsLogged, Event, RunFinished, RunStarted, StepsTaken, Validated


class TrackerError(AttnlabError, RuntimeError):
    """A tracker that cannot be written to."""


@dataclass(frozen=True)
class Replayed:
    """What a replay did."""

    written: int
    """Runs that were written."""
    there: int
    """Runs that the tool had with their results, and that were left as they are."""


def replay(records: Sequence[Record], name: str, store: Path, group: str) -> Replayed:
    """Write finished runs to a tracker, with what the store has: validations, diagnostics and results.

    Args:
        records: The runs.
        name: The tracker.
        store: The folder of results.
        group: What the runs belong to; empty for single runs.

    Returns:
        How many runs were written.

    Raises:
        UnknownNameError: There is no such tracker.
        TrackerError: The tracker is not installed, or it failed; what it has by then stays.
    """
    entry = TRACKERS.entry(name)
    opened: set[str] = set()
    written = 0
    try:
        tracker = entry.cls(store, group)
        try:
            for record in records:
                if not tracker.has_finished(tracked_run(record.spec, group)):
                    for event in events_of(record):
                        write_event(tracker, event, opened)
                    written += 1
        finally:
            tracker.close()
    except Exception as error:
        done = f"{written} of {len(records)} runs are written; the same command goes on." if written else ""
        raise TrackerError(failure_text(entry, error), done, where="--to") from error
    return Replayed(written, len(records) - written)


def group_of(store: Path) -> str:
    """Tell the experiment of a store, by the name that its sweep had in the tracker.

    Args:
        store: The folder of results.

    Returns:
        The name; empty for a store of single runs, and for one whose file of the experiment cannot be read.
    """
    try:
        name = json.loads((store / "experiment.json").read_bytes())["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def events_of(record: Record) -> Iterator[Event]:
    """The events of a finished run that its record still tells, in the order of the steps.

    Args:
        record: The record.

    Yields:
        The start, the loss of the first step where it is known, diagnostics, validations and the end.
    """
    spec, device = record.spec, str(record.environment.get("device", ""))
    yield RunStarted(spec, 0, record.parameters, device)
    if record.initial_loss is not None:
        yield StepsTaken(spec, 1, record.initial_loss, 0)
    points: list[tuple[int, Event]] = [(point.step, Validated(spec, point)) for point in record.history]
    points += [(point.step, DiagnosticsLogged(spec, point)) for point in record.diagnostics_history]
    yield from (event for _, event in sorted(points, key=lambda point: point[0]))
    yield RunFinished(record)
