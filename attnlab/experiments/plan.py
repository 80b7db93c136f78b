"""The plan: a request -> the runs it means. Every name, option and pairing is resolved here, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attnlab.attention import ATTENTIONS
from attnlab.config.inline_parts import merged
from attnlab.config.ladder import Ladder
from attnlab.config.validate import validated
from attnlab.config.yaml import Place
from attnlab.errors import AttnlabError, IncompatiblePartsError, unknown
from attnlab.experiments._budget import match_budget
from attnlab.experiments._preflight import preflight
from attnlab.experiments.request import Request
from attnlab.model.transformer import build
from attnlab.position import POSITIONS
from attnlab.registry import Registry
from attnlab.specs import Budget, ModelSpec, Modifiers, Part, RunSpec, TaskSpec, TrainSpec, Variant
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source

T = TypeVar("T")
Data = dict[str, Any]
SECTIONS = ("task", "model", "train")
"""What settings may speak of."""


def plan(request: Request, known: Known | None = None) -> list[RunSpec]:
    """The runs of a request: variants in order, and within each its seeds.

    Args:
        request: What to run.
        known: What earlier requests have looked up; a plan of many requests shares it.

    Raises:
        UnknownNameError: a task, attention, position, option or key that does not exist.
        InvalidValueError: a value of the wrong type or range, or sizes that do not fit one another.
        IncompatiblePartsError: an attention and a position, or an attention and a modifier, that make no sense together.
        PluginError: a user's part that raises when it is run.
    """
    known = known if known is not None else Known()
    ladder = known.ladder(request.task.name)
    if wrong := set(request.settings) - set(SECTIONS):
        raise unknown("section", min(wrong), SECTIONS, where=f"--set {min(wrong)}")
    options = {**request.task.options, **request.settings.get("task", {})}
    task = known.task(ladder, options, request.complexity, request.evaluate)
    train = known.train(merged(ladder.train, request.settings.get("train", {})))
    base = merged(ladder.model, request.settings.get("model", {}))
    reference: ModelSpec | None = known.model(base, request.reference, None) if request.reference else None
    specs: list[RunSpec] = []
    for attention in request.attentions or (None,):
        for position in request.positions or (None,):
            model = known.model(base, attention, position)
            reference = reference or model
            if request.match and model.attention != reference.attention:
                against = reference.model_copy(update={"position": model.position}) if request.reference else reference
                model = known.matched(model, against, request.match, task)
            known.rehearse(model, task)
            specs += [RunSpec.model_construct(task=task, model=model, train=train, seed=s) for s in request.seeds]
    return specs


class Known:
    """What a plan has looked up, built or rehearsed: many runs share it, and it is worked out once."""

    def __init__(self) -> None:
        self._held: dict[tuple[Any, ...], Any] = {}

    def ladder(self, word: str) -> Ladder:
        """The ladder of that name or file."""
        return self._once(("ladder", word), lambda: find_ladder(word))

    def task(self, ladder: Ladder, options: Data, level: Any, evaluate: Sequence[Any] | None) -> TaskSpec:
        """A ladder's task at a level."""
        key = ("task", ladder.name, repr(options), level, repr(evaluate))
        return self._once(key, lambda: task_spec(ladder, options, level, evaluate))

    def train(self, data: Data) -> TrainSpec:
        """How it is trained."""
        return self._once(("train", repr(data)), lambda: validated(TrainSpec, data, _dotted("train")))

    def model(self, base: Data, attention: Variant | None, position: Part | None) -> ModelSpec:
        """A model with one variant, its parts looked up and its pairing checked."""

        def paired() -> ModelSpec:
            model = model_spec(base, attention, position)
            check_pairing(model)
            check_modifiers(model)
            return model

        return self._once(("model", repr(base), repr(attention), repr(position)), paired)

    def matched(self, model: ModelSpec, reference: ModelSpec, budget: Budget, task: TaskSpec) -> ModelSpec:
        """The model brought to the reference's budget."""
        key = ("matched", model.canonical, reference.canonical, budget, task.canonical)
        return self._once(key, lambda: match_budget(model, reference, budget, self.source(task)))

    def rehearse(self, model: ModelSpec, task: TaskSpec) -> None:
        """See that the model answers one sequence of the task."""
        key = ("rehearsed", model.canonical, task.canonical)
        if key not in self._held:
            preflight(model, self.source(task))
            self._held[key] = True

    def source(self, task: TaskSpec) -> Source:
        """The data of a task."""
        return self._once(("source", task.canonical), lambda: Source(task, seed=0))

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]


def model_spec(base: dict[str, Any], attention: Variant | None, position: Part | None) -> ModelSpec:
    """A model with one variant, its parts looked up and checked."""
    model = validated(ModelSpec, base, _dotted("model"))
    stack = tuple(resolved(part, ATTENTIONS, "model.attention") for part in attention or model.attention)
    place = resolved(position or model.position, POSITIONS, "model.position")
    return model.model_copy(update={"attention": stack, "position": place})


def resolved(part: Part, registry: Registry[Any], where: str) -> Part:
    """A part with its real name and version, and those of its options that differ from the defaults."""
    try:
        entry = registry.entry(part.name)
        return Part(name=entry.name, options=entry.non_default(part.options), version=entry.version)
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None


def check_pairing(model: ModelSpec) -> None:
    """Refuse a position that biases scores where an attention forms none.

    Raises:
        IncompatiblePartsError: with the positions that would work.
    """
    position = POSITIONS.entry(model.position.name)
    for part in model.attention:
        if position.cls.biases and not ATTENTIONS.entry(part.name).cls.has_scores:
            fit = ", ".join(entry.name for entry in POSITIONS if not entry.cls.biases)
            result = f"'{part.name}' forms no scores, so position '{position.name}' has nothing to bias."
            raise IncompatiblePartsError(result, f"Pair it with: {fit}.", where="model.position")


def check_modifiers(model: ModelSpec) -> None:
    """Refuse a modifier that no layer would hear.

    Raises:
        IncompatiblePartsError: with what would be heard.
    """
    worn = sorted(name for name, value in model.modifiers if value != Modifiers.model_fields[name].default)
    if "value_residual" in worn and model.layers == 1:
        result = "One layer has no values of an earlier one to mix in: value_residual would change nothing."
        raise IncompatiblePartsError(
            result, "Give it two layers or more, or leave value_residual out.", where="model.modifiers"
        )
    kinds = {part.name: ATTENTIONS.entry(part.name).cls for part in model.attention}
    for name in worn:
        if all(name in kind.unsupported_modifiers for kind in kinds.values()):
            part, kind = next(iter(kinds.items()))
            reached = ", ".join(other for other in Modifiers.model_fields if other not in kind.unsupported_modifiers)
            result = f"'{part}' cannot hear {name}: {kind.unsupported_modifiers[name]}."
            raise IncompatiblePartsError(result, f"Leave {name} out. It hears: {reached}.", where="model.modifiers")


def default_parameters(kind: str, name: str) -> int:
    """Learned numbers of the default model with that attention or position, on the default level of recall."""
    part = (Part(name=name),) if kind == "attention" else Part(name=name)
    source = Source(task_spec(find_ladder("recall"), {}, None), 0)
    model = ModelSpec().model_copy(update={kind: part})
    return build(model, vocabulary=source.vocabulary, length=source.length, seed=0).parameter_count


def _dotted(section: str) -> Callable[[Place], str]:
    return lambda place: ".".join(map(str, (section, *place)))
