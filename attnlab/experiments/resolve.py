"""Step 2 of a plan: every name, option and setting of a request, looked up and checked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from attnlab.attention import ATTENTIONS
from attnlab.attention.named import named_attention
from attnlab.config.inline_experiment import SECTIONS, unknown_section
from attnlab.config.inline_parts import merged
from attnlab.config.ladder import Ladder
from attnlab.config.renamed import Location
from attnlab.config.validate import validated
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.experiments.request import Request
from attnlab.position import POSITIONS
from attnlab.registry import Registry
from attnlab.specs import ModelSpec, Part, TaskSpec, TrainSpec, Variant
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source

T = TypeVar("T")
Data = dict[str, Any]


@dataclass(frozen=True)
class Resolved:
    """The parts of a request's runs."""

    task: TaskSpec
    train: TrainSpec
    models: tuple[ModelSpec, ...]
    """One for each attention with each position, in that order."""
    reference: ModelSpec
    """The model whose budget the others are given."""


class Resolver:
    """Looks names up and keeps the results, because the requests of one experiment have most names in common."""

    def __init__(self) -> None:
        self._results: dict[tuple[Any, ...], Any] = {}

    def resolve(self, request: Request) -> Resolved:
        """Look up everything that a request names.

        Args:
            request: The request.

        Returns:
            Its task, training and models.

        Raises:
            UnknownNameError: A task, attention, position, option or setting does not exist.
            InvalidValueError: A value has the wrong type or is out of range.
        """
        if wrong := set(request.settings) - set(SECTIONS):
            raise unknown_section(min(wrong), request.settings[min(wrong)])
        ladder = self.ladder(request.task.name)
        options = {**request.task.options, **request.settings.get("task", {})}
        base = merged(ladder.model, request.settings.get("model", {}))
        models = [
            self.model(base, attention, position)
            for attention in request.attentions or (None,)
            for position in request.positions or (None,)
        ]
        return Resolved(
            task=self.task(ladder, options, request.complexity, request.evaluate),
            train=self.train(merged(ladder.training_settings, request.settings.get("train", {}))),
            models=tuple(models),
            reference=self.model(base, request.reference, None) if request.reference else models[0],
        )

    def ladder(self, word: str) -> Ladder:
        """Find a ladder.

        Args:
            word: A name, a file, or a registered task.

        Returns:
            The ladder.

        Raises:
            UnknownNameError: There is neither a ladder nor a task of that name.
            InvalidFileError: The file is missing or is not strict YAML.
        """
        return self.once(("ladder", word), lambda: find_ladder(word))

    def task(self, ladder: Ladder, options: Data, level: Any, evaluate: Sequence[Any] | None) -> TaskSpec:
        """Make the spec of a ladder's task at one level.

        Args:
            ladder: The ladder.
            options: Options that override the ladder's.
            level: The level; None takes the ladder's default.
            evaluate: Further levels to test on; None takes the ladder's.

        Returns:
            The spec.

        Raises:
            UnknownNameError: The task has no such option.
            InvalidValueError: The task does not accept a value.
        """
        key = ("task", ladder.name, repr(options), level, repr(evaluate))
        return self.once(key, lambda: task_spec(ladder, options, level, evaluate))

    def train(self, data: Data) -> TrainSpec:
        """Make the spec of a training.

        Args:
            data: Field -> value.

        Returns:
            The spec.

        Raises:
            UnknownNameError: There is no such field.
            InvalidValueError: A value has the wrong type or is out of range.
        """
        return self.once(("train", repr(data)), lambda: _train_spec(data))

    def model(self, base: Data, attention: Variant | None, position: Part | None) -> ModelSpec:
        """Make the spec of a model, with the names and options of its parts looked up.

        Args:
            base: Field -> value.
            attention: The variant; None keeps that of the base.
            position: The position; None keeps that of the base.

        Returns:
            The spec.

        Raises:
            UnknownNameError: There is no such field, part or option.
            InvalidValueError: A value has the wrong type or is out of range.
        """
        key = ("model", repr(base), repr(attention), repr(position))
        return self.once(key, lambda: _model_spec(base, attention, position))

    def source(self, task: TaskSpec) -> Source:
        """Build a task, to look at its sequences.

        Args:
            task: The spec.

        Returns:
            Its batches for seed 0.
        """
        return self.once(("source", task.canonical), lambda: Source(task, seed=0))

    def once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Compute a result unless it is known.

        Args:
            key: What the result depends on.
            make: Computes it.

        Returns:
            The result.
        """
        if key not in self._results:
            self._results[key] = make()
        return self._results[key]


def resolved_part(part: Part, registry: Registry[Any], where: str) -> Part:
    """Look up a part.

    Args:
        part: A name or alias, with options.
        registry: The parts of its kind.
        where: The field, for messages.

    Returns:
        The part under its own name, with its version, its code and the options that differ from their defaults.

    Raises:
        UnknownNameError: There is no such part or option.
        InvalidValueError: The part does not accept a value.
    """
    try:
        name = named_attention(part.name) if ":" in part.name and registry is ATTENTIONS else part.name
        entry = registry.entry(name)
        options = entry.non_default(part.options)
        return Part(name=entry.name, options=options, version=entry.version, code_digest=entry.code.digest)
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None


def _train_spec(data: Data) -> TrainSpec:
    """Make the spec of a training; a record may have a beta of 1, with which runs diverged, but no new run can."""
    train = validated(TrainSpec, data, _dotted("train"))
    if max(train.betas) >= 1:
        problem = f"It cannot be {list(train.betas)}: with a beta of 1 the step divides by zero."
        raise InvalidValueError(
            problem, "Use two numbers from 0 to less than 1, such as [0.9, 0.98].", where="train.betas"
        )
    return train


def _model_spec(base: Data, attention: Variant | None, position: Part | None) -> ModelSpec:
    model = validated(ModelSpec, base, _dotted("model"))
    variant = tuple(resolved_part(part, ATTENTIONS, "model.attention") for part in attention or model.attention)
    chosen = resolved_part(position or model.position, POSITIONS, "model.position")
    return model.model_copy(update={"attention": variant, "position": chosen})


def _dotted(section: str) -> Callable[[Location], str]:
    return lambda location: ".".join(map(str, (section, *location)))
