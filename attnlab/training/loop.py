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

from attnlab.errors import InterruptedTraining
from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, Record
from attnlab.specs import RunSpec
from attnlab.tasks import Batch, Split, Task
from attnlab.tasks.io.streams import Source
from attnlab.training._log_diagnostics import final_values, is_logged_step, num_sequences
from attnlab.training._prefetch import Prefetcher
from attnlab.training._schedule import rate
from attnlab.training.events import Progress, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.interruption import interruptible
from attnlab.training.scoring import Scored, score
from attnlab.training.stepper import Arrays, Predictions, Stepper

SYNC_EVERY = 10
"""Steps between two looks at the losses: between them nothing waits for the device."""
EXPLOSION = 20.0
"""A loss this many times that of a blind guess over the vocabulary counts as an explosion."""


class Checkpointer(Protocol):
    """Where checkpoints and finished weights are kept; see :mod:`attnlab.storage`."""

    def save(self, name: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Keep a checkpoint, whole or not at all."""

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The checkpoint of that name, if there is one."""

    def save_weights(self, run: str, weights: Arrays) -> None:
        """Keep the weights of a finished run, by its id."""


@dataclass
class RunState:
    """One run on its way."""

    spec: RunSpec
    source: Source
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Losses since the last look at the validation stream."""
    history: list[HistoryPoint] = field(default_factory=list)
    diagnostics_history: list[DiagnosticsPoint] = field(default_factory=list)
    tokens: int = 0
    """Tokens trained on since they were last told."""
    reason: str = ""
    """Why it is lost; empty while it is not."""
    early_stopped: bool = False
    """Whether it is solved."""

    @property
    def running(self) -> bool:
        """Whether it has steps left to take."""
        return not self.reason and not self.early_stopped and self.step < self.spec.train.max_steps

    def checkpoint_data(self) -> dict[str, Any]:
        """Everything of it that a checkpoint needs beside the arrays."""
        curve = [point.model_dump() for point in self.history]
        watched = [watched.model_dump() for watched in self.diagnostics_history]
        saved = {"step": self.step, "losses": self.losses, "reason": self.reason, "early_stopped": self.early_stopped}
        return {"id": self.spec.id, "history": curve, "diagnostics_history": watched, **saved}

    def restore(self, about: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        assert about["id"] == self.spec.id, "a checkpoint of another run"
        self.step, self.losses, self.reason = about["step"], list(about["losses"]), about["reason"]
        self.early_stopped, self.history = about["early_stopped"], [HistoryPoint(**point) for point in about["history"]]
        self.diagnostics_history = [DiagnosticsPoint(**watched) for watched in about["diagnostics_history"]]


@dataclass
class Loop:
    """One bundle on its way.

    Args:
        specs: Runs of equal shape, one per lane.
        sources: Their data.
        stepper: What takes their steps.
        progress: Takes every event.
        checkpointer: Where checkpoints are kept; None keeps none.
        checkpoint_seconds: Seconds between two checkpoints.
        environment: What to record of the machine.
        prefetch: Whether batches are drawn by a thread, one step ahead.
    """

    specs: Sequence[RunSpec]
    sources: Sequence[Source]
    stepper: Stepper
    progress: Progress
    checkpointer: Checkpointer | None
    checkpoint_seconds: float
    environment: Mapping[str, Any]
    prefetch: bool = False

    def __post_init__(self) -> None:
        self.runs = [RunState(spec, source) for spec, source in zip(self.specs, self.sources, strict=True)]
        self.prefetcher = Prefetcher(self.sources, self.specs[0].train.batch_size, self.prefetch)
        self.name = group_name(self.specs)
        self.plan = self.specs[0].train
        self.seconds = 0.0

    def run(self, resume: bool) -> list[Record]:
        """Train all lanes to their end.

        Raises:
            InterruptedTraining: the person pressed Ctrl-C; the checkpoint is kept.
        """
        if resume:
            self._resume()
        for state in self.runs:
            device = str(self.environment.get("device", ""))
            self.progress(RunStarted(state.spec, state.step, self.stepper.parameters, device))
        started = saved = time.perf_counter()
        with interruptible() as interruption, closing(self.prefetcher):
            while any(state.running for state in self.runs):
                self._step()
                if interruption.requested and any(state.running for state in self.runs):
                    self._fetch()
                    raise self._interrupted()
                if self.checkpointer is not None and time.perf_counter() - saved > self.checkpoint_seconds:
                    self._save()
                    saved = time.perf_counter()
        self.seconds = time.perf_counter() - started
        records = [self._record(index, state) for index, state in enumerate(self.runs)]
        if self.checkpointer is not None:
            for index, state in enumerate(self.runs):
                self.checkpointer.save_weights(state.spec.id, self.stepper.weights(index))
        for record in records:
            self.progress(RunFinished(record))
        return records

    def _step(self) -> None:
        """One step of every running lane, and what is due after it."""
        running = {index: state for index, state in enumerate(self.runs) if state.running}
        batches = self.prefetcher({index: state.step for index, state in running.items()})
        rates = {i: rate(state.spec.train, state.step) for i, state in running.items()}
        self.stepper.step(batches, rates)
        for index, state in running.items():
            state.step += 1
            state.tokens += batches[index].inputs_BT.size
            if is_logged_step(state.step):
                self._log_diagnostics(index, state)
        step = next(iter(running.values())).step
        look = step % self.plan.eval_every == 0 or step == self.plan.max_steps
        if look or step % SYNC_EVERY == 0:
            self._fetch()
            for state in running.values():
                self._check_divergence(state)
        if look:
            self._validate({index: state for index, state in running.items() if not state.reason})

    def _fetch(self) -> None:
        """Take the losses from the device."""
        for index, losses in self.stepper.losses().items():
            if losses:
                state = self.runs[index]
                state.losses += losses
                self.progress(StepsTaken(state.spec, state.step, losses[-1], state.tokens))
                state.tokens = 0

    def _check_divergence(self, state: RunState) -> None:
        """A lane whose loss is no number, or beyond all reason, is lost.

        Judged at a beat and never when a checkpoint is taken: at which step a run ends is no matter of the clock.
        """
        bound = EXPLOSION * math.log(max(2, state.source.vocabulary))
        for back, loss in zip(range(len(state.losses) - 1, -1, -1), state.losses, strict=True):
            if not loss <= bound:
                state.step -= back
                state.reason = f"the loss was {loss:.3g} at step {state.step}"
                return

    def _validate(self, runs: Mapping[int, RunState]) -> None:
        """Look at the validation streams, and stop the lanes where they are solved."""
        size = self.plan.validation_examples
        batches = {i: one.source.held_out(Split.VALIDATION, size, one.spec.train.batch_size) for i, one in runs.items()}
        answers = self.stepper.predict_each(batches)
        for index, state in runs.items():
            scored = score_predictions(batches[index], answers[index], state.source.task)
            loss, accuracy = float(np.mean(state.losses)), scored.accuracy.mean
            point = HistoryPoint(step=state.step, loss=loss, accuracy=accuracy, validation_loss=scored.loss)
            state.losses = []
            state.history.append(point)
            state.early_stopped = (
                self.plan.early_stop_accuracy is not None and accuracy >= self.plan.early_stop_accuracy
            )
            self.progress(Validated(state.spec, point))

    def _log_diagnostics(self, index: int, state: RunState) -> None:
        """See what the model shows of its inside, if that was asked for."""
        if state.spec.train.log_diagnostics:
            batch = state.source.diagnostics_batch(num_sequences(state.source.task.length))
            values = self.stepper.diagnostics(index, batch, state.spec.train.log_diagnostics)
            state.diagnostics_history.append(DiagnosticsPoint(step=state.step, values=values))

    def _test(self, index: int, state: RunState, task: Task) -> Scored:
        batches = state.source.held_out(Split.TEST, self.plan.test_examples, state.spec.train.batch_size, task)
        return score_predictions(batches, self.stepper.predict(index, batches), task)

    def _evaluations(self, index: int, state: RunState) -> Iterator[Evaluation]:
        """Members of the own level, then the other levels, each with its members."""
        own = state.spec.task.level
        requested = [(own, name, task) for name, task in state.source.task.subtasks().items()]
        for level, task in state.source.other_levels.items():
            requested += [(level, "", task), *((level, name, subtask) for name, subtask in task.subtasks().items())]
        for level, name, task in requested:
            scored = self._test(index, state, task)
            yield Evaluation(subtask=name, level=level, length=task.length, **scored._asdict())

    def _record(self, index: int, state: RunState) -> Record:
        state.diagnostics_history = [watched for watched in state.diagnostics_history if watched.step <= state.step]
        if not state.reason and not is_logged_step(state.step):
            self._log_diagnostics(index, state)
        scored = self._test(index, state, state.source.task)
        seconds = {"seconds": round(self.seconds, 3), "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        return Record(
            id=state.spec.id,
            spec=state.spec,
            status="diverged" if state.reason else "done",
            reason=state.reason,
            steps=state.step,
            early_stopped=state.early_stopped and state.step < state.spec.train.max_steps,
            parameters=self.stepper.parameters,
            **scored._asdict(),
            length=state.source.task.length,
            diagnostics=final_values(state.diagnostics_history),
            diagnostics_history=tuple(state.diagnostics_history),
            evaluations=tuple(self._evaluations(index, state)),
            history=tuple(state.history),
            environment={**self.environment, "vmap": len(self.runs), "compiled": self.stepper.compiled, **seconds},
        )

    def _save(self) -> None:
        assert self.checkpointer is not None, "asked to save without a vault"
        self._fetch()
        self.checkpointer.save(
            self.name, self.stepper.state(), {"runs": [state.checkpoint_data() for state in self.runs]}
        )

    def _resume(self) -> None:
        if self.checkpointer is not None and (saved := self.checkpointer.load(self.name)):
            arrays, about = saved
            self.stepper.restore(arrays)
            for state, lane_about in zip(self.runs, about["runs"], strict=True):
                state.restore(lane_about)

    def _interrupted(self) -> InterruptedTraining:
        step = max(state.step for state in self.runs)
        result = f"Interrupted at step {step} of {self.plan.max_steps}."
        if self.checkpointer is None:
            return InterruptedTraining(result, "Nothing was kept: no store was given.")
        self._save()
        return InterruptedTraining(result, "The checkpoint is kept; add --resume to go on from it.")


def score_predictions(batches: Sequence[Batch], predictions: Sequence[Predictions], task: Task) -> Scored:
    """What answers to the batches of a task are worth."""
    return score(batches, [one.tokens_N for one in predictions], task.chance, sum(one.loss_sum for one in predictions))


def group_name(specs: Sequence[RunSpec]) -> str:
    """What the checkpoint of a bundle is called: its run's id, or a hash of its runs' ids."""
    ids = [spec.id for spec in specs]
    return ids[0] if len(ids) == 1 else hashlib.sha256("-".join(ids).encode()).hexdigest()[:12]
