"""Experiments: the YAML files of ``experiments/``, one question each, with its runs and claims about their result.

ladders     the ladders and levels that are trained
grid        what differs between runs: every combination of the listed values
zip         what differs together: the n-th values of all its keys at once
tune        which of these keys are tuned: per cell, the value with the best validation accuracy is reported
claims      statements about the result, which are checked against it
published   what the source printed, beside which the report shows its own numbers
presets     smaller or larger budgets of the same question
recipe      named settings below those of the ladders
until       run only what it takes to decide how the variants compare
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import from_json

from attnlab import resources
from attnlab.choices import Budget, PresetName
from attnlab.config.auto_position import auto_values, is_auto
from attnlab.config.durations import parse_duration
from attnlab.config.inline_parts import merged
from attnlab.config.ladder import Training
from attnlab.config.published_values import PublishedTable, check_published_values
from attnlab.config.recipes import RECIPES, find_recipe
from attnlab.config.renamed import Location, experiment_names, renamed_tree
from attnlab.config.validate import validated
from attnlab.config.yaml import Document, parse, read
from attnlab.errors import (
    InvalidFileError,
    InvalidValueError,
    NewerRecordWarning,
    RenamedWarning,
    UnknownNameError,
    unknown,
)
from attnlab.records import newer_fields
from attnlab.specs import Level, ModelSpec, Share, TrainSpec, Value
from attnlab.user_code import user_stacklevel

Data = dict[str, Any]


def _named_module(value: Any) -> Any:
    """Accept the name of a whole model of the user's own in place of the fields of a model."""
    return {"module": value} if isinstance(value, str) else value


def _folder_name(name: str) -> str:
    """Refuse a name that is no folder's: records are stored in ``results/NAME``."""
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise ValueError("Use the name of a folder in results/, without / and \\")
    return name


def _duration(text: Any) -> Any:
    """Refuse what is no duration; numbers are seconds."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = f"{text:g}"
    if isinstance(text, str):
        try:
            parse_duration(text)
        except InvalidValueError as error:
            raise ValueError(error.hint) from None
    return text


FolderName = Annotated[str, AfterValidator(_folder_name)]
ModelData = Annotated[Data, BeforeValidator(_named_module, json_schema_input_type=str | Data)]
"""Fields of the model; or ``FILE.py:Class``, a whole model of the user's own."""
RecipeName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*RECIPES]})]
"""Named settings; whether they exist is checked apart, so that an experiment of a newer attnlab can be read."""
SEEDS_UNTIL_DECIDED = 30
"""The most seeds that a level gets where an experiment stops by itself."""
Column = Annotated[tuple[Any, ...], Strict(False), Field(min_length=1)]
Levels = Annotated[tuple[Level, ...], Strict(False)]

SHORT = {
    **{name: f"model.{name}" for name in ModelSpec.model_fields},
    **{name: f"train.{name}" for name in TrainSpec.model_fields},
}
"""Fields that may be named without their section; ``attention`` and ``position`` are among them."""
TRAINING_WORDS = ("curriculum", "training")
"""What names the ranges of training elsewhere."""
RECIPE = "recipe"
"""The key of a grid that is no field of a run: it gives several fields their values, below those that are set."""


NOT_TUNED = tuple(
    f"train.{name}"
    for name in (
        "train_examples",
        "validation_examples",
        "test_examples",
        "rollout",
        "eval_every",
        "log_diagnostics",
    )
)
"""Fields of the training that say what is learned from and what is measured; no value of theirs is better."""


class LadderLevels(Value):
    """A ladder, and which of its levels are trained."""

    ladder: str
    """A ladder's name or file."""
    levels: Annotated[Levels, Field(min_length=1)] | None = None
    """Left out, all levels of the ladder."""
    options: Data = {}
    """Options of the task; they override the ladder's."""
    training: Training = {}
    """Options that differ in the training split, likewise; an integer may be a range ``lo..hi`` or ``lo..level``, or
    a curriculum. ``level`` is the option that the levels set, and its ranges may stand alone."""
    evaluate: Levels | None = None
    """Further levels to test on; left out, the ladder's."""


