"""Experiments written on the command line or in Python, without a file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.config.experiment import SHORT, Experiment, check_experiment, option_of
from attnlab.config.inline_parts import merged, parse_modules, parse_part, parse_variants, split_outside_brackets
from attnlab.config.renamed import FIELDS, renamed_keys, renamed_options, renamed_settings
from attnlab.config.validate import validated
from attnlab.config.yaml import scalar
from attnlab.errors import InvalidValueError, UnknownNameError, unknown
from attnlab.specs import Variant

SECTIONS = ("task", "model", "train")
"""The sections that settings may have."""


def inline_experiment(
    task: str | Sequence[str],
    *,
    attention: str | Sequence[str] = (),
    position: str | Sequence[str] = (),
    modules: str | Sequence[str] = (),
    complexity: Sequence[Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    match: str | None = None,
    until: str | None = None,
    equal: float | None = None,
    budget: str | float | None = None,
    settings: Mapping[str, Any] | None = None,
    recipe: str | None = None,
) -> Experiment:
    """Make an experiment from words; it is named after its ladders.

    Args:
        task: Ladders, with inline options.
        attention: Variants, as words; nothing keeps the default.
        position: Positions, likewise; ``auto`` runs several, and each cell takes the best on validation.
        modules: Whole models of the user's own, as words, beside the attentions.
        complexity: The levels; None takes all levels of each ladder.
        grid: Any field -> its values.
        seeds: How many seeds, counted up from the first; None takes 3, or 30 at most with ``until``.
        seed: The first seed; None takes 0.
        match: The budget of the first variant that the others are given; None keeps all sizes equal.
        until: ``decided`` runs what it takes to decide how the variants compare; None runs everything.
        equal: With ``until``: accuracies that differ by no more than this are alike; None takes 0.02.
        budget: With ``until``: the time after which it ends, such as ``20m``; None has no limit.
        settings: Nested data: ``{"model": ..., "train": ..., "task": ...}``.
        recipe: Named settings below those of the ladders; None is the default.

    Returns:
        The experiment; its ladders and parts have not been looked up.

    Raises:
        InvalidValueError: A value is of the wrong type, or a field is varied twice.
        UnknownNameError: A field or the recipe does not exist.
    """
    given = renamed_settings(check_sections(settings or {}))
    ladders = [parse_part(word) for item in _list(task) for word in ([item] if ":" in item else item.split(","))]
    if complexity is not None and not len(complexity):
        raise InvalidValueError("No level is given.", "Write 2,4,8, or leave it out to take all.", where="--complexity")
    levels = None if complexity is None else tuple(complexity)
    entries = []
    for ladder in ladders:
        options = merged(ladder.options, given.get("task", {}))
        options = renamed_options(ladder.name.removesuffix("-tasks"), options)
        entries.append({"ladder": ladder.name, "levels": levels, "options": options})
    varied = renamed_keys(grid or {}, FIELDS, "--grid")
    axes: dict[str, Sequence[Any]] = {}
    for axis, words in (("attention", attention), ("position", position)):
        if words:
            axes[axis] = tuple(_as_written(variant) for word in _list(words) for variant in parse_variants(word))
            if {axis, f"model.{axis}"} & set(varied):
                raise InvalidValueError(
                    f"'{axis}' is varied twice.", "Give all its values in one place.", where="--grid"
                )
    if modules:
        whole = tuple({"model": str(part)} for part in parse_modules(modules))
        axes["attention"] = (*axes.get("attention", ()), *whole)
        if {"attention", "model.attention"} & set(varied):
            hint = "Give the attentions with --attn."
            raise InvalidValueError("Whole models stand beside the attentions.", hint, where="--grid")
    data = {
        "name": "-".join(ladder.name.rpartition("/")[-1].removesuffix(".yaml") for ladder in ladders),
        "question": "",
        "ladders": tuple(entries),
        "grid": axes | {key: list(values) for key, values in varied.items()},
        "match": match,
        "model": given.get("model", {}),
        "train": given.get("train", {}),
    }
    asked = {"seeds": seeds, "seed": seed, "until": until, "equal": equal, "budget": budget, "recipe": recipe}
    data |= {name: value for name, value in asked.items() if value is not None}
    if until is None and (equal is not None or budget is not None):
        option = "--equal" if equal is not None else "--budget"
        raise InvalidValueError("Without --until it has no meaning.", "Add --until decided.", where=option)
    return check_experiment(validated(Experiment, data, option_of))


def check_sections(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check that settings name sections, each with a mapping.

    Args:
        settings: Nested data.

    Returns:
        The settings themselves.

    Raises:
        UnknownNameError: A section does not exist.
        InvalidValueError: A section is set to a value.
    """
    for section, data in settings.items():
        if section not in SECTIONS:
            raise unknown_section(section, data)
        if not isinstance(data, Mapping):
            problem = f"'{section}' is a section."
            raise InvalidValueError(problem, f"Set a key of it: {section}.KEY.", where=f"--set {section}")
    return settings


