"""The training loop: a group of runs of one shape -> their records.

The loop uses neither torch nor the number of runs that a stepper stacks. It generates the batches of each run, keeps
its history, evaluates it on the validation split, ends runs that are solved or diverged, and saves checkpoints. The
test split is evaluated once, at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from attnlab.errors import InterruptedTraining, StoreError
from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, Record
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import Batch, Split, Task
from attnlab.tasks.base import Tokens
from attnlab.tasks.io.fed_back import FedBackAnswers
from attnlab.tasks.io.streams import Source
from attnlab.training._log_diagnostics import final_values, is_logged_step, num_sequences
from attnlab.training._prefetch import Prefetcher
from attnlab.training._run_state import RunState
from attnlab.training.events import DiagnosticsLogged, Progress, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.interruption import Interruption, interruptible
from attnlab.training.rollout import generate_answers
from attnlab.training.schedule import learning_rate
from attnlab.training.scoring import Scored, score
from attnlab.training.state_check import check_progress
from attnlab.training.stepper import Predictions, Stepper

SYNC_EVERY = 10
"""Steps between two reads of the losses: between them the host does not wait for the device."""
CONFIRMING = 4
"""A run stops early if so many times its validation sequences, beyond these, are answered as well.

A run is validated many times and stops at the first success, so that it may be one of luck: of a run that answers 99 %
of the questions, 256 are all right once in 13 validations.
"""
DIVERGENCE_FACTOR = 20.0
"""A run has diverged at a loss above this many times the loss of a uniform guess over the vocabulary."""


class Checkpointer(Protocol):
    """Saves checkpoints, and weights and optimizer state of finished runs; see :mod:`attnlab.storage`."""

    def save(self, run: str, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        """Save the checkpoint of a run, completely or not at all.

        Args:
            run: Id of the run.
            arrays: Weights and optimizer state, by name; see :meth:`attnlab.training.stepper.Stepper.state`.
            metadata: Plain data: the step, the history, and what else the run needs to go on.
        """

    def load(self, run: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Load the checkpoint of a run, whatever the run was trained beside.

        Args:
            run: Id of the run.

        Returns:
            Its arrays and metadata; None if the run has none.
        """

    def save_weights(self, run: str, weights: Arrays) -> None:
        """Save the weights of a finished run.

        Args:
            run: Id of the run.
            weights: Learned weights and persistent buffers, by name.
        """

    def save_optimizer(self, run: str, state: Arrays) -> None:
        """Save the optimizer state of a finished run, from which another run may continue.

        Args:
            run: Id of the run.
            state: Everything in the state of a stepper but the weights, by name.
        """