def _named_ladder(value: Any) -> Any:
    """Accept the name of a ladder in place of its fields."""
    return {"ladder": value} if isinstance(value, str) else value


Ladders = Annotated[
    tuple[Annotated[LadderLevels, BeforeValidator(_named_ladder, json_schema_input_type=str | LadderLevels)], ...],
    Strict(False),
]
"""Ladders, each with the levels that are trained, or by its name alone."""


class Claim(Value):
    """A statement about the result, and how it is checked.

    The mean over seeds of ``of`` is compared with that of ``than``, or with the number ``bound``. A claim holds where
    the whole interval is on the claimed side, fails where it is on the other, and is undecided otherwise.
    """

    says: str
    of: Data
    """Which runs: field -> value, as ``{attention: expressive, level: 8}``."""
    than: Data = {}
    """Which other runs; fields that are left out are those of ``of``."""
    metric: str = "accuracy"
    """What is compared: any metric of the report."""
    expect: Literal["greater", "less", "equal", "at least", "at most"]
    bound: float | None = None
    """The number to compare with; for ``greater`` and ``less`` than other runs, a margin that must be exceeded."""
    ratio: bool = False
    """Whether runs are compared by their ratio rather than their difference."""
    slope: bool = False
    """Whether it is about the slope over levels: how much the metric, or its difference from the other runs, grows
    from one level to the next. The median over seeds is compared."""


class ReportLayout(Value):
    """How the result is laid out."""

    index: Annotated[tuple[str, ...], Strict(False)] = ()
    """Fields that name a row; empty takes those in which the runs differ."""
    columns: str = "level"
    """The field of the columns."""
    metric: str = "accuracy"


class Preset(Value):
    """A budget: what it changes of the experiment."""

    ladders: Ladders | None = None
    grid: dict[str, Column] = {}
    seeds: Annotated[int, Field(ge=1)] | None = None
    model: ModelData = {}
    train: Data = {}
    claims: bool = True
    """Whether the claims, and the published values, are about this budget."""


