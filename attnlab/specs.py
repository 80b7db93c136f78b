"""Specifications: frozen values that say what is run.

A :class:`RunSpec` holds everything that decides a run's numbers and nothing else: equal specs give equal numbers on one
machine. Device, executor and vmap width are not part of it; they are recorded in the environment of the
:class:`attnlab.records.Record`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    field_validator,
    model_serializer,
    model_validator,
)

from attnlab.choices import (
    BATCH_SIZE,
    HEADS,
    LAYERS,
    LR,
    MAX_STEPS,
    WIDTH,
    DiagnosticsKind,
    NormPlace,
    Optimizer,
    Precision,
    Schedule,
)
from attnlab.sizes import MAX_INTEGER

Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Share = Annotated[float, Field(ge=0, le=1)]
LARGEST_OPTION = 2**64
"""Size of an integer among the options of a part at most."""
MAX_DEPTH = 20
"""Lists and mappings within one another among the options of a part at most."""
MAX_VALUES = 100_000
"""Values, lists and mappings that the options of a part hold in all."""


def _bounded(options: dict[str, Any]) -> dict[str, Any]:
    """Refuse options that are nested too deeply, are too many, or have numbers that no float can hold.

    What is returned has lists for tuples, as a file gives it back: a run that is read equals the one that was written.
    """
    level, count, depth, tuples = [*options.values()], 0, 0, False
    while level:
        count, depth = count + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise ValueError("They are nested too deeply")
        if count > MAX_VALUES:
            raise ValueError(f"There are over {MAX_VALUES:,} values")
        below: list[Any] = []
        for value in level:
            if isinstance(value, int) and not -LARGEST_OPTION <= value <= LARGEST_OPTION:
                raise ValueError("An integer is larger than 2^64")
            if isinstance(value, list | tuple):
                tuples |= isinstance(value, tuple)
                below += value
            elif isinstance(value, dict):
                below += value.values()
        level = below
    return {name: _with_lists(value) for name, value in options.items()} if tuples else options


def _with_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_lists(one) for one in value]
    return {key: _with_lists(one) for key, one in value.items()} if isinstance(value, dict) else value


Options = Annotated[dict[str, Any], AfterValidator(_bounded)]
Version = Annotated[int, Field(ge=0, le=2**53)]
CodeDigest = Annotated[str, Field(pattern="^[0-9a-f]*$", exclude_if=lambda digest: not digest)]
FILLED_IN = ("version", "code_digest", "then", "continue_from", "sizes")
"""Fields that a user does not write: they are filled in when a part is looked up."""
Level = int | float | str
"""A value of the option that a ladder's levels set."""


class Split(IntEnum):
    """What a stream of random numbers is used for; streams of different splits are disjoint."""

    TRAIN = 1
    VALIDATION = 2
    TEST = 3
    INIT = 4
    BOOTSTRAP = 5
    DIAGNOSTICS = 6
    NOISE = 7
    ORDER = 8


class Value(BaseModel):
    """A frozen value: unknown keys are refused and nothing is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, ser_json_inf_nan="constants")


class Identity(Value):
    """A value whose identity (canonical JSON, id) is computed once."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the value and drop its cached identity.

        Args:
            update: Fields to change, by name; they are not validated.
            deep: Whether nested values are copied too.

        Returns:
            The copy, which computes an identity of its own.
        """
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Section(Identity):
    """A part of a run's identity; many runs share one section."""

    @cached_property
    def canonical(self) -> bytes:
        """JSON with sorted keys and no spaces."""
        return _canonical(self.model_dump(mode="json"))

    @property
    def all_fields(self) -> dict[str, Any]:
        """Every field that says anything, as plain data, including those that the JSON omits at their defaults."""
        data = self.model_dump()
        return {name: data.get(name, getattr(self, name)) for name in self.used_fields}

    @property
    def used_fields(self) -> list[str]:
        """The fields that say anything of this section."""
        return list(type(self).model_fields)

    @cached_property
    def unversioned(self) -> bytes:
        """The canonical JSON without the versions and the code of its parts."""
        return re.sub(rb'"code_digest":"[0-9a-f]*",|"version":(?:\d+|null)', b"", self.canonical)