@dataclass
class Loop:
    """The training of one group of runs.

    Args:
        specs: Runs of equal shape.
        sources: The data of each run.
        stepper: Takes the steps of all runs.
        progress: Receives every event.
        checkpointer: Saves checkpoints and finished weights; None saves nothing.
        checkpoint_seconds: Seconds between two checkpoints.
        environment: Versions and machine, to be recorded.
        prefetch: Whether a thread generates batches one step ahead.
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
        self.saved: dict[int, tuple[int, str]] = {}
        """Step and end of each run in its checkpoint; a run that has not moved since is not saved again."""
        self.plan = self.specs[0].train
        self.seconds = 0.0

    def run(self, resume: bool) -> list[Record]:
        """Train all runs to their end.

        Args:
            resume: Whether each run goes on from its own checkpoint, if it has one.

        Returns:
            The records, in the order of the specs.

        Raises:
            InterruptedTraining: The user pressed Ctrl-C; the checkpoint is saved.
        """
        if resume:
            self._resume()
        for run in self.runs:
            device = str(self.environment.get("device", ""))
            self.progress(RunStarted(run.spec, run.step, self.stepper.parameters, device))
        started = saved = time.perf_counter()
        with interruptible() as interruption, closing(self.prefetcher):
            while any(run.running for run in self.runs):
                self._step()
                if interruption.requested and any(run.running for run in self.runs):
                    self._fetch_losses()
                    raise self._interrupted(interruption)
                if self.checkpointer is not None and time.perf_counter() - saved > self.checkpoint_seconds:
                    self._save()
                    saved = time.perf_counter()
        self.seconds = time.perf_counter() - started
        records = [self._record(index, run) for index, run in enumerate(self.runs)]
        if self.checkpointer is not None:
            for index, run in enumerate(self.runs):
                self.checkpointer.save_weights(run.spec.id, self.stepper.weights(index))
                if not run.reason:
                    state = self.stepper.state(index).items()
                    optimizer = {name: array for name, array in state if not name.startswith("weight/")}
                    self.checkpointer.save_optimizer(run.spec.id, optimizer)
        for record in records:
            self.progress(RunFinished(record))
        return records

    def _step(self) -> None:
        """Take one step of every run that has not ended; validate and log diagnostics when it is time."""
        running = {index: run for index, run in enumerate(self.runs) if run.running}
        batches = self.prefetcher({index: run.step for index, run in running.items()})
        rates = {index: learning_rate(run.spec.train, run.step) for index, run in running.items()}
        self.stepper.step(batches, rates)
        for index, run in running.items():
            run.step += 1
            run.tokens += batches[index].inputs_BT.size
            if is_logged_step(run.step):
                self._log_diagnostics(index, run)
        # Runs that go on from checkpoints may be at different steps.
        validating = {index: run for index, run in running.items() if self._is_validated(run.step)}
        checked = [run for index, run in running.items() if run.step % SYNC_EVERY == 0 or index in validating]
        if checked:
            self._fetch_losses()
            for run in checked:
                self._check_divergence(run)
        if validating:
            self._validate({index: run for index, run in validating.items() if not run.reason})

    def _is_validated(self, step: int) -> bool:
        """Whether a run is validated after so many steps."""
        return step % self.plan.eval_every == 0 or step == self.plan.max_steps

    def _fetch_losses(self) -> None:
        """Read the losses from the device."""
        norms = self.stepper.gradient_norms()
        for index, losses in self.stepper.losses().items():
            if losses:
                run = self.runs[index]
                run.losses += losses
                if len(losses) == run.step:  # these are the losses from the first step on
                    run.initial_loss = losses[0]
                self.progress(StepsTaken(run.spec, run.step, losses[-1], run.tokens, norms.get(index)))
                run.tokens = 0

    def _check_divergence(self, run: RunState) -> None:
        """End a run at its first loss that is nan or above the bound.

        This is checked every ``SYNC_EVERY`` steps and at validations, never when a checkpoint is saved: the step at
        which a run ends must not depend on the clock.
        """
        scale = math.log(max(2, run.source.vocabulary))
        if run.source.features:  # the size of a squared error is that of the targets
            scale = max(scale, run.initial_loss or 0.0)
        bound = DIVERGENCE_FACTOR * scale
        for steps_back, loss in zip(range(len(run.losses) - 1, -1, -1), run.losses, strict=True):
            if not loss <= bound:
                run.step -= steps_back
                run.reason = f"the loss was {loss:.3g} at step {run.step}"
                return

    def _validate(self, runs: Mapping[int, RunState]) -> None:
        """Evaluate runs on the validation split, and stop those that are solved."""
        size = self.plan.validation_examples
        batches = {
            index: run.source.held_out(Split.VALIDATION, size, run.spec.train.batch_size) for index, run in runs.items()
        }
        predictions = self.stepper.predict_each(batches)
        reached: dict[int, RunState] = {}
        threshold = self.plan.early_stop_accuracy
        for index, run in runs.items():
            scored = score_predictions(batches[index], predictions[index], run.source.task)
            loss, accuracy = float(np.mean(run.losses)), scored.accuracy.mean
            point = HistoryPoint(step=run.step, loss=loss, accuracy=accuracy, validation_loss=scored.loss)
            run.losses = []
            run.history.append(point)
            if threshold is not None and accuracy >= threshold and run.step < self.plan.max_steps:
                reached[index] = run
            self.progress(Validated(run.spec, point))
        if threshold is not None and reached:
            self._confirm(reached, {index: batches[index] for index in reached}, threshold)

    def _confirm(self, runs: Mapping[int, RunState], seen: Mapping[int, Sequence[Batch]], threshold: float) -> None:
        """Stop those runs that are solved on further sequences of the validation split, too.

        Args:
            runs: Runs that have reached the accuracy on their validation sequences.
            seen: These sequences.
            threshold: The accuracy.
        """
        sequences = CONFIRMING * self.plan.validation_examples
        drawn = {
            index: run.source.further(Split.VALIDATION, seen[index], sequences, run.spec.train.batch_size)
            for index, run in runs.items()
        }
        further = {index: batches for index, batches in drawn.items() if batches}  # a finite split may have no more
        predictions = self.stepper.predict_each(further) if further else {}
        for index, run in runs.items():
            run.early_stopped = index not in further or (
                score_predictions(further[index], predictions[index], run.source.task).accuracy.mean >= threshold
            )

    def _log_diagnostics(self, index: int, run: RunState) -> None:
        """Measure the diagnostics that the run asks for, if any."""
        if run.spec.train.log_diagnostics:
            batch = diagnostics_batch(run.source)
            values = self.stepper.diagnostics(index, batch, run.spec.train.log_diagnostics)
            point = DiagnosticsPoint(step=run.step, values=values, sequences=len(batch.inputs_BT))
            run.diagnostics_history.append(point)
            self.progress(DiagnosticsLogged(run.spec, point))

    def _test(self, index: int, run: RunState, task: Task) -> Scored:
        """Evaluate one run on the test split of a task, given the right earlier answers or its own."""
        batches = run.source.held_out(Split.TEST, self.plan.test_examples, run.spec.train.batch_size, task)
        if not self.plan.rollout:
            return score_predictions(batches, self.stepper.predict(index, batches), task, task.scorers)
        fed_back = FedBackAnswers(task)
        generated = [
            generate_answers(batch, fed_back.of(batch), partial(self._most_likely, index, number))
            for number, batch in enumerate(batches, start=1)
        ]
        return score(
            batches,
            generated,
            task.chance,
            exact_match_chance=task.exact_match_chance,
            correct=[task.verify(batch, tokens_N) for batch, tokens_N in zip(batches, generated, strict=True)],
            scorers=task.scorers,
        )

    def _most_likely(self, index: int, number: int, batch: Batch) -> Tokens:
        """The most likely tokens at the query positions of a batch of an evaluation, N."""
        return self.stepper.predict(index, [batch], number)[0].tokens_N

    def _evaluations(self, index: int, run: RunState) -> Iterator[Evaluation]:
        """Evaluate the subtasks of the run's own level, then the other levels, each with its subtasks."""
        own = run.spec.task.level
        tasks = [(own, name, task) for name, task in run.source.task.subtasks().items()]
        for level, task in run.source.other_levels.items():
            tasks += [(level, "", task), *((level, name, subtask) for name, subtask in task.subtasks().items())]
        for level, name, task in tasks:
            scored = self._test(index, run, task)
            yield Evaluation(
                subtask=name, level=level, length=task.length, rollout=self.plan.rollout, **scored._asdict()
            )

    def _record(self, index: int, run: RunState) -> Record:
        """Test a run that has ended and make its record."""
        run.diagnostics_history = [point for point in run.diagnostics_history if point.step <= run.step]
        if not run.reason and not is_logged_step(run.step):
            self._log_diagnostics(index, run)
        scored = self._test(index, run, run.source.task)
        seconds = {"seconds": round(self.seconds, 3), "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        return Record(
            id=run.spec.id,
            spec=run.spec,
            status="diverged" if run.reason else "done",
            reason=run.reason,
            steps=run.step,
            early_stopped=run.early_stopped and run.step < run.spec.train.max_steps,
            parameters=self.stepper.parameters,
            **scored._asdict(),
            rollout=run.spec.train.rollout,
            fed_back=FedBackAnswers(run.source.task).any if run.spec.train.rollout else None,
            length=run.source.task.length,
            vocabulary=0 if run.source.features else run.source.vocabulary,
            initial_loss=run.initial_loss,
            chance_guess=run.source.task.chance_guess,
            diagnostics=final_values(run.diagnostics_history),
            diagnostics_history=tuple(run.diagnostics_history),
            evaluations=tuple(self._evaluations(index, run)),
            history=tuple(run.history),
            environment={**self.environment, "vmap": len(self.runs), "compiled": self.stepper.compiled, **seconds},
        )

    def _save(self) -> None:
        """Save a checkpoint of each run that has moved since its last one."""
        assert self.checkpointer is not None, "saving needs a checkpointer"
        self._fetch_losses()
        group = {"group": [run.spec.id for run in self.runs]}
        for index, run in enumerate(self.runs):
            if self.saved.get(index) != (run.step, run.reason):
                self.checkpointer.save(run.spec.id, self.stepper.state(index), run.checkpoint_data() | group)
                self.saved[index] = run.step, run.reason

    def _resume(self) -> None:
        """Restore each run from its own checkpoint, if it has one; every checkpoint is checked before one is used."""
        found: dict[int, tuple[Arrays, dict[str, Any]]] = {}
        for index, run in enumerate(self.runs):
            if self.checkpointer is not None and (checkpoint := self.checkpointer.load(run.spec.id)):
                arrays, metadata = found[index] = checkpoint
                try:
                    self.stepper.check(index, arrays)
                    check_progress(metadata, run.spec, arrays)
                except StoreError as error:
                    raise error.at(f"checkpoints/{run.spec.id}.safetensors") from None
        for index, (arrays, metadata) in found.items():
            self.stepper.restore(index, arrays)
            self.runs[index].restore(metadata)

    def _interrupted(self, interruption: Interruption) -> InterruptedTraining:
        """Save checkpoints if possible and make the error."""
        steps = sorted({run.step for run in self.runs if run.running})
        at = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
        problem = f"Interrupted at {at} of {self.plan.max_steps}."
        if self.checkpointer is None:
            return interruption.error(problem, "Nothing was saved, because no store was given.")
        self._save()
        return interruption.error(problem, "The checkpoint is kept; add --resume to go on from it.")


def diagnostics_batch(source: Source) -> Batch:
    """Draw what diagnostics are measured on: fewer sequences where they are long.

    Args:
        source: The data of a run.

    Returns:
        The batch, the same at every logging.
    """
    return source.diagnostics_batch(num_sequences(source.task.length))


def score_predictions(
    batches: Sequence[Batch], predictions: Sequence[Predictions], task: Task, scorers: Sequence[str] = ()
) -> Scored:
    """Score predictions on batches of a task.

    Args:
        batches: Inputs and targets.
        predictions: The predictions for each batch.
        task: The task, which gives the chance accuracy.
        scorers: Names of scorers; a validation needs none.

    Returns:
        Accuracy, exact match and loss, and the means of the scorers.
    """
    tokens, nats = [one.tokens_N for one in predictions], sum(one.loss_sum for one in predictions)
    return score(batches, tokens, task.chance, nats, exact_match_chance=task.exact_match_chance, scorers=scorers)
