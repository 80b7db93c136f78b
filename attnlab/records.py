"""Records: the results of runs, frozen, one line of the journal each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
    computed_field,
    model_validator,
)

from attnlab.formatting import percent
from attnlab.intervals import clustered_interval, mean_interval
from attnlab.intervals import wilson_interval as wilson_interval  # others take it from here
from attnlab.specs import Level, RunSpec, Value

SOLVED = 0.99
"""Test accuracy from which a run counts as solved."""


def _to_json(value: float) -> float | str | None:
    """Write a number as strict JSON, which has neither NaN nor infinities."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _from_json(value: Any) -> Any:
    """Read what :func:`_to_json` writes."""
    return math.nan if value is None else float(value) if value in ("Infinity", "-Infinity") else value


def _share(value: float) -> float:
    """Refuse what is neither a share of 1 nor unknown."""
    if 0 <= value <= 1 or math.isnan(value):
        return value
    raise ValueError("Input should be from 0 to 1")


def _checked_environment(value: dict[str, Any]) -> dict[str, Any]:
    """Check what is computed with or looked for; everything else of an environment is only shown."""
    if not 0 <= _quantity(value.get("seconds", 0.0)) < math.inf:
        raise ValueError("'seconds' should be a number of seconds")
    if OLD_ID in value and not (isinstance(value[OLD_ID], str) and re.fullmatch(RUN_ID, value[OLD_ID])):
        raise ValueError(f"'{OLD_ID}' should be the id of a run")
    if "code" in value and not (isinstance(value["code"], list | tuple) and all(map(_is_code, value["code"]))):
        raise ValueError("'code' should list parts with their files")
    return value


def _quantity(value: Any) -> float:
    """A number as it is; nan for anything else."""
    return value if type(value) in (int, float) else math.nan


def _is_code(part: Any) -> bool:
    """Whether a part has what is compared with its files: words, and mappings of words to words."""
    if not isinstance(part, dict) or not all(isinstance(part.get(name), str) for name in CODE):
        return False
    mappings = [part.get(name, {}) for name in ("files", "values")]
    if not all(isinstance(one, dict) for one in mappings):
        return False
    words = [part.get("package", ""), *(part[name] for name in CODE)]
    words += [word for one in mappings for pair in one.items() for word in pair]
    return all(isinstance(word, str) and "\0" not in word for word in words)


CODE = ("kind", "name", "path", "root", "digest")
"""What the environment of a record says of each part that is not built in; see :mod:`attnlab.part_code`."""
OLD_ID = "format_1_id"
"""The field of an environment that has the id of the run in attnlab 0.1."""
RUN_ID = "^[0-9A-Za-z]{1,64}$"
"""Ids name files: they have letters and digits only."""
LARGEST = 2**53
"""Counts go up to here; every reader of JSON has these integers exactly."""

