"""Sizes of a plan: refused before anything of them is built where they are larger than the memory of this machine.

A run takes its weights four times (weights, gradient, two moments of the optimizer), the residual stream of a batch in
every layer, and the sequences of its validation, its test and its limited training set. All of it is a lower bound:
what is refused would not have run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from attnlab.errors import InvalidValueError
from attnlab.model.size import LAYER_OVERHEAD, model_bytes
from attnlab.sizes import (
    MAX_INTEGER,
    MAX_LAYERS,
    MAX_RUNS,
    MAX_SEQUENCES,
    TOO_MANY,
    available_memory,
    bytes_text,
    check_count,
    check_fits,
    largest_fitting,
)
from attnlab.specs import ModelSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.size_check import check_largest_option, row_bytes, thousands_of
from attnlab.tasks.io.streams import Source

SMALL_BYTES, SMALL_SIZE = 2**28, 2**12
"""Bytes of a run, and options of its parts, up to which it fits any machine and is not counted."""
COPIES = 4
"""Weights, gradient, and two moments."""
UNLIMITED_EXAMPLES, USUAL_TASK = 10_000, 128
"""What a number of training sequences, and tokens and ids of a task, are compared with: a usual number."""
TOKEN = 16
"""Bytes of a token: its input and its target."""
STREAM = 4
"""Bytes of a number of the residual stream."""
EVALUATED = 3
"""Numbers that an evaluation holds of each token and channel: the residual stream, its norm, and what a branch adds."""


@dataclass(frozen=True)
class Sizes:
    """Everything that decides the memory of a run."""

    model: ModelSpec
    train: TrainSpec
    vocabulary: int
    length: int

    @property
    def rows(self) -> int:
        """Sequences that are kept: those of the validation and of a limited training set, and in the end the test's."""
        return self.train.validation_examples + self.train.test_examples + (self.train.train_examples or 0)

    @property
    def is_small(self) -> bool:
        """Whether it fits any machine, told without counting."""
        model = self.model
        if max(model.heads, model.layers, model.mlp_ratio, _largest_option(model)) > SMALL_SIZE:
            return False
        weights = (16 + 4 * math.ceil(model.mlp_ratio)) * model.width**2 * model.layers
        weights += (2 * self.vocabulary + self.length) * model.width
        return 4 * COPIES * weights + self._data_bytes <= SMALL_BYTES

    @property
    def _data_bytes(self) -> int:
        """The residual stream of a batch in every layer, and the sequences."""
        model, batch = self.model, self.train.batch_size
        stream = STREAM * batch * self.length * model.width * model.layers
        return stream + TOKEN * self.length * (self.rows + batch) + 8 * self.vocabulary

    def bytes(self) -> int:
        """A lower bound of the memory of the run, in bytes."""
        model = self.model
        weights = model_bytes(model, vocabulary=self.vocabulary, length=self.length)
        if weights is None:  # of a part that cannot be built without content: embedding and head alone
            weights = 4 * model.width * self.vocabulary * 2 + model.layers * LAYER_OVERHEAD
        return min(TOO_MANY, COPIES * weights + self._data_bytes)


def check_sizes(model: ModelSpec, train: TrainSpec, source: Source) -> None:
    """Refuse a run that needs more memory than there is, before it is built.

    Args:
        model: Its model, with its parts looked up.
        train: How it is trained.
        source: Its data.

    Raises:
        InvalidValueError: It does not fit; the message names the size that is largest beside its default, and the
            largest value of it that would fit.
    """
    _check(Sizes(model, train, source.vocabulary, source.length), source.spec)


def check_models(model: ModelSpec, *, source: Source | None, length: int, sequences: int, seeds: Sequence[int]) -> None:
    """Refuse models of a diagnosis that need more memory than there is, before any is built.

    Args:
        model: The model of every seed.
        source: Its sequences; None takes noise.
        length: Tokens of a sequence of noise.
        sequences: Sequences of a batch.
        seeds: One model for each; all of them are held, in float64.

    Raises:
        InvalidValueError: They do not fit.
    """
    check_seeds(seeds)
    vocabulary = model.width if source is None else source.vocabulary
    length = length if source is None else source.length
    sizes = Sizes(model, TrainSpec(batch_size=sequences, validation_examples=1, test_examples=1), vocabulary, length)
    _check(sizes, None if source is None else source.spec, {"train.batch_size": "--sequences"})
    one = model_bytes(model, vocabulary=vocabulary, length=length) or 0
    check_fits(len(seeds), lambda count: 2 * one * count, what=f"{len(seeds):,} models", where="--seeds")