class Part(Value):
    """A registered part and its options: ``dape``, or ``{name: dape, kernel: 3}``."""

    name: str
    options: Options = {}
    version: Version | None = None
    """Filled in when the part is looked up. A part whose meaning changes gets a new version, and so a new run id."""
    code_digest: CodeDigest = ""
    """Filled in likewise, for a part that is not built in; see :mod:`attnlab.part_code`."""
    then: Annotated[tuple[Part, ...], Strict(False), Field(exclude_if=lambda parts: not parts)] = ()
    """Further parts that alternate with it over the layers, where a field holds one part: a position."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        """Accept a bare name, and options written beside the name."""
        if isinstance(data, str):
            return {"name": data}
        if isinstance(data, dict) and "name" in data:
            own = {key: data[key] for key in data if key in cls.model_fields}
            beside = {key: data[key] for key in data if key not in cls.model_fields}
            options = own.get("options", {})
            return own | {"options": {**options, **beside}} if isinstance(options, dict) else data
        return data

    def __str__(self) -> str:
        """The name with its options, as the command line writes it."""
        if self.then:
            return variant_text(self.alternating)
        text = ",".join(f"{key}={_plain(value)}" for key, value in self.options.items())
        return f"{self.name}:{text}" if text else self.name

    @property
    def alternating(self) -> Variant:
        """The part without those that alternate with it, then those."""
        return (self.model_copy(update={"then": ()}), *self.then) if self.then else (self,)


class ModulePart(Part):
    """A whole model of the user's own, ``FILE.py:Class``, and the arguments of its constructor."""

    sizes: Annotated[tuple[str, ...], Strict(False), Field(exclude_if=lambda sizes: not sizes)] = ()
    """Filled in likewise: the sizes of the spec that its constructor is given, such as ``width``."""


Variant = tuple[Part, ...]
"""One attention, or several that alternate over the layers."""
ALTERNATING = ("attention", "mlp")
"""Fields of a model that hold several parts, of which each layer takes the next."""


def joined(parts: Variant) -> Part:
    """Hold parts that alternate over the layers in one part.

    Args:
        parts: One part, or several.

    Returns:
        The first with the others in ``then``; the first alone if all are equal.
    """
    equal = all(part == parts[0] for part in parts)
    return parts[0] if equal else parts[0].model_copy(update={"then": tuple(parts[1:])})


def of_layer(parts: Variant, layer: int) -> Part:
    """Tell which of the parts that alternate over the layers a layer has.

    >>> [str(of_layer((Part(name="softmax"), Part(name="delta")), layer)) for layer in range(3)]
    ['softmax', 'delta', 'softmax']

    Args:
        parts: One part, or several; after the last comes the first again.
        layer: Index of the layer, from 0.

    Returns:
        Its part.
    """
    return parts[layer % len(parts)]


def variant_text(parts: Variant) -> str:
    """Write parts that alternate over the layers as the command line does.

    >>> variant_text(tuple(Part(name=name) for name in ("softmax", "softmax", "softmax", "delta")))
    'softmax*3+delta'

    Args:
        parts: One part, or several.

    Returns:
        Inline words.
    """
    words = [(word, len(list(same))) for word, same in itertools.groupby(map(str, parts))]
    return "+".join(word if count == 1 else f"{word}*{count}" for word, count in words)


def _part(name: str) -> Any:
    """A field that holds a part, and that the JSON omits at its default: ids are those of specs without the field."""
    default = Part(name=name)
    return Field(default=default, exclude_if=lambda part: part == default)


def _parts(name: str) -> Any:
    """Like ``_part``, for parts that alternate over the layers."""
    default = (Part(name=name),)
    return Field(default=default, exclude_if=lambda parts: parts == default)


class TaskSpec(Section):
    """A task at one level."""

    name: str
    options: Options = {}
    train: Options = {}
    """Options that differ in the training split; an integer may be a range ``lo..hi``, drawn for each batch."""
    complexity: str = ""
    """The name of the option that the levels of the ladder set."""
    evaluate: Annotated[tuple[Level, ...], Strict(False)] = ()
    """Further levels on which a trained model is tested."""
    version: Version | None = None
    code_digest: CodeDigest = ""
    """Digest of the code of a task that is not built in; see :mod:`attnlab.part_code`."""

    @model_validator(mode="after")
    def _level_is_one(self) -> Self:
        """Refuse a list or a mapping as the level: runs are grouped and sorted by it."""
        for level in (self.options.get(self.complexity), self.train.get(self.complexity)):
            if not (level is None or isinstance(level, int | float | str)):
                raise ValueError(f"The level '{self.complexity}' should be a number or a word")
        return self

    @property
    def level(self) -> Any:
        """The value of the option that the ladder varies."""
        return self.options.get(self.complexity)


CanonPlaces = Literal["", "A", "B", "C", "D", "AB", "AC", "AD", "BC", "BD", "CD", "ABC", "ABD", "ACD", "BCD", "ABCD"]
"""Places of Canon layers, in the order of the letters."""