RunId = Annotated[str, Field(pattern=RUN_ID)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Number = Annotated[float, BeforeValidator(_from_json), PlainSerializer(_to_json, when_used="json")]
"""A float that may be NaN (null in JSON) or infinite (a word in JSON)."""
NumberOfShare = Annotated[Number, AfterValidator(_share)]
"""A share of 1, or NaN."""


class Result(Value):
    """A value that is read back from a store; fields of a newer attnlab are kept, and written again."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="null")


NEWER = ("extra_forbidden", "literal_error")
"""Errors of pydantic that a newer attnlab explains: a field or a word that did not exist."""


def newer_fields(error: ValidationError) -> list[str]:
    """Name what a newer attnlab has written, if nothing else is wrong.

    What a result has beyond ours is kept. A spec that lost a field would be another run, and so would one in which a
    word has been replaced.

    Args:
        error: Why the data could not be read.

    Returns:
        Fields, such as ``spec.train.ema``; empty if the data are damaged.
    """
    errors = error.errors(include_url=False, include_context=False)
    if any(one["type"] not in NEWER for one in errors):
        return []
    return list(dict.fromkeys(".".join(map(str, one["loc"])) for one in errors))


class SequenceSums(Value):
    """Sums over the sequences of a test, from which an interval follows; those of two tests can be added."""

    model_config = ConfigDict(extra="ignore")  # sums of a newer attnlab are not needed here

    count: Natural
    """Sequences with at least one question; each of a finite data set counts once."""
    correct_squared: Natural
    """Sum of (correct answers of the sequence)^2."""
    correct_questions: Natural
    """Sum of correct answers times questions of the sequence."""
    questions_squared: Natural
    """Sum of (questions of the sequence)^2."""

    def plus(self, other: SequenceSums) -> SequenceSums:
        """Add the sums of other sequences.

        Args:
            other: Their sums.

        Returns:
            The sums over both.
        """
        return SequenceSums(**{name: value + getattr(other, name) for name, value in self})


class Score(Value):
    """Correct answers among questions, beside the chance accuracy."""

    # The mean is written to JSON for its readers, and computed anew when a record is read.
    model_config = ConfigDict(extra="ignore")

    correct: Natural
    total: Natural
    chance: NumberOfShare
    sequences: SequenceSums | None = None
    """Sums over the sequences that the questions belong to; None in records of an older attnlab."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        """Refuse counts that no test gives; an interval of them would be no number."""
        sums, correct, total = self.sequences, self.correct, self.total
        if correct > total:
            raise ValueError("There are more correct answers than questions")
        if sums is not None and not (
            (0 < sums.count <= total or total == sums.count == 0)
            and correct <= sums.correct_squared <= sums.correct_questions <= sums.questions_squared
            and total <= sums.questions_squared
        ):
            raise ValueError("The sums over the sequences do not fit the questions")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> Number:
        """Share of correct answers; nan without questions."""
        return self.correct / self.total if self.total else math.nan

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval_over(self) -> Literal["sequences", "questions"]:
        """What the interval counts as independent trials: the sequences, or every question where these are unknown."""
        return "questions" if self.sequences is None else "sequences"

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval: clustered by sequence, or Wilson's over questions where the sequences are unknown."""
        if self.sequences is None:
            return wilson_interval(self.correct, self.total)
        count, *sums = (value for _, value in self.sequences)
        return clustered_interval(self.correct, self.total, count, *sums)

    def plus(self, other: Score) -> Score:
        """Add the score of other sequences.

        Args:
            other: Their score.

        Returns:
            The score of both; its chance is the mean, weighted by questions.
        """
        total, sequences = self.total + other.total, None
        if self.sequences is not None and other.sequences is not None:
            sequences = self.sequences.plus(other.sequences)
        asked = [one for one in (self, other) if one.total] or [self]
        chance = asked[0].chance
        if any(one.chance != chance for one in asked):
            chance = sum(one.chance * one.total for one in asked) / total
        return Score(correct=self.correct + other.correct, total=total, chance=chance, sequences=sequences)


class SequenceMean(Value):
    """The mean over test sequences of what a scorer gives for each; see :mod:`attnlab.scorer`."""

    # The mean is written to JSON for its readers, and computed anew when a record is read.
    model_config = ConfigDict(extra="ignore")

    count: Natural
    """Sequences with at least one question."""
    total: Number
    """Sum over these sequences."""
    squares: Number
    """Sum of squares over these sequences."""
    bounds: Annotated[tuple[Number, Number], Strict(False)] | None = None
    """The lowest and the highest value of a sequence; None where there are none."""
    higher_is_better: bool = True
    """Whether a right answer has the highest value, and not the lowest."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> Number:
        """Mean over the sequences; nan without one."""
        return self.total / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean, over sequences."""
        return mean_interval(self.count, self.total, self.squares, self.bounds)

    def plus(self, other: SequenceMean) -> SequenceMean:
        """Add other sequences.

        Args:
            other: Their mean, of the same scorer.

        Returns:
            The mean over both.
        """
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("count", "total", "squares")}
        return self.model_copy(update=sums)


Scores = Annotated[dict[str, SequenceMean], Field(exclude_if=lambda scores: not scores)]
"""Means over the test sequences by the scorers of a task, by name; left out where the task has none."""


class HistoryPoint(Result):
    """One validation."""

    step: Natural
    loss: Number
    """Mean training loss since the previous validation, per question, in the unit of :attr:`Record.loss`."""
    accuracy: NumberOfShare
    """Share of correct answers on the validation split."""
    validation_loss: Number | None = None
    """The same of the validation split."""


class DiagnosticsPoint(Result):
    """Diagnostics of a model at one step of its training."""

    step: Natural
    values: dict[str, Annotated[tuple[Number, ...], Strict(False)]]
    """One number per layer, by the name of the metric; metrics of the residual stream begin with the embedding."""
    sequences: Natural = 0
    """Sequences that they were measured on; the norms of gradients depend on it. 0 where an old record does not say."""


class Evaluation(Result):
    """A score on test sequences other than the run's own: of another level, or of one subtask of a mixture."""

    subtask: str = ""
    """The subtask of a mixture; empty for the whole mixture, and for other tasks."""
    level: Level | None
    length: Natural
    """Tokens of the longest sequence."""
    rollout: bool = False
    """Whether each question was asked given the answers generated before it, instead of the right ones."""
    accuracy: Score
    exact_match: Score
    loss: Number | None
    """Nats per question; None for a rollout, and where answers are numbers."""
    scores: Scores = {}
    """What the scorers of the task give."""


class ProbeResult(Result):
    """A further run that shows why another one failed: with more steps, or with another seed."""

    change: Literal["more steps", "another seed"]
    """What differs from the run that it is about."""
    seed: Natural
    max_steps: Natural
    steps: Natural
    """Steps taken."""
    solved: bool
    accuracy: Score
    """Per question, on the test split."""
    validation_loss: Number
    """Loss per question at its last validation; nan without one, and where it diverged."""


