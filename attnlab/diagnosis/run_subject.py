"""Finished runs, found again by their id and built with the weights they learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.diagnosis.subjects import DiagnosisSubject, ProbeBatch, validation_batches
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.model.transformer import Transformer
from attnlab.records import Record
from attnlab.specs import TaskSpec
from attnlab.storage.find_run import find_run
from attnlab.storage.weights import read
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.streams import Source
from attnlab.training.load_model import rebuild_model


def run_subject(
    word: str, store: Path, *, complexity: Any = None, length: int | None = None, batch: int = 16
) -> tuple[Record, DiagnosisSubject]:
    """A run by its id, or the start of it, beside sequences of its own validation stream; in float64.

    Args:
        word: The id, or as much of it as no other run begins with.
        store: A folder of results, or one of several such folders.
        complexity: Another level than its own.
        length: Another length than its own, in tokens.
        batch: Sequences.

    Raises:
        UnknownNameError: no run begins so; lists those there are.
        InvalidValueError: several do; or sequences longer than its positions know, or with tokens it never saw.
        StoreError: its weights were not kept, or do not fit; lists the runs whose weights were.
    """
    record, path = find_run(word, store)
    try:
        spec = record.spec
        source = Source(spec.task, spec.seed, spec.train.train_examples)
        weights, _ = read(path)
        model = rebuild_model(spec, weights, source).double()
        shown = Source(task_at_level(spec.task, complexity, length), spec.seed)
    except AttnlabError as error:
        raise error.at(f"run {record.id}") from None
    if shown.task.vocabulary > source.vocabulary:
        text = f"These sequences have {shown.task.vocabulary} tokens; the run learned {source.vocabulary}."
        raise InvalidValueError(text, "Leave --complexity out, or take a lower level.", where=f"run {record.id}")
    label = f"{spec.variant} · {record.id[:6]}"
    return record, DiagnosisSubject(
        label, model, checked_batches(model, source.length, validation_batches(shown, batch))
    )


def task_at_level(task: TaskSpec, complexity: Any, length: int | None) -> TaskSpec:
    """The task at another level or length."""
    entry = TASKS.entry(task.name)
    requested = {task.complexity: complexity, "length": length}
    given = {name: value for name, value in requested.items() if value is not None}
    options = {**task.options, **{name: entry.check(name, value) for name, value in given.items()}}
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def checked_batches(
    model: Transformer, length: int, batches: Callable[[int], ProbeBatch]
) -> Callable[[int], ProbeBatch]:
    """The batches, refused where the positions of the model end before they do."""

    def one(index: int) -> ProbeBatch:
        shown = batches(index)
        assert shown.inputs_BT is not None, "a run is shown tokens"
        if (tokens := shown.inputs_BT.shape[-1]) > length:
            try:
                model.embed(shown.inputs_BT[:1])
            except InvalidValueError as error:
                hint = f"Lengths up to {length} fit this run, not {tokens}."
                raise InvalidValueError(error.problem, hint, where="--length") from None
        return shown

    return one
