"""What a checkpoint says of its run, and the checkpoints of whole groups that earlier versions wrote.

A checkpoint belongs to one run, whatever it was trained beside. Those of groups are split when a store is opened to be
written; until then they are listed run by run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from attnlab.records import LARGEST, RUN_ID
from attnlab.specs import RunSpec
from attnlab.storage._migration import migrated_about

if TYPE_CHECKING:
    from attnlab.storage.arrays import Arrays

MOMENTS = {"exp_avg": "first", "exp_avg_sq": "second"}
"""Prefixes of the moments in the checkpoint of a run, and in that of a group."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of its run."""

    run: str
    """Id of the run; of a file that cannot be read, its name."""
    step: int = 0
    max_steps: int = 0
    """Steps of the run in all; 0 where an old checkpoint does not say."""
    summary: str = ""
    """The run in a few words; empty where an old checkpoint does not say."""
    group: tuple[str, ...] = ()
    """Ids of the runs that were trained as one program with it, itself included."""
    readable: bool = True
    spec: RunSpec | None = None
    """The run; None where an old checkpoint, or that of a newer attnlab, does not say."""

    @property
    def progress(self) -> str:
        """How far the run has come."""
        return f"step {self.step} of {self.max_steps}" if self.max_steps else f"step {self.step}"


def described_runs(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Translate the description of a checkpoint of any age.

    Args:
        about: The description of a file.

    Returns:
        One description for each run that the file holds; of a group, in the order of its runs.

    Raises:
        TypeError: It is no description of a checkpoint: a field is missing or has another type.
    """
    try:
        about = migrated_about(about, {})
        runs = about.get("runs", [about] if about.get("id") != "" else [])
        if "runs" in about:
            group = [run["id"] for run in runs]
            runs = [{**run, "group": group} for run in runs]
    except (KeyError, AttributeError) as error:
        raise TypeError(f"It is no description of runs: {error}") from None
    for run in runs:
        _check(run)
    return runs


def _check(run: Mapping[str, Any]) -> None:
    """Refuse the description of a run with a field of another type: its id names files."""
    counts, group = (run.get("step"), run.get("max_steps", 0)), run.get("group", [])
    ids = [run.get("id"), *(group if isinstance(group, list | tuple) else [None])]
    if not (
        all(isinstance(one, str) and re.fullmatch(RUN_ID, one) for one in ids)
        and all(type(count) is int and 0 <= count <= LARGEST for count in counts)
        and isinstance(run.get("summary", ""), str)
    ):
        raise TypeError("A field of a run has another type")


def checkpoints_in(about: Mapping[str, Any]) -> list[Checkpoint]:
    """List what a file says of its runs.

    Args:
        about: The description of the file.

    Returns:
        One for each run.

    Raises:
        TypeError: It is no description of a checkpoint.
    """
    return [
        Checkpoint(
            run["id"],
            run["step"],
            run.get("max_steps", 0),
            run.get("summary", ""),
            tuple(run.get("group", (run["id"],))),
            spec=_spec(run),
        )
        for run in described_runs(about)
    ]


def _spec(run: Mapping[str, Any]) -> RunSpec | None:
    """The run of a description, if it has one that this attnlab can read."""
    try:
        return RunSpec.model_validate_json(json.dumps(run["spec"])) if "spec" in run else None
    except ValidationError:
        return None


def split_group(arrays: Arrays, about: Mapping[str, Any]) -> Iterator[tuple[Arrays, dict[str, Any]]]:
    """Split the checkpoint of a group into those of its runs.

    Args:
        arrays: Its arrays, with the run as the leading axis.
        about: Its description.

    Yields:
        Arrays and description of each run.

    Raises:
        KeyError: Arrays are missing.
    """
    import numpy as np

    taken = np.asarray(arrays["taken"], dtype=np.float32)
    rows = {int(index): row for row, index in enumerate(arrays["runs"])}
    for index, run in enumerate(described_runs(about)):
        own: Arrays = {}
        if index in rows:
            for name in _names(arrays, "weight"):
                own[f"weight/{name}"] = arrays[f"weight/{name}"][rows[index]]
                own |= {f"{key}/{name}": arrays[f"{old}/{name}"][rows[index]] for key, old in MOMENTS.items()}
                own[f"step/{name}"] = taken
        else:  # a run that has ended
            prefix = f"retired/{index}"
            own = {f"weight/{name}": arrays[f"{prefix}/{name}"] for name in _names(arrays, prefix)}
        count = taken if index in rows else np.asarray(run["step"], dtype=np.float32)
        yield {name: np.array(array) for name, array in own.items()} | {"taken": count}, run


def _names(arrays: Arrays, prefix: str) -> list[str]:
    """The names of the arrays with a prefix, without it."""
    return [name.removeprefix(f"{prefix}/") for name in arrays if name.startswith(f"{prefix}/")]