class Record(Result):
    """The result of one run."""

    id: RunId
    spec: RunSpec
    status: Literal["done", "diverged", "failed"]
    """Failed: the run raised an exception, or its worker was lost, before there was a result."""
    reason: str = ""
    """Why a run that is not done ended."""
    steps: Natural
    """Steps taken."""
    early_stopped: bool = False
    """Whether it stopped before its last step because it had solved the validation split."""
    parameters: Natural = 0
    """Number of learned parameters."""
    accuracy: Score
    """Per question, on the test split."""
    exact_match: Score
    """Per sequence, on the test split: every question of the sequence is answered correctly."""
    loss: Number | None = None
    """Nats per question, on the test split, or the mean squared error of numbers; None for a rollout."""
    scores: Scores = {}
    """What the scorers of the task give, on the test split."""
    rollout: bool = False
    """Whether each test question was asked given the answers generated before it, instead of the right ones."""
    fed_back: bool | None = None
    """Whether an answer generated for one question is an input of a later one; without, a rollout is the same as a test
    given the right answers. None where there was no rollout, and in old records."""
    length: Natural = 0
    """Tokens of the longest test sequence; 0 where an old record does not say."""
    vocabulary: Natural = 0
    """Tokens to choose from: a model that knows nothing guesses among them. 0 where an old record does not say, and
    where answers are numbers; losses are squared errors there."""
    initial_loss: Number | None = None
    """Training loss of the first step, per question, before anything was learned; None in old records."""
    chance_guess: str = ""
    """The guess whose accuracy the chance is, in words; empty where an old record does not say."""
    evaluations: Annotated[tuple[Evaluation, ...], Strict(False)] = ()
    """Scores on other levels, and on the subtasks of a mixture."""
    diagnostics: dict[str, Number] = {}
    """Diagnostics of the trained model, by name."""
    history: Annotated[tuple[HistoryPoint, ...], Strict(False)] = ()
    """One point per validation."""
    diagnostics_history: Annotated[tuple[DiagnosticsPoint, ...], Strict(False)] = ()
    """The logged diagnostics, by step."""
    probes: Annotated[tuple[ProbeResult, ...], Strict(False)] = Field(default=(), exclude_if=lambda value: not value)
    """Further runs, made afterwards to tell which of two failure modes it has; no part of the numbers."""
    environment: Annotated[dict[str, Any], AfterValidator(_checked_environment)] = {}
    """Machine, versions and times; no part of the numbers."""

    @property
    def validation_accuracy(self) -> float:
        """Accuracy at the last validation, by which hyperparameters are tuned; -inf if the run is not done."""
        last = self.last_validation if self.status == "done" else None
        return -math.inf if last is None else last

    @property
    def last_validation(self) -> float | None:
        """Accuracy at the last validation, whatever the status; None without one."""
        return self.history[-1].accuracy if self.history else None

    @property
    def chance_note(self) -> str:
        """What the chance accuracy is, and that of a guess among all tokens; empty where an old record does not say."""
        if not self.vocabulary:
            return f"chance: {self.chance_guess}" if self.chance_guess else ""
        uniform = f"a guess among all {self.vocabulary} tokens: {percent(1 / self.vocabulary)}"
        return f"chance: {self.chance_guess}; {uniform}"

    @property
    def squared_errors(self) -> bool:
        """Whether answers are numbers and losses mean squared errors; False where an old record does not say."""
        return not self.vocabulary and bool(self.chance_guess)

    @property
    def solved(self) -> bool:
        """Whether the test accuracy reaches :data:`SOLVED`."""
        return self.status == "done" and self.accuracy.mean >= SOLVED

    def numbers(self) -> dict[str, Any]:
        """Everything that equal specs reproduce: all fields but the probes and the environment.

        Returns:
            Plain data, by field.
        """
        return self.model_dump(mode="json", exclude={"probes", "environment"})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read one line of the journal.

        Args:
            line: A JSON object.

        Returns:
            The record.

        Raises:
            ValueError: The line is no record.
        """
        return cls.model_validate_json(line)


def distinct(records: Iterable[Record]) -> list[Record]:
    """Take each run once, however many stores it was read from.

    Args:
        records: Any records.

    Returns:
        The records in their order, each at the first place of its id; of several of one id the last, as in a journal,
        but no failed one where another is not.
    """
    listed = list(records)
    if len({record.id for record in listed}) == len(listed):
        return listed
    by_id: dict[str, Record] = {}
    for record in listed:
        other = by_id.get(record.id)
        if other is None or record.status != "failed" or other.status == "failed":
            by_id[record.id] = record
    return list(by_id.values())
