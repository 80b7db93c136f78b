"""A trained model on sequences it was not trained on: longer ones, or harder ones.

    as trained    every part as the run built it
    interpolated  rotary turns slowed, so that the longest sequence spans the trained length
    yarn          slow rotary turns slowed, fast ones kept
    randomized    places drawn at random from a range that is longer still

Whatever changes learns nothing, so that the weights of the run fit. Batches are answered one after the other, and
attentions hold a bounded number of rows of scores at a time, so memory grows with one sequence, not with the test.

Source   the positions say theirs: :mod:`attnlab.position.stretched`, :mod:`attnlab.position.randomized`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from attnlab.attention import ATTENTIONS
from attnlab.errors import AttnlabError, BadValue, Pairing, StoreError
from attnlab.model.transformer import Block, Transformer, build
from attnlab.position import POSITIONS
from attnlab.record import Score
from attnlab.spec import Part, RunSpec, Stream, TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.streams import Source, generator, span
from attnlab.tensors import Context
from attnlab.training.scoring import Scored, score
from attnlab.training.stepper import reply

Mode = Literal["trained", "interpolated", "yarn", "randomized"]
Arrays = Mapping[str, NDArray[np.float32]]
STRETCHED = ("rotary", "interpolated", "yarn")
"""Positions whose weights, none, fit one another."""
SPREAD = 2
"""A randomized range is this many times the longest sequence."""
RANDOMIZED = {
    "rotary": ("randomized", {"base": "rotary"}),
    "sinusoidal": ("randomized", {"base": "sinusoidal"}),
    "alibi": ("randomized-alibi", {}),
    "xl": ("randomized-xl", {}),
}
"""What a position becomes at random places. A learned table has no places to draw from."""


@dataclass(frozen=True)
class Extent:
    """What a model answered at one length or rung."""

    length: int
    """Tokens of the longest sequence."""
    complexity: Any
    trained: int
    """Tokens of the longest sequence it was trained on."""
    accuracy: Score
    answers: Score
    """Whole answers."""
    loss: float | None
    """Nats per question."""
    ceiling: float = 1.0
    """The best that can be done; nan where nobody knows it."""


def evaluate(
    spec: RunSpec,
    weights: Arrays,
    tasks: list[TaskSpec],
    *,
    mode: Mode = "trained",
    sequences: int | None = None,
    device: torch.device | None = None,
) -> Iterator[Extent]:
    """What a run's model answers to each of some tasks, one after the other.

    Args:
        spec: The run.
        weights: What it learned.
        tasks: Its own task at other lengths or rungs; see :func:`longer` and :func:`harder`.
        mode: How positions reach beyond the trained length.
        sequences: Test sequences of each; None takes as many as the run's own test had.
        device: Where; the CPU if none is given.

    Raises:
        Pairing: the mode does not fit the run's position.
        BadValue: sequences longer than the model's tables, or with tokens it never saw.
    """
    machine = device or torch.device("cpu")
    home = Source(spec.task, spec.seed, spec.train.examples)
    check_mode(spec.model.position, mode)
    sources = [Source(task, spec.seed) for task in tasks]
    for source in sources:
        if source.task.vocabulary > home.vocabulary:
            found = f"At {source.spec.knob} {source.spec.complexity} there are {source.task.vocabulary} tokens."
            raise BadValue(found, f"The run knows {home.vocabulary}: take a lower rung.", where="--complexity")
    models = {task.length: revived(spec, weights, home, mode, task.length) for task in (one.task for one in sources)}
    for length, model in sorted(models.items()):
        check_length(model, length, home.length)
    for source in sources:
        scored = tested(
            models[source.task.length].to(machine), source, sequences or spec.train.test, spec.train.batch, machine
        )
        ceiling, trained = source.task.ceiling, trained_length(spec.task)
        yield Extent(source.task.length, source.spec.complexity, trained, **scored._asdict(), ceiling=ceiling)


def check_length(model: Transformer, length: int, trained: int) -> None:
    """Refuse sequences that the positions of a model do not reach, before any is answered.

    Raises:
        BadValue: with the longest that they do.
    """
    try:
        place(model, length)
    except BadValue as error:
        low, high = trained, length
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if reaches(model, middle) else (low, middle)
        hint = f"This run reads up to {low} tokens."
        raise BadValue(error.found, hint, where=f"{length} tokens") from None


def reaches(model: Transformer, length: int) -> bool:
    """Whether a model has a place for so many tokens."""
    try:
        place(model, length)
    except BadValue:
        return False
    return True


@torch.no_grad()
def place(model: Transformer, length: int) -> None:
    """Everything a position says of one sequence of that length, but of the last query alone.

    Raises:
        BadValue: it is too long.
    """
    x_BTD = model.position.embed(model.embedding_VD[:1].expand(length, -1)[None])
    first = model.blocks[0]
    assert isinstance(first, Block)
    heads = first.attention.prepare(x_BTD, model.position, Context(()))
    if model.position.biases:
        last = heads._replace(queries_BHTC=heads.queries_BHTC[..., -1:, :], start=length - 1)
        first.attention.scores(last, model.position)


def revived(
    spec: RunSpec, weights: Arrays, home: Source, mode: Mode = "trained", length: int | None = None
) -> Transformer:
    """The model of a run with its weights, ready for sequences of a length; None takes the trained one.

    What is not learned but drawn, such as random features and random places, is drawn as it was for the run.

    Raises:
        BadValue: a part has come to mean something else since.
        StoreError: the weights are those of another model.
    """
    for part in spec.model.attention:
        current(part, ATTENTIONS.entry(part.name).version)
    current(spec.model.position, POSITIONS.entry(spec.model.position.name).version)
    current(spec.task, TASKS.entry(spec.task.name).version)
    model, trained = spec.model, trained_length(spec.task)
    if mode != "trained":
        model = model.model_copy(update={"position": reaching(model.position, mode, trained, length or trained)})
    seed = int(generator(spec.seed, Stream.INIT).integers(2**63))
    built = build(model, vocabulary=home.vocabulary, length=home.length, seed=seed)
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    if wrong := sorted(state.keys() ^ built.state_dict().keys()):
        hint = "They were written by another version of attnlab; train the run again."
        raise StoreError(f"Its weights do not fit the model: '{wrong[0]}' is in only one of them.", hint)
    built.load_state_dict(state)
    return built.eval()


def trained_length(task: TaskSpec) -> int:
    """Tokens of the longest sequence that a run of the task is trained on; what else it is tested on may be longer."""
    ends = [{name: (span(value) or (value, value))[side] for name, value in task.train.items()} for side in (0, 1)]
    return max(Source(plain(task, {**task.options, **end}), 0).task.length for end in ends)


def current(part: Part | TaskSpec, version: int) -> None:
    """Refuse a part or a task that has come to mean something else."""
    if part.version is not None and part.version != version:
        found = f"It was trained with version {part.version} of '{part.name}'; this is version {version}."
        raise BadValue(found, "Train it again.")


def reaching(position: Part, mode: Mode, trained: int, length: int) -> Part:
    """The position that reaches beyond the trained length as the mode says."""
    entry = POSITIONS.entry(position.name)
    options = entry.complete(position.options)
    if mode == "randomized":
        if entry.kind.random:
            return position
        name, more = RANDOMIZED[entry.name]
        kept = {key: options[key] for key in POSITIONS.entry(name).options.keys() & options.keys() - {"range"}}
        return Part(name=name, options={**kept, **more, "range": SPREAD * max(trained, length)})
    start = options.get("trained") or trained
    return Part(name=mode, options={"base": options["base"], "trained": start, "factor": max(1.0, length / start)})


def check_mode(position: Part, mode: Mode) -> None:
    """Refuse a mode that does not fit the position.

    Raises:
        Pairing: with the modes that fit.
    """
    if mode not in (fits := modes(position)):
        words = f"A run with {position.name} positions cannot be evaluated as {mode}."
        raise Pairing(words, f"As these it can: {', '.join(fits)}.", where="--as")


def modes(position: Part) -> list[Mode]:
    """The modes that fit a position."""
    entry = POSITIONS.entry(position.name)
    fits: list[Mode] = ["trained"]
    if entry.name in STRETCHED:
        fits += ["interpolated", "yarn"]
    # Randomized turns have the usual base and no other.
    usual = entry.name not in STRETCHED or entry.complete(position.options)["base"] == 10_000.0
    if entry.kind.random or (entry.name in RANDOMIZED and usual):
        fits.append("randomized")
    return fits


def tested(model: Transformer, source: Source, sequences: int, batch: int, device: torch.device) -> Scored:
    """Scores on the test stream, batch by batch."""
    right = questions = perfect = asked = 0
    nats = lucky = 0.0
    for index, one in enumerate(source.held(Stream.TEST, sequences, batch), start=1):
        predicted_N, surprise = reply(model, one, index, device)
        part = score([one], [predicted_N.cpu().numpy()], source.task.chance)
        right, questions = right + part.accuracy.correct, questions + part.accuracy.total
        perfect, asked = perfect + part.answers.correct, asked + part.answers.total
        nats, lucky = nats + float(surprise), lucky + part.answers.chance * part.answers.total
    tokens = Score(correct=right, total=questions, chance=source.task.chance)
    whole = Score(correct=perfect, total=asked, chance=lucky / asked if asked else source.task.chance)
    return Scored(tokens, whole, nats / questions if questions and np.isfinite(nats) else None)


def harder(task: TaskSpec, rungs: list[Any]) -> list[TaskSpec]:
    """A run's task at other rungs.

    Raises:
        BadValue: a rung that the task does not accept.
    """
    entry = TASKS.entry(task.name)
    found = []
    for rung in rungs:
        options = {**task.options, task.knob: rung}
        try:
            entry.check(task.knob, rung)
            entry.kind(**entry.complete(options))
        except AttnlabError as error:
            raise error.at("--complexity") from None
        found.append(plain(task, options))
    return found


def longer(task: TaskSpec, lengths: list[int]) -> list[TaskSpec]:
    """A run's task at other lengths in tokens: by its own ``length`` if it has one, else the highest rung that fits.

    Raises:
        BadValue: a length that the task does not accept, or too short for any rung.
    """
    entry = TASKS.entry(task.name)
    found = []
    for length in lengths:
        try:
            own = {**task.options, "length": length}
            fits = "length" in entry.options and entry.kind(**entry.complete(own)).length == length
            options = own if fits else {**task.options, task.knob: highest(task, length)}
        except AttnlabError as error:
            raise error.at(f"--length {length}") from None
        found.append(plain(task, options))
    return found


def highest(task: TaskSpec, length: int) -> int:
    """The highest rung whose sequences are no longer than that.

    Raises:
        BadValue: there is none, or rungs of the task are no whole numbers or do not make it longer.
    """
    entry = TASKS.entry(task.name)

    def tokens(rung: int) -> int:
        return entry.kind(**entry.complete({**task.options, task.knob: rung})).length

    rung = task.complexity
    if not isinstance(rung, int) or isinstance(rung, bool) or tokens(rung) == tokens(rung + 1):
        words = f"Sequences of {task.name} have no length that can be chosen."
        raise BadValue(words, f"Give rungs instead: --complexity, {task.knob} was {rung}.", where=f"--length {length}")
    low, high = 0, max(1, rung)
    while tokens(high) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(tokens, middle, length) else (low, middle)
    if low == 0:
        words = f"Not even the lowest rung of {task.name} fits {length} tokens."
        raise BadValue(words, f"The run's own rung has {tokens(rung)}.", where=f"--length {length}")
    return low


def plain(task: TaskSpec, options: dict[str, Any]) -> TaskSpec:
    """The task with other options, tested there and nowhere else."""
    return task.model_copy(update={"options": options, "evaluate": (), "train": {}})


def _fits(tokens: Callable[[int], int], rung: int, length: int) -> bool:
    try:
        return tokens(rung) <= length
    except BadValue:
        # Below the lowest rung: what fits lies higher up, if anywhere.
        return True
