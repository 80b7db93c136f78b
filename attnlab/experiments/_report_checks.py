"""Claims, published values and the layout of the report, checked before the first run: the plan must have their runs.

Claims and published values name runs by fields, as the report does: ``attention``, ``position``, ``level``,
``width``, ``lr``, ``task.length``. A level may be one that is only tested.

Whatever the report looks up is looked up here, by its own functions, in records that stand for the runs of the plan.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from attnlab.analysis.claims import check_claims
from attnlab.analysis.fields import matches, unknown_field
from attnlab.analysis.metric_names import RUN_METRICS, check_perplexity
from attnlab.analysis.published_values import compare_published
from attnlab.analysis.slope_checks import check_slope
from attnlab.config.experiment import RECIPE, Experiment
from attnlab.config.recipes import RECIPES
from attnlab.errors import AttnlabError, InvalidValueError, unknown
from attnlab.records import Evaluation, HistoryPoint, Record, Score, SequenceMean
from attnlab.run_fields import run_fields, short_name, trained_on
from attnlab.scorer import find_scorer
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import build
from attnlab.training.logged_names import logged_names

Fields = dict[str, list[Any]]
"""Field -> the values at which one run is tested: several levels and subtasks, one of everything else."""
SHOWN = 8
"""Values that a message lists at most."""


def check_report(experiment: Experiment, specs: Sequence[RunSpec]) -> None:
    """Refuse claims, published values and a layout that the report of the plan could not make.

    Args:
        experiment: The experiment, with the parts that it names resolved.
        specs: The plan.

    Raises:
        UnknownNameError: No run has a field or a metric that a claim, a published value or the layout names.
        InvalidValueError: No run has a value that one of them names, or no run has all its values together; a claim
            compares with nothing, or what is left open varies; the perplexity of numbers is asked for.
    """
    runs = list({(id(spec.task), id(spec.model), id(spec.train)): spec for spec in specs}.values())
    if not runs:
        return
    layout = experiment.report
    if not (experiment.claims or experiment.published) and layout == type(layout)():
        return
    tested = [_tested_at(spec, range(experiment.seed, experiment.seed + experiment.seeds)) for spec in runs]
    known = {name for run in tested for name in run}
    metrics = {*RUN_METRICS, *(name for spec in runs for name in logged_names(spec.train.log_diagnostics))}
    metrics |= {name for spec in runs for scorers in _scorers(spec).values() for name in scorers}
    for index, name in enumerate(layout.index):
        _check_known("field", short_name(name), known, experiment.where("report", "index", index))
    _check_known("field", short_name(layout.columns), known, experiment.where("report", "columns"))
    _check_known("metric", layout.metric, metrics, experiment.where("report", "metric"))
    records = _as_if_run(runs)
    check_perplexity(layout.metric, records, experiment.where("report", "metric"))
    for index, claim in enumerate(experiment.claims):
        _check_known("metric", claim.metric, metrics, experiment.where("claims", index, "metric"))
        ours, theirs = _short_names(claim.of), _short_names(claim.than)
        if theirs and {**ours, **theirs} == ours:
            hint = "Name in than what differs from of."
            where = experiment.where("claims", index, "than")
            raise InvalidValueError(f"'{claim.says}' compares runs with themselves.", hint, where=where)
        _check_runs(claim.of, ours, tested, partial(experiment.where, "claims", index, "of"))
        _check_runs(claim.than, {**ours, **theirs}, tested, partial(experiment.where, "claims", index, "than"))
    for index, table in enumerate(experiment.published):
        _check_known("metric", table.metric, metrics, experiment.where("published", index, "metric"))
        for row, one in enumerate(table.values):
            at = "published", index, "values", row, "of"
            _check_runs(one.of, _short_names(one.of), tested, partial(experiment.where, *at))
    for index, claim in enumerate(experiment.claims):
        with _located_at(experiment.where("claims", index)):
            check_claims([claim], records, experiment.tuned)
            check_slope(claim, records, experiment.tuned, "claims")
    for index, table in enumerate(experiment.published):
        for row, one in enumerate(table.values):
            with _located_at(experiment.where("published", index, "values", row)):
                compare_published([table.model_copy(update={"values": (one,)})], records, tuned=experiment.tuned)


@contextmanager
def _located_at(where: str) -> Iterator[None]:
    """Errors within have this location."""
    try:
        yield
    except AttnlabError as error:
        raise type(error)(error.problem, error.hint, where=where) from None


def _as_if_run(specs: Sequence[RunSpec]) -> list[Record]:
    """Records of a plan that was not run: every run on every level, with scores that mean nothing."""
    none = Score(correct=0, total=1, chance=0.0)
    scores: dict[str, Any] = {"accuracy": none, "exact_match": none, "loss": 0.0}
    history = (HistoryPoint(step=1, loss=0.0, accuracy=0.0),)
    records = []
    for spec in specs:
        means = {subtask: {name: _none(name) for name in scorers} for subtask, scorers in _scorers(spec).items()}
        places = [(subtask, level) for level in (spec.task.level, *spec.task.evaluate) for subtask in _subtasks(spec)]
        evaluations = tuple(
            Evaluation(subtask=subtask, level=level, length=0, scores=means[subtask], **scores)
            for subtask, level in places
            if subtask or level != spec.task.level
        )
        logged = dict.fromkeys(logged_names(spec.train.log_diagnostics), 0.0)
        task = build(spec.task)
        more: dict[str, Any] = {
            "vocabulary": 0 if task.features else task.vocabulary,
            "chance_guess": task.chance_guess,
            "scores": means[""],
            "evaluations": evaluations,
            "diagnostics": logged,
            "history": history,
            **scores,
        }
        records.append(Record(id=spec.id, spec=spec, status="done", steps=0, **more))
    return records


def _scorers(spec: RunSpec) -> dict[str, tuple[str, ...]]:
    """The scorers of the whole task, under an empty name, and those of the subtasks of a mixture."""
    task = build(spec.task)
    return {"": task.scorers, **{name: subtask.scorers for name, subtask in task.subtasks().items()}}


def _none(scorer: str) -> SequenceMean:
    """A mean that means nothing."""
    found = find_scorer(scorer)
    return SequenceMean(count=1, total=0.0, squares=0.0, bounds=found.bounds, higher_is_better=found.higher_is_better)


def _subtasks(spec: RunSpec) -> list[str]:
    """The whole task, and the subtasks of a mixture."""
    return ["", *build(spec.task).subtasks()]


def _check_known(kind: str, name: str, known: Collection[str], where: str) -> None:
    """Refuse a name that no run will have."""
    if name == RECIPE:
        problem = "A run has the settings of a recipe, and not its name."
        settings = [word.partition("=")[0].partition(".")[2] for one in RECIPES.values() for word in one.settings]
        fields = ", ".join(dict.fromkeys(settings))
        hint = f"Name what the recipes set: {fields}. An index that is left out names what differs."
        raise InvalidValueError(problem, hint, where=where)
    if name not in known:
        raise unknown_field(name, known, where) if kind == "field" else unknown(kind, name, known, where=where)


def _tested_at(spec: RunSpec, seeds: range) -> Fields:
    """The values of each field at which a run is tested: several levels and subtasks, one of everything else."""
    single = {**run_fields(spec), "trained": trained_on(spec)}
    several = {
        "level": [spec.task.level, *spec.task.evaluate],
        "subtask": _subtasks(spec),
        "seed": list(seeds),
    }
    return {name: [value] for name, value in single.items()} | several


def _check_field(name: str, wanted: Any, runs: Sequence[Fields], where: str) -> None:
    known = {name for run in runs for name in run}
    _check_known("field", name, known, where)
    values = list({str(value): value for run in runs for value in run.get(name, [])}.values())
    if any(matches(name, value, wanted) for value in values):
        return
    close = difflib.get_close_matches(str(wanted), [str(value) for value in values], n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    hint = f"Its values: {', '.join(str(value) for value in values[:SHOWN])}{more}."
    raise InvalidValueError(f"No run of this sweep has {name} '{wanted}'{guess}", hint, where=where)


def _check_runs(
    written: Mapping[str, Any], wanted: Mapping[str, Any], runs: Sequence[Fields], where: Callable[..., str]
) -> None:
    """Refuse fields that name no run, each by itself or all together."""
    for name, value in written.items():
        _check_field(short_name(name), value, runs, where(name))
    if written and not any(_all_match(run, wanted) for run in runs):
        listed = ", ".join(f"{name} {value}" for name, value in wanted.items())
        hint = "Each of these is in some run; no run has all of them."
        raise InvalidValueError(f"No run of this sweep is {listed}.", hint, where=where())


def _all_match(run: Fields, wanted: Mapping[str, Any]) -> bool:
    return all(any(matches(name, value, want) for value in run.get(name, [])) for name, want in wanted.items())


def _short_names(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {short_name(name): value for name, value in wanted.items()}
