"""The loop: a bundle of runs of one shape -> their records.

The loop knows neither torch nor how many lanes a stepper stacks. It draws each lane's batches, keeps each lane's
curve, looks at the validation stream, ends lanes that are solved or lost, and keeps checkpoints; the test stream is
seen once, at the end.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from attnlab.errors import Interrupted
from attnlab.records import Point, Reading, Record, Watched
from attnlab.specs import RunSpec
from attnlab.tasks import Batch, Stream, Task
from attnlab.tasks.io.streams import Source
from attnlab.training._log_diagnostics import due_at, ends, sequences
from attnlab.training._prefetch import Draws
from attnlab.training._schedule import rate
from attnlab.training.events import Began, Ended, Looked, Progress, Stepped
from attnlab.training.interruption import heard
from attnlab.training.scoring import Scored, score
from attnlab.training.stepper import Arrays, Said, Stepper

BEAT = 10
"""Steps between two looks at the losses: between them nothing waits for the device."""
EXPLOSION = 20.0
"""A loss this many times that of a blind guess over the vocabulary counts as an explosion."""


class Vault(Protocol):
    """Where checkpoints and finished weights are kept; see :mod:`attnlab.storage`."""

    def save(self, name: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Keep a checkpoint, whole or not at all."""

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The checkpoint of that name, if there is one."""

    def finish(self, run: str, weights: Arrays) -> None:
        """Keep the weights of a finished run, by its id."""


@dataclass
class Lane:
    """One run on its way."""

    spec: RunSpec
    source: Source
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Losses since the last look at the validation stream."""
    curve: list[Point] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    tokens: int = 0
    """Tokens trained on since they were last told."""
    reason: str = ""
    """Why it is lost; empty while it is not."""
    stopped: bool = False
    """Whether it is solved."""

    @property
    def running(self) -> bool:
        """Whether it has steps left to take."""
        return not self.reason and not self.stopped and self.step < self.spec.train.steps

    def about(self) -> dict[str, Any]:
        """Everything of it that a checkpoint needs beside the arrays."""
        curve = [point.model_dump() for point in self.curve]
        watched = [watched.model_dump() for watched in self.watched]
        kept = {"step": self.step, "losses": self.losses, "reason": self.reason, "stopped": self.stopped}
        return {"id": self.spec.id, "curve": curve, "watched": watched, **kept}

    def go_on(self, about: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        assert about["id"] == self.spec.id, "a checkpoint of another run"
        self.step, self.losses, self.reason = about["step"], list(about["losses"]), about["reason"]
        self.stopped, self.curve = about["stopped"], [Point(**point) for point in about["curve"]]
        self.watched = [Watched(**watched) for watched in about["watched"]]


@dataclass
class Loop:
    """One bundle on its way.

    Args:
        specs: Runs of equal shape, one per lane.
        sources: Their data.
        stepper: What takes their steps.
        progress: Takes every event.
        vault: Where checkpoints are kept; None keeps none.
        pause: Seconds between two checkpoints.
        environment: What to record of the machine.
        ahead: Whether batches are drawn by a thread, one step ahead.
    """

    specs: Sequence[RunSpec]
    sources: Sequence[Source]
    stepper: Stepper
    progress: Progress
    vault: Vault | None
    pause: float
    environment: Mapping[str, Any]
    ahead: bool = False

    def __post_init__(self) -> None:
        self.lanes = [Lane(spec, source) for spec, source in zip(self.specs, self.sources, strict=True)]
        self.draws = Draws(self.sources, self.specs[0].train.batch, self.ahead)
        self.name = bundle_name(self.specs)
        self.plan = self.specs[0].train
        self.seconds = 0.0

    def run(self, resume: bool) -> list[Record]:
        """Train all lanes to their end.

        Raises:
            Interrupted: the person pressed Ctrl-C; the checkpoint is kept.
        """
        if resume:
            self._resume()
        for lane in self.lanes:
            device = str(self.environment.get("device", ""))
            self.progress(Began(lane.spec, lane.step, self.stepper.parameters, device))
        started = saved = time.perf_counter()
        with heard() as interruption, closing(self.draws):
            while any(lane.running for lane in self.lanes):
                self._step()
                if interruption.asked and any(lane.running for lane in self.lanes):
                    self._fetch()
                    raise self._interrupted()
                if self.vault is not None and time.perf_counter() - saved > self.pause:
                    self._save()
                    saved = time.perf_counter()
        self.seconds = time.perf_counter() - started
        records = [self._record(index, lane) for index, lane in enumerate(self.lanes)]
        if self.vault is not None:
            for index, lane in enumerate(self.lanes):
                self.vault.finish(lane.spec.id, self.stepper.weights(index))
        for record in records:
            self.progress(Ended(record))
        return records

    def _step(self) -> None:
        """One step of every running lane, and what is due after it."""
        running = {index: lane for index, lane in enumerate(self.lanes) if lane.running}
        batches = self.draws({index: lane.step for index, lane in running.items()})
        rates = {i: rate(lane.spec.train, lane.step) for i, lane in running.items()}
        self.stepper.step(batches, rates)
        for index, lane in running.items():
            lane.step += 1
            lane.tokens += batches[index].inputs_BT.size
            if due_at(lane.step):
                self._watch(index, lane)
        step = next(iter(running.values())).step
        look = step % self.plan.validate_every == 0 or step == self.plan.steps
        if look or step % BEAT == 0:
            self._fetch()
            for lane in running.values():
                self._judge(lane)
        if look:
            self._look({index: lane for index, lane in running.items() if not lane.reason})

    def _fetch(self) -> None:
        """Take the losses from the device."""
        for index, losses in self.stepper.losses().items():
            if losses:
                lane = self.lanes[index]
                lane.losses += losses
                self.progress(Stepped(lane.spec, lane.step, losses[-1], lane.tokens))
                lane.tokens = 0

    def _judge(self, lane: Lane) -> None:
        """A lane whose loss is no number, or beyond all reason, is lost.

        Judged at a beat and never when a checkpoint is taken: at which step a run ends is no matter of the clock.
        """
        bound = EXPLOSION * math.log(max(2, lane.source.vocabulary))
        for back, loss in zip(range(len(lane.losses) - 1, -1, -1), lane.losses, strict=True):
            if not loss <= bound:
                lane.step -= back
                lane.reason = f"the loss was {loss:.3g} at step {lane.step}"
                return

    def _look(self, lanes: Mapping[int, Lane]) -> None:
        """Look at the validation streams, and stop the lanes where they are solved."""
        size = self.plan.validation
        batches = {i: one.source.held_out(Stream.VALIDATION, size, one.spec.train.batch) for i, one in lanes.items()}
        answers = self.stepper.answers(batches)
        for index, lane in lanes.items():
            scored = scored_of(batches[index], answers[index], lane.source.task)
            loss, accuracy = float(np.mean(lane.losses)), scored.accuracy.mean
            point = Point(step=lane.step, loss=loss, accuracy=accuracy, validation_loss=scored.loss)
            lane.losses = []
            lane.curve.append(point)
            lane.stopped = self.plan.stop_at is not None and accuracy >= self.plan.stop_at
            self.progress(Looked(lane.spec, point))

    def _watch(self, index: int, lane: Lane) -> None:
        """See what the model shows of its inside, if that was asked for."""
        if lane.spec.train.watch:
            batch = lane.source.watched(sequences(lane.source.task.length))
            values = self.stepper.watch(index, batch, lane.spec.train.watch)
            lane.watched.append(Watched(step=lane.step, values=values))

    def _test(self, index: int, lane: Lane, task: Task) -> Scored:
        batches = lane.source.held_out(Stream.TEST, self.plan.test, lane.spec.train.batch, task)
        return scored_of(batches, self.stepper.answer(index, batches), task)

    def _readings(self, index: int, lane: Lane) -> Iterator[Reading]:
        """Members of the own rung, then the other rungs, each with its members."""
        own = lane.spec.task.complexity
        asked = [(own, name, task) for name, task in lane.source.task.members().items()]
        for rung, task in lane.source.others.items():
            asked += [(rung, "", task), *((rung, name, member) for name, member in task.members().items())]
        for rung, name, task in asked:
            scored = self._test(index, lane, task)
            yield Reading(member=name, complexity=rung, length=task.length, **scored._asdict())

    def _record(self, index: int, lane: Lane) -> Record:
        lane.watched = [watched for watched in lane.watched if watched.step <= lane.step]
        if not lane.reason and not due_at(lane.step):
            self._watch(index, lane)
        scored = self._test(index, lane, lane.source.task)
        seconds = {"seconds": round(self.seconds, 3), "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        return Record(
            id=lane.spec.id,
            spec=lane.spec,
            status="diverged" if lane.reason else "done",
            reason=lane.reason,
            steps=lane.step,
            stopped=lane.stopped and lane.step < lane.spec.train.steps,
            parameters=self.stepper.parameters,
            **scored._asdict(),
            length=lane.source.task.length,
            diagnostics=ends(lane.watched),
            watched=tuple(lane.watched),
            readings=tuple(self._readings(index, lane)),
            curve=tuple(lane.curve),
            environment={**self.environment, "lanes": len(self.lanes), "compiled": self.stepper.compiled, **seconds},
        )

    def _save(self) -> None:
        assert self.vault is not None, "asked to save without a vault"
        self._fetch()
        self.vault.save(self.name, self.stepper.state(), {"lanes": [lane.about() for lane in self.lanes]})

    def _resume(self) -> None:
        if self.vault is not None and (kept := self.vault.load(self.name)):
            arrays, about = kept
            self.stepper.restore(arrays)
            for lane, lane_about in zip(self.lanes, about["lanes"], strict=True):
                lane.go_on(lane_about)

    def _interrupted(self) -> Interrupted:
        step = max(lane.step for lane in self.lanes)
        found = f"Interrupted at step {step} of {self.plan.steps}."
        if self.vault is None:
            return Interrupted(found, "Nothing was kept: no store was given.")
        self._save()
        return Interrupted(found, "The checkpoint is kept; add --resume to go on from it.")


def scored_of(batches: Sequence[Batch], said: Sequence[Said], task: Task) -> Scored:
    """What answers to the batches of a task are worth."""
    return score(batches, [one.tokens_N for one in said], task.chance, sum(one.nats for one in said))


def bundle_name(specs: Sequence[RunSpec]) -> str:
    """What the checkpoint of a bundle is called: its run's id, or a hash of its runs' ids."""
    ids = [spec.id for spec in specs]
    return ids[0] if len(ids) == 1 else hashlib.sha256("-".join(ids).encode()).hexdigest()[:12]