class Experiment(Value):
    """A question, and the runs that answer it."""

    name: FolderName
    question: str
    source: str = ""
    ladders: Annotated[Ladders, Field(min_length=1)]
    grid: dict[str, Column] = {}
    zip: Annotated[tuple[dict[str, Column], ...], Strict(False)] = ()
    tune: Annotated[tuple[str, ...], Strict(False)] | None = None
    """Left out, every hyperparameter of the training in the grid is tuned; an empty list tunes nothing."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """Left out, 3; with ``until`` it is the most that a level gets, and 30 if left out."""
    seed: Annotated[int, Field(ge=0, exclude_if=lambda seed: seed == 0)] = 0
    """The first seed; others than those by which levels or rates were chosen make a claim a test of them."""
    recipe: Annotated[RecipeName | None, Field(exclude_if=lambda name: name is None)] = None
    """Named settings below those of the ladders; left out, the default."""
    model: ModelData = {}
    train: Data = {}
    match: Budget | None = None
    until: Literal["decided"] | None = None
    """``decided`` adds seeds where they decide most, until it is known how every variant compares with the first."""
    equal: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """With ``until``: variants are alike whose accuracies differ by no more than this in most seeds."""
    budget: Annotated[str, BeforeValidator(_duration, json_schema_input_type=str | float)] | None = None
    """With ``until``: the time after which it ends undecided, such as 20m or 1h30m."""
    claims: Annotated[tuple[Claim, ...], Strict(False)] = ()
    published: Annotated[tuple[PublishedTable, ...], Strict(False)] = ()
    """What the source printed, beside which the report shows its own numbers."""
    report: ReportLayout = ReportLayout()
    presets: dict[PresetName, Preset] = {}
    expected_steps: Share | None = None
    """Share of its steps that a full run of it took, as solved runs stop early; used for cost estimates only."""
    notes: str = ""

    _document: Document | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _most_seeds(cls, data: Any) -> Any:
        """The seeds of an experiment that stops by itself."""
        if isinstance(data, dict) and data.get("until") and data.get("seeds") is None:
            return {**data, "seeds": SEEDS_UNTIL_DECIDED}
        return data

    def where(self, *location: str | int) -> str:
        """Name the location of a field for a message.

        Args:
            *location: Keys and indices that lead to the field.

        Returns:
            ``file:line: field``, or the field alone if the experiment is in no file.
        """
        return self._document.where(location) if self._document else ".".join(map(str, location))

    @property
    def file(self) -> tuple[str, str]:
        """The name and the content of the experiment's file; empty if it is in none."""
        return (self._document.name, self._document.text) if self._document else ("", "")

    def written(self, *location: str | int) -> bool:
        """Tell whether a field is in the experiment's file.

        Args:
            *location: Keys and indices that lead to the field.

        Returns:
            Whether it is.
        """
        return self._document is not None and location in self._document.lines

    def with_preset(self, preset: PresetName | None) -> Experiment:
        """Apply a preset.

        Args:
            preset: Its name. None leaves the experiment as it is; so does ``laptop`` where it is not defined.

        Returns:
            The experiment with that budget.

        Raises:
            UnknownNameError: The experiment has no such preset.
        """
        if preset is None or (preset == "laptop" and "laptop" not in self.presets):
            return self
        if preset not in self.presets:
            raise unknown("preset", preset, self.presets, owner=f"'{self.name}'", where="--preset")
        budget = self.presets[preset]
        changed = {
            "ladders": budget.ladders or self.ladders,
            "grid": {**self.grid, **budget.grid},
            "seeds": budget.seeds or self.seeds,
            "model": merged(self.model, budget.model),
            "train": merged(self.train, budget.train),
            "claims": self.claims if budget.claims else (),
            "published": self.published if budget.claims else (),
            "expected_steps": None,
        }
        return self.model_copy(update=changed)

    @property
    def tuned(self) -> tuple[str, ...]:
        """The keys whose value is chosen by validation accuracy, with their sections; the position where it is auto."""
        varied = [full_key(key) for key in [*self.grid, *(key for group in self.zip for key in group)]]
        chosen = tuple(full_key(key) for key in self.tune or ())
        if self.tune is None:
            chosen = tuple(key for key in varied if key.startswith("train.") and key not in NOT_TUNED)
        if self.auto_positions is None or "model.position" in chosen:
            return chosen
        return (*chosen, "model.position")

    @property
    def auto_positions(self) -> tuple[Any, ...] | None:
        """The positions of which each cell takes the best, with ``auto`` as it was written; None without ``auto``."""
        return auto_values(self.grid, self.model)


OPTIONS = ("seeds", "seed", "until", "equal", "budget", "recipe")
"""Fields that options of the command line and of Python set."""


