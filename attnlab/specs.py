"""The frozen values of the lab: what is to be run.

A :class:`RunSpec` says everything that decides a run's numbers and nothing else; equal specs give equal numbers on
one machine. Device, executor and bundle width are not in it: they are recorded in the environment of the
:class:`attnlab.records.Record`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "tf32", "bf16"]
"""In what the steps of a training are computed."""
DiagnosticsKind = Literal["rank", "gradients", "attention"]
"""What can be watched along a training."""


class Split(IntEnum):
    """What randomness is for."""

    TRAIN = 1
    VALIDATION = 2
    TEST = 3
    INIT = 4
    BOOTSTRAP = 5
    DIAGNOSTICS = 6


class Value(BaseModel):
    """A frozen value: unknown keys refused, nothing coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, ser_json_inf_nan="constants")


class Identity(Value):
    """A value that works out once what it is known by."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, which works out its own."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Section(Identity):
    """A part of a run's identity; sections are shared by many runs."""

    @cached_property
    def canonical(self) -> bytes:
        """JSON with sorted keys and no spaces."""
        return _canonical(self.model_dump(mode="json"))

    @property
    def all_fields(self) -> dict[str, Any]:
        """Every field as plain data, those too that the JSON leaves out where they have their defaults."""
        data = self.model_dump()
        return {name: data.get(name, getattr(self, name)) for name in type(self).model_fields}

    @cached_property
    def unversioned(self) -> bytes:
        """The canonical JSON without the versions of its parts."""
        return re.sub(rb'"version":(?:\d+|null)', b"", self.canonical)