def check_evaluation(model: ModelSpec, lengths: Iterable[int], sequences: int | None, *, where: str) -> None:
    """Refuse the evaluation of a trained model that needs more memory than there is, or more time than anyone has.

    One sequence at a time is evaluated where they are long, so that their number takes no memory.

    Args:
        model: The model.
        lengths: Tokens of the sequences.
        sequences: The number of sequences of each length; None takes that of the run.
        where: The option that asks for the lengths.

    Raises:
        InvalidValueError: One sequence does not fit, or there are more than ``MAX_SEQUENCES``.
    """
    check_count(sequences or 1, MAX_SEQUENCES, what="test sequences", where="--sequences")
    width = model.width if model.module is None else 0  # a whole model of the user's own may hold less
    each = TOKEN + STREAM * EVALUATED * width
    for length in lengths:
        what = f"The evaluation of one sequence of {length:,} tokens"
        check_fits(length, lambda count: each * count, what=what, where=where)


def check_diagnosis(model: ModelSpec, length: int, sequences: int) -> None:
    """Refuse the diagnosis of a trained model that needs more memory than there is.

    Args:
        model: The model.
        length: Tokens of a sequence.
        sequences: Sequences of a batch; the residual stream of each is kept in every layer, in float64.

    Raises:
        InvalidValueError: They do not fit; the message has the largest number that would.
    """
    numbers = model.width * model.layers if model.module is None else 0
    each = length * (TOKEN + 2 * STREAM * numbers)
    what = f"{sequences:,} sequences of {length:,} tokens"
    check_fits(sequences, lambda count: each * count, what=what, where="--sequences")


def _check(sizes: Sizes, task: TaskSpec | None, options: Mapping[str, str] | None = None) -> None:
    """Refuse sizes that do not fit; ``options`` names the fields as the user typed them."""
    model = sizes.model
    check_count(model.layers, MAX_LAYERS, what="layers", where="model.layers")
    if sizes.is_small:
        return
    limit = available_memory()
    if (needed := sizes.bytes()) <= limit:
        return
    problem = f"A run would take about {bytes_text(needed)} of memory, and {bytes_text(limit)} are available."
    if needed >= TOO_MANY:
        problem = f"A run would take more memory than can be counted, and {bytes_text(limit)} are available."
    # The size to blame is the largest beside its default, of those without which the run would fit.
    fields = _candidates(sizes)
    lightened = {field.name: field.at(1).bytes() for field in fields if field.value > 1}
    relevant = [field for field in fields if lightened.get(field.name, TOO_MANY) <= limit]
    if not relevant and _largest_option(model) <= SMALL_SIZE:  # several are too large
        relevant = [field for field in fields if lightened.get(field.name, TOO_MANY) < needed]
    if not relevant:
        raise InvalidValueError(problem, _options_hint(model), where="model")
    blamed = max(relevant, key=lambda field: field.value / field.default)
    if blamed.name == "task" and task is not None:
        at = replace(sizes, vocabulary=1, length=1)
        check_largest_option(
            task,
            lambda one: replace(at, vocabulary=one.vocabulary, length=one.length).bytes() + row_bytes(one),
            limit,
        )
        raise InvalidValueError(problem, "Use shorter sequences or a smaller vocabulary.", where=task.name)
    where = "--length" if blamed.name == "task" else (options or {}).get(blamed.name, blamed.name)
    largest = largest_fitting(blamed.value, lambda one: blamed.at(one).bytes(), limit, exact=False)
    if blamed.name == "model.width":
        largest = largest // model.heads * model.heads
    hint = f"About {largest:,} would fit, with the other sizes as they are."
    if not largest:
        hint = "No value of it would fit: other sizes are too large as well."
    raise InvalidValueError(f"It is {thousands_of(blamed.value)}. {problem}", hint, where=where)


