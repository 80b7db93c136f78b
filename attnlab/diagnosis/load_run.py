"""Finished runs, found again by their id and built with the weights they learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.diagnosis.subjects import Exhibit, Shown, validation
from attnlab.errors import AttnlabError, BadValue
from attnlab.model.transformer import Transformer
from attnlab.records import Record
from attnlab.specs import TaskSpec
from attnlab.storage.find_run import found
from attnlab.storage.weights import read
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.streams import Source
from attnlab.training.load_model import revived


def finished(
    word: str, store: Path, *, complexity: Any = None, length: int | None = None, batch: int = 16
) -> tuple[Record, Exhibit]:
    """A run by its id, or the start of it, beside sequences of its own validation stream; in float64.

    Args:
        word: The id, or as much of it as no other run begins with.
        store: A folder of results, or one of several such folders.
        complexity: Another rung than its own.
        length: Another length than its own, in tokens.
        batch: Sequences.

    Raises:
        UnknownName: no run begins so; lists those there are.
        BadValue: several do; or sequences longer than its positions know, or with tokens it never saw.
        StoreError: its weights were not kept, or do not fit; lists the runs whose weights were.
    """
    record, path = found(word, store)
    try:
        spec = record.spec
        source = Source(spec.task, spec.seed, spec.train.examples)
        weights, _ = read(path)
        model = revived(spec, weights, source).double()
        shown = Source(elsewhere(spec.task, complexity, length), spec.seed)
    except AttnlabError as error:
        raise error.at(f"run {record.id}") from None
    if shown.task.vocabulary > source.vocabulary:
        text = f"These sequences have {shown.task.vocabulary} tokens; the run learned {source.vocabulary}."
        raise BadValue(text, "Leave --complexity out, or take a lower rung.", where=f"run {record.id}")
    label = f"{spec.variant} · {record.id[:6]}"
    return record, Exhibit(label, model, fitting(model, source.length, validation(shown, batch)))


def elsewhere(task: TaskSpec, complexity: Any, length: int | None) -> TaskSpec:
    """The task at another rung or length."""
    entry = TASKS.entry(task.name)
    asked = {task.knob: complexity, "length": length}
    given = {name: value for name, value in asked.items() if value is not None}
    options = {**task.options, **{name: entry.check(name, value) for name, value in given.items()}}
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def fitting(model: Transformer, length: int, batches: Callable[[int], Shown]) -> Callable[[int], Shown]:
    """The batches, refused where the positions of the model end before they do."""

    def one(index: int) -> Shown:
        shown = batches(index)
        assert shown.inputs_BT is not None, "a run is shown tokens"
        if (tokens := shown.inputs_BT.shape[-1]) > length:
            try:
                model.embedded(shown.inputs_BT[:1])
            except BadValue as error:
                hint = f"Lengths up to {length} fit this run, not {tokens}."
                raise BadValue(error.found, hint, where="--length") from None
        return shown

    return one
