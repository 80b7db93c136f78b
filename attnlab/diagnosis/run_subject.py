"""The subject of a finished run: its model with the trained weights, and sequences of its own validation split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.choices import DIAGNOSED_SEQUENCES
from attnlab.diagnosis.subjects import DiagnosisSubject, ProbeBatch, refuse_numbers, validation_batches
from attnlab.diagnosis.whole_models import WholeModelSubject
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.experiments.size_check import check_diagnosis
from attnlab.model.module import ModuleModel
from attnlab.model.transformer import Transformer
from attnlab.records import Record
from attnlab.storage.find_run import find_run
from attnlab.storage.weights import read
from attnlab.tasks.io.streams import Source
from attnlab.training.eval_levels import task_at
from attnlab.training.load_model import rebuild_model
from attnlab.training.run_parts import error_of_run


def run_subject(
    run: str,
    store: Path,
    *,
    command: str,
    complexity: Any = None,
    length: int | None = None,
    batch: int = DIAGNOSED_SEQUENCES,
) -> tuple[Record, DiagnosisSubject | WholeModelSubject]:
    """Load a finished run as a subject; a transformer computes in float64.

    Args:
        run: The id of the run, or as much of its start as no other run has.
        store: A folder of results, or a folder of such folders.
        command: The command line that diagnoses the run, for a message.
        complexity: The level of the sequences; None takes the run's own.
        length: The length of the sequences in tokens; None takes the run's own.
        batch: Number of sequences.

    Returns:
        The record and the subject.

    Raises:
        UnknownNameError: No run has the id; the message lists the runs.
        InvalidValueError: Several runs have the id; no level of the task has the length; or the sequences are longer
            than the model's positions, hold tokens outside its vocabulary, or do not fit the memory.
        StoreError: The weights were not kept or do not fit; the message lists the runs with weights.
    """
    record, path = find_run(run, store)
    try:
        spec = record.spec
        source = Source(spec.task, spec.seed, spec.train.train_examples)
        weights, _ = read(path)
        model = rebuild_model(spec, weights, source)
        probe_source = Source(task_at(spec.task, level=complexity, length=length), spec.seed)
        _check_length(probe_source, length)
        check_diagnosis(spec.model, probe_source.task.length, batch)
    except AttnlabError as error:
        raise error_of_run(record, error, command) from None
    if probe_source.task.vocabulary > source.vocabulary:
        problem = f"These sequences have {probe_source.task.vocabulary} tokens; the run learned {source.vocabulary}."
        raise InvalidValueError(problem, "Leave --complexity out, or choose a lower level.", where=f"run {record.id}")
    refuse_numbers(source.task, f"run {record.id}")
    label = f"{spec.variant} · {record.id[:6]}"
    if isinstance(model, ModuleModel):
        return record, WholeModelSubject(label, model, validation_batches(probe_source, batch))
    assert isinstance(model, Transformer), "a model is a transformer or a whole model"
    model = model.double()
    batches = checked_batches(model, source.length, validation_batches(probe_source, batch))
    return record, DiagnosisSubject(label, model, batches)


def _check_length(source: Source, length: int | None) -> None:
    """Refuse a length that no level of the task has."""
    if length is not None and source.task.length != length:
        problem = f"Sequences of {source.spec.name} cannot have {length:,} tokens."
        hint = f"The next shorter ones have {source.task.length:,}."
        raise InvalidValueError(problem, hint, where="--length")


def checked_batches(
    model: Transformer, length: int, batches: Callable[[int], ProbeBatch]
) -> Callable[[int], ProbeBatch]:
    """Refuse batches that are longer than the positions of the model.

    Args:
        model: The model.
        length: The longest sequence of its training, in tokens.
        batches: The batches, by index.

    Returns:
        The batches, by index; a call raises InvalidValueError for a sequence that is too long.

    Raises:
        InvalidValueError: Not by this function, but by the calls of its result.
    """

    def checked(index: int) -> ProbeBatch:
        probe = batches(index)
        assert probe.inputs_BT is not None, "a run has tokens as inputs"
        if (tokens := probe.inputs_BT.shape[-1]) > length:
            try:
                model.embed(probe.inputs_BT[:1])
            except InvalidValueError as error:
                hint = f"Lengths up to {length} fit this run, not {tokens}."
                raise InvalidValueError(error.problem, hint, where="--length") from None
        return probe

    return checked