class Part(Value):
    """A registered part and its options: ``dape``, or ``{name: dape, kernel: 3}``."""

    name: str
    options: dict[str, Any] = {}
    version: int | None = None
    """Filled in when the part is looked up; a part whose meaning changes takes a new version, so a new run id."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        """A bare name, and options written beside the name."""
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
        words = ",".join(f"{key}={_plain(value)}" for key, value in self.options.items())
        return f"{self.name}:{words}" if words else self.name


class TaskSpec(Section):
    """A task at one level."""

    name: str
    options: dict[str, Any] = {}
    train: dict[str, Any] = {}
    """Options that differ in the training stream; an integer may be a range ``lo..hi``, drawn for each batch."""
    complexity: str = ""
    """The option that the ladder climbs."""
    evaluate: Annotated[tuple[int | float | str, ...], Strict(False)] = ()
    """Levels on which a trained model is tested beside its own."""
    version: int | None = None

    @property
    def level(self) -> Any:
        """Where on the ladder this is."""
        return self.options.get(self.complexity)


class Modifiers(Value):
    """Small additions that any attention can wear."""

    qk_norm: bool = False
    """Queries and keys of unit size, with a learned gain per head."""
    gate: Literal["none", "element", "head"] = "none"
    """A gate on what the heads write, per element or per head."""
    short_conv: Annotated[int, Field(ge=0)] = 0
    """Taps of a causal convolution before the attention; 0 leaves it out."""
    value_residual: Literal["none", "mean", "learned"] = "none"
    """How the values of the first layer are mixed into those of the others."""


class ModelSpec(Section):
    """A tiny transformer: sizes, wiring, and the two crossed axes, attention and position."""

    layers: Count = 2
    width: Count = 64
    """Width of the stream."""
    heads: Count = 2
    mlp_ratio: Annotated[float, Field(ge=0)] = 4.0
    """Hidden width of the MLP as a multiple of the width; 0 leaves the MLP out."""
    norm: Literal["pre", "post", "none"] = "pre"
    """Where the layer norm stands: before each branch, after each sum, or nowhere."""
    residual: bool = True
    """Whether the stream runs past each branch."""
    tie_embeddings: bool = False
    """Whether the head uses the embedding's weights."""
    init_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1.0, exclude_if=lambda value: value == 1
    )
    """Factor on the initial weights of every linear map: projections, gates, MLP and a free head."""
    attention: Annotated[tuple[Part, ...], Strict(False), Field(min_length=1)] = (Part(name="softmax"),)
    """One attention, or several that take turns over the layers."""
    position: Part = Part(name="learned")
    modifiers: Modifiers = Modifiers()
    matched: str = ""
    """What budget its sizes were solved for, and whose."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("attention"), str | dict | Part):
            return {**data, "attention": (data["attention"],)}
        return data


class TrainSpec(Section):
    """How a run is trained, validated and tested."""

    max_steps: Count = 2000
    """Most steps; a run that is solved stops sooner."""
    batch_size: Count = 64
    """Sequences per step."""
    optimizer: Literal["adamw", "muon"] = Field(default="adamw", exclude_if=lambda value: value == "adamw")
    """AdamW for all, or Muon for the matrices inside the blocks and AdamW for the rest."""
    precision: Precision = Field(default="float32", exclude_if=lambda value: value == "float32")
    """In what its steps are computed; weights and whatever is measured are float32 always."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_ratio: Share = 0.05
    """Share of the steps over which the rate rises from 0."""
    min_lr_ratio: Share = 0.1
    """Share of the peak rate that the cosine ends at."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay, on matrices only."""
    grad_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null never clips."""
    betas: Annotated[tuple[Share, Share], Strict(False)] = (0.9, 0.98)
    early_stop_accuracy: Share | None = 0.998
    """Accuracy on the validation stream at which training stops; null trains all steps."""
    eval_every: Count = 100
    """Steps between two looks at the validation stream."""
    validation_examples: Count = 256
    """Sequences of the validation stream."""
    test_examples: Count = 1024
    """Sequences of the test stream, seen once, at the end."""
    train_examples: Count | None = None
    """Sequences to train on, again and again; null draws fresh ones for every step."""
    log_diagnostics: Annotated[tuple[DiagnosticsKind, ...], Strict(False)] = ()
    """What is measured of the model at steps 1, 2, 4, ... and the last."""

    @field_validator("watch", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        """One word needs no list; the same words in another order, or twice, ask for the same."""
        if isinstance(value, str):
            return (value,)
        known = get_args(DiagnosticsKind)
        if isinstance(value, list | tuple) and all(word in known for word in value):
            return tuple(word for word in known if word in value)
        return value


class RunSpec(Identity):
    """One variant on one level with one seed."""

    task: TaskSpec
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    seed: Annotated[int, Field(ge=0)] = 0

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of the hash of the canonical JSON, versions of the parts included."""
        sections = {"model": self.model.canonical, "task": self.task.canonical, "train": self.train.canonical}
        data = {**sections, "seed": str(self.seed).encode()}
        return hashlib.sha256(
            b"{" + b",".join(b'"%s":%s' % (k.encode(), data[k]) for k in sorted(data)) + b"}"
        ).hexdigest()[:12]

    @property
    def unversioned_id(self) -> str:
        """Like the id, but for the versions of the parts: runs of one kin differ in what their parts meant."""
        sections = (section.unversioned for section in (self.model, self.task, self.train))
        said = b"".join(sections) + str(self.seed).encode()
        return hashlib.sha256(said).hexdigest()[:12]

    @property
    def summary(self) -> str:
        """The run in a few words."""
        task = self.task
        level = f" {task.complexity}={task.level}" if task.complexity else ""
        return f"{task.name}{level} · {self.variant} · {self.model.position} · seed {self.seed}"

    @property
    def shape(self) -> str:
        """What must agree for two runs to be stacked as lanes of one bundle."""
        data = self.model_dump(
            mode="json", exclude={"seed": True, "model": {"scale"}, "train": {"lr", "decay", "clip"}}
        )
        return hashlib.sha256(_canonical(data)).hexdigest()[:12]

    @property
    def variant(self) -> str:
        """The attention, for a table."""
        return "+".join(str(part) for part in self.model.attention)


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
