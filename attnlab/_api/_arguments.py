"""Readers of the arguments of the functions for Python: what cannot be read is refused, and one may stand for several.

A reader takes what was passed and the name of the argument, and returns what the function works with. Numbers of numpy
are numbers.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from attnlab.errors import InvalidValueError, echo
from attnlab.sizes import MAX_INTEGER

Reader = Callable[[Any, str], Any]
TASK = "It is the name or the file of a task as text, such as 'copy' or 'my-task.yaml'; of a path, str(path)."
RUN = "It is a record, its id or the start of it."


def refusal(value: Any, accepted: str, name: str) -> InvalidValueError:
    """Make the error for what an argument cannot be.

    >>> print(refusal([3], "It is text.", "task"))
    task
      It cannot be [3].
      It is text.

    Args:
        value: What was passed.
        accepted: What it can be, as a sentence.
        name: Of the argument.

    Returns:
        The error, to be raised.
    """
    return InvalidValueError(f"It cannot be {echo(value)}.", accepted, where=name)


def anything(value: Any, name: str) -> Any:
    """Read what is checked where it is used.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The value.
    """
    return value


def count(value: Any, name: str, *, least: int = 1, instead: str = "") -> int:
    """Read a whole number.

    >>> import numpy
    >>> count(numpy.int64(3), "seeds")
    3

    Args:
        value: What was passed.
        name: Of the argument.
        least: The smallest number that is accepted.
        instead: What is accepted in place of a number, for the message.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is smaller, no whole number, or larger than ``MAX_INTEGER``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise refusal(value, f"It is a whole number, at least {least}{instead}.", name)
    if number > MAX_INTEGER:
        raise refusal(value, f"It is at most {MAX_INTEGER:,}.", name)
    return number


def natural(value: Any, name: str) -> int:
    """Read a whole number that may be 0.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is smaller, or no whole number.
    """
    return count(value, name, least=0)


def number(value: Any, name: str) -> float:
    """Read a finite number.

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        The number.

    Raises:
        InvalidValueError: It is no number, or not finite.
    """
    one = plain(value)
    if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
        raise refusal(value, "It is a number.", name)
    return one


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


def flag(value: Any, name: str) -> bool:
    """Read a truth value.

    >>> flag(1, "resume")
    True

    Args:
        value: What was passed.
        name: Of the argument.

    Returns:
        True or False; of 1 and 0 as well.

    Raises:
        InvalidValueError: It is another value.
    """
    one = plain(value)
    if not isinstance(one, int) or one not in (0, 1):
        raise refusal(value, "It is True or False.", name)
    return bool(one)


def optional(read: Reader) -> Reader:
    """Make a reader that leaves None as it is.

    Args:
        read: Reads any other value.

    Returns:
        The reader.
    """
    return lambda value, name: None if value is None else read(value, name)


def word(accepted: str) -> Reader:
    """Make a reader of text.

    Args:
        accepted: What the text can be, as a sentence.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise refusal(value, accepted, name)
        return str(value)

    return read


def choice(words: Any) -> Reader:
    """Make a reader of one of several words.

    Args:
        words: A Literal of them.

    Returns:
        The reader.
    """
    accepted = get_args(words)
    listed = ", ".join(map(repr, accepted))

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in accepted:
            raise refusal(value, f"It is one of: {listed}." if len(accepted) > 1 else f"It is {listed}.", name)
        return str(value)

    return read


def words(accepted: str, *, separator: str = "") -> Reader:
    """Make a reader of one word or several; None is none.

    >>> words("They are fields.", separator=",")("width,seed", "index")
    ['width', 'seed']

    Args:
        accepted: What they can be, as a sentence.
        separator: What stands between several in one text; empty leaves it whole.

    Returns:
        The reader: of text without a separator it returns the text, of anything else a list.
    """

    def read(value: Any, name: str) -> str | list[str]:
        if isinstance(value, str):
            return [one for one in value.split(separator) if one] if separator else str(value)
        found = [] if value is None else _listed(value, accepted, name)
        if not all(isinstance(one, str) for one in found):
            raise refusal(value, accepted, name)
        return list(map(str, found))

    return read


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
    return _listed(value, accepted, name)


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
    return _listed(value, accepted, name)


def mapping(example: str) -> Reader:
    """Make a reader of a mapping with text as keys.

    Args:
        example: A mapping that would be accepted, as Python.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise refusal(value, f"It is a mapping with names as keys, such as {example}.", name)
        return value

    return read


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
        columns[field] = [plain(one) for one in _listed(values, accepted, f"{name}[{field!r}]")]
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
        plain(level) for level in _listed(one, "It is a level such as 4, or a list of levels such as [2, 4, 8].", name)
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
        return [
            count(length, name) for length in _listed(one, "It is a length such as 64, or a list of lengths.", name)
        ]
    return [] if one is None else [count(one, name, instead=", or a list of such")]


def path(example: str) -> Reader:
    """Make a reader of a path.

    An empty one, as of a variable that is not set, would be the current folder: it is refused.

    Args:
        example: What to name, such as ``a folder, such as 'results'``.

    Returns:
        The reader.
    """

    def read(value: Any, name: str) -> Path:
        found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if found == "":
            raise InvalidValueError("It is empty.", f"Name {example}.", where=name)
        if not isinstance(found, str) or "\0" in found:
            raise refusal(value, f"Name {example}, as text or as a pathlib.Path.", name)
        return Path(found)

    return read


folder = path("a folder, such as 'results'")
file = path("a file, such as 'mine.py'")


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
    found = _listed(value, "It is a folder, or a list of folders.", name)
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
    found = _listed(value, accepted, name)
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
        ids += [run_id(run, name) for run in (_listed(one, RUN, name) if several else [one])]
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


def plain(value: Any) -> Any:
    """Turn numbers and arrays of numpy into Python's own, in mappings and sequences too.

    >>> import numpy
    >>> plain({"lr": numpy.float64(0.5), "levels": numpy.arange(2), "name": "copy"})
    {'lr': 0.5, 'levels': [0, 1], 'name': 'copy'}

    Args:
        value: Any value.

    Returns:
        The value without numpy.
    """
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


def _listed(value: Any, accepted: str, name: str) -> list[Any]:
    """The items of what has an order; all else is refused."""
    if isinstance(value, set | frozenset):
        raise InvalidValueError("It is a set, which has no order.", "Give a list.", where=name)
    if isinstance(value, str | bytes | bytearray | Mapping) or callable(value) or not isinstance(value, Iterable):
        raise refusal(value, accepted, name)
    try:
        return list(value)
    except TypeError:
        raise refusal(value, accepted, name) from None
