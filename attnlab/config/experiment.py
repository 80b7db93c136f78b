"""Experiments: the YAML files of ``experiments/``, one question each, with the runs that answer it and the claims made.

ladders     what is climbed
vary        what differs between runs: every combination of the listed values
zip         what differs together: the n-th values of all its keys at once
select      which of these keys are tuned: the value best on the validation stream is reported, per cell
claims      what is said of the result, to be checked against it
scales      smaller or larger budgets of the same question
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, Strict, model_validator

from attnlab import resources
from attnlab.config.inline_parts import merged
from attnlab.config.validate import validated
from attnlab.config.yaml import Document, read
from attnlab.errors import InvalidFileError, InvalidValueError, unknown
from attnlab.specs import ModelSpec, Share, TrainSpec, Value

Data = dict[str, Any]
Level = int | float | str
Column = Annotated[tuple[Any, ...], Strict(False), Field(min_length=1)]
Levels = Annotated[tuple[Level, ...], Strict(False), Field(min_length=1)]

SHORT = {
    **{name: f"model.{name}" for name in ModelSpec.model_fields},
    **{name: f"train.{name}" for name in TrainSpec.model_fields},
}
"""Fields that may be named without their section; ``attention`` and ``position`` among them."""


class LadderLevels(Value):
    """A ladder, and which of its levels are climbed."""

    ladder: str
    """A ladder's name or file."""
    levels: Levels | None = None
    """Left out, all of the ladder's."""
    options: Data = {}
    """Options of the task, over the ladder's."""
    evaluate: Annotated[tuple[Level, ...], Strict(False)] | None = None
    """Levels tested beside the trained one; left out, the ladder's."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"ladder": data} if isinstance(data, str) else data


class Claim(Value):
    """A sentence about the result, and how it is checked.

    The mean over seeds of ``of`` is compared with that of ``than``, or with the number ``bound``; a claim holds where
    the whole interval is on the claimed side, fails where it is on the other, and is undecided where it straddles.
    """

    says: str
    of: Data
    """Which runs: field -> value, as ``{attention: expressive, complexity: 8}``."""
    than: Data = {}
    """Which other runs; fields left out are those of ``of``."""
    metric: str = "accuracy"
    """What is compared: any value of the report."""
    expect: Literal["greater", "less", "equal", "at least", "at most"]
    bound: float | None = None
    """The number to compare with; for ``greater`` and ``less`` than other runs, a margin that must be passed."""
    ratio: bool = False
    """Whether runs are compared by their ratio rather than their difference."""


class ReportLayout(Value):
    """How the result is laid out."""

    index: Annotated[tuple[str, ...], Strict(False)] = ()
    columns: str = "level"
    metric: str = "accuracy"


class Preset(Value):
    """A budget: what it changes of the experiment."""

    ladders: Annotated[tuple[LadderLevels, ...], Strict(False)] | None = None
    grid: dict[str, Column] = {}
    seeds: Annotated[int, Field(ge=1)] | None = None
    model: Data = {}
    train: Data = {}
    claims: bool = True
    """Whether the claims are about this budget."""


class Experiment(Value):
    """A question, and the runs that answer it."""

    name: str
    question: str
    source: str = ""
    ladders: Annotated[tuple[LadderLevels, ...], Strict(False), Field(min_length=1)]
    grid: dict[str, Column] = {}
    zip: Annotated[tuple[dict[str, Column], ...], Strict(False)] = ()
    tune: Annotated[tuple[str, ...], Strict(False)] | None = None
    """Left out, every varied key of the training is tuned; an empty list tunes nothing."""
    seeds: Annotated[int, Field(ge=1)] = 3
    model: Data = {}
    train: Data = {}
    match: Literal["parameters", "flops", "state"] | None = None
    claims: Annotated[tuple[Claim, ...], Strict(False)] = ()
    report: ReportLayout = ReportLayout()
    presets: dict[Literal["smoke", "laptop", "paper"], Preset] = {}
    expected_steps: Share | None = None
    """Share of its steps that a full run of it took, the others being spared as it was solved: for estimates alone."""
    notes: str = ""

    _document: Document | None = PrivateAttr(default=None)

    def where(self, *place: str | int) -> str:
        """``file:line: field`` of one of its fields, or the field alone if it stands in no file."""
        return self._document.where(place) if self._document else ".".join(map(str, place))

    def written(self, *place: str | int) -> bool:
        """Whether that very field stands in its file."""
        return self._document is not None and place in self._document.lines

    def with_preset(self, scale: Literal["smoke", "laptop", "paper"] | None) -> Experiment:
        """The experiment with that budget; as it is written is ``laptop``, unless it says otherwise.

        Raises:
            UnknownNameError: it has no such scale.
        """
        if scale is None or (scale == "laptop" and "laptop" not in self.presets):
            return self
        if scale not in self.presets:
            raise unknown(f"scale of {self.name}", scale, self.presets, where="--scale")
        budget = self.presets[scale]
        changed = {
            "ladders": budget.ladders or self.ladders,
            "grid": {**self.grid, **budget.grid},
            "seeds": budget.seeds or self.seeds,
            "model": merged(self.model, budget.model),
            "train": merged(self.train, budget.train),
            "claims": self.claims if budget.claims else (),
            "expected_steps": None,
        }
        return self.model_copy(update=changed)

    @property
    def tuned(self) -> tuple[str, ...]:
        """The varied keys whose value is chosen on the validation stream, with their sections."""
        varied = [full_key(key) for key in [*self.grid, *(key for group in self.zip for key in group)]]
        if self.tune is not None:
            return tuple(full_key(key) for key in self.tune)
        return tuple(key for key in varied if key.startswith("train."))


def full_key(key: str) -> str:
    """A key with its section: ``lr`` is ``train.lr``, ``attention`` is ``model.attention``."""
    return SHORT.get(key, key)


def experiment(word: str) -> Experiment:
    """The shipped experiment of that name, or the one in that file.

    Raises:
        UnknownNameError: no such experiment, or a key the format does not have.
        InvalidFileError: the file is missing or is not strict YAML.
        InvalidValueError: a field is of the wrong type; zips of unequal length; a key that is varied twice.
    """
    return read_experiment(resources.find("experiments", word))


def read_experiment(path: Path) -> Experiment:
    """Read and check one experiment file."""
    document = read(path)
    experiment = validated(Experiment, document.data, document.where)
    experiment._document = document
    for scale in experiment.presets:
        check_experiment(experiment.with_preset(scale), "scales", scale)
    return check_experiment(experiment)


def stored_experiment(folder: Path) -> Experiment | None:
    """The experiment that a store was made for, if it was made for one.

    Raises:
        InvalidFileError: what stands there is no experiment.
    """
    path = folder / "experiment.json"
    if not path.exists():
        return None
    try:
        return Experiment.model_validate_json(path.read_bytes())
    except ValueError:
        hint = "Move it away; the next sweep writes it anew."
        raise InvalidFileError("This is no experiment of attnlab.", hint, where=str(path)) from None


def check_experiment(experiment: Experiment, *at: str) -> Experiment:
    """The experiment, if what it varies makes sense.

    Args:
        experiment: The experiment, at one of its scales or at none.
        at: Where in the file that scale stands.

    Raises:
        UnknownNameError: a key that is no field of model, training or task; a tuned key that is not varied.
        InvalidValueError: zips of unequal length, or of nothing; a key that is varied twice.
    """
    seen: dict[str, str] = {}
    places: list[tuple[tuple[str | int, ...], str]] = [(("grid", key), key) for key in experiment.grid]
    places += [(("zip", index, key), key) for index, group in enumerate(experiment.zip) for key in group]
    for place, key in places:
        whole = full_key(key)
        section, _, rest = whole.partition(".")
        if section not in ("model", "train", "task") or not rest:
            raise unknown(
                "key", key, [*SHORT, "task.OPTION"], where=experiment.where(*_standing(experiment, at, place))
            )
        if whole in seen:
            hint = f"It stands in {seen[whole]} already."
            raise InvalidValueError(
                f"'{key}' is varied twice.", hint, where=experiment.where(*_standing(experiment, at, place))
            )
        seen[whole] = ".".join(map(str, place[:-1]))
    for index, group in enumerate(experiment.zip):
        if not group:
            hint = "Write key: [value, value], or leave it out."
            raise InvalidValueError("Nothing is zipped here.", hint, where=experiment.where("zip", index))
        lengths = {key: len(values) for key, values in group.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{key} {count}" for key, count in lengths.items())
            raise InvalidValueError(
                f"What is zipped must be equally long; here: {said}.", where=experiment.where("zip", index)
            )
    for key in experiment.tune or ():
        if full_key(key) not in seen:
            raise unknown("varied key", key, [*experiment.grid, *seen], where=experiment.where("tune"))
    return experiment


def _standing(experiment: Experiment, at: tuple[str, ...], place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Where a key is written: in the scale if it says it, otherwise in the experiment itself."""
    return (*at, *place) if at and experiment.written(*at, *place) else place
