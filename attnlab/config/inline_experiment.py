"""Experiments written on the command line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.config.experiment import Experiment, check_experiment
from attnlab.config.inline_parts import merged, parse_part, parse_variants, split_outside_brackets
from attnlab.config.validate import validated
from attnlab.config.yaml import scalar
from attnlab.errors import InvalidValueError, unknown
from attnlab.specs import Part

SECTIONS = ("task", "model", "train")
"""What settings may speak of."""


def inline_experiment(
    task: str | Sequence[str],
    *,
    attention: str | Sequence[str] = (),
    position: str | Sequence[str] = (),
    complexity: Sequence[Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    match: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Experiment:
    """An experiment without a file; it is called after what it climbs.

    Args:
        task: Ladders, with inline options.
        attention: Variants, as words; nothing keeps the default.
        position: Likewise.
        complexity: The levels; None takes all of each ladder.
        grid: Any field -> its values.
        seeds: How many.
        match: The budget of the first variant that the others are brought to.
        settings: Nested data: ``{"model": ..., "train": ..., "task": ...}``.

    Raises:
        InvalidValueError: a value of the wrong type; a field that is varied twice.
        UnknownNameError: a field that does not exist.
    """
    given = settings or {}
    for section, stored in given.items():
        if section not in SECTIONS:
            raise unknown("section", section, SECTIONS, where=f"--set {section}")
        if not isinstance(stored, Mapping):
            raise InvalidValueError(
                f"'{section}' is a section.", f"Set what is in it: {section}.KEY.", where=f"--set {section}"
            )
    ladders = [parse_part(word) for item in _list(task) for word in ([item] if ":" in item else item.split(","))]
    if complexity is not None and not len(complexity):
        raise InvalidValueError("No level is named.", "Write 2,4,8, or leave it out to take all.", where="--complexity")
    levels = None if complexity is None else tuple(complexity)
    climbs = [
        {"ladder": result.name, "levels": levels, "options": merged(result.options, given.get("task", {}))}
        for result in ladders
    ]
    varied: dict[str, Sequence[Any]] = {}
    for axis, said in (("attention", attention), ("position", position)):
        if said:
            varied[axis] = tuple(_plainly(stack) for word in _list(said) for stack in parse_variants(word))
            if grid and {axis, f"model.{axis}"} & set(grid):
                raise InvalidValueError(f"'{axis}' is varied twice.", "Name all of them in one place.", where="--grid")
    varied |= {key: list(values) for key, values in (grid or {}).items()}
    data = {
        "name": "-".join(result.name.rpartition("/")[-1].removesuffix(".yaml") for result in ladders),
        "question": "",
        "ladders": tuple(climbs),
        "grid": varied,
        "seeds": seeds,
        "match": match,
        "model": given.get("model", {}),
        "train": given.get("train", {}),
    }
    return check_experiment(validated(Experiment, data, lambda place: ".".join(map(str, place))))


def parse_grid(words: Sequence[str]) -> dict[str, list[Any]]:
    """What ``--grid`` words say.

    >>> values(["lr=1e-3,3e-3", "width=32,64"])
    {'lr': [0.001, 0.003], 'width': [32, 64]}

    Raises:
        InvalidValueError: a word is not ``key=value,value``, or a key stands twice.
    """
    result: dict[str, list[Any]] = {}
    for word in words:
        key, equals, listed = word.partition("=")
        if not (equals and key.strip() and listed.strip()):
            raise InvalidValueError(f"'{word}' names no values.", "Write key=value,value.", where="--grid")
        if key.strip() in result:
            raise InvalidValueError(
                f"'{key.strip()}' is varied twice.", "Put all its values in one list.", where="--grid"
            )
        result[key.strip()] = [scalar(value.strip()) for value in split_outside_brackets(listed, ",")]
    return result


def parse_levels(text: str | None) -> list[Any] | None:
    """Levels as the command line writes them: ``2,4,8``."""
    return None if text is None else [scalar(word.strip()) for word in text.split(",") if word.strip()]


def _list(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


def interference_experiment(members: Sequence[str], level: int = 0, **more: Any) -> Experiment:
    """The experiment of interference: every member alone, every pair, and all together.

    Args:
        members: Ladders, with inline options.
        level: The level of each member's own ladder.
        more: What :func:`inline` takes beside the task.

    Raises:
        InvalidValueError: fewer than two members.
    """
    if len(members) < 2:
        raise InvalidValueError("One task has no company.", "Name two or more: recall,copy.", where="interference")
    groups = [*((member,) for member in members), *itertools.combinations(members, 2), tuple(members)]
    experiment = inline_experiment("mixture", complexity=[level], **more)
    entry = experiment.ladders[0]
    climbs = tuple(
        entry.model_copy(update={"options": {**entry.options, "members": list(group)}})
        for group in dict.fromkeys(groups)
    )
    return experiment.model_copy(update={"ladders": climbs, "name": f"interference-{'-'.join(map(_plain, members))}"})


def _plainly(stack: Sequence[Part]) -> Any:
    """A variant as a file would write it, its options as exact as they were given."""
    written = [{"name": one.name, "options": one.options} if one.options else one.name for one in stack]
    return written[0] if len(written) == 1 else written


def _plain(word: str) -> str:
    """A word as a part of a folder's name."""
    return re.sub(r"[^\w-]+", "-", word)