class Modifiers(Value):
    """Small additions that work with any attention."""

    qk_norm: bool = False
    """Queries and keys of unit size, with a learned gain per head."""
    gate: Literal["none", "element", "head"] = "none"
    """A gate on the output of the heads, per element or per head."""
    short_conv: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0
    """Taps of a causal convolution of the attention's input, without a residual connection; 0 leaves it out."""
    value_residual: Literal["none", "mean", "learned"] = "none"
    """How the values of the first layer are mixed into those of the others."""
    canon: Annotated[CanonPlaces, Field(exclude_if=lambda value: not value)] = ""
    """Where Canon layers stand, any of A (attention), B (its projections), C (MLP), D (inside the MLP): ``ABCD``."""
    exclusive: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """Whether each head's output loses its part along the token's own value."""


class ModelSpec(Section):
    """A tiny transformer: sizes, wiring, and the two crossed axes, attention and position."""

    layers: Count = LAYERS
    width: Count = WIDTH
    """Width of the residual stream."""
    heads: Count = HEADS
    mlp_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Hidden width of the MLP as a multiple of the width; 0 leaves the MLP out."""
    norm: NormPlace = "pre"
    """Where the norms stand: before each branch, after each sum, or nowhere."""
    residual: bool = True
    """Whether each branch has a residual (skip) connection."""
    tie_embeddings: bool = False
    """Whether the output head uses the weights of the embedding."""
    init_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1.0, exclude_if=lambda value: value == 1
    )
    """Factor on the initial weights of every linear map: projections, gates, MLP and an untied head."""
    attention: Annotated[Variant, Strict(False), Field(min_length=1)] = (Part(name="softmax"),)
    """One attention, or several that alternate over the layers."""
    position: Part = Part(name="fourier")
    modifiers: Modifiers = Modifiers()
    norm_layer: Part = _part("layernorm")
    """The norm itself, wherever the norms stand."""
    mlp: Annotated[Variant, Strict(False), Field(min_length=1)] = _parts("gelu")
    """One MLP, or several that alternate over the layers."""
    block: Part = _part("sequential")
    """How attention and MLP of a layer are put together."""
    residual_stream: Part = _part("plain")
    """How the branches read from the residual stream and write to it."""
    matched: str = ""
    """The budget that its sizes were solved for, and of which variant."""
    allow_leak: bool = Field(default=False, exclude_if=lambda allowed: not allowed)
    """Whether an attention whose outputs depend on later tokens is trained all the same; false where none does."""
    module: ModulePart | None = Field(default=None, exclude_if=lambda module: module is None)
    """A whole model of the user's own in place of the transformer; of the other fields it has the sizes it is given."""

    @property
    def variant(self) -> str:
        """The attention or the whole model, for a table; one that leaks says so."""
        text = variant_text(self.attention) if self.module is None else str(self.module)
        return text + (" (leaks)" if self.allow_leak else "")

    @property
    def used_fields(self) -> list[str]:
        """The fields that say anything of the model: all of a transformer; of a whole model the sizes it is given."""
        if self.module is None:
            return list(type(self).model_fields)
        return ["module", "matched", "allow_leak", *self.module.sizes]

    @model_validator(mode="after")
    def _module_alone(self) -> Self:
        """Leave nothing of a transformer beside a whole model: two specs of one model are the same value."""
        if self.module is not None:
            unused = type(self).model_fields.keys() - set(self.used_fields)
            none = {"attention": (), "position": Part(name="none")}
            defaults = {name: type(self).model_fields[name].get_default() for name in unused}
            self.__dict__.update(defaults | none)  # the value is being made, and frozen only for others
        return self

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return data if self.module is None else {name: data[name] for name in self.used_fields if name in data}

    @model_validator(mode="before")
    @classmethod
    def _one(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        single = {name: (data[name],) for name in ALTERNATING if isinstance(data.get(name), str | dict | Part)}
        return {**data, **single}


class TrainSpec(Section):
    """How a run is trained, validated and tested."""

    max_steps: Count = MAX_STEPS
    """Upper limit of training steps; a run that is solved stops earlier."""
    batch_size: Count = BATCH_SIZE
    """Sequences per step."""
    optimizer: Optimizer = Field(default="adamw", exclude_if=lambda value: value == "adamw")
    """AdamW for all parameters, or Muon for the matrices inside the blocks and AdamW for the others."""
    precision: Precision = Field(default="float32", exclude_if=lambda value: value == "float32")
    """The number format of the steps; weights and all measurements are float32. Settings may say ``auto``: bf16 where
    the machine has instructions for it."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = LR
    """Peak learning rate."""
    schedule: Schedule = "cosine"
    warmup_ratio: Share = 0.05
    """Share of the steps over which the learning rate rises from 0."""
    min_lr_ratio: Share = 0.1
    """The final learning rate of the cosine schedule, as a share of the peak."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """Decoupled weight decay, on matrices only."""
    grad_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    """Largest norm of the gradient; null does not clip."""
    betas: Annotated[tuple[Share, Share], Strict(False)] = (0.9, 0.98)
    early_stop_accuracy: Share | None = 0.998
    """Validation accuracy at which training stops, once further sequences confirm it; null trains all steps."""
    eval_every: Count = 100
    """Steps between two validations."""
    validation_examples: Count = 256
    """Sequences of the validation split."""
    test_examples: Count = 1024
    """Sequences of the test split, which is used once, at the end."""
    rollout: bool = Field(default=False, exclude_if=lambda value: value is False)
    """Whether the test asks each question given the answers generated before it, instead of the right ones."""
    train_examples: Count | None = None
    """Number of distinct training sequences, in a new order in each pass; null draws new ones for every step."""
    log_diagnostics: Annotated[tuple[DiagnosticsKind, ...], Strict(False)] = ()
    """Diagnostics to log at steps 1, 2, 4, ... and at the last."""

    @field_validator("log_diagnostics", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        """Accept one word without a list; order and repetition of the words have no meaning."""
        if isinstance(value, str):
            return (value,)
        known = get_args(DiagnosticsKind)
        if isinstance(value, list | tuple) and all(word in known for word in value):
            return tuple(word for word in known if word in value)
        return value


class RunSpec(Identity):
    """One variant at one level with one seed."""

    task: TaskSpec
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    seed: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0
    continue_from: str = Field(default="", exclude_if=lambda value: not value)
    """Id of the finished run whose weights and optimizer state it begins with; empty for a run from the start."""

    @classmethod
    def of_seeds(cls, task: TaskSpec, model: ModelSpec, train: TrainSpec, seeds: Iterable[int]) -> list[Self]:
        """Make the runs of some seeds, which share their sections, and their ids.

        Args:
            task: The task, checked, as the other sections are.
            model: The model.
            train: The training.
            seeds: The seeds.

        Returns:
            A run for each seed.
        """
        begin = hashlib.sha256(b'{"model":%s,"seed":' % model.canonical)
        end = b',"task":%s,"train":%s}' % (task.canonical, train.canonical)
        made = []
        for seed in seeds:
            digest = begin.copy()
            digest.update(b"%d%s" % (seed, end))
            spec = object.__new__(cls)
            values = {"task": task, "model": model, "train": train, "seed": seed, "continue_from": ""}
            values["id"] = digest.hexdigest()[:12]
            object.__setattr__(spec, "__dict__", values)
            for name, value in _UNCHECKED.items():
                object.__setattr__(spec, name, value)
            made.append(spec)
        return made

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of the hash of the canonical JSON, versions and code of the parts included."""
        if not self.continue_from:
            model, task, train = self.model.canonical, self.task.canonical, self.train.canonical
            text = b'{"model":%s,"seed":%d,"task":%s,"train":%s}' % (model, self.seed, task, train)
            return hashlib.sha256(text).hexdigest()[:12]
        sections = {"model": self.model.canonical, "task": self.task.canonical, "train": self.train.canonical}
        parts = {**sections, "seed": str(self.seed).encode(), "continue_from": _canonical(self.continue_from)}
        return hashlib.sha256(
            b"{" + b",".join(b'"%s":%s' % (k.encode(), parts[k]) for k in sorted(parts)) + b"}"
        ).hexdigest()[:12]

    @property
    def unversioned_id(self) -> str:
        """Like the id, without versions and code of the parts: equal for runs that differ in nothing but these."""
        sections = (section.unversioned for section in (self.model, self.task, self.train))
        own = f"{self.seed}{self.continue_from}".encode()
        return hashlib.sha256(b"".join(sections) + own).hexdigest()[:12]

    @property
    def summary(self) -> str:
        """The run in a few words."""
        task = self.task
        level = f" {task.complexity}={task.level}" if task.complexity else ""
        origin = f" · continues {self.continue_from}" if self.continue_from else ""
        position = f" · {self.model.position}" if self.model.module is None else ""
        return f"{task.name}{level} · {self.variant}{position} · seed {self.seed}{origin}"

    @property
    def shape(self) -> str:
        """A hash of what two runs must have in common to be trained as one vmapped program."""
        exclude: Any = {"seed": True, "continue_from": True, "model": {"init_scale"}}
        exclude["train"] = {"lr", "weight_decay", "grad_clip"}
        data = self.model_dump(mode="json", exclude=exclude)
        return hashlib.sha256(_canonical(data)).hexdigest()[:12]

    @property
    def variant(self) -> str:
        """The attention or the whole model, for a table."""
        return self.model.variant


_UNCHECKED: Mapping[str, Any] = {
    "__pydantic_fields_set__": {"task", "model", "train", "seed"},
    "__pydantic_extra__": None,
    "__pydantic_private__": None,
}
"""What a value that was not checked has beside its fields."""


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
