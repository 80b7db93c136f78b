"""Finished runs, found again by their id and built with the weights they learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import AttnlabError, BadValue, StoreError, UnknownName
from attnlab.model.transformer import Transformer
from attnlab.record import Record
from attnlab.spec import TaskSpec
from attnlab.store import Store
from attnlab.store.standing import stores
from attnlab.store.weights import read
from attnlab.sweeping.exhibits import Exhibit, Shown, validation
from attnlab.tasks.base import TASKS
from attnlab.tasks.streams import Source
from attnlab.training.revival import revived

LISTED = 5
"""Runs that a message names."""


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


def found(word: str, store: Path) -> tuple[Record, Path]:
    """The record of a run and the file of its weights."""
    held = [(record, place) for place in stores(store) for record in Store(place).records()]
    if not held:
        hint = "Try: attnlab train --task recall --attn expressive"
        raise StoreError(f"Nothing in {store}/ yet.", hint, where=f"run {word}")
    matching = [(record, place) for record, place in held if record.id.startswith(word)]
    if not matching:
        hint = f"Runs there:\n{listed([record for record, _ in held])}"
        raise UnknownName(f"There is no run '{word}' in {store}/.", hint, where="--run")
    if len({record.id for record, _ in matching}) > 1:
        text = f"{len(matching)} runs begin with '{word}'."
        raise BadValue(text, f"Give more of the id:\n{listed([r for r, _ in matching])}", where="--run")
    record, place = matching[-1]
    path = weights_of(record, place)
    if not path.exists():
        kept = [one for one, where in held if weights_of(one, where).exists()]
        hint = f"Runs with weights:\n{listed(kept)}" if kept else "No run here keeps weights: train one again."
        why = f": it {record.status}, {record.reason}" if record.status == "failed" and record.reason else ""
        raise StoreError(f"Run {record.id} keeps no weights{why}.", hint, where="--run")
    return record, path


def weights_of(record: Record, place: Path) -> Path:
    """The file of what a run learned."""
    return place / "weights" / f"{record.id}.safetensors"


def listed(records: Sequence[Record]) -> str:
    """Some runs, one in each line."""
    lines = [f"{record.id}  {record.spec.words}" for record in records[-LISTED:]]
    more = [f"and {len(records) - LISTED} more: attnlab ls results"] if len(records) > LISTED else []
    return "\n".join([*lines, *more])


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
