"""Names of attnlab 0.1: accepted in YAML, on the command line and in Python for one more release, with a warning.

The tables say what each old name is called now. Storage uses the same tables to read records of the first format.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from attnlab.errors import InvalidValueError, RenamedWarning
from attnlab.user_code import user_stacklevel

Names = Mapping[str, str]
Location = tuple[str | int, ...]

MODEL: Names = {"mlp": "mlp_ratio", "skip": "residual", "tie": "tie_embeddings", "scale": "init_scale"}
TRAIN: Names = {
    "steps": "max_steps",
    "batch": "batch_size",
    "optimiser": "optimizer",
    "warmup": "warmup_ratio",
    "floor": "min_lr_ratio",
    "decay": "weight_decay",
    "clip": "grad_clip",
    "stop_at": "early_stop_accuracy",
    "validate_every": "eval_every",
    "validation": "validation_examples",
    "test": "test_examples",
    "examples": "train_examples",
    "watch": "log_diagnostics",
}
OPTIONS = ("steps", "batch")
"""Old names that the command line has still."""
REUSED = ("mlp",)
"""Old names whose values were numbers, and that name a part now: with other values they are new names."""
SECTIONS: Mapping[str, Names] = {"model": MODEL, "train": TRAIN}
LADDER: Names = {"rungs": "levels"}
EXPERIMENT: Names = {"vary": "grid", "select": "tune", "scales": "presets", "taken": "expected_steps"}
CLAIM: Names = {"value": "metric"}
LAYOUT: Names = {"rows": "index", "value": "metric"}
FIELDS: Names = {**MODEL, **TRAIN}
"""Fields of a grid, which may stand without their section."""
REPORT_FIELDS: Names = {**FIELDS, "complexity": "level", "member": "subtask"}
"""Fields of claims and reports."""
MIXTURE = ("medley",)
"""What the task ``mixture`` was called."""
METRICS: Names = {"answers": "exact_match", "validation": "validation_accuracy", "verdict": "failure_mode"}


def renamed(name: str, names: Names, where: str = "") -> str:
    """Replace an old name and warn.

    Args:
        name: A name, old or new; a field may have its section before it: ``train.steps``.
        names: Old name -> new name.
        where: The location for the warning.

    Returns:
        The new name; a name that is not old is returned as it is. So is one that has a new meaning by now: without a
        value it is the new name.
    """
    return name if _is_new(name, None) else _warned(name, names, where)


def _warned(name: str, names: Names, where: str) -> str:
    """Replace an old name and warn, one of another meaning by now included."""
    new = _new_name(name, names)
    if new == name:
        return name
    head = f"{where}: " if where else ""
    text = f"'{name}' is now called '{new}'."
    if (word := name.rpartition(".")[2]) in OPTIONS:
        text = f"'{name}' is called '{new}' in Python and in YAML; --{word} is the option of the command line."
    warnings.warn(f"{head}{text}", RenamedWarning, stacklevel=user_stacklevel())
    return new


def renamed_keys(data: Mapping[str, Any], names: Names, where: str = "") -> dict[str, Any]:
    """Replace the old keys of a mapping and warn of each.

    Args:
        data: Plain data.
        names: Old name -> new name.
        where: The location for the warnings.

    Returns:
        The same values under the new keys.

    Raises:
        InvalidValueError: An old key and its new name are both given.
    """
    result: dict[str, Any] = {}
    for key, value in data.items():
        new = key if _is_new(key, value) else _warned(key, names, where)
        if new in result or (new != key and new in data):
            _refuse_both(key, new, where)
        result[new] = value
    return result


def renamed_settings(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Replace the old names of settings, section by section.

    Args:
        settings: ``{"model": ..., "train": ..., "task": ...}``.
        where: The location for the warnings.

    Returns:
        The same settings under the new names.

    Raises:
        InvalidValueError: An old key and its new name are both given.
    """
    return {
        section: renamed_keys(data, SECTIONS.get(section, {}), where) if isinstance(data, Mapping) else data
        for section, data in settings.items()
    }