def with_changes(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Change fields of an experiment; those that options set are checked.

    Args:
        experiment: The experiment.
        changes: Field -> value.

    Returns:
        The changed experiment. One that is to be decided from now on may have as many seeds as that takes.

    Raises:
        InvalidValueError: A value is of the wrong type or out of range, or has no meaning without ``until``.
        UnknownNameError: There is no such recipe.
    """
    options = {name: value for name, value in changes.items() if name in OPTIONS}
    blank = {"name": experiment.name, "question": "", "ladders": ("recall",)}
    checked = validated(Experiment, blank | options, option_of)
    find_recipe(checked.recipe)
    if checked.until and "seeds" not in options:
        options["seeds"] = checked.seeds
    result = experiment.model_copy(update={**changes, **{name: getattr(checked, name) for name in options}})
    for name in ("equal", "budget"):
        if name in options and result.until is None:
            raise InvalidValueError("Without --until it has no meaning.", "Add --until decided.", where=f"--{name}")
    _check_auto(result, "--until")
    return result


def option_of(location: Location) -> str:
    """Name the option of a field.

    Args:
        location: Keys and indices that lead to the field.

    Returns:
        ``--until``, or the location where no option sets it.
    """
    text = ".".join(map(str, location))
    return f"--{text}" if text in OPTIONS else text


def full_key(key: str) -> str:
    """Add the section to a key.

    >>> full_key("lr"), full_key("attention"), full_key("task.length")
    ('train.lr', 'model.attention', 'task.length')

    Args:
        key: A key of a grid.

    Returns:
        The key with its section.
    """
    return SHORT.get(key, key)


def experiment(word: str) -> Experiment:
    """Read the built-in experiment of a name, or the one in a file.

    Args:
        word: A name or a path.

    Returns:
        The experiment; its ladders and parts have not been looked up. An edited copy of a built-in one that kept its
        name has that of its file, so that it has a store of its own.

    Raises:
        UnknownNameError: There is no such experiment, or the file has a key that the format does not have.
        InvalidFileError: The file is missing or is not strict YAML.
        InvalidValueError: A field is of the wrong type, zipped lists differ in length, or a key is varied twice.
    """
    path = resources.find("experiments", word)
    found = read_experiment(path)
    if not resources.is_file(word) or found.name not in resources.names("experiments"):
        return found
    builtin = resources.folder("experiments") / f"{found.name}.yaml"
    if path.resolve() == builtin.resolve() or read(path).data == read(builtin).data:
        return found
    # An edited copy is another experiment: with the name of the built-in one, its runs would go to the same store.
    return found.model_copy(update={"name": path.stem if path.stem != found.name else f"{found.name}-edited"})


def read_experiment(path: Path) -> Experiment:
    """Read and check one experiment file.

    Args:
        path: The file.

    Returns:
        The experiment; its ladders and parts have not been looked up.

    Raises:
        UnknownNameError: The file has a key that the format does not have.
        InvalidFileError: The file is missing or is not strict YAML.
        InvalidValueError: A field is of the wrong type, zipped lists differ in length, or a key is varied twice.
    """
    return _checked(read(path))


def parse_experiment(text: str, name: str) -> Experiment:
    """Read and check the text of an experiment file, such as one that is kept beside records.

    Args:
        text: The YAML.
        name: What the text is called in messages.

    Returns:
        The experiment; its ladders and parts have not been looked up.

    Raises:
        UnknownNameError: It has a key that the format does not have.
        InvalidFileError: It is not strict YAML.
        InvalidValueError: A field is of the wrong type, zipped lists differ in length, or a key is varied twice.
    """
    return _checked(parse(text, name))


def _checked(document: Document) -> Experiment:
    """Read and check an experiment, with each of its presets."""
    document = document.renamed(experiment_names)
    result = validated(Experiment, document.data, document.where)
    result._document = document
    for preset in result.presets:
        check_experiment(result.with_preset(preset), "presets", preset)
    return check_experiment(result)


def stored_experiment(folder: Path) -> Experiment | None:
    """Read the experiment that a store was made for.

    Args:
        folder: The store.

    Returns:
        The experiment; None if the store was not made by a sweep, or if a newer attnlab wrote fields that this one does
        not know, of which a warning tells.

    Raises:
        InvalidFileError: The file ``experiment.json`` holds no experiment.
    """
    path = folder / "experiment.json"
    if not path.exists():
        return None
    try:
        return experiment_from_json(path.read_bytes())
    except ValueError as error:
        if isinstance(error, ValidationError) and (fields := newer_fields(error)):
            text = f"{path}: left out; this attnlab does not know {', '.join(fields)}. A newer one may have written it."
            warnings.warn(text, NewerRecordWarning, stacklevel=user_stacklevel())
            return None
        hint = "Move it away; the next sweep writes it anew."
        raise InvalidFileError("This is no experiment of attnlab.", hint, where=str(path)) from None


def experiment_from_json(content: bytes) -> Experiment:
    """Read an experiment that a store keeps; those of attnlab 0.1 are translated without a warning.

    Args:
        content: The JSON.

    Returns:
        The experiment.

    Raises:
        ValueError: The content is no experiment.
    """
    data = from_json(content)
    if not isinstance(data, dict) or "vary" not in data:
        return Experiment.model_validate_json(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)
        data = renamed_tree(data, experiment_names, lambda at: "")
    return Experiment.model_validate_json(json.dumps(data))


def check_experiment(experiment: Experiment, *at: str) -> Experiment:
    """Check that what an experiment varies makes sense.

    Args:
        experiment: The experiment, with one of its presets or with none.
        *at: Where in the file that preset stands.

    Returns:
        The experiment itself.

    Raises:
        UnknownNameError: A key is no field of model, training or task, a recipe does not exist, or a tuned key is not
            varied.
        InvalidValueError: Zipped lists are empty or differ in length, a key is varied twice, a recipe is tuned, or a
            published value is out of range or has no source.
    """
    check_published_values(experiment.published, experiment.source, experiment.where)
    seen: dict[str, str] = {}
    varied: list[tuple[Location, str, Column]] = [(("grid", key), key, one) for key, one in experiment.grid.items()]
    for index, group in enumerate(experiment.zip):
        varied += [(("zip", index, key), key, values) for key, values in group.items()]
    for location, key, values in varied:
        whole = full_key(key)
        section, _, rest = whole.partition(".")
        if key == RECIPE:
            for name in values:
                find_recipe(name, experiment.where(*_in_file(experiment, at, location)))
        elif section not in ("model", "train", "task") or not rest:
            if key in TRAINING_WORDS:
                hint = "Write task.train.OPTION: ranges of one option, such as task.train.pairs=1..4,1..level."
                where = experiment.where(*_in_file(experiment, at, location))
                raise UnknownNameError(f"There is no key '{key}'.", hint, where=where)
            known = [*SHORT, RECIPE, "task.OPTION", "task.train.OPTION"]
            raise unknown("key", key, known, where=experiment.where(*_in_file(experiment, at, location)))
        if whole in seen:
            hint = f"It is in {seen[whole]} already."
            where = experiment.where(*_in_file(experiment, at, location))
            raise InvalidValueError(f"'{key}' is varied twice.", hint, where=where)
        seen[whole] = ".".join(map(str, location[:-1]))
    for index, group in enumerate(experiment.zip):
        where = experiment.where("zip", index)
        if not group:
            raise InvalidValueError("This zip is empty.", "Write key: [value, value], or leave it out.", where=where)
        lengths = {key: len(values) for key, values in group.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} {count}" for key, count in lengths.items())
            raise InvalidValueError(f"Zipped lists must be equally long; these are: {counts}.", where=where)
    for index, group in enumerate(experiment.zip):
        for key, values in group.items():
            if full_key(key) == "model.position" and any(map(is_auto, values)):
                hint = "Put position: [auto] into grid."
                raise InvalidValueError(
                    "'auto' is no single position.", hint, where=experiment.where("zip", index, key)
                )
    _check_auto(experiment, experiment.where("until") if experiment.file[0] else "--until")
    find_recipe(experiment.recipe, experiment.where(RECIPE) if experiment.file[0] else f"--{RECIPE}")
    for key in experiment.tune or ():
        if key == RECIPE and key in seen:
            problem = "A run has the settings of a recipe, and not its name: no recipe can be chosen."
            hint = "Vary the settings and tune these: zip: [{optimizer: [adamw, muon], lr: [3e-3, 1e-2]}]."
            raise InvalidValueError(problem, hint, where=experiment.where("tune"))
        if full_key(key) not in seen:
            raise unknown("varied key", key, [*experiment.grid, *seen], where=experiment.where("tune"))
    return experiment


def _check_auto(experiment: Experiment, where: str) -> None:
    """Refuse to decide between variants whose position changes while they are compared."""
    if experiment.until is not None and experiment.auto_positions is not None:
        problem = "The position 'auto' is chosen once all runs are done, and 'decided' compares them one by one."
        hint = "Name one position for all (rotary), or sweep without --until and see which is chosen."
        raise InvalidValueError(problem, hint, where=where)


def _in_file(experiment: Experiment, at: tuple[str, ...], location: Location) -> Location:
    """Tell where a key is written: in the preset if it is there, otherwise in the experiment itself."""
    return (*at, *location) if at and experiment.written(*at, *location) else location
