"""Items of the package reasoning-gym: a question, an answer, and the package's own judgment of other answers.

An item follows from its number alone: item i of seed s is item i - 1 of seed s + 1, so the seed is always 0 here, and
whoever wants items apart takes other numbers. Four data sets iterate over sets of texts, so that their items depend on
Python's hash seed as well. Of another, all objects of a process take the programs of the one made last (0.1.25). Those
are made in a process for each object, in which the hash seed is 0:

    request    {"items": [4, 12]}            answer    [["What is ...?", "7"], ["...", "..."]]
    request    {"scores": [[4, "8"]]}        answer    [0.01]

one line of JSON each. That process ends when this one does, because its standard input does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, final

import numpy as np

from attnlab.errors import InvalidValueError, unknown
from attnlab.plugins import describe_exception

PACKAGE = "reasoning-gym"
HASHED = ("isomorphic_strings", "polynomial_multiplication", "ransom_note", "word_ladder")
"""Data sets whose items depend on Python's hash seed."""
SHARING = ("codeio",)
"""Data sets whose objects change one another's items."""
HASH_SEED = "0"
SERVE = "from attnlab.tasks.io.gym_items import serve; serve()"

Item = tuple[str, str]
"""A question and its answer."""


class Items(Protocol):
    """The items of a data set."""

    numbers: dict[Item, int]
    """The number of items that were drawn for a test, so that answers to them can be judged."""

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """Make items.

        Args:
            numbers: Their numbers.

        Returns:
            A question and an answer each.
        """

    def scores(self, answers: Sequence[tuple[int, str]]) -> list[float]:
        """Judge answers as the package does.

        Args:
            answers: The number of an item and an answer to it, each.

        Returns:
            Scores, 1 for a right answer.
        """


def find_items(dataset: str, level: int, config: str) -> Items:
    """Find the items of a data set; those of equal arguments are made by one object of a process.

    Args:
        dataset: The name of the data set.
        level: Its level: that of each attribute of its curriculum, or its last where it has fewer.
        config: Fields of its configuration that replace those of the level, as JSON.

    Returns:
        The items.

    Raises:
        InvalidValueError: The package is not installed, or the data set does not accept the level or the fields.
        UnknownNameError: There is no such data set.
    """
    return _found(dataset, level, config, os.getpid())


@lru_cache(maxsize=8)
def _found(dataset: str, level: int, config: str, process: int) -> Items:
    """The items; a forked process has its own, because two cannot share a pipe."""
    here = LocalItems(dataset, level, config)  # refuses what cannot be made
    apart = dataset in SHARING or (dataset in HASHED and not _is_fixed())
    return WorkerItems(dataset, level, config) if apart else here


def release() -> str:
    """The version of the package.

    Returns:
        Its version.

    Raises:
        InvalidValueError: It is not installed.
    """
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        hint = f"Install it with: pip install 'attnlab[{PACKAGE}]'."
        raise InvalidValueError(f"The package {PACKAGE} is not installed.", hint, where=PACKAGE) from None


def _is_fixed() -> bool:
    """Whether this process has hash seed 0 itself."""
    return not sys.flags.hash_randomization


