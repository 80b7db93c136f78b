"""The ladders of an experiment with the training that an entry and a combination of the grid give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnlab.config.experiment import Experiment, full_key
from attnlab.config.ladder import BARE, Ladder
from attnlab.config.renamed import Location
from attnlab.errors import AttnlabError
from attnlab.experiments.resolve import Resolver
from attnlab.tasks.io.ladder_training import at_level, checked_training, named_training

SECTION = "task.train"
"""The key of all options that differ in training; each has a key of its own below it."""


@dataclass(frozen=True)
class TrainedLadder:
    """A ladder with the options of training that an experiment sets.

    Args:
        ladder: The ladder, with these options.
        given: The options alone, by name.
        written: Where each of them is written in the experiment.
    """

    ladder: Ladder
    given: Mapping[str, Any]
    written: Mapping[str, Location]

    def check_levels(self, experiment: Experiment, levels: Sequence[Any]) -> None:
        """Refuse levels at which a range is empty.

        Args:
            experiment: The experiment, for the location.
            levels: The levels that are trained.

        Raises:
            InvalidValueError: A range is empty at a level.
        """
        for name, value in self.given.items():
            try:
                for level in levels:
                    at_level(value, level)
            except AttnlabError as error:
                raise _located(error, experiment, name, self.written[name]) from None


def trained_ladder(experiment: Experiment, index: int, setting: Mapping[str, Any], resolver: Resolver) -> TrainedLadder:
    """Give a ladder the options of training of its entry and of a combination, of which the later override.

    Args:
        experiment: The experiment.
        index: Index of the ladder's entry.
        setting: What varies: dotted key -> value.
        resolver: Finds ladders.

    Returns:
        The ladder.

    Raises:
        UnknownNameError: There is no such ladder, or its task has no such option.
        InvalidValueError: The task does not accept a value or an end of a range, ranges cannot be read, or an option is
            given twice.
    """
    ladder = resolver.ladder(experiment.ladders[index].ladder)
    given: dict[str, Any] = {}
    written: dict[str, Location] = {}
    for location, training in _sources(experiment, index, setting):
        name = ""
        try:
            for name, (word, value) in named_training(ladder, training).items():
                # A grid names the option in its key.
                written[name] = location if word == BARE or location[0] != "ladders" else (*location, word)
                given[name] = checked_training(ladder, name, value)
        except AttnlabError as error:
            raise _located(error, experiment, name, written.get(name, location)) from None
    training = {**ladder.training, **given}
    return TrainedLadder(ladder.model_copy(update={"training": training}), given, written)


def _sources(experiment: Experiment, index: int, setting: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
    """Everything that sets options of training, with its place in the experiment."""
    entry = experiment.ladders[index]
    yield ("ladders", index, "training"), entry.training
    if (options := entry.options.get("train")) is not None:
        yield ("ladders", index, "options", "train"), options
    axes: dict[str, Location] = {full_key(key): ("grid", key) for key in experiment.grid}
    axes |= {full_key(key): ("zip", place, key) for place, group in enumerate(experiment.zip) for key in group}
    if (whole := setting.get(SECTION)) is not None:
        yield axes[SECTION], whole
    for key, value in setting.items():
        if key.startswith(f"{SECTION}."):
            yield axes[key], {key.removeprefix(f"{SECTION}."): value}


def _located(error: AttnlabError, experiment: Experiment, name: str, location: Location) -> AttnlabError:
    """The error with the line of the experiment's file, or else with the key of the option."""
    key = f"{SECTION}.{name}" if name else SECTION
    where = experiment.where(*location) if experiment.written(*location) else error.where or key
    return type(error)(error.problem, error.hint, where=where)
