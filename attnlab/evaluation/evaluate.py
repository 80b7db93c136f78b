"""A finished run on longer sequences, or on other levels."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import AttnlabError, InvalidValueError, UnknownNameError
from attnlab.evaluation._levels import LevelScore
from attnlab.evaluation._levels import evaluate as run
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.find_run import find_run
from attnlab.storage.status import find_stores
from attnlab.storage.weights import read
from attnlab.training.environment import device
from attnlab.training.eval_levels import at_lengths, at_levels
from attnlab.training.extrapolation import Mode


def evaluate(
    word: str,
    store: Path,
    *,
    lengths: Sequence[int] = (),
    levels: Sequence[Any] = (),
    mode: Mode = "trained",
    sequences: int | None = None,
    device_name: str = "auto",
    progress: Callable[[LevelScore], None] = lambda extent: None,
) -> tuple[Record, list[LevelScore]]:
    """What the model of a run answers beyond its own level.

    Args:
        word: The run's id, or the start of it.
        store: A folder of results, or one of several such folders.
        lengths: Lengths in tokens.
        levels: Levels of its task; nothing, and no lengths, takes its own level.
        mode: How positions reach beyond the trained length.
        sequences: Test sequences of each; None takes as many as the run's own test had.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Takes what is known of each as soon as it is.

    Raises:
        UnknownNameError: no such run; names the closest.
        InvalidValueError: a length or a level that the task or the model does not accept.
        StoreError: the run kept no weights.
    """
    if lengths and levels:
        raise InvalidValueError(
            "Both lengths and levels are given.", "Give one of --length and --complexity.", where="evaluate"
        )
    record, path = _sought(word, store)
    task = record.spec.task
    requested = at_lengths(task, list(lengths)) if lengths else at_levels(task, list(levels) or [task.level])
    weights, _ = read(path)
    extents = []
    place = device(device_name)
    try:
        for extent in run(record.spec, weights, requested, mode=mode, sequences=sequences, device=place):
            extents.append(extent)
            progress(extent)
    except AttnlabError as error:
        raise error.at(f"run {record.id}") from None
    return record, extents


def _sought(word: str, store: Path) -> tuple[Record, Path]:
    """The record of a run and the file of its weights; a wrong id is told with the closest ones."""
    try:
        return find_run(word, store)
    except UnknownNameError as error:
        ids = [record.id for path in find_stores(store) for record in Store(path).records()]
        close = difflib.get_close_matches(word.lower(), ids, n=3, cutoff=0.5)
        guess = f"; did you mean {' or '.join(close)}?" if close else "."
        raise UnknownNameError(error.problem.rstrip(".") + guess, error.hint, where=f"run {word}") from None
    except AttnlabError as error:
        raise type(error)(error.problem, error.hint, where=f"run {word}") from None
