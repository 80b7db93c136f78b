"""An experiment -> its runs, each once, in order: ladders, levels, combinations of what varies, seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from attnlab.config.auto_position import is_auto, may_be_left_out, tried_positions
from attnlab.config.experiment import RECIPE, Experiment, LadderLevels, full_key
from attnlab.config.inline_parts import made_part, merged, parse_modules, parse_variants
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError, echo
from attnlab.experiments._report_checks import check_report
from attnlab.experiments._trained_ladders import SECTION, trained_ladder
from attnlab.experiments.compatibility import check_position
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.experiments.resolve import REGISTRIES, Resolver, resolved_variant
from attnlab.experiments.size_check import check_runs
from attnlab.run_fields import short_name
from attnlab.specs import Part, RunSpec, Value, Variant, joined, variant_text
from attnlab.tasks.io.ladder_training import shares_training
from attnlab.tasks.io.levels_to_run import levels_to_run
from attnlab.training.events import Notice, Progress, no_callback

Named = TypeVar("Named", bound=Value)
Setting = dict[str, Any]
"""One combination of what varies: dotted key -> value."""
AXES = ("model.attention", "model.position")
MODEL = "model"
"""The key of a whole model among the attentions of a grid: ``{model: FILE.py:Class}``."""


def expand(
    experiment: Experiment, progress: Progress = no_callback, finished: Container[str] = frozenset()
) -> list[RunSpec]:
    """List every run of an experiment; a run that several combinations have in common is listed once.

    Args:
        experiment: The experiment.
        progress: Receives what is tried and checked.
        finished: Ids of runs that have a record: they are listed, but not tried again.

    Returns:
        The runs.

    Raises:
        AttnlabError: A name, value or combination of parts does not exist, or a claim or a published value is about no
            run of the plan; the message has the line of the experiment's file.
    """
    resolver = Resolver()
    specs: dict[str, RunSpec] = {}
    try:
        for request in compatible_requests(experiment, resolver, progress):
            specs.update((spec.id, spec) for spec in plan(request, resolver, progress, finished))
    except AttnlabError as error:
        raise _located(error, experiment) from error
    planned = _each_training_once(specs.values())
    check_report(with_resolved_parts(experiment), planned)
    return planned


def _each_training_once(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Join runs that differ only in the levels they are tested on: one run is tested on all of them."""
    trainings: dict[str, list[RunSpec]] = {}
    for spec in specs:
        trainings.setdefault(_tested_on((), spec).id, []).append(spec)
    joined_runs = []
    for same in trainings.values():
        levels = dict.fromkeys(level for spec in same for level in spec.task.evaluate)
        joined_runs.append(_tested_on(tuple(levels), same[0]))
    return joined_runs


def _tested_on(levels: tuple[Any, ...], spec: RunSpec) -> RunSpec:
    """A run that is tested on other levels besides its own."""
    if levels == spec.task.evaluate:
        return spec
    return spec.model_copy(update={"task": spec.task.model_copy(update={"evaluate": levels})})


def compatible_requests(experiment: Experiment, resolver: Resolver, progress: Progress) -> Iterator[Request]:
    """Make the requests of an experiment, without those positions of ``auto`` that an attention cannot have.

    Args:
        experiment: The experiment.
        resolver: Finds ladders and parts.
        progress: Receives what is left out, each once.

    Yields:
        The requests, in order.

    Raises:
        InvalidValueError: A variant is written in no known form.
        IncompatiblePartsError: An attention can have none of the positions, or not one that was named.
    """
    written = experiment.auto_positions
    if written is None:
        yield from requests(experiment, resolver)
        return
    left_out: dict[tuple[str, str], IncompatiblePartsError] = {}
    kept: set[str] = set()
    for request in requests(experiment, resolver):
        attention = variant_text(request.attentions[0]) if request.attentions else ""
        position = str(request.positions[0]) if request.positions else ""
        refusal = _refusal(request, resolver) if may_be_left_out(position, written) else None
        if refusal is None:
            kept.add(attention)
            yield request
        elif (attention, position) not in left_out:
            left_out[attention, position] = refusal
            progress(Notice(f"Left out: {attention or 'the attention'} with {position}. {refusal.problem}"))
    for (attention, _), refusal in left_out.items():
        if attention not in kept:
            raise refusal


def _refusal(request: Request, resolver: Resolver) -> IncompatiblePartsError | None:
    """Why an attention cannot have its position; None if it can."""
    try:
        for model in resolver.resolve(request).models:
            if model.module is None:
                check_position(model)
    except IncompatiblePartsError as error:
        return error
    return None


