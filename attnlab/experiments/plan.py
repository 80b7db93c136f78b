"""The plan: a request -> the runs it asks for. Everything is looked up, checked and tried before anything starts.

1  request        words are parsed                                              :mod:`attnlab.experiments.request`
2  resolve        every name, option and setting is looked up once              :mod:`attnlab.experiments.resolve`
   sizes          what is larger than the memory is refused                     :mod:`attnlab.experiments.size_check`
3  compatibility  attention, position and modifiers are checked together        :mod:`attnlab.experiments.compatibility`
4  budget         the variants are given the reference's budget, where asked    :mod:`attnlab.experiments._budget`
5  preflight      each model takes a training step, is saved and loaded         :mod:`attnlab.experiments._preflight`
6  own parts      attentions that are not built in are checked for leaks        :mod:`attnlab.testing.quick_check`
                  so are whole models                                           :mod:`attnlab.testing.model_check`
7  specs          one for each variant and seed
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from attnlab.attention import ATTENTIONS
from attnlab.choices import Budget
from attnlab.errors import AttnlabError
from attnlab.experiments._budget import match_budget
from attnlab.experiments._preflight import preflight, preflight_run, trained_alike
from attnlab.experiments.check_command import check_command
from attnlab.experiments.compatibility import check_block, check_layers, check_modifiers, check_position
from attnlab.experiments.request import Request
from attnlab.experiments.resolve import Resolver
from attnlab.experiments.size_check import check_runs, check_seeds, check_sizes
from attnlab.experiments.whole_model import check_own_model, judge, of_whole_model
from attnlab.model.transformer import build
from attnlab.plugins import plugin_error
from attnlab.specs import ALTERNATING, ModelSpec, Part, RunSpec, TaskSpec
from attnlab.tasks.io.drawn_values import check_drawn_values
from attnlab.tasks.io.fed_back import FedBackAnswers
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.testing.quick_check import QuickCheck, quick_check
from attnlab.training.events import Preparing, Progress, no_callback
from attnlab.training.run_parts import run_parts


def plan(
    request: Request,
    resolver: Resolver | None = None,
    progress: Progress = no_callback,
    finished: Container[str] = frozenset(),
) -> list[RunSpec]:
    """List the runs of a request: variants in order, and within each its seeds.

    Built-in variants of which all seeds are finished are looked up, but neither checked nor tried again.

    Args:
        request: The request.
        resolver: Keeps what was looked up, checked and tried; the requests of one experiment share it. None takes a
            new one.
        progress: Receives what is tried and checked.
        finished: Ids of runs that have a record.

    Returns:
        The runs.

    Raises:
        UnknownNameError: A task, attention, position, option or setting does not exist.
        InvalidValueError: A value has the wrong type or is out of range, sizes do not fit one another, or no size meets
            the budget.
        IncompatiblePartsError: An attention cannot be combined with the position or with a modifier.
        PluginError: A user's part raises an exception when it is run.
        StoreError: A tensor of the model has a type that cannot be saved.
    """
    resolver = resolver or Resolver()
    check_seeds(request.seeds)
    resolved = resolver.resolve(request)
    check_runs(len(request.seeds), len(resolved.models), what="seeds", where="--seeds")
    task, train, known = resolved.task, resolved.train, dict[int, list[RunSpec]]()
    if not request.match:
        for index, model in enumerate(resolved.models):
            if not (model.module or any(part.code_digest for part in model.attention)):
                own = RunSpec.of_seeds(task, model, train, request.seeds)
                if all(spec.id in finished for spec in own):
                    known[index] = own
    left = [model for index, model in enumerate(resolved.models) if index not in known]
    for model in (*left, resolved.reference) if left else ():
        key = ("size", model.canonical, train.canonical, task.canonical)
        resolver.once(key, lambda: check_sizes(model, train, resolver.source(task)))  # noqa: B023
    if left and train.rollout:
        check_rollout(task, resolver)
    specs: list[RunSpec] = []
    for index, model in enumerate(resolved.models):
        if index in known:
            specs += known[index]
            continue
        check_parts(model, resolver)
        reference = resolved.reference
        if request.match and (model.module or model.attention != reference.attention) and model != reference:
            # A named reference has no position of its own: it takes that of the model it is compared with.
            same = {"position": model.position} if request.reference else {}
            reference = reference.model_copy(update=same)
            model = matched(model, reference, request.match, task, resolver)
        own_train = train if model.module is None else of_whole_model(train, model, request)
        progress(Preparing(f"trying one step of {model.variant}"))
        try_run(RunSpec(task=task, model=model, train=own_train), resolver)
        if model.module is None:
            model = check_own_attentions(model, run_lengths(resolver.source(task)), resolver, progress)
        else:
            progress(Preparing(f"looking for leaks of {model.variant}"))
            model = check_own_model(model, resolver.source(task), resolver)
        specs += RunSpec.of_seeds(task, model, own_train, request.seeds)
    return specs


def run_lengths(source: Source) -> tuple[int, ...]:
    """List the lengths of a run's sequences.

    Args:
        source: Its data.

    Returns:
        Tokens of its own level, of the other levels that are evaluated, and of the longest sequence of any split.
    """
    levels = (source.task, *source.other_levels.values())
    return tuple(sorted({*(task.length for task in levels), source.length}))


def check_own_attentions(
    model: ModelSpec, lengths: tuple[int, ...], resolver: Resolver, progress: Progress = no_callback
) -> ModelSpec:
    """Check the attentions that are not built in before they are trained, once for equal ones.

    Args:
        model: The model, with its parts looked up.
        lengths: The lengths of the run's sequences, in tokens.
        resolver: Keeps the result.
        progress: Receives what is checked.

    Returns:
        The model; a leak is allowed by it only where there is one.

    Raises:
        PluginError: An attention leaks and the model does not allow it, its weights do not follow the seed, or equal
            calls give different outputs.
    """
    leaks = False
    for part in model.attention:
        if part.code_digest:
            progress(Preparing(f"looking for leaks of {part}"))
            key = ("quick", str(part), part.code_digest, model.width, model.heads, lengths)
            found: QuickCheck = resolver.once(key, lambda: _quick_check(part, model, lengths))  # noqa: B023
            leaks |= bool(found.leak)
            word = ATTENTIONS.entry(part.name).as_typed(part)
            judge(f"model.attention: {word}", check_command([part]), found, model.allow_leak)
    return model.model_copy(update={"allow_leak": leaks}) if model.allow_leak else model


def check_rollout(task: TaskSpec, resolver: Resolver) -> None:
    """Check that generated answers of a task can be scored, once for equal tasks.

    Args:
        task: The task.
        resolver: Keeps the result.

    Raises:
        InvalidValueError: They cannot.
    """
    try:
        resolver.once(("rollout", task.canonical), lambda: FedBackAnswers(resolver.source(task).task))
    except AttnlabError as error:
        raise error.at("train.rollout") from None


def check_parts(model: ModelSpec, resolver: Resolver) -> None:
    """Check that the parts of a model can be combined, once for equal models.

    Args:
        model: The model, with its parts looked up.
        resolver: Keeps the result.

    Raises:
        IncompatiblePartsError: They cannot.
    """

    def check() -> bool:
        if model.module is not None:
            return True
        check_layers(model)
        check_position(model)
        check_modifiers(model)
        check_block(model)
        return True

    resolver.once(("compatible", model.canonical), check)


def matched(model: ModelSpec, reference: ModelSpec, budget: Budget, task: TaskSpec, resolver: Resolver) -> ModelSpec:
    """Give a model the budget of another, once for equal models.

    Args:
        model: The model.
        reference: The model whose budget it is given.
        budget: What is made equal.
        task: The task on which operations and state are counted.
        resolver: Keeps the result.

    Returns:
        The model with another width or MLP.

    Raises:
        InvalidValueError: No size comes close enough to the budget.
    """
    key = ("matched", model.canonical, reference.canonical, budget, task.canonical)
    return resolver.once(key, lambda: match_budget(model, reference, budget, resolver.source(task)))


def try_model(model: ModelSpec, task: TaskSpec, resolver: Resolver) -> None:
    """Build a model and let it take one forward and one backward pass, once for equal models and tasks.

    Args:
        model: The model.
        task: The task that gives the sequence.
        resolver: Keeps the result.

    Raises:
        PluginError: A user's part raises an exception.
        AttnlabError: Sizes or options do not fit.
    """
    key = ("forward", model.canonical, task.canonical)
    resolver.once(key, lambda: preflight(model, resolver.source(task)) is not None)


def try_run(spec: RunSpec, resolver: Resolver) -> None:
    """Let a run take one training step and be evaluated, once for runs of one shape.

    It is saved and loaded as well, once for each model and task: another level has the same weights and buffers. Where
    all parts and the task are built in, levels whose sequences have the same length and vocabulary are tried once.

    Args:
        spec: The run.
        resolver: Keeps the result.

    Raises:
        PluginError: A user's part raises an exception, or it is not the same after it was loaded.
        AttnlabError: Sizes or options do not fit, the ranges of training draw what the task refuses, or the model
            cannot be trained or saved.
    """
    if spec.task.train:
        steps = spec.train.max_steps
        resolver.once(("drawn", spec.task.canonical, steps), lambda: check_drawn_values(spec.task, steps))
    if examples := spec.train.train_examples:
        # Whether there are so many is a matter of the task; the first seed tells.
        resolver.once(
            ("examples", spec.task.canonical, examples), lambda: bool(Source(spec.task, 0, examples).training_set)
        )
    shape = (spec.model.canonical, trained_alike(spec.train))

    def check(save: bool) -> object:
        preflight_run(spec, source, save)
        return sequences

    source = resolver.source(spec.task)
    key = ("sequences", spec.task.canonical, spec.model.canonical)
    sequences = resolver.once(key, lambda: _tried_sequences(spec, source))
    saved_on = resolver.once(("saved", spec.task.name, *shape), lambda: check(save=True))
    if saved_on != sequences:
        resolver.once(("trained", spec.task.name, sequences, *shape), lambda: check(save=False))


def default_parameters(kind: str, name: str) -> int:
    """Count the learned parameters of the default model with one other part, on the default level of recall.

    Args:
        kind: The field of a model that holds the part, such as ``attention``.
        name: The part.

    Returns:
        The number of learned parameters.
    """
    part = (Part(name=name),) if kind in ALTERNATING else Part(name=name)
    source = Source(task_spec(find_ladder("recall"), {}, None), 0)
    model = ModelSpec().model_copy(update={kind: part})
    return build(
        model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0
    ).parameter_count


def _tried_sequences(spec: RunSpec, source: Source) -> Any:
    """What two tasks of a name must have in common to be tried once: all, unless the run has built-in parts alone."""
    if any(part.code_digest for part in run_parts(spec)):
        return spec.task.canonical
    return run_lengths(source), (source.vocabulary, source.features)


def _quick_check(part: Part, model: ModelSpec, lengths: tuple[int, ...]) -> QuickCheck:
    """Check one attention at the sizes of a model; an exception of its code is one block."""
    entry = ATTENTIONS.entry(part.name)
    try:
        return quick_check(entry, entry.complete(part.options), model.width, model.heads, lengths)
    except AttnlabError as error:
        raise error.at(f"model.attention: {part}") from None
    except Exception as error:
        owner = getattr(entry.cls, "adapted", entry.cls)
        raise plugin_error(f"model.attention: {part}", error, owner) from error
