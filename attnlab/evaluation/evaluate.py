"""A finished run on longer sequences, or on other levels."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnlab.choices import ExtrapolationMode
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.evaluation._levels import BatchProgress, evaluate_tasks
from attnlab.evaluation.level_score import LevelScore
from attnlab.experiments.size_check import check_evaluation
from attnlab.records import Record
from attnlab.storage.find_run import find_run, in_store
from attnlab.storage.weights import read
from attnlab.training.environment import device
from attnlab.training.eval_levels import at_lengths, at_levels
from attnlab.training.run_parts import error_of_run


def evaluate(
    run: str,
    store: Path,
    *,
    lengths: Sequence[int] = (),
    levels: Sequence[Any] = (),
    mode: ExtrapolationMode = "trained",
    sequences: int | None = None,
    rollout: bool | None = None,
    device_name: str = "auto",
    progress: Callable[[LevelScore], None] = lambda score: None,
    batch_progress: BatchProgress = lambda length, done, total: None,
) -> tuple[Record, list[LevelScore]]:
    """Evaluate the model of a finished run on other lengths or levels.

    Args:
        run: The run's id, or the start of it.
        store: A folder of results, or a folder of such folders.
        lengths: Lengths in tokens; where no level of the task has one, the highest level that fits is taken.
        levels: Levels of its task; without levels and lengths the run's own level is taken.
        mode: How positions are extrapolated beyond the trained length.
        sequences: Test sequences of each length or level; None takes as many as the run's own test had.
        rollout: Whether each question is asked given the answers generated before it, instead of the right ones; None
            does as the run's own test.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Called with each score as soon as it is known.
        batch_progress: Called after each batch.

    Returns:
        The record of the run, and one score per length or level.

    Raises:
        UnknownNameError: No run has the id; the message has the closest ids.
        InvalidValueError: Both lengths and levels are given, or the task or the model does not accept one of them;
            one sequence does not fit the memory, or there are more than can be tested; or generated answers of the
            task cannot be scored.
        IncompatiblePartsError: The mode does not fit the run's position.
        DeviceError: This machine does not have the device.
        StoreError: The weights of the run were not kept.
    """
    if lengths and levels:
        raise InvalidValueError(
            "Both lengths and levels are given.", "Give one of --length and --complexity.", where="evaluate"
        )
    record, path = find_run(run, store)
    task = record.spec.task
    check_evaluation(record.spec.model, lengths, sequences, where="--length")
    weights, _ = read(path)
    scores = []
    more: dict[str, Any] = {"sequences": sequences, "rollout": rollout, "device": device(device_name)}
    try:
        tasks = at_lengths(task, list(lengths)) if lengths else at_levels(task, list(levels) or [task.level])
        asked: Sequence[int | None] = lengths or [None] * len(tasks)
        found = evaluate_tasks(record.spec, weights, tasks, mode=mode, progress=batch_progress, **more)
        for one, asked_length in zip(found, asked, strict=True):
            score = replace(one, asked_length=asked_length)
            scores.append(score)
            progress(score)
    except AttnlabError as error:
        given = {
            "length": ",".join(map(str, lengths)),
            "complexity": ",".join(map(str, levels)),
            "extrapolation": mode if mode != "trained" else None,
            "sequences": sequences,
            "device": device_name if device_name != "auto" else None,
        }
        typed = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in given.items() if value)
        typed += {None: "", True: " --rollout", False: " --no-rollout"}[rollout]
        raise error_of_run(record, error, f"attnlab evaluate {record.id}{in_store(store)}{typed}") from None
    return record, scores
