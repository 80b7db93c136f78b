"""How many steps a run is expected to take: what like runs took in the store, or in the shipped results.

Like runs have the task, its level, the attention or whole model, and the position in common. Of those that are known,
the ones that agree in most of :data:`PREFERRED` count. A run that stopped early took so many steps whatever its budget
was; one that did not counts with all steps of the run that is estimated, as nothing tells when it would have stopped.

``experiments/solve_steps.json`` has the shipped results; ``python -m benchmarks.solve_steps`` writes it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from typing import Any

from attnlab import resources
from attnlab.experiments.plan_cost import SOURCES, StepsEstimate, StepsSource
from attnlab.records import Record
from attnlab.specs import RunSpec

FILE = "solve_steps.json"
PREFERRED = ("options", "width", "layers", "lr", "max_steps")
"""Fields in which known runs should agree with the run that is estimated; those that agree in most of them count."""
ENOUGH = 0.5
"""A budget in which no like run was solved tells nothing of one of which it is less than this share."""
VARIATION = 0.35
"""Standard deviation of the steps between seeds over their mean, where only one run is known."""


@dataclass(frozen=True)
class KnownRun:
    """What is known of a finished run."""

    task: str
    level: Any
    variant: str
    position: str
    options: Mapping[str, Any]
    """Options of the task, its level among them."""
    width: int
    layers: int
    lr: float
    max_steps: int
    steps: int
    """Steps that it took."""
    early_stopped: bool


Texts = tuple[str, ...]
Index = Mapping[Texts, Mapping[Texts, Sequence[KnownRun]]]


@cache
def shipped_runs() -> tuple[KnownRun, ...]:
    """Read the shipped results.

    Returns:
        The runs; none where the file is missing.
    """
    path = resources.folder("experiments") / FILE
    return tuple(KnownRun(**row) for row in json.loads(path.read_text())) if path.is_file() else ()


@dataclass(frozen=True)
class KnownSteps:
    """The finished runs of a store, and those that are shipped.

    Args:
        store: Records of the store.
        shipped: What is known of runs that are not in the store.
    """

    store: Sequence[KnownRun] = ()
    shipped: Sequence[KnownRun] = field(default_factory=shipped_runs)

    def estimate(self, spec: RunSpec, share: float | None = None) -> StepsEstimate:
        """Estimate the steps of a run.

        Args:
            spec: The run.
            share: The share of its steps that an experiment's file expects, where no like run is known.

        Returns:
            The steps, and whence they are known.
        """
        most, train = spec.train.max_steps, spec.train
        if not could_stop(spec):
            return StepsEstimate(most, "fixed")
        run = known_run(spec)
        key = _place(run), _preferred(run), most
        if key not in self._estimates:
            self._estimates[key] = self._from_like_runs(*key)
        if (known := self._estimates[key]) is not None:
            return known
        if share is not None:
            # Of all spreads with this mean, that of runs that are solved at once or never is the largest.
            return StepsEstimate(share * most, "experiment", most * math.sqrt(share * (1 - share)))
        return StepsEstimate(most, "unknown", least=train.eval_every)

    def _from_like_runs(self, place: Texts, preferred: Texts, most: int) -> StepsEstimate | None:
        """The steps of like runs of the store, or of the shipped ones; None where they tell nothing."""
        sources: tuple[tuple[StepsSource, Index], ...] = (("store", self._in_store), ("shipped", self._in_shipped))
        for source, index in sources:
            like = _like(preferred, index.get(place, {}))
            if any(one.early_stopped or one.max_steps >= ENOUGH * most for one in like):
                return _estimate(like, most, source)
        return None

    @cached_property
    def _estimates(self) -> dict[tuple[Texts, Texts, int], StepsEstimate | None]:
        return {}

    @cached_property
    def _in_store(self) -> Index:
        return _indexed(self.store)

    @cached_property
    def _in_shipped(self) -> Index:
        return _indexed(self.shipped)

    def average(self, specs: Sequence[RunSpec], share: float | None = None) -> StepsEstimate:
        """Estimate the steps of runs of one shape, which may differ in their training.

        Args:
            specs: The runs, at least one.
            share: As in :meth:`estimate`.

        Returns:
            The mean of their estimates; its source is the least certain of theirs.
        """
        counts = Counter(spec.train.canonical for spec in specs)
        by_training = {spec.train.canonical: spec for spec in specs}
        estimates = [(self.estimate(by_training[key], share), count / len(specs)) for key, count in counts.items()]
        worst = max((one for one, _ in estimates), key=lambda one: SOURCES.index(one.source))
        return StepsEstimate(
            mean=sum(one.mean * weight for one, weight in estimates),
            source=worst.source,
            deviation=math.sqrt(sum(one.deviation**2 * weight for one, weight in estimates)),
            known=sum(one.known for one, _ in estimates),
            least=sum((one.least or one.mean) * weight for one, weight in estimates),
        )


def could_stop(spec: RunSpec) -> bool:
    """Tell whether a run may stop before its last step.

    Args:
        spec: The run.

    Returns:
        Whether it stops early at all, and is validated before its last step.
    """
    train = spec.train
    return train.early_stop_accuracy is not None and train.eval_every < train.max_steps


def known_run(spec: RunSpec, steps: int = 0, early_stopped: bool = False) -> KnownRun:
    """Describe a run by what tells how many steps it takes.

    Args:
        spec: The run.
        steps: The steps that it took; 0 if it has not been run.
        early_stopped: Whether it stopped because it was solved.

    Returns:
        The description.
    """
    task, model, train = spec.task, spec.model, spec.train
    return KnownRun(
        task=task.name,
        level=task.level,
        variant=model.variant,
        position=str(model.position),
        options=task.options,
        width=model.width,
        layers=model.layers,
        lr=train.lr,
        max_steps=train.max_steps,
        steps=steps,
        early_stopped=early_stopped,
    )


def known_runs(records: Iterable[Record]) -> list[KnownRun]:
    """Describe finished runs that could stop early.

    Args:
        records: Their records. Runs that failed or diverged tell nothing.

    Returns:
        One description for each of the others; they were validated before their last step.
    """
    return [
        known_run(record.spec, record.steps, record.early_stopped)
        for record in records
        if record.status == "done" and could_stop(record.spec)
    ]


def as_json(runs: Iterable[KnownRun]) -> str:
    """Write known runs as the shipped file has them.

    Args:
        runs: The runs.

    Returns:
        JSON, one run in a line.
    """
    return "[\n" + ",\n".join(json.dumps(asdict(run)) for run in runs) + "\n]\n"


def _place(run: KnownRun) -> Texts:
    """What like runs have in common."""
    return run.task, run.variant, run.position, _plain(run.level)


def _preferred(run: KnownRun) -> Texts:
    """What like runs should agree in."""
    return tuple(_plain(getattr(run, name)) for name in PREFERRED)


def _indexed(known: Iterable[KnownRun]) -> Index:
    """Known runs by what like runs have in common, and by what they should agree in."""
    result: dict[Texts, dict[Texts, list[KnownRun]]] = {}
    for one in known:
        result.setdefault(_place(one), {}).setdefault(_preferred(one), []).append(one)
    return result


def _like(preferred: Texts, known: Mapping[Texts, Sequence[KnownRun]]) -> list[KnownRun]:
    """Of known runs of the same task, level, attention and position those that agree in most."""
    by_agreement: dict[int, list[KnownRun]] = {}
    for own, runs in known.items():
        agreement = sum(one == other for one, other in zip(own, preferred, strict=True))
        by_agreement.setdefault(agreement, []).extend(runs)
    return by_agreement[max(by_agreement)] if by_agreement else []


def _estimate(like: Sequence[KnownRun], most: int, source: StepsSource) -> StepsEstimate:
    steps = [min(run.steps, most) if run.early_stopped else most for run in like]
    mean = statistics.fmean(steps)
    deviation = statistics.stdev(steps) if len(steps) > 1 else VARIATION * mean
    return StepsEstimate(mean, source, deviation, len(steps))


def _plain(value: Any) -> str:
    """A value as JSON, which has no tuples: those of a spec and the lists of a file are then equal."""
    return json.dumps(value, sort_keys=True, default=str)
