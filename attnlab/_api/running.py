"""Train and sweep."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnlab._api import _arguments as read
from attnlab._api import _values as values
from attnlab._api._arguments import seed_range
from attnlab._api._call import call_text
from attnlab._api._callbacks import Callback, events_of_call, read_callbacks
from attnlab._api._checked import checked
from attnlab._api._python_words import python_text
from attnlab._api._values import plain
from attnlab._api.records import Records
from attnlab.choices import AttentionLike, Budget, Compile, DeviceName, ModelLike
from attnlab.user_code import user_stacklevel

if TYPE_CHECKING:
    import torch

    from attnlab.records import Record
    from attnlab.training.events import Event

POSITION = "It is the name of a position such as 'rotary', or a list of names."
TRACKERS = "It is a list of trackers, such as ['tensorboard']."
EXECUTOR = "It is text such as 'processes', 'processes:2', 'inline', 'ray' or 'slurm'."
TRAIN, OPTIONS = "{'max_steps': 500}", "{'length': 64}"
"""Examples, for messages."""


@checked(
    task=values.word(read.TASK),
    attention=read.parts,
    position=values.words(POSITION),
    complexity=values.anything,
    curriculum=values.anything,
    seed=values.natural,
    seeds=values.count,
    model=read.model,
    train=values.optional(values.mapping(TRAIN)),
    recipe=values.anything,
    options=values.optional(values.mapping(OPTIONS)),
    match=values.optional(values.choice(Budget)),
    store=values.optional(read.folder),
    device=read.device,
    vmap=read.vmap_width,
    compile=values.choice(Compile),
    threads=values.optional(values.count),
    resume=values.flag,
    continue_from=values.optional(read.run_id),
    track=values.words(TRACKERS),
    callbacks=read_callbacks,
    progress=values.flag,
)
def train(
    task: str = "recall",
    attention: AttentionLike | Sequence[AttentionLike] = (),
    *,
    position: str | Sequence[str] = (),
    complexity: Any = None,
    curriculum: str | Mapping[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    model: Mapping[str, Any] | ModelLike | Sequence[ModelLike] | None = None,
    train: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    options: Mapping[str, Any] | None = None,
    match: Budget | None = None,
    store: str | Path | None = "results",
    device: DeviceName | torch.device = "auto",
    vmap: int | Literal["auto"] = "auto",
    compile: Compile = "auto",
    threads: int | None = None,
    resume: bool = False,
    continue_from: str | Record | None = None,
    track: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Records:
    """Train one or several variants at one level of a task; the defaults are those of the command line.

    >>> tiny = {"layers": 1, "width": 8, "heads": 1}
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> records = train("copy", "softmax,dape:kernel=3", model=tiny, train=fast, store=None, device="cpu")
    >>> [(record.spec.variant, record.steps) for record in records]
    [('softmax', 2), ('dape:kernel=3', 2)]

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        attention: Variants, with inline options: ``"dape:kernel=3"``, ``"my.py:Mixer"``; or classes of modules; nothing
            keeps the default, softmax.
        position: Positions, likewise; nothing keeps the default, fourier.
        complexity: The level; None takes the ladder's default.
        curriculum: Ranges of levels from which training batches are drawn, such as ``"1..level"`` (up to each level),
            ``"2..8 -> 2..64"`` (moving from the first step to the last) or ``"2..8 | 2..64"`` (in stages); a mapping
            has those of several options by name.
            None keeps the ladder's.
        seed: The first seed.
        seeds: Number of seeds, counted up from the first.
        model: Fields of the model, such as ``{"layers": 4}``; see :class:`attnlab.specs.ModelSpec`. Or a whole model of
            your own, from tokens to logits: a class of modules, a function that makes one, ``"FILE.py:Class"``, or
            several, beside the attentions. With both, the field ``module`` is the whole model:
            ``{"module": MyClass, "width": 32}``.
        train: Fields of the training, such as ``{"max_steps": 500}``; see :class:`attnlab.specs.TrainSpec`.
        recipe: Named settings below those of the ladder and of ``model`` and ``train``, such as ``"muon"``; they are
            listed by ``attnlab ls recipes``. None is the default.
        options: Options of the task.
        match: The budget of the first variant that every other one is given; None keeps all sizes equal.
        store: The folder of results; None stores nothing.
        device: Where to train: ``auto``, ``cpu``, ``cuda``, ``mps``, or a ``torch.device``.
        vmap: How many runs of one shape are trained as one vmapped program: a number, or ``auto``, which takes as many
            as fit on a GPU, and one on a CPU.
        compile: Whether training steps are compiled: ``always``, ``never``, or ``auto``, which does where it pays.
        threads: Threads of torch; None leaves the number as it is. Numbers differ with it in the last digits.
        resume: Whether to take finished runs from the store and to go on from checkpoints.
        continue_from: A finished run, as its record, its id or the start of it, whose weights and optimizer state the
            runs begin with. ``max_steps`` counts its steps too, and the schedule is that of so many steps; with several
            seeds, each continues the run of its own seed. The record names it as ``spec.continue_from``. None begins
            anew.
        track: Trackers that mirror the runs, such as ``("tensorboard",)``; see :mod:`attnlab.tracking`. One that fails
            is told in a warning, and the runs go on without it.
        callbacks: Functions that receive every event, such as :class:`attnlab.StepsTaken`, as soon as it happens; the
            training waits for them. What one raises ends the call; finished runs are stored by then.
        progress: Whether a notebook shows the progress below the cell. Nothing is shown elsewhere.

    Returns:
        One record for each variant and seed, in that order; see :func:`attnlab.load_records`.

    Raises:
        attnlab.errors.AttnlabError: The runs cannot be planned; nothing was written.
    """
    from attnlab.attention.named import attention_words
    from attnlab.experiments.request import parse_request
    from attnlab.experiments.run_train import run_train
    from attnlab.tracking.base import check_trackers
    from attnlab.tracking.mirror import mirrored

    modules, fields = modules_of(model)
    settings = given(model=fields, train=train, task=with_curriculum(options, curriculum))
    request = parse_request(
        task,
        attention_words(attention),
        position,
        modules=modules,
        complexity=plain(complexity),
        seeds=seed_range(seed, seeds),
        match=match,
        settings=settings,
        recipe=recipe,
    )
    folder = None if store is None else Path(store)
    trackers = check_trackers(track, folder, "track")
    how: dict[str, Any] = {"device_name": device, "resume": resume, "vmap": vmap, "compile": compile}
    how |= {"threads": threads, "continue_from": continue_from or ""}
    with (
        events_of_call(_warn, callbacks, shown=progress) as passed_on,
        mirrored(passed_on, trackers, folder or Path(), "", _warn_of) as received,
    ):
        return Records(run_train(request, store=folder, progress=received, **how))


@checked(
    task=read.tasks,
    attention=read.parts,
    position=values.words(POSITION),
    complexity=read.levels,
    curriculum=values.anything,
    grid=values.optional(read.grid),
    seed=values.optional(values.natural),
    seeds=values.optional(values.count),
    match=values.optional(values.choice(Budget)),
    model=read.model,
    train=values.optional(values.mapping(TRAIN)),
    recipe=values.anything,
    options=values.optional(values.mapping(OPTIONS)),
    store=values.optional(read.folder),
    executor=values.word(EXECUTOR),
    slurm=values.optional(read.slurm),
    device=read.device,
    vmap=read.vmap_width,
    until=values.optional(values.choice(Literal["decided"])),
    equal=values.optional(values.number),
    budget=values.anything,
    track=values.words(TRACKERS),
    callbacks=read_callbacks,
    progress=values.flag,
)
def sweep(
    task: str | Sequence[str] = "recall",
    attention: AttentionLike | Sequence[AttentionLike] = (),
    *,
    position: str | Sequence[str] = (),
    complexity: Any = None,
    curriculum: str | Mapping[str, Any] | None = None,
    grid: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    match: Budget | None = None,
    model: Mapping[str, Any] | ModelLike | Sequence[ModelLike] | None = None,
    train: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    options: Mapping[str, Any] | None = None,
    store: str | Path | None = None,
    executor: str = "processes",
    slurm: Mapping[str, Any] | str | Path | None = None,
    device: DeviceName | torch.device = "auto",
    vmap: int | Literal["auto"] = "auto",
    until: Literal["decided"] | None = None,
    equal: float | None = None,
    budget: str | float | None = None,
    track: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Records:
    """Train several variants and seeds over the levels of a task; the defaults are those of the command line.

    >>> import tempfile
    >>> tiny = {"layers": 1, "width": 8, "heads": 1}
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     records = sweep("copy", "softmax", complexity=[4, 8], seeds=1, model=tiny, train=fast, store=folder,
    ...                     executor="inline", device="cpu")
    >>> [record.spec.task.level for record in records]
    [4, 8]

    Args:
        task: Ladders, with inline options.
        attention: Variants, with inline options; or classes of modules; nothing keeps the default, softmax.
        position: Positions, likewise. ``auto`` runs fourier, learned, rotary and none, and each cell of the report
            takes the one with the best validation accuracy.
        complexity: The levels, or one; text has commas between them. None takes all.
        curriculum: Ranges of levels from which training batches are drawn, as in :func:`train`.
        grid: Any field -> its values, or one.
        seed: The first seed; None takes 0.
        seeds: Number of seeds, counted up from the first; None takes 3, or 30 at most with ``until``.
        match: The budget of the first variant that every other one is given; None keeps all sizes equal.
        model: Fields of the model, or whole models of your own, as in :func:`train`.
        train: Fields of the training.
        recipe: Named settings, as in :func:`train`; or ``grid={"recipe": ["plain", "muon"]}``.
        options: Options of the task.
        store: The folder of results; None takes ``results/`` and the name of the task.
        executor: ``processes``, ``processes:N``, ``inline``, ``ray`` or ``slurm``; ``slurm:N`` for N jobs at a time.
        slurm: What a job of ``slurm`` asks for, such as ``{"partition": "gpu", "time": "2h", "gpus": 1}``, or a YAML
            file with it; the names are those of ``attnlab sweep --slurm-NAME``. Interrupted, jobs go on, and the same
            call comes back to them.
        device: Where to train: ``auto``, ``cpu``, ``cuda``, ``mps``, or a ``torch.device``.
        vmap: How many runs of one shape are trained as one vmapped program.
        until: ``decided`` adds seeds and levels where they decide most, until it is known how every variant compares
            with the first; None runs everything.
        equal: With ``until``: accuracies that differ by no more than this in most seeds are alike; None takes 0.02.
        budget: With ``until``: the time after which it ends, such as ``"20m"``, or seconds; None has no limit.
        track: Trackers that mirror the runs as one group, as in :func:`train`.
        callbacks: Functions that receive the events of all runs, as in :func:`train`; they run in this process.
        progress: Whether a notebook shows the progress below the cell. Nothing is shown elsewhere.

    Returns:
        The records of the plan. Runs that are in the store already are not run again. A run that raised an exception
        has the status ``failed`` and a ``reason``; one warning tells how many did, and the first reason.

    Raises:
        attnlab.errors.AttnlabError: The runs cannot be planned; nothing was written.
    """
    from attnlab.attention.named import attention_words
    from attnlab.config.inline_experiment import inline_experiment
    from attnlab.execution.executors import make_executor
    from attnlab.execution.slurm.options import slurm_options
    from attnlab.execution.worker_parts import worker_parts
    from attnlab.experiments.expand import expand
    from attnlab.experiments.run_sweep import run_sweep
    from attnlab.run_labels import RunLabels
    from attnlab.tracking.base import check_trackers
    from attnlab.tracking.mirror import mirrored
    from attnlab.training.events import no_callback

    budget = plain(budget)
    trackers = check_trackers(track, True, "track")
    job = slurm_options(executor, slurm)
    modules, fields = modules_of(model)
    attentions = attention_words(attention)
    whole = {"module": modules, **(fields or {})} if modules else fields
    words: dict[str, Any] = {
        "task": task,
        "attention": attentions[0] if len(attentions) == 1 else attentions,
        "position": position,
        "complexity": complexity,
    }
    words |= {"grid": grid, "seed": seed, "seeds": seeds, "match": match}
    words |= {"model": whole, "train": train, "options": options}
    words |= {"curriculum": curriculum, "recipe": recipe}
    words |= {"store": store, "executor": executor, "slurm": slurm, "device": device, "vmap": vmap}
    words |= {"until": until, "equal": equal, "budget": budget, "track": tuple(trackers)}
    words |= {"callbacks": (), "progress": True}  # the store keeps what gives the same runs again
    experiment = inline_experiment(
        task,
        attention=attentions,
        modules=modules,
        position=position,
        complexity=complexity,
        grid=grid,
        seeds=seeds,
        seed=seed,
        match=match,
        until=until,
        equal=equal,
        budget=budget,
        settings=given(model=fields, train=train, task=with_curriculum(options, curriculum)),
        recipe=recipe,
    )
    specs = expand(experiment, _warn)
    folder = Path("results") / experiment.name if store is None else Path(store)
    how: dict[str, Any] = {"runs": len(specs), "vmap": vmap, "store": folder, "options": job}
    workers = make_executor(executor, str(device), worker_parts(specs), **how)
    try:
        planned = None if experiment.until else len(specs)
        with (
            events_of_call(no_callback, callbacks, shown=progress, total=planned) as passed_on,
            mirrored(passed_on, trackers, folder, experiment.name, _warn_of) as received,
        ):
            called = call_text(sweep, words)
            outcome = run_sweep(experiment, specs, folder, workers, progress=received, command=called)
    finally:
        workers.close()
    if outcome.failed:
        first, labels = outcome.failed[0], RunLabels(specs)
        text = f"{len(outcome.failed)} of {len(outcome.records)} runs failed; {labels.of(first.spec)}: {first.reason}"
        warnings.warn(text, UserWarning, stacklevel=user_stacklevel())
    return Records(outcome.records)


def _warn(event: Event) -> None:
    """Warn of what the command line would say before the runs start."""
    from attnlab.training.events import Notice

    if isinstance(event, Notice):
        names = inspect.signature(train).parameters | inspect.signature(sweep).parameters
        warnings.warn(python_text(event.text, names), UserWarning, stacklevel=user_stacklevel())


def _warn_of(text: str) -> None:
    """Warn of a tracker."""
    warnings.warn(text, UserWarning, stacklevel=user_stacklevel())


def modules_of(model: Any) -> tuple[list[str], dict[str, Any] | None]:
    """Tell the whole models of the user's own from fields of the model.

    Args:
        model: What was passed as the model.

    Returns:
        One word for each whole model, and the fields.

    Raises:
        attnlab.errors.AttnlabError: A value is no class of modules.
    """
    from attnlab.model.module import MODULE_NAMING

    if model is None or isinstance(model, Mapping):
        fields = dict(model or {})
        words = MODULE_NAMING.words(fields.pop("module", None))
        return words, (None if model is None else fields)
    return MODULE_NAMING.words(model), None


def given(**sections: Mapping[str, Any] | None) -> dict[str, Any]:
    """Collect the sections of settings that are given.

    Args:
        **sections: ``model``, ``train`` and ``task``; None where a section is not given.

    Returns:
        Section -> fields.
    """
    return {section: plain(dict(fields)) for section, fields in sections.items() if fields is not None}


def with_curriculum(
    options: Mapping[str, Any] | None, curriculum: str | Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Put the curriculum among the options of the task.

    Args:
        options: Options of the task; None where none is given.
        curriculum: Ranges of its levels, or of several options by name; None where there is none.

    Returns:
        The options, with those of training as ``train``.

    Raises:
        InvalidValueError: The options give ranges of the same option.
    """
    if curriculum is None:
        return options
    from attnlab.config.ladder import joined_training

    own = (options or {}).get("train")
    return {**(options or {}), "train": joined_training({} if own is None else own, curriculum, "curriculum")}
