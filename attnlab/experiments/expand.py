"""An experiment -> the runs it means, each once, in order: ladders, levels, combinations of what varies, seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from attnlab.config.experiment import Experiment, LadderLevels, full_key
from attnlab.config.inline_parts import merged, parse_variants
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.experiments._claim_checks import check_claims
from attnlab.experiments.plan import Known, plan
from attnlab.experiments.request import Request
from attnlab.specs import Part, RunSpec, Variant
from attnlab.tasks.io.streams import span

Setting = dict[str, Any]
"""One combination of what varies: dotted key -> value."""
AXES = ("model.attention", "model.position")


def expand(experiment: Experiment) -> list[RunSpec]:
    """Every run of an experiment; what two combinations have in common is run once.

    Raises:
        AttnlabError: a name, value or pairing that does not exist; nothing has been started.
    """
    known = Known()
    specs: dict[str, RunSpec] = {}
    try:
        for request in requests(experiment, known):
            specs.update((spec.id, spec) for spec in plan(request, known))
    except AttnlabError as error:
        raise locate_error(error, experiment) from error
    planned = list(specs.values())
    check_claims(experiment, planned)
    return planned


def locate_error(error: AttnlabError, experiment: Experiment) -> AttnlabError:
    """The same error, told with the line of the experiment's file that holds the field, if one does."""
    field, _, rest = error.where.partition(":")
    section, *steps = field.split(".")
    places: list[tuple[str | int, ...]] = [(section, *steps)]
    places += [("grid", key) for key in experiment.grid if full_key(key) == field]
    places += [("zip", i, key) for i, group in enumerate(experiment.zip) for key in group if full_key(key) == field]
    names = ("task", "ladder")
    for index, entry in enumerate(experiment.ladders):
        word = entry.ladder.rpartition("/")[-1].removesuffix(".yaml")
        if field == word or (field in names and f"'{entry.ladder}'" in error.problem):
            places += [("ladders", index), ("ladders", index, "ladder")]
    written = [place for place in places if experiment.written(*place)]
    if not written:
        return error
    return type(error)(error.problem, error.hint, where=f"{experiment.where(*written[-1])}{rest and ':' + rest}")


def requests(experiment: Experiment, known: Known) -> Iterator[Request]:
    """One request for each ladder, level and combination of what varies."""
    combinations = settings(experiment)
    where = experiment.where("grid")
    for entry in experiment.ladders:
        for level, evaluate in _rungs(entry, known):
            for setting in combinations:
                stack = setting.get("model.attention")
                place = setting.get("model.position")
                places = () if place is None else variant(place, where)
                if len(places) > 1:
                    result = f"'{'+'.join(map(str, places))}' stacks positions, which do not take turns over layers."
                    raise InvalidValueError(result, "Name each by itself.", where="model.position")
                first = combinations[0].get("model.attention")
                yield Request(
                    task=Part(name=entry.ladder),
                    attentions=() if stack is None else (variant(stack, where),),
                    positions=places,
                    complexity=level,
                    evaluate=evaluate,
                    seeds=range(experiment.seeds),
                    match=experiment.match,
                    reference=None if first is None else variant(first, where),
                    settings=_nested(experiment, entry, setting),
                )


def settings(experiment: Experiment) -> list[Setting]:
    """Every combination of what varies, the later keys fastest."""
    axes = [[{full_key(key): value} for value in values] for key, values in experiment.grid.items()]
    for group in experiment.zip:
        keys = [full_key(key) for key in group]
        axes.append([dict(zip(keys, values, strict=True)) for values in zip(*group.values(), strict=True)])
    return [{key: value for part in parts for key, value in part.items()} for parts in itertools.product(*axes)]


def variant(value: Any, where: str) -> Variant:
    """A part or a stack as an experiment writes it: inline words, a mapping, or a list of either that take turns.

    Raises:
        InvalidValueError: it is none of these, or names several variants.
    """
    if isinstance(value, str):
        result = parse_variants(value)
        if len(result) != 1:
            raise InvalidValueError(
                f"'{value}' is {len(result)} variants.", "Write each as an item of its own.", where=where
            )
        return result[0]
    if isinstance(value, list | tuple) and value:
        return tuple(part for item in value for part in variant(item, where))
    if isinstance(value, dict) and "name" in value:
        return (Part.model_validate(value),)
    raise InvalidValueError(f"It cannot be {value!r}.", "Write a name, or {name: dape, kernel: 3}.", where=where)


def _rungs(entry: LadderLevels, known: Known) -> Iterator[tuple[Any, tuple[Any, ...] | None]]:
    """The levels to train on, each with those to test beside it.

    Where a ladder trains on a range of its own complexity, all its levels share one training: it is run once, and tested on
    every level; its own level is the hardest of the range.
    """
    ladder = known.ladder(entry.ladder)
    levels = _rising(entry.levels, ladder.levels) if entry.levels else ladder.levels
    if ladder.complexity not in ladder.training:
        yield from ((level, entry.evaluate) for level in levels)
        return
    top = span(ladder.training[ladder.complexity])
    own = top[1] if top and top[1] in levels else ladder.default if ladder.default in levels else levels[0]
    others = (*levels, *(ladder.evaluate if entry.evaluate is None else entry.evaluate))
    yield own, tuple(level for level in dict.fromkeys(others) if level != own)


def _rising(levels: Sequence[Any], ladder: Sequence[Any]) -> Sequence[Any]:
    """Levels in the order of the ladder, easiest first; those between its own go by size, if all are numbers."""
    if all(level in ladder for level in levels):
        return [level for level in ladder if level in levels]
    if all(isinstance(level, int | float) for level in (*levels, *ladder)):
        return sorted(dict.fromkeys(levels), reverse=ladder[0] > ladder[-1])
    return list(dict.fromkeys(levels))


def _nested(experiment: Experiment, entry: LadderLevels, setting: Setting) -> dict[str, Any]:
    """Everything a combination sets but its variant, over what the experiment and the ladder's entry set."""
    data: dict[str, Any] = {"model": experiment.model, "train": experiment.train, "task": entry.options}
    for key, value in setting.items():
        if key in AXES:
            continue
        section, *steps, last = key.split(".")
        inner: Any = {last: value}
        for step in reversed(steps):
            inner = {step: inner}
        data[section] = merged(data[section], inner)
    return data