def unknown_section(name: str, value: Any, sections: Sequence[str] = SECTIONS) -> UnknownNameError:
    """Make the error for a setting that is in no section.

    >>> print(unknown_section("weight_decay", 1))
    --set weight_decay
      There is no section 'weight_decay'.
      Write --set train.weight_decay=1.

    Args:
        name: The word in the place of a section.
        value: What it is set to; a mapping if another key follows.
        sections: The sections that the command accepts.

    Returns:
        The error, to be raised; its hint has the section of a field of that name, and otherwise that of a task.
    """
    where = f"--set {name}"
    if isinstance(value, Mapping):
        return unknown("section", name, sections, where=where)
    field = SHORT.get(name, "")
    if field.partition(".")[0] in sections:
        hint = f"Write --set {field}={value}."
    else:
        hint = f"Write --set task.{name}={value} for an option of the task."
    return UnknownNameError(f"There is no section '{name}'.", hint, where=where)


def parse_grid(words: Sequence[str]) -> dict[str, list[Any]]:
    """Read the words of ``--grid``.

    >>> parse_grid(["lr=1e-3,3e-3", "width=32,64"])
    {'lr': [0.001, 0.003], 'width': [32, 64]}

    Args:
        words: ``key=value,value`` each.

    Returns:
        Key -> its values.

    Raises:
        InvalidValueError: A word is not ``key=value,value``, or a key is given twice.
    """
    result: dict[str, list[Any]] = {}
    for word in words:
        key, equals, listed = word.partition("=")
        if not (equals and key.strip() and listed.strip()):
            raise InvalidValueError(f"'{word}' has no values.", "Write key=value,value.", where="--grid")
        if key.strip() in result:
            raise InvalidValueError(
                f"'{key.strip()}' is varied twice.", "Give all its values in one list.", where="--grid"
            )
        result[key.strip()] = [scalar(value.strip()) for value in split_outside_brackets(listed, ",")]
    return result


def parse_levels(text: str | None) -> list[Any] | None:
    """Read levels as the command line writes them.

    >>> parse_levels("2,4,8")
    [2, 4, 8]

    Args:
        text: Levels with commas between them; None where none are given.

    Returns:
        The levels, or None.
    """
    return None if text is None else [scalar(word.strip()) for word in text.split(",") if word.strip()]


def interference_experiment(subtasks: Sequence[str], level: int = 0, **more: Any) -> Experiment:
    """Make the experiment of task interference: every subtask alone, every pair, and all together.

    Args:
        subtasks: Ladders, with inline options.
        level: The level of each subtask's own ladder, 0 the easiest.
        **more: Arguments of :func:`inline_experiment` beside the task.

    Returns:
        The experiment.

    Raises:
        InvalidValueError: There are fewer than two subtasks, or the position is ``auto``.
    """
    if len(subtasks) < 2:
        raise InvalidValueError(
            "Interference needs at least two tasks.", "Write two or more: recall,copy.", where="interference"
        )
    groups = [*((subtask,) for subtask in subtasks), *itertools.combinations(subtasks, 2), tuple(subtasks)]
    experiment = inline_experiment("mixture", complexity=[level], **more)
    if experiment.auto_positions is not None:
        problem = "Interference compares runs of one position, and 'auto' chooses one for each."
        raise InvalidValueError(problem, "Name one.", where="--pos")
    entry = experiment.ladders[0]
    entries = tuple(
        entry.model_copy(update={"options": {**entry.options, "tasks": list(group)}}) for group in dict.fromkeys(groups)
    )
    name = "-".join(["interference", *(_folder_name(subtask) for subtask in subtasks)])
    return experiment.model_copy(update={"ladders": entries, "name": name})


def _folder_name(word: str) -> str:
    """A word as a part of a folder's name."""
    return re.sub(r"[^\w-]+", "-", word)


def _list(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


def _as_written(variant: Variant) -> Any:
    """A variant as a file would write it, its options as exact as they were given."""
    written = [{"name": part.name, "options": part.options} if part.options else part.name for part in variant]
    return written[0] if len(written) == 1 else written