def renamed_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the old options of a task.

    Args:
        task: The name of the task, old or new.
        options: Option -> value.

    Returns:
        The same options under the new names: of a mixture, ``members`` are ``tasks``, and ``tasks`` was the ``count``.
    """
    result = dict(options)
    if task in ("mixture", *MIXTURE):
        if isinstance(result.get("tasks"), int):
            result = renamed_keys(result, {"tasks": "count"}, task)
        result = renamed_keys(result, {"members": "tasks"}, task)
    return result


def renamed_tree(data: Any, names: Callable[[Location], Names], where: Callable[[Location], str]) -> Any:
    """Replace the old keys, and the old words among the values, of nested data.

    Args:
        data: Plain data.
        names: Tells the old names that the keys, or the string, at a location of the new data may have.
        where: Tells the location of old data for the warnings.

    Returns:
        The data under the new names.

    Raises:
        InvalidValueError: An old key and its new name are both given.
    """
    return _renamed_tree(data, names, where, ())


def _renamed_tree(
    data: Any, names: Callable[[Location], Names], where: Callable[[Location], str], location: Location
) -> Any:
    if isinstance(data, str):
        return renamed(data, names(location), where(location))
    if isinstance(data, list):
        return [_renamed_tree(item, names, where, (*location, index)) for index, item in enumerate(data)]
    if isinstance(data, dict):
        result: dict[Any, Any] = {}
        for key, value in data.items():
            is_old = isinstance(key, str) and not _is_new(key, value)
            at = (*location, _new_name(key, names(location)) if is_old else key)
            new = renamed_keys({key: value}, names(location), where(at)) if isinstance(key, str) else {key: value}
            if new.keys() & (result.keys() | (data.keys() - {key})):
                _refuse_both(key, at[-1], where(at))
            result |= {name: _renamed_tree(inner, names, where, at) for name, inner in new.items()}
        return result
    return data


def renamed_location(location: Location, names: Callable[[Location], Names]) -> Location:
    """Replace the old keys of a location, without a warning.

    Args:
        location: Keys and indices as a file has them.
        names: As for :func:`renamed_tree`.

    Returns:
        Keys and indices under their new names.
    """
    new: Location = ()
    for step in location:
        new = (*new, _new_name(step, names(new)) if isinstance(step, str) else step)
    return new


def _is_new(name: str, value: Any) -> bool:
    """Tell whether a name that had another meaning is set to values of its new one."""
    values = value if isinstance(value, list | tuple) else [value]
    is_number = bool(values) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return name.rpartition(".")[2] in REUSED and not is_number


def _refuse_both(old: str, new: Any, where: str) -> NoReturn:
    raise InvalidValueError(f"'{old}' is now called '{new}', and both are given.", "Give one.", where=where)


def _new_name(name: str, names: Names) -> str:
    section, dot, last = name.rpartition(".")
    return f"{section}{dot}{(SECTIONS.get(section, {}) if dot else names).get(last, last)}"


def experiment_names(location: Location) -> Names:
    """Tell the old names that may stand at a location of an experiment.

    Args:
        location: Keys and indices, under their new names.

    Returns:
        Old name -> new name.
    """
    steps = location[2:] if location[:1] == ("presets",) else location
    if location == ("presets",):
        return {}
    match steps:
        case ():
            return EXPERIMENT
        case ("ladders", int()):
            return LADDER
        case ("model",) | ("train",):
            return SECTIONS[str(steps[0])]
        case ("grid",) | ("zip", int()) | ("tune", int()):
            return FIELDS
        case ("claims", int()):
            return CLAIM
        case ("claims", int(), "of" | "than") | ("report", "index", int()) | ("report", "columns"):
            return REPORT_FIELDS
        case ("claims", int(), "metric") | ("report", "metric"):
            return METRICS
        case ("report",):
            return LAYOUT
    return {}


def ladder_names(location: Location) -> Names:
    """Tell the old names that may stand at a location of a ladder.

    Args:
        location: Keys and indices, under their new names.

    Returns:
        Old name -> new name.
    """
    match location:
        case ():
            return LADDER
        case ("model",) | ("train",):
            return SECTIONS[str(location[0])]
    return {}