def with_levels(experiment: Experiment) -> Experiment:
    """Write the levels of every ladder into the experiment, so that a report knows which might have been run.

    Args:
        experiment: The experiment.

    Returns:
        The experiment.

    Raises:
        UnknownNameError: There is no such ladder.
    """
    resolver = Resolver()
    ladders = []
    for index, entry in enumerate(experiment.ladders):
        ladder = trained_ladder(experiment, index, {}, resolver).ladder
        levels = entry.levels if entry.levels or shares_training(ladder) else tuple(ladder.levels) or None
        ladders.append(entry.model_copy(update={"levels": levels}))
    return experiment.model_copy(update={"ladders": tuple(ladders)})


def with_resolved_parts(experiment: Experiment) -> Experiment:
    """Write the parts that claims and published values name as the specs of runs have them.

    Both may name a part in any form that a grid accepts: with an alias, with options at their defaults, as inline words
    or as a mapping. In a list, of which any value suffices, each item is a variant as in a grid.

    Args:
        experiment: The experiment.

    Returns:
        The experiment; a part that does not exist is left to the check of the report unless it is in a list.

    Raises:
        UnknownNameError: A part in a list, or one of its options, does not exist.
        InvalidValueError: A part in a list is written in no known form, or does not accept a value.
    """

    def resolved(named: Named, sides: Sequence[str], *at: str | int) -> Named:
        """A value with the parts in those of its fields that name runs."""
        update = {}
        for side in sides:
            fields: dict[str, Any] = getattr(named, side)
            where = {name: experiment.where(*at, side, name) for name in fields}
            update[side] = {name: _resolved_value(name, value, where[name]) for name, value in fields.items()}
        return named.model_copy(update=update)

    claims = [resolved(claim, ("of", "than"), "claims", index) for index, claim in enumerate(experiment.claims)]
    tables = []
    for index, table in enumerate(experiment.published):
        at = "published", index, "values"
        values = [resolved(one, ("of",), *at, row) for row, one in enumerate(table.values)]
        tables.append(table.model_copy(update={"values": tuple(values)}))
    return experiment.model_copy(update={"claims": tuple(claims), "published": tuple(tables)})


def requests(experiment: Experiment, resolver: Resolver) -> Iterator[Request]:
    """Make one request for each ladder, level and combination of what varies.

    Args:
        experiment: The experiment.
        resolver: Finds ladders.

    Yields:
        The requests, in order.

    Raises:
        InvalidValueError: A variant is written in no known form.
    """
    _check_number(experiment, resolver)
    combinations = settings(experiment)
    where = experiment.where("grid")
    attentions = (setting.get("model.attention") for setting in combinations)
    first = next((attention for attention in attentions if not _module(attention, where)), None)
    for index, entry in enumerate(experiment.ladders):
        for level, evaluate, setting, training in _levels_and_settings(experiment, index, combinations, resolver):
            attention, position = (setting.get(axis) for axis in AXES)
            module = _module(attention, where)
            yield Request(
                task=Part(name=entry.ladder),
                attentions=() if attention is None or module else (variant(attention, where),),
                positions=() if position is None or module else (_position(position, where),),
                modules=(module,) if module else (),
                complexity=level,
                evaluate=evaluate,
                seeds=range(experiment.seed, experiment.seed + experiment.seeds),
                match=experiment.match,
                reference=None if first is None else variant(first, where),
                settings=_nested(experiment, entry, setting, training),
                recipe=setting.get(RECIPE, experiment.recipe),
            )


def _levels_and_settings(
    experiment: Experiment, index: int, combinations: Sequence[Setting], resolver: Resolver
) -> Iterator[tuple[Any, tuple[Any, ...] | None, Setting, Mapping[str, Any]]]:
    """Every level with the levels to test on, for every combination and its training; those of one level are together.

    Where combinations are trained on different ranges, each has levels of its own.
    """
    entry = experiment.ladders[index]
    trained = [trained_ladder(experiment, index, setting, resolver) for setting in combinations]
    levels = [list(levels_to_run(entry, one.ladder)) for one in trained]
    for one, own in zip(trained, levels, strict=True):
        one.check_levels(experiment, [level for level, _ in own])
    each = list(zip(combinations, (one.given for one in trained), levels, strict=True))
    if all(own == levels[0] for own in levels):
        yield from ((*level, setting, given) for level in levels[0] for setting, given, _ in each)
    else:
        yield from ((*level, setting, given) for setting, given, own in each for level in own)


def _check_number(experiment: Experiment, resolver: Resolver) -> None:
    """Refuse more runs than can be planned, before any is made."""
    levels = sum(len(entry.levels or resolver.ladder(entry.ladder).levels) for entry in experiment.ladders)
    lengths = [
        *map(len, experiment.grid.values()),
        len(tried_positions(experiment.auto_positions or ())) or 1,
        *(len(next(iter(group.values()))) for group in experiment.zip),
    ]
    combinations = math.prod(lengths)
    check_runs(experiment.seeds, levels, what="seeds", where=experiment.where("seeds"))
    check_runs(combinations, levels * experiment.seeds, what="combinations", where=experiment.where("grid"))