class _Field(NamedTuple):
    """A size that may be to blame."""

    name: str
    value: int
    default: float
    at: Callable[[int], Sizes]
    """The sizes with another value of it."""


def _candidates(sizes: Sizes) -> list[_Field]:
    """The sizes of a run that a user sets; those of its task together."""
    model, train = sizes.model, sizes.train
    longest = max(sizes.vocabulary, sizes.length)

    def shorter(value: int) -> Sizes:
        return replace(sizes, vocabulary=min(value, sizes.vocabulary), length=min(value, sizes.length))

    def of_model(name: str, kind: type[int | float]) -> _Field:
        default = ModelSpec.model_fields[name].default
        step = model.heads if name == "width" else 1  # only its multiples can be built

        def changed(value: int) -> Sizes:
            update = {name: kind(max(step, value // step * step))}
            return replace(sizes, model=model.model_copy(update=update))

        return _Field(f"model.{name}", math.ceil(getattr(model, name)), default, changed)

    def of_training(name: str) -> _Field:
        default = TrainSpec.model_fields[name].default or UNLIMITED_EXAMPLES

        def changed(value: int) -> Sizes:
            return replace(sizes, train=train.model_copy(update={name: value}))

        return _Field(f"train.{name}", getattr(train, name) or 0, default, changed)

    fields = [of_model("width", int), of_model("layers", int), of_model("mlp_ratio", float)]
    fields += map(of_training, ("batch_size", "validation_examples", "test_examples", "train_examples"))
    return [*fields, _Field("task", longest, USUAL_TASK, shorter)]


def check_runs(count: int, each: int, *, what: str, where: str) -> None:
    """Refuse a plan of more runs than can be planned, before any of them is made.

    Args:
        count: A count of what the plan consists of, such as seeds.
        each: Runs for each of them.
        what: What is counted, in the plural.
        where: The option or field that decides it.

    Raises:
        InvalidValueError: There are more than ``MAX_RUNS``.
    """
    if count * each > MAX_RUNS:
        problem = f"{count:,} {what} are {count * each:,} runs; a plan has at most {MAX_RUNS:,}."
        raise InvalidValueError(problem, f"Use at most {MAX_RUNS // each:,} {what}.", where=where)


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse more seeds than runs of a plan, and a seed of more than 64 bits, before they are counted.

    Args:
        seeds: The seeds, which need not be in memory: a range.

    Raises:
        InvalidValueError: There are more than ``MAX_RUNS``, or one is too large.
    """
    if isinstance(seeds, range):  # whose length may be more than Python can tell
        check_runs(seeds.stop - seeds.start, 1, what="seeds", where="--seeds")
    largest = seeds[-1] if isinstance(seeds, range) and seeds else max(seeds, default=0)
    check_count(largest, MAX_INTEGER, what="as a seed", where="--seed")


def _largest_option(model: ModelSpec) -> int:
    """The largest integer among the options of a model's parts, and its modifiers."""
    parts = [*model.attention, *model.mlp, *model.position.alternating]
    parts += [part for part in (model.norm_layer, model.block, model.residual_stream, model.module) if part is not None]
    numbers = [value for part in parts for value in _integers(part.options)]
    return max((*numbers, model.modifiers.short_conv), default=0)


def _integers(value: object) -> list[int]:
    """Every integer in the value of an option."""
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _integers(inner)]
    if isinstance(value, list | tuple):
        return [one for inner in value for one in _integers(inner)]
    return [abs(math.ceil(value))] if isinstance(value, int | float) and math.isfinite(value) else []


def _options_hint(model: ModelSpec) -> str:
    """What to make smaller where no size of the model is to blame: the largest option of a part."""
    parts = [*model.attention, *model.mlp, *model.position.alternating]
    found = [
        (value, f"'{name}' of {part.name}")
        for part in parts
        for name, option in part.options.items()
        for value in _integers(option)
    ]
    if model.modifiers.short_conv:
        found.append((model.modifiers.short_conv, "model.modifiers.short_conv"))
    if not found:
        return "Use smaller sizes."
    value, name = max(found)
    return f"The largest option is {name}, which is {thousands_of(value)}; use a smaller one."
