"""Readers of what the functions for Python work on: tasks and parts, levels, folders and runs, devices.

One thing may stand for several where a function takes several. Values are read by :mod:`attnlab._api._values`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnlab._api._values import count, listed, mapping, optional, path, plain, refusal, words

TASK = "It is the name or the file of a task as text, such as 'copy' or 'my-task.yaml'; of a path, str(path)."
RUN = "It is a record, its id or the start of it."
folder = path("a folder, such as 'results'")
file = path("a file, such as 'mine.py'")


def vmap_width(value: Any, name: str) -> Any:
    """Read how many runs are trained as one program.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The number, or ``auto``.

    Raises:
        InvalidValueError: It is neither.
    """
    return value if isinstance(value, str) and value == "auto" else count(value, name, instead=", or 'auto'")


def tasks(value: Any, name: str) -> str | list[str]:
    """Read tasks, one or several.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        One as text, and several as a list.

    Raises:
        InvalidValueError: There is none, or one is no text.
    """
    found: str | list[str] = words(TASK)(value, name)
    if not found:
        raise refusal(value, TASK, name)
    return found


def parts(value: Any, name: str) -> Any:
    """Read words, classes of modules and functions that make them: one or several.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        One as it is, and several as a list; none where it is None. What they name has not been looked up.

    Raises:
        InvalidValueError: It is of another kind, or has no order.
    """
    if value is None or isinstance(value, str) or callable(value):
        return () if value is None else value
    accepted = "It is a name such as 'softmax', 'FILE.py:Class', a class of modules, or a list of these."
    return listed(value, accepted, name)


def model(value: Any, name: str) -> Any:
    """Read fields of the model, or whole models.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        A mapping, or what :func:`parts` returns; None where nothing is given.

    Raises:
        InvalidValueError: It is of another kind.
    """
    if value is None or isinstance(value, Mapping):
        return optional(mapping("{'layers': 4}"))(value, name)
    if isinstance(value, str) or callable(value):
        return value
    accepted = (
        "It is a mapping of fields such as {'layers': 4}, 'FILE.py:Class', a class of modules, or a list of these."
    )
    return listed(value, accepted, name)


def grid(value: Any, name: str) -> dict[str, list[Any]]:
    """Read the values of each field of a grid, of which a single one may stand alone.

    >>> grid({"position": "rotary", "lr": (1e-3, 3e-3), "width": range(8, 24, 8)}, "grid")
    {'position': ['rotary'], 'lr': [0.001, 0.003], 'width': [8, 16]}

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        Field -> its values.

    Raises:
        InvalidValueError: It is no mapping, or a field has no values.
    """
    example = "{'lr': [1e-3, 3e-3]}"
    columns: dict[str, list[Any]] = {}
    for field, given in mapping(example)(value, name).items():
        values = plain(given)
        if isinstance(values, str | Mapping | int | float) or callable(values):
            values = [values]
        accepted = f"Give its values as a list, or one value, such as {example}."
        columns[field] = [plain(one) for one in listed(values, accepted, f"{name}[{field!r}]")]
    return columns


def levels(value: Any, name: str) -> list[Any] | None:
    """Read levels, of which a single one may stand alone.

    >>> levels(4, "complexity"), levels("2,4", "complexity"), levels(range(2), "complexity")
    ([4], [2, 4], [0, 1])

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The levels; None where it is None.

    Raises:
        InvalidValueError: It is neither a level nor a list of levels.
    """
    from attnlab.config.inline_experiment import parse_levels

    one = plain(value)
    if one is None or isinstance(one, str):
        return parse_levels(one)
    if isinstance(one, int | float):
        return [one]
    return [
        plain(level) for level in listed(one, "It is a level such as 4, or a list of levels such as [2, 4, 8].", name)
    ]


def lengths(value: Any, name: str) -> list[int]:
    """Read lengths in tokens, of which a single one may stand alone.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The lengths; none where it is None.

    Raises:
        InvalidValueError: One of them is no whole number of at least 1.
    """
    one = plain(value)
    if isinstance(one, Iterable) and not isinstance(one, str):
        return [count(length, name) for length in listed(one, "It is a length such as 64, or a list of lengths.", name)]
    return [] if one is None else [count(one, name, instead=", or a list of such")]


def folders(value: Any, name: str) -> list[Path]:
    """Read one folder of results or several.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The paths, each once.

    Raises:
        InvalidValueError: One of them is no path, or empty.
    """
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return [folder(value, name)]
    found = listed(value, "It is a folder, or a list of folders.", name)
    return list(dict.fromkeys(folder(one, name) for one in found))


def results(value: Any, name: str) -> Any:
    """Read a folder of results, or records.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The path, or the records as a list.

    Raises:
        InvalidValueError: It is neither.
    """
    if isinstance(value, str | os.PathLike):
        return folder(value, name)
    if hasattr(value, "spec"):
        return [value]
    accepted = "It is one folder of results, or records."
    found = listed(value, accepted, name)
    if not all(hasattr(one, "spec") for one in found):
        hint = "Of several folders, give the records: attnlab.report(attnlab.load_records(['first', 'second']))."
        raise refusal(value, f"{accepted}\n{hint}", name)
    return found


def run_id(value: Any, name: str) -> str:
    """Read a finished run.

    Args:
        value: What was passed: its record, its id or the start of it.
        name: Of the argument.

    Returns:
        Its id or the start of it.

    Raises:
        InvalidValueError: It is neither.
    """
    found = value if isinstance(value, str) else getattr(value, "id", None)
    if not isinstance(found, str):
        raise refusal(value, RUN, name)
    return str(found)


def run_ids(value: Any, name: str) -> list[str]:
    """Read finished runs, some of which may be lists of runs.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        Their ids, or the starts of these.

    Raises:
        InvalidValueError: One of them is no run.
    """
    ids: list[str] = []
    for one in value:
        several = isinstance(one, Iterable) and not isinstance(one, str) and not hasattr(one, "spec")
        ids += [run_id(run, name) for run in (listed(one, RUN, name) if several else [one])]
    return ids


def device(value: Any, name: str) -> str:
    """Read a device.

    >>> import torch
    >>> device(torch.device("cpu"), "device")
    'cpu'

    Args:
        value: What was passed: its name, or what torch makes of it.
        name: Of the argument.

    Returns:
        Its name.

    Raises:
        InvalidValueError: It is neither.
    """
    if not isinstance(value, str) and f"{type(value).__module__}.{type(value).__name__}" != "torch.device":
        raise refusal(value, "It is 'auto', 'cpu', 'cuda', 'mps', or a torch.device.", name)
    return str(value)


def slurm(value: Any, name: str) -> Any:
    """Read what a job of SLURM asks for.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        A mapping, or the path of a file.

    Raises:
        InvalidValueError: It is neither.
    """
    if isinstance(value, str | os.PathLike):
        return path("a YAML file, such as 'slurm.yaml'")(value, name)
    return mapping("{'partition': 'gpu', 'time': '2h'}")(value, name)


def closure(value: Any, name: str) -> Any:
    """Read a function.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The function.

    Raises:
        InvalidValueError: It cannot be called.
    """
    if not callable(value):
        raise refusal(value, "It is a function.", name)
    return value


def seed_range(seed: int, seeds: int) -> range:
    """List the seeds.

    Args:
        seed: The first one.
        seeds: Their number.

    Returns:
        The seeds.
    """
    return range(seed, seed + seeds)