def settings(experiment: Experiment) -> list[Setting]:
    """List every combination of what varies, the later keys fastest.

    Args:
        experiment: The experiment.

    Returns:
        Dotted key -> value, for each combination.
    """
    grid = {full_key(key): values for key, values in experiment.grid.items()}
    if (written := experiment.auto_positions) is not None:
        grid["model.position"] = tuple(tried_positions(written))
    axes = [[{key: value} for value in values] for key, values in grid.items()]
    for group in experiment.zip:
        keys = [full_key(key) for key in group]
        axes.append([dict(zip(keys, values, strict=True)) for values in zip(*group.values(), strict=True)])
    return [{key: value for part in parts for key, value in part.items()} for parts in itertools.product(*axes)]


def variant(value: Any, where: str) -> Variant:
    """Read one variant as an experiment writes it.

    Args:
        value: Inline words, a mapping with a name, or a list of either whose parts alternate over the layers.
        where: The location, for messages.

    Returns:
        The parts of the variant.

    Raises:
        InvalidValueError: The value is none of these, or several variants.
    """
    if isinstance(value, str):
        variants = parse_variants(value)
        if len(variants) != 1:
            problem = f"'{value}' is {len(variants)} variants."
            raise InvalidValueError(problem, "Write each as an item of its own.", where=where)
        return variants[0]
    if isinstance(value, list | tuple) and value:
        return tuple(part for item in value for part in variant(item, where))
    if isinstance(value, dict) and "name" in value:
        return (made_part(value, where),)
    raise InvalidValueError(f"It cannot be {echo(value)}.", "Write a name, or {name: dape, kernel: 3}.", where=where)


def _module(value: Any, where: str) -> Part | None:
    """The whole model that stands among attentions as ``{model: FILE.py:Class}``; None for an attention."""
    if not (isinstance(value, dict) and set(value) == {MODEL}):
        return None
    parts = parse_modules(value[MODEL]) if isinstance(value[MODEL], str) else []
    if len(parts) != 1:
        hint = "Name one: {model: FILE.py:Class}."
        raise InvalidValueError(f"It cannot be {echo(value[MODEL])}.", hint, where=where)
    return parts[0]


def _position(value: Any, where: str) -> Part:
    return joined(variant(value, where))


def _nested(
    experiment: Experiment, entry: LadderLevels, setting: Setting, training: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a combination, which override the experiment's and the ladder entry's.

    Its variant and its recipe are not among them; its training is given.
    """
    options = entry.options | ({"train": dict(training)} if training else {})
    model = {key: value for key, value in experiment.model.items() if not (key == "position" and is_auto(value))}
    data: dict[str, Any] = {"model": model, "train": experiment.train, "task": options}
    for key, value in setting.items():
        if key in (*AXES, RECIPE, SECTION) or key.startswith(f"{SECTION}."):
            continue
        section, *steps, last = key.split(".")
        inner: Any = {last: value}
        for step in reversed(steps):
            inner = {step: inner}
        data[section] = merged(data[section], inner)
    return data


def _resolved_value(field: str, value: Any, where: str) -> Any:
    """A value of a field that names runs; the parts in it are written as specs have them."""
    name = short_name(field)
    if name not in REGISTRIES or _module(value, where):
        return value
    if isinstance(value, list | tuple):
        return [_resolved_variant(name, item, where) for item in value]
    try:
        return _resolved_variant(name, value, where)
    except AttnlabError:
        return value


def _resolved_variant(name: str, value: Any, where: str) -> str:
    if whole := _module(value, where):
        return str(whole)
    parts = resolved_variant(variant(value, where), name, where)
    return str(joined(parts)) if name == "position" else variant_text(parts)


def _located(error: AttnlabError, experiment: Experiment) -> AttnlabError:
    """The same error with the line of the experiment's file that has the field, if one has."""
    field, _, rest = error.where.partition(":")
    section, *steps = field.split(".")
    candidates: list[tuple[str | int, ...]] = [(section, *steps)]
    candidates += [("grid", key) for key in experiment.grid if full_key(key) == field]
    candidates += [("zip", i, key) for i, group in enumerate(experiment.zip) for key in group if full_key(key) == field]
    for index, entry in enumerate(experiment.ladders):
        word = entry.ladder.rpartition("/")[-1].removesuffix(".yaml")
        if field == word or (field in ("task", "ladder") and f"'{entry.ladder}'" in error.problem):
            candidates += [("ladders", index), ("ladders", index, "ladder")]
    written = [location for location in candidates if experiment.written(*location)]
    if not written:
        return error
    return type(error)(error.problem, error.hint, where=f"{experiment.where(*written[-1])}{rest and ':' + rest}")
