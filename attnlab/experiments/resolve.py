"""Step 2 of a plan: every name, option and setting of a request, looked up and checked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from attnlab.attention import ATTENTIONS
from attnlab.attention.named import resolved_attention
from attnlab.block import BLOCKS
from attnlab.choices import Precision
from attnlab.config.auto_position import AUTO, auto_refusal
from attnlab.config.inline_experiment import SECTIONS, unknown_section
from attnlab.config.inline_parts import parse_variants
from attnlab.config.ladder import Ladder
from attnlab.config.recipes import with_recipe
from attnlab.config.renamed import Location
from attnlab.config.validate import validated
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError
from attnlab.experiments.recipe_modifiers import modifiers_of_recipe, without_unsupported
from attnlab.experiments.request import Request
from attnlab.experiments.whole_model import inline_module, module_spec
from attnlab.mlp import MLPS
from attnlab.norm import NORMS
from attnlab.position import POSITIONS
from attnlab.registry import Registry
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.specs import ALTERNATING, ModelSpec, Part, TaskSpec, TrainSpec, Variant, joined, variant_text
from attnlab.tasks.io.ladder_training import with_training
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.training.precision import automatic_precision

T = TypeVar("T")
Data = dict[str, Any]
REGISTRIES: dict[str, Registry[Any]] = {
    "attention": ATTENTIONS,
    "position": POSITIONS,
    "norm_layer": NORMS,
    "mlp": MLPS,
    "block": BLOCKS,
    "residual_stream": RESIDUAL_STREAMS,
}
"""The fields of a model that hold parts, and the parts of each kind."""


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
            UnknownNameError: A task, attention, position, option, recipe or setting does not exist.
            InvalidValueError: A value has the wrong type or is out of range.
            IncompatiblePartsError: A whole model is given a position, or an attention beside the field ``module``.
        """
        if wrong := set(request.settings) - set(SECTIONS):
            raise unknown_section(min(wrong), request.settings[min(wrong)])
        ladder = self.ladder(request.task.name)
        options = {**request.task.options, **request.settings.get("task", {})}
        ladder = with_training(ladder, options.pop("train", None))
        given = (ladder.model, request.settings.get("model", {}))
        base = with_recipe(request.recipe, "model", *given)
        own = modifiers_of_recipe(request.recipe, *given)
        train = with_recipe(request.recipe, "train", ladder.training_settings, request.settings.get("train", {}))
        alone = request.modules and not request.attentions
        models = [
            self.model(base, attention, position, own)
            for attention in (() if alone else request.attentions or (None,))
            for position in request.positions or (None,)
        ]
        models += [self.module(base, part) for part in request.modules]
        if request.positions and not any(model.module is None for model in models):
            hint = "Leave the positions out: those of a whole model are its own."
            raise IncompatiblePartsError("A whole model has no position of ours.", hint, where="model.position")
        return Resolved(
            task=self.task(ladder, options, request.complexity, request.evaluate),
            train=self.train(train),
            models=tuple(models),
            reference=self.model(base, request.reference, None, own) if request.reference else models[0],
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
        key = ("task", ladder.name, repr(ladder.training), repr(options), repr(level), repr(evaluate))
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

    def model(
        self, base: Data, attention: Variant | None, position: Part | None, of_recipe: tuple[str, ...] = ()
    ) -> ModelSpec:
        """Make the spec of a model, with the names and options of its parts looked up.

        Args:
            base: Field -> value.
            attention: The variant; None keeps that of the base.
            position: The position; None keeps that of the base.
            of_recipe: Modifiers that the recipe alone sets; left out where the attention does not take them.

        Returns:
            The spec.

        Raises:
            UnknownNameError: There is no such field, part or option.
            InvalidValueError: A value has the wrong type or is out of range.
            IncompatiblePartsError: An attention is given beside the field ``module``.
        """
        if base.get("module") is not None:
            if attention:
                problem = f"model.module is set, and '{variant_text(attention)}' is an attention of ours."
                raise IncompatiblePartsError(problem, "Leave out one of the two.", where="model.module")
            return self.module(base, inline_module(base["module"]))
        key = ("model", repr(base), repr(attention), repr(position), of_recipe)
        return self.once(key, lambda: without_unsupported(_model_spec(base, attention, position), of_recipe))

    def module(self, base: Data, part: Part) -> ModelSpec:
        """Make the spec of a whole model of the user's own.

        Args:
            base: Field -> value; those that the constructor is given are used.
            part: The model.

        Returns:
            The spec.

        Raises:
            UnknownNameError: There is no such field, class or option.
            InvalidValueError: A value is not accepted, or an argument of the constructor cannot be matched.
            PluginError: Its file or module cannot be loaded, or what it names is no class of modules.
        """
        data = {name: value for name, value in base.items() if name != "module"}
        return self.once(("module", repr(data), repr(part)), lambda: module_spec(_validated(data), part))

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
    if registry is POSITIONS and part.name == AUTO:
        raise auto_refusal()
    try:
        name = resolved_attention(part.name) if registry is ATTENTIONS else part.name
        entry = registry.entry(name)
        options = entry.non_default(part.options)
        return Part(name=entry.name, options=options, version=entry.version, code_digest=entry.code_to_plan.digest)
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None


def _train_spec(data: Data) -> TrainSpec:
    """Make the spec of a training, with the precision that pays here for ``auto``.

    A record may have a beta of 1, with which runs diverged, but no new run can.
    """
    if (precision := data.get("precision")) == "auto":
        data = {**data, "precision": automatic_precision()}
    elif isinstance(precision, str) and precision not in get_args(Precision):
        accepted = ", ".join(get_args(Precision))
        raise InvalidValueError(f"It cannot be '{precision}'.", f"Use {accepted} or auto.", where="train.precision")
    train = validated(TrainSpec, data, _dotted("train"))
    if max(train.betas) >= 1:
        problem = f"It cannot be {list(train.betas)}: with a beta of 1 the step divides by zero."
        raise InvalidValueError(
            problem, "Use two numbers from 0 to less than 1, such as [0.9, 0.98].", where="train.betas"
        )
    return train


def resolved_variant(parts: Variant, field: str, where: str) -> Variant:
    """Look up the parts that a field holds.

    Args:
        parts: One part, or several that alternate over the layers.
        field: The field of a model.
        where: The field, for messages.

    Returns:
        The parts as :func:`resolved_part` gives them; but the default of a field that the JSON omits stays as it is,
        without a version, so that a spec that is read again is the same value.

    Raises:
        UnknownNameError: There is no such part or option.
        InvalidValueError: A part does not accept a value.
    """
    found = tuple(resolved_part(part, REGISTRIES[field], where) for part in parts)
    default = ModelSpec.model_fields[field].default
    if field in ("attention", "position"):
        return found
    plain = tuple(part.model_copy(update={"version": None}) if part.version == 1 else part for part in found)
    return plain if (plain if field in ALTERNATING else plain[0]) == default else found


def inline_part(field: str, value: Any) -> Any:
    """Read the part of a field of a model where it is given as words: ``swiglu:activation=gelu``, ``rotary*3+none``.

    Args:
        field: The field.
        value: What the field is set to.

    Returns:
        Parts for words and for a list of words or mappings; anything else as it is, for the check of its type.

    Raises:
        InvalidValueError: The words are no part, several variants, or parts that cannot alternate over the layers.
    """
    if field not in REGISTRIES:
        return value
    parts: list[Any] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(item, str):
            parts.append(item)
            continue
        variants = parse_variants(item)
        if len(variants) != 1:
            hint = "Give one, or alternate over the layers with +."
            raise InvalidValueError(f"'{item}' is {len(variants)} parts.", hint, where=f"model.{field}")
        parts += variants[0]
    if field in ALTERNATING:
        return value if parts == [value] or not parts else tuple(parts)
    if len(parts) == 1:
        return parts[0]
    if field == "position" and parts:
        return joined(tuple(Part.model_validate(part) for part in parts))
    if parts:
        problem = f"A model has one {field}, the same in all layers, and {len(parts)} are given."
        raise InvalidValueError(problem, "Give one part.", where=f"model.{field}")
    return value


def _validated(base: Data) -> ModelSpec:
    """The model of some fields; no name in them has been looked up."""
    read = {field: inline_part(field, value) for field, value in base.items()}
    return validated(ModelSpec, read, _dotted("model"))


def _model_spec(base: Data, attention: Variant | None, position: Part | None) -> ModelSpec:
    model = _validated(base)
    given: dict[str, Variant] = {field: getattr(model, field) for field in ALTERNATING}
    given |= {field: getattr(model, field).alternating for field in REGISTRIES if field not in ALTERNATING}
    given |= {"attention": attention} if attention else {}
    given |= {"position": position.alternating} if position else {}
    found = {field: resolved_variant(parts, field, f"model.{field}") for field, parts in given.items()}
    update = {field: parts if field in ALTERNATING else joined(parts) for field, parts in found.items()}
    return model.model_copy(update=update)


def _dotted(section: str) -> Callable[[Location], str]:
    return lambda location: ".".join(map(str, (section, *location)))
