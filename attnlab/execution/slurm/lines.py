"""What a job writes for the driver, as lines of strict JSON: data, so that a store from somebody else runs no code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from attnlab.records import DiagnosticsPoint, HistoryPoint, Natural, Number, Record, RunId
from attnlab.specs import RunSpec, Value
from attnlab.training.events import DiagnosticsLogged, Event, RunStarted, StepsTaken, Validated

Outcome = Literal["done", "time", "asked", "requeued", "stuck"]
"""How a start of a job ended: all its runs are done; time was up; a signal asked it to end; time was up and SLURM was
asked to queue it again; time was up before a step was taken."""


class JobStarted(Value):
    """A job has started, for the first time or again."""

    kind: Literal["job-started"] = "job-started"
    cluster_id: str
    host: str
    threads: Natural


class CannotWork(Value):
    """A job cannot load the user's parts."""

    kind: Literal["cannot-work"] = "cannot-work"
    problem: str
    hint: str
    where: str


class Started(Value):
    """A run starts, or goes on."""

    kind: Literal["started"] = "started"
    run: RunId
    step: Natural
    parameters: Natural
    device: str


class Steps(Value):
    """A run has taken some steps."""

    kind: Literal["steps"] = "steps"
    run: RunId
    step: Natural
    loss: Number
    tokens: Natural
    gradient_norm: Number | None = None


class Validation(Value):
    """A run was evaluated on the validation split."""

    kind: Literal["validation"] = "validation"
    run: RunId
    point: HistoryPoint


class Diagnostics(Value):
    """Diagnostics of a run were measured."""

    kind: Literal["diagnostics"] = "diagnostics"
    run: RunId
    point: DiagnosticsPoint


class Weights(Value):
    """The weights of a run lie in its file."""

    kind: Literal["weights"] = "weights"
    run: RunId


class Checkpointed(Value):
    """The checkpoint of a run lies in its file."""

    kind: Literal["checkpoint"] = "checkpoint"
    run: RunId
    step: Natural


class Result(Value):
    """A run is finished."""

    kind: Literal["result"] = "result"
    record: Record


class RunsFailed(Value):
    """Runs raised an exception."""

    kind: Literal["failed"] = "failed"
    runs: tuple[RunId, ...]
    reason: str


class Ended(Value):
    """A start of the job has ended."""

    kind: Literal["ended"] = "ended"
    outcome: Outcome


Line = (
    JobStarted
    | CannotWork
    | Started
    | Steps
    | Validation
    | Diagnostics
    | Weights
    | Checkpointed
    | Result
    | RunsFailed
    | Ended
)
_ADAPTER: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def encode(line: Line) -> bytes:
    """Write a line.

    Args:
        line: What is said.

    Returns:
        JSON with a line break.
    """
    return line.model_dump_json().encode() + b"\n"


def decode(text: bytes) -> Line | None:
    """Read a line.

    Args:
        text: The line.

    Returns:
        What it says; None where it is torn, or of a newer attnlab.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError:
        return None


def event_line(event: Event) -> Line | None:
    """Make the line of a training event.

    Args:
        event: The event.

    Returns:
        The line; None for events that a record tells, or that concern no run.
    """
    match event:
        case RunStarted(spec, step, parameters, device):
            return Started(run=spec.id, step=step, parameters=parameters, device=device)
        case StepsTaken(spec, step, loss, tokens, norm):
            return Steps(run=spec.id, step=step, loss=loss, tokens=tokens, gradient_norm=norm)
        case Validated(spec, point):
            return Validation(run=spec.id, point=point)
        case DiagnosticsLogged(spec, point):
            return Diagnostics(run=spec.id, point=point)
    return None


def line_event(line: Line, spec: RunSpec) -> Event | None:
    """Make the training event of a line.

    Args:
        line: The line.
        spec: The run of the line.

    Returns:
        The event; None for other lines.
    """
    match line:
        case Started():
            return RunStarted(spec, line.step, line.parameters, line.device)
        case Steps():
            return StepsTaken(spec, line.step, line.loss, line.tokens, line.gradient_norm)
        case Validation():
            return Validated(spec, line.point)
        case Diagnostics():
            return DiagnosticsLogged(spec, line.point)
    return None
