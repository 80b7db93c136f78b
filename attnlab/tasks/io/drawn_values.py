"""What the ranges of a training draw, built before it: a task may accept both ends and refuse what is between.

Lengths of `flip-flop` are even; of two options, each may be accepted with the other's end and not with its middle. All
values of all steps are built, several options together, up to a number; beyond it the ends of all, and the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks.io.curriculum import Range
from attnlab.tasks.io.streams import Source, build

MOST = 512
"""Most tasks that are built."""


def check_drawn_values(spec: TaskSpec, steps: int) -> int:
    """Refuse ranges of training that draw what the task does not accept.

    Args:
        spec: The task.
        steps: Steps of the training.

    Returns:
        How many tasks were built.

    Raises:
        InvalidValueError: The task does not accept a value between the ends, or its sequences are longer there, or have
            more tokens to choose from.
    """
    source, known = Source(spec, 0, steps=steps), set[tuple[int, ...]]()
    if not source.ranges:
        return 0
    for ranges in _distinct(source, steps):
        for values in _drawn(tuple(ranges.values())):
            if values in known:
                continue
            if len(known) == MOST:
                return MOST
            known.add(values)
            _check(source, dict(zip(ranges, values, strict=True)))
    return len(known)


def _distinct(source: Source, steps: int) -> Iterator[dict[str, Range]]:
    """The ranges of all steps, each once; those of the first, the last and the middle step before all others."""
    known = set[tuple[Range, ...]]()
    for step in (0, steps - 1, steps // 2, *range(steps)):
        ranges = source.ranges_at(step)
        if (key := tuple(ranges.values())) not in known:
            known.add(key)
            yield ranges


def _drawn(ranges: tuple[Range, ...]) -> Iterator[tuple[int, ...]]:
    """What some ranges draw together: the ends of all first, then all else."""
    yield from product(*ranges)
    yield from product(*(range(low, high + 1) for low, high in ranges))


def _check(source: Source, drawn: dict[str, int]) -> None:
    """Build the task with some values."""
    spec, where = source.spec, ".".join(["task.train", *(drawn if len(drawn) == 1 else ())])
    words = ", ".join(f"{name}={value}" for name, value in drawn.items())
    ranges = ", ".join(f"{name}='{source.ranges[name]}'" for name in drawn)
    head = f"Training with {ranges} draws {words}"
    try:
        task = build(spec, {**spec.options, **spec.train, **drawn})
    except AttnlabError as error:
        hint = f"{error.hint} Stages name each value that is drawn, as in '2 | 4 | 8'.".lstrip()
        raise InvalidValueError(f"{head}, which is refused: {error.problem}", hint, where=where) from None
    for kind, size, most in (
        ("tokens", task.length, source.length),
        ("different tokens", task.vocabulary, source.vocabulary),
    ):
        if size > most:
            problem = f"{head}, which has {size} {kind}: more than the ends of the ranges and the task itself, {most}."
            raise InvalidValueError(problem, "Let each range begin or end there.", where=where)
