"""attnlab: which attention learns what, up to which complexity, how surely, and why it fails beyond.

    import attnlab
    records = attnlab.train(task="recall", attention="expressive", seeds=3)

Importing it is quick: torch is loaded by what needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from attnlab.diagnosis.result import Diagnosis
    from attnlab.records import Record

__all__ = ["diagnose", "sweep", "train"]

# Torch's threads spin while they wait for one another; where the machine does anything else, each spinning thread keeps
# the one it waits for from running. Milliseconds per step by spin count, beside nothing and beside one busy process:
# 0: 97, 136; 10,000: 72, 209; 100,000: 122, 716. Means of two runs on two cores: the middle is the compromise.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def train(
    task: str = "recall",
    attention: str | Sequence[str] = (),
    *,
    position: str | Sequence[str] = (),
    complexity: Any = None,
    seed: int = 0,
    seeds: int = 1,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    store: str | None = "results",
    device: str = "auto",
    resume: bool = False,
    match: Literal["parameters", "flops", "state"] | None = None,
) -> list[Record]:
    """Train one or several variants on one level of a task; the defaults are those of the command line.

    Args:
        task: A ladder's name or file, or a registered task.
        attention: Names, with inline options: ``"dape:kernel=3"``; nothing keeps the default, softmax.
        position: Names, likewise; nothing keeps the default, learned.
        complexity: The level; None takes the ladder's default.
        seed: The first seed.
        seeds: How many seeds, counted up from the first.
        model: Settings of the model, such as ``{"layers": 4}``.
        train: Settings of the training, such as ``{"steps": 500}``.
        options: Options of the task.
        store: The folder of results; None keeps nothing.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        resume: Whether to take finished runs from the store and to go on from checkpoints.
        match: The budget of the first variant that every other one is brought to; None keeps all sizes equal.

    Returns:
        One record per variant and seed, in that order.

    Raises:
        attnlab.errors.AttnlabError: the request cannot be run; nothing was written.
    """
    from pathlib import Path

    from attnlab.config.inline_parts import parse_part, parse_variants
    from attnlab.experiments.request import Request
    from attnlab.experiments.run_train import run_train as run

    names = [attention] if isinstance(attention, str) else attention
    places = [position] if isinstance(position, str) else position
    given = {"model": model, "train": train, "task": options}
    request = Request(
        task=parse_part(task),
        attentions=[variant for name in names for variant in parse_variants(name)],
        positions=[part for name in places for stack in parse_variants(name) for part in stack],
        complexity=complexity,
        seeds=range(seed, seed + seeds),
        match=match,
        settings={section: data for section, data in given.items() if data is not None},
    )
    return run(request, store=Path(store) if store else None, device_name=device, resume=resume)


def sweep(
    task: str | Sequence[str] = "recall",
    attention: str | Sequence[str] = (),
    *,
    position: str | Sequence[str] = (),
    complexity: Sequence[Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    match: Literal["parameters", "flops", "state"] | None = None,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    store: str | None = None,
    executor: str = "processes",
    device: str = "auto",
    adaptive: float | None = None,
) -> list[Record]:
    """LadderLevels ladders with several variants and seeds; the defaults are those of the command line.

    Args:
        task: Ladders, with inline options.
        attention: Names, with inline options; nothing keeps the default, softmax.
        position: Names, likewise.
        complexity: The levels; None takes all.
        vary: Any field -> its values.
        seeds: How many seeds, counted up from 0.
        match: The budget of the first variant that every other one is brought to.
        model: Settings of the model.
        train: Settings of the training.
        options: Options of the task.
        store: The folder of results; None takes ``results/`` and the name of the task.
        executor: ``processes``, ``processes:N``, ``inline`` or ``ray``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        adaptive: How narrow C50 shall be, in levels, with as few runs as that takes; None runs all.

    Returns:
        The records of the plan; what the store held already is not run again.

    Raises:
        attnlab.errors.AttnlabError: the sweep cannot be run; nothing was written.
    """
    from pathlib import Path

    from attnlab.config.inline_experiment import inline_experiment
    from attnlab.execution.executors import make_executor
    from attnlab.experiments.expand import expand
    from attnlab.experiments.run_sweep import run_sweep as run

    given = {"model": model, "train": train, "task": options}
    experiment = inline_experiment(
        task,
        attention=attention,
        position=position,
        complexity=complexity,
        grid=vary,
        seeds=seeds,
        match=match,
        settings={section: data for section, data in given.items() if data is not None},
    )
    specs = expand(experiment)
    staff = make_executor(executor, device, runs=len(specs))
    try:
        place = Path(store) if store else Path("results") / experiment.name
        return list(run(experiment, specs, place, staff, adaptive=adaptive).records)
    finally:
        staff.close()


def diagnose(
    subject: Any = None,
    kind: str = "rank-collapse",
    *,
    inputs: Any = None,
    loss: Callable[[], Any] | None = None,
    attention: str | None = None,
    position: str | None = None,
    task: str | None = "recall",
    complexity: Any = None,
    length: int | None = None,
    batch: int = 16,
    seed: int = 0,
    seeds: int = 5,
    model: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    control: bool = False,
    gain: float | None = None,
    only: Sequence[str] = (),
    map: str = "",
    store: str = "results",
) -> Diagnosis:
    """Tell what an attention does to the signal and its gradient, layer by layer.

    Args:
        subject: A module whose forward returns a trace, or that has a method ``trace``; a finished run, as its id, the
            beginning of it or its record; nothing builds fresh variants.
        kind: ``rank-collapse``, ``gradients``, ``attention``, ``tokens`` or ``reach``.
        inputs: What a module is given.
        loss: For the gradients of a module, a closure that runs it and returns a scalar.
        attention: Fresh variants, as ``"softmax,dagpam"``; None takes softmax.
        position: Their positions, likewise; None takes learned.
        task: Whose sequences fresh variants are shown; None shows noise.
        complexity: The level.
        length: Tokens of a sequence.
        batch: Sequences.
        seed: The first seed.
        seeds: How many fresh models of each variant.
        model: Settings of the model, over 12 layers.
        options: Options of the task.
        control: Whether a softmax as loud as each other variant stands beside it.
        gain: Scale of what every branch writes, against weights of variance ``1 / inputs``; None keeps the model's.
        only: Metrics; none tells all.
        map: A head to keep the map of, as ``"LAYER.HEAD"``.
        store: The folder of results that a run is looked up in.

    Returns:
        Panels of numbers; ``.rows()`` lists them, ``.data()`` nests them.

    Raises:
        attnlab.errors.AttnlabError: what is asked for does not exist, or cannot be measured; says what can.
    """
    from pathlib import Path

    from attnlab.diagnosis.custom_modules import diagnose_module
    from attnlab.diagnosis.diagnose import diagnose as find
    from attnlab.diagnosis.subjects import diagnosis_request

    run = getattr(subject, "id", subject)
    if subject is not None and not isinstance(run, str):
        return diagnose_module(subject, kind, inputs, loss=loss, only=only, attention_map=map)
    asked = diagnosis_request(
        attention,
        position,
        task=task,
        complexity=complexity,
        length=length,
        batch=batch,
        seeds=range(seed, seed + seeds),
        settings={"model": {"layers": 12, **(model or {})}, "task": options or {}},
        control=control,
        branch_gain=gain,
    )
    return find(kind, asked, runs=[run] if run else (), store=Path(store), only=only, attention_map=map)
