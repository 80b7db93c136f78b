"""``--continue-from``: more steps of a finished run, from its weights and its optimizer's state, as a run of its own.

The run that is named gives its training; with several seeds, each continues the run of its own seed that was trained
likewise. Everything that the weights and the data depend on must be the same: task, model, optimizer and the number of
training sequences. Steps, rates, batch size and validations may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.errors import InvalidValueError, StoreError
from attnlab.records import Record
from attnlab.run_labels import RunLabels
from attnlab.specs import RunSpec, Section
from attnlab.storage import Store
from attnlab.storage.arrays import Arrays
from attnlab.storage.find_run import find_record, list_runs, weights_path
from attnlab.training.continuation import continued_checkpoint

SAME_TRAINING = ("optimizer", "train_examples")
"""Fields of the training that a run and its continuation have in common."""
HINT = "`attnlab train` keeps it and a sweep does not: train the run again with `attnlab train`, without --resume."


class Continued(NamedTuple):
    """A run, the finished run that it continues, and the store that holds that."""

    spec: RunSpec
    record: Record
    store: Path


def continued(specs: Sequence[RunSpec], word: str, folder: Path) -> list[Continued]:
    """Let runs continue finished ones.

    Args:
        specs: The runs.
        word: The id of a finished run, or the start of it.
        folder: A store, or a folder of stores.

    Returns:
        The runs in the same order, each with the id of the run that it continues.

    Raises:
        StoreError: There are no records; or a run has no weights or no optimizer state.
        UnknownNameError: No run begins so.
        InvalidValueError: Several runs begin so; a run has not ended well, or has taken as many steps already; or it
            differs in a field that must be the same.
    """
    named, store = find_record(word, folder)
    where = f"--continue-from {word}"
    runs = []
    for spec in specs:
        record = named if spec.seed == named.spec.seed else _sibling(named, spec.seed, store, where)
        _check(spec, record, where)
        for kind, path in (("weights", weights_path(record, store)), ("optimizer state", _optimizer(record, store))):
            if not path.exists():
                raise StoreError(f"Run {record.id} has no {kind}.", HINT, where=where)
        runs.append(Continued(spec.model_copy(update={"continue_from": record.id}), record, store))
    return runs


def first_checkpoint(run: Continued) -> tuple[Arrays, Mapping[str, Any]]:
    """Make the checkpoint that a run begins with which continues a finished one.

    Args:
        run: The run.

    Returns:
        Arrays and description.

    Raises:
        StoreError: A file cannot be read.
    """
    from attnlab.storage.weights import read

    weights, _ = read(weights_path(run.record, run.store))
    optimizer, _ = read(_optimizer(run.record, run.store))
    return continued_checkpoint(run.spec, run.record, weights, optimizer)


def shorter_runs(specs: Sequence[RunSpec], records: Sequence[Record]) -> Iterator[str]:
    """Tell of finished runs that differ from runs to be started in nothing but a smaller number of steps.

    Args:
        specs: Runs that are about to begin at step 0.
        records: Finished runs.

    Yields:
        One line for each variant, with what goes on from there.
    """
    by_steps = sorted((record for record in records if record.status == "done"), key=lambda record: record.steps)
    ended = {_id_without_steps(record.spec): record for record in by_steps}
    told: set[bytes] = set()
    labels = RunLabels(specs)
    for spec in specs:
        record = ended.get(_id_without_steps(spec))
        if record is not None and record.steps < spec.train.max_steps and spec.model.canonical not in told:
            told.add(spec.model.canonical)
            yield (
                f"{labels.of(spec)}: run {record.id} of this variant has taken {record.steps} steps; this one begins at"
                f" step 0. To go on from there instead: --continue-from {record.id}"
            )


def _id_without_steps(spec: RunSpec) -> str:
    """An id that runs have in common which differ in their number of steps and their origin alone."""
    train = spec.train.model_copy(update={"max_steps": 1})
    return spec.model_copy(update={"train": train, "continue_from": ""}).id


def _sibling(named: Record, seed: int, store: Path, where: str) -> Record:
    """The finished run of another seed that was trained likewise."""
    like = [record for record in Store(store).records() if _trained_likewise(record, named)]
    found = [record for record in like if record.spec.seed == seed]
    if not found:
        problem = f"No run of seed {seed} was trained like run {named.id}."
        raise InvalidValueError(problem, f"Runs trained like it:\n{list_runs(like, store)}", where=where)
    return found[-1]


def _trained_likewise(record: Record, named: Record) -> bool:
    """Whether a run differs from another in its seed alone."""
    one, other = record.spec, named.spec
    sections = (one.task, one.model, one.train) == (other.task, other.model, other.train)
    return record.status == "done" and sections and bool(one.continue_from) == bool(other.continue_from)


def _check(spec: RunSpec, record: Record, where: str) -> None:
    """Refuse to continue a run that did not end well, is as long already, or differs in what must be the same."""
    if record.status != "done":
        problem = f"Run {record.id} is not done but {record.status}: {record.reason}."
        raise InvalidValueError(problem, "Continue another run: attnlab ls results.", where=where)
    if different := list(_differences(spec, record.spec)):
        hint = "Give it the values of that run, or leave --continue-from out."
        raise InvalidValueError("\n".join(f"Run {record.id} has {one}." for one in different), hint, where=where)
    if spec.train.max_steps <= record.steps:
        problem = f"Run {record.id} has taken {record.steps} steps, and {spec.train.max_steps} are asked for in all."
        raise InvalidValueError(problem, f"Give more: --steps {2 * record.steps}", where=where)


def _differences(spec: RunSpec, origin: RunSpec) -> Iterator[str]:
    """The fields that differ and must not, each with both values."""
    sections: dict[str, tuple[Section, Section]] = {
        "task": (spec.task, origin.task),
        "model": (spec.model, origin.model),
        "train": (spec.train, origin.train),
    }
    for name, (new, old) in sections.items():
        for field, value in new.all_fields.items():
            compared = field in SAME_TRAINING if name == "train" else field != "matched"
            before = old.all_fields[field]
            if compared and before != value:
                yield f"{name}.{field} {_text(before)}, not {_text(value)}"


def _text(value: Any) -> str:
    """A value of a field, for a message; of parts, with whatever tells them apart."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(one)}" for key, one in value.items() if one not in ("", {}, None)) or "nothing"
    if isinstance(value, list | tuple):
        return "+".join(map(_text, value)) or "nothing"
    return str(value)


def _optimizer(record: Record, store: Path) -> Path:
    """The file of a run's optimizer state, which need not exist."""
    return store / "optimizer" / f"{record.id}.safetensors"