@final
class LocalItems:
    """Items that are made in this process.

    Args:
        dataset: The name of the data set.
        level: Its level.
        config: Further fields, as JSON.
    """

    def __init__(self, dataset: str, level: int, config: str) -> None:
        release()
        factory = importlib.import_module("reasoning_gym.factory")
        importlib.import_module("reasoning_gym")  # registers the data sets
        if dataset not in factory.DATASETS:
            raise unknown("data set", dataset, factory.DATASETS, where=PACKAGE)
        where = f"{PACKAGE}:dataset={dataset}"
        cls, config_cls = factory.DATASETS[dataset]
        fields = {**_level_fields(factory, dataset, level, where), **json.loads(config)}
        self._make: Callable[[int], Any] = lambda seed: cls(config=config_cls(**{**fields, "seed": seed}))
        try:
            self._dataset = self._make(0)
        except Exception as error:  # whatever the package raises
            known = ", ".join(name for name in config_cls.__dataclass_fields__ if name not in ("seed", "size"))
            raise InvalidValueError(f"It cannot be made: {describe_exception(error)}", f"Its fields: {known}.",
                                    where=where) from error  # fmt: skip
        self.numbers: dict[Item, int] = {}

    def _item(self, number: int) -> Any:
        """Item ``number`` of seed 0; of a data set that holds a list of limited length, item 0 of seed ``number``."""
        try:
            return self._dataset[number]
        except IndexError:
            return self._make(number)[0]

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """Make items without changing any global random state.

        Args:
            numbers: Their numbers.

        Returns:
            A question and an answer each.
        """
        before, numpy_before = random.getstate(), np.random.get_state()
        try:
            made = [self._item(number) for number in numbers]
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
        return [(str(item["question"]), "" if item["answer"] is None else str(item["answer"])) for item in made]

    def scores(self, answers: Sequence[tuple[int, str]]) -> list[float]:
        """Judge answers; one at which the package fails is wrong.

        Args:
            answers: The number of an item and an answer to it, each.

        Returns:
            Scores, 1 for a right answer.
        """
        found = []
        for number, answer in answers:
            try:
                found.append(float(self._dataset.score_answer(answer, self._item(number))))
            except Exception:  # its parsers raise whatever they meet in a text that is no answer
                found.append(0.0)
        return found


def _level_fields(factory: Any, dataset: str, level: int, where: str) -> dict[str, Any]:
    """The fields of a configuration at a level of the data set's own curriculum."""
    if dataset not in factory.CURRICULA:
        if level:
            hint = "Use level 0, and set fields of its configuration: config={...}."
            raise InvalidValueError(f"The data set has no level {level}: it has no levels.", hint, where=where)
        return {}
    curriculum = factory.create_curriculum(dataset)
    most = max((len(attribute.levels) for attribute in curriculum.attributes.values()), default=1) - 1
    if level > most:
        raise InvalidValueError(f"The data set has no level {level}.", f"Its levels are 0 to {most}.", where=where)
    for name, attribute in curriculum.attributes.items():
        curriculum.set_attr_level(name, min(level, len(attribute.levels) - 1))
    made = curriculum.generate_configuration()
    return {name: getattr(made, name) for name in made.__dataclass_fields__}


@final
class WorkerItems:
    """Items that are made in a process of their own, with a fixed hash seed.

    Args:
        dataset: The name of the data set.
        level: Its level.
        config: Further fields, as JSON.
    """

    def __init__(self, dataset: str, level: int, config: str) -> None:
        # Without PYTHONSAFEPATH, Python would import what lies in the current folder first.
        own = {"PYTHONHASHSEED": HASH_SEED, "PYTHONSAFEPATH": "1"}
        environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", SERVE, dataset, str(level), config]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )
        self._lock = threading.Lock()
        self.numbers: dict[Item, int] = {}

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """Ask the process for items.

        Args:
            numbers: Their numbers.

        Returns:
            A question and an answer each.
        """
        return [(question, answer) for question, answer in self._ask({"items": [int(number) for number in numbers]})]

    def scores(self, answers: Sequence[tuple[int, str]]) -> list[float]:
        """Ask the process for its judgment.

        Args:
            answers: The number of an item and an answer to it, each.

        Returns:
            Scores, 1 for a right answer.
        """
        return [float(score) for score in self._ask({"scores": [[int(n), text] for n, text in answers]})]

    def _ask(self, request: dict[str, Any]) -> list[Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        with self._lock:
            try:
                self._process.stdin.write(f"{json.dumps(request)}\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            problem = f"The process that makes its items has ended with status {self._process.wait()}."
            raise InvalidValueError(problem, "Its errors are above.", where=PACKAGE)
        answer: list[Any] = json.loads(line)
        return answer

    def __del__(self) -> None:
        """Let the process end."""
        if (process := getattr(self, "_process", None)) is not None:
            for pipe in (process.stdin, process.stdout):
                pipe.close()
            process.wait()


def serve() -> None:
    """Answer requests until the standard input ends; the arguments are data set, level and config."""
    output = sys.stdout
    sys.stdout = sys.stderr  # whatever the package prints is no answer
    items = LocalItems(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    for line in sys.stdin:
        request = json.loads(line)
        answer = items.items(request["items"]) if "items" in request else items.scores(request["scores"])
        output.write(f"{json.dumps(answer)}\n")
        output.flush()
