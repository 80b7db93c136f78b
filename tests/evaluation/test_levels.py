"""A run's model on other lengths: equal scores at its own level, errors with the accepted values, bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from attnlab.attention import Attention
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError, StoreError
from attnlab.evaluation._levels import evaluate_tasks
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.eval_levels import at_lengths, at_levels, trained_length
from attnlab.training.extrapolation import extrapolated_position, supported_modes
from attnlab.training.load_model import rebuild_model
from attnlab.training.run import train_runs
from tests.training.runs import MemoryCheckpointer, tiny


def trained(position: str = "rotary", attention: str = "softmax", **options: Any) -> tuple[RunSpec, Any, Any]:
    """A tiny run, its record and its weights; copy at 2 symbols has 4 tokens."""
    base = tiny(attention)
    part = Part(name=position, options=options)
    spec = base.model_copy(update={"model": base.model.model_copy(update={"position": part})})
    checkpointer = MemoryCheckpointer()
    (record,) = train_runs([spec], checkpointer=checkpointer)
    return spec, record, checkpointer.finished[spec.id]


@pytest.mark.parametrize(
    ("position", "attention"),
    [("rotary", "softmax"), ("learned", "gpam"), ("randomized", "softmax"), ("none", "performer"), ("alibi", "dape")],
)
def test_the_score_at_the_runs_own_level_is_that_of_the_record(position: str, attention: str) -> None:
    spec, record, weights = trained(position, attention)
    (score,) = evaluate_tasks(spec, weights, [spec.task])
    assert score.accuracy == record.accuracy
    assert score.exact_match == record.exact_match
    assert score.loss == pytest.approx(record.loss, rel=1e-6)
    assert (score.length, score.level, score.trained_length) == (4, 2, 4)


def test_an_evaluation_of_the_run_is_the_score_at_that_level() -> None:
    base = tiny(position="rotary")
    spec = base.model_copy(update={"task": base.task.model_copy(update={"evaluate": (5,)})})
    checkpointer = MemoryCheckpointer()
    (record,) = train_runs([spec], checkpointer=checkpointer)
    (score,) = evaluate_tasks(spec, checkpointer.finished[spec.id], at_levels(spec.task, [5]))
    assert score.accuracy == record.evaluations[0].accuracy
    assert score.length == record.evaluations[0].length == 10


@pytest.mark.parametrize("mode", ["interpolated", "yarn"])
def test_stretched_positions_are_as_trained_within_the_trained_length(mode: Any) -> None:
    spec, record, weights = trained()
    near, far = evaluate_tasks(spec, weights, at_levels(spec.task, [2, 8]), mode=mode)
    assert near.accuracy == record.accuracy
    (plain,) = evaluate_tasks(spec, weights, at_levels(spec.task, [8]))
    assert far.loss != plain.loss
    part = extrapolated_position(spec.model.position, mode, 4, 16)
    assert (part.name, part.options) == (mode, {"base": 10_000.0, "trained": 4, "factor": 4.0})


def test_randomized_positions_are_drawn_from_a_longer_range() -> None:
    spec, _, weights = trained()
    (score,) = evaluate_tasks(spec, weights, at_levels(spec.task, [8]), mode="randomized")
    (plain,) = evaluate_tasks(spec, weights, at_levels(spec.task, [8]))
    assert score.loss != plain.loss
    assert extrapolated_position(spec.model.position, "randomized", 4, 16).options["range"] == 32
    own = Part(name="randomized", options={"range": 64})
    assert extrapolated_position(own, "randomized", 4, 16) == own


@pytest.mark.parametrize(
    ("position", "fits"),
    [
        ("learned", ["trained"]),
        ("none", ["trained"]),
        ("rope", ["trained", "interpolated", "yarn", "randomized"]),
        ("rotary:500", ["trained", "interpolated", "yarn"]),
        ("yarn", ["trained", "interpolated", "yarn"]),
        ("sinusoidal", ["trained", "randomized"]),
        ("fourier", ["trained", "randomized"]),
        ("alibi", ["trained", "randomized"]),
        ("xl", ["trained", "randomized"]),
        ("randomized", ["trained", "randomized"]),
    ],
)
def test_modes_that_do_not_fit_are_refused_with_those_that_do(position: str, fits: list[str]) -> None:
    name, _, base = position.partition(":")
    part = Part(name=name, options={"base": float(base)} if base else {})
    assert supported_modes(part) == fits
    spec = tiny()
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"position": part})})
    for mode in {"interpolated", "yarn", "randomized"} - set(fits):
        with pytest.raises(IncompatiblePartsError) as caught:
            list(evaluate_tasks(spec, {}, [spec.task], mode=mode))  # type: ignore[arg-type]  # every mode by its name
        assert caught.value.hint == f"Modes that fit: {', '.join(fits)}."


@pytest.mark.parametrize("position", ["rotary", "sinusoidal", "fourier", "alibi", "xl", "yarn", "randomized-alibi"])
def test_every_mode_that_fits_loads_the_weights(position: str) -> None:
    spec, _, weights = trained(position)
    for mode in supported_modes(spec.model.position):
        (score,) = evaluate_tasks(spec, weights, at_levels(spec.task, [6]), mode=mode, sequences=4)
        assert score.accuracy.total == 24


def test_the_error_for_a_short_position_table_has_its_length() -> None:
    spec, _, weights = trained("learned")
    with pytest.raises(InvalidValueError) as caught:
        list(evaluate_tasks(spec, weights, at_lengths(spec.task, [4, 6])))
    assert str(caught.value) == (
        "6 tokens\n  Learned positions end at 4 tokens; the sequence has 6.\n  This run reads up to 4 tokens. "
        "Nothing was measured: leave out what is longer, and ask for 4."
    )


@pytest.mark.parametrize(
    ("position", "mode"), [("randomized", "trained"), ("randomized-alibi", "trained"), ("randomized-xl", "randomized")]
)
def test_beyond_the_range_of_positions_nothing_is_evaluated_and_the_error_has_the_longest_length(
    position: str, mode: Any
) -> None:
    spec, _, weights = trained(position, range=20)
    scores = evaluate_tasks(spec, weights, at_lengths(spec.task, [4, 30, 400]), mode=mode, sequences=2)
    with pytest.raises(InvalidValueError) as caught:
        next(scores)  # though the first length would fit
    hint = "This run reads up to 20 tokens. Nothing was measured: leave out what is longer, and ask for 4."
    assert caught.value.hint == hint
    (score,) = evaluate_tasks(spec, weights, at_lengths(spec.task, [20]), mode=mode, sequences=2)
    assert score.length == 20
    with pytest.raises(InvalidValueError, match="do not fit into a range of 20 positions"):
        list(evaluate_tasks(spec, weights, at_lengths(spec.task, [22]), mode=mode, sequences=2))


@pytest.mark.parametrize(
    ("complexity", "train", "trained"), [(2, {}, 4), (2, {"symbols": 3}, 6), (5, {"symbols": "1..3"}, 6)]
)
def test_the_trained_length_is_that_of_the_training_split(complexity: int, train: dict[str, Any], trained: int) -> None:
    base = tiny(position="rotary")
    update = {"options": {**base.task.options, "symbols": complexity}, "train": train, "evaluate": (8,)}
    spec = base.model_copy(update={"task": base.task.model_copy(update=update)})
    assert Source(spec.task, 0).length == 16
    assert trained_length(spec.task) == trained
    checkpointer = MemoryCheckpointer()
    train_runs([spec], checkpointer=checkpointer)
    model = rebuild_model(spec, checkpointer.finished[spec.id], Source(spec.task, 0), "interpolated", 24)
    assert model.spec.position.options["factor"] == 24 / trained
    (score,) = evaluate_tasks(spec, checkpointer.finished[spec.id], at_levels(spec.task, [1]), sequences=2)
    assert score.trained_length == trained


def test_tokens_outside_the_runs_vocabulary_are_refused() -> None:
    spec, _, weights = trained()
    wide = spec.task.model_copy(update={"options": {**spec.task.options, "alphabet": 9}})
    with pytest.raises(InvalidValueError, match="needs a vocabulary of 10 tokens"):
        list(evaluate_tasks(spec, weights, [wide]))


def test_lengths_are_in_tokens() -> None:
    recall = TaskSpec(name="recall", options={"pairs": 2, "length": 16}, complexity="pairs", evaluate=(3,))
    assert [task.options for task in at_lengths(recall, [32])] == [{"pairs": 2, "length": 32}]
    copy = TaskSpec(name="copy", options={"symbols": 2, "alphabet": 4}, complexity="symbols")
    result = at_lengths(copy, [2, 5, 1000])
    assert [task.level for task in result] == [1, 2, 500]
    assert [Source(task, 0).task.length for task in result] == [2, 4, 1000]
    assert at_lengths(recall, [32])[0].evaluate == ()
    with pytest.raises(AttnlabError, match="Not even the lowest level of copy fits 1 tokens"):
        at_lengths(copy, [1])


def test_weights_of_another_model_are_refused() -> None:
    spec, _, weights = trained()
    with pytest.raises(StoreError, match="in only one of them"):
        rebuild_model(spec, {**weights, "more": np.zeros(1, np.float32)}, Source(spec.task, 0))


@pytest.mark.parametrize("changed", ["attention", "position", "task"])
def test_parts_of_another_version_are_refused(changed: str) -> None:
    spec, _, weights = trained()
    older = {"version": 0}
    task = spec.task.model_copy(update=older if changed == "task" else {})
    parts = {"attention": spec.model.attention[0], "position": spec.model.position}
    parts = {name: part.model_copy(update=older if changed == name else {}) for name, part in parts.items()}
    model = spec.model.model_copy(update={"attention": (parts["attention"],), "position": parts["position"]})
    with pytest.raises(InvalidValueError, match="It was trained with version 0 of"):
        list(evaluate_tasks(spec.model_copy(update={"task": task, "model": model}), weights, [spec.task]))


def test_memory_is_bounded_by_query_chunks_and_the_score_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _, weights = trained(attention="sigmoid")
    sizes: list[int] = []
    plain = Attention.weights

    def counted(self: Attention, qkv: Any, position: Any) -> torch.Tensor:
        weights_BHTS = plain(self, qkv, position)
        sizes.append(weights_BHTS.numel())
        return weights_BHTS

    monkeypatch.setattr(Attention, "weights", counted)
    (whole,) = evaluate_tasks(spec, weights, at_levels(spec.task, [32]), sequences=8)
    assert sizes == [8 * 2 * 64 * 64]
    sizes.clear()
    monkeypatch.setattr(Attention, "max_score_elements", 2048)
    (chunked,) = evaluate_tasks(spec, weights, at_levels(spec.task, [32]), sequences=8)
    # Blocks of two rows of 8 x 2 maps, with the keys up to their last query in sixteenths.
    assert sizes == [2 * 16 * 4 * ((block + 1) // 2) for block in range(1, 33)]
    assert chunked.accuracy == whole.accuracy
    assert chunked.loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_model_of_several_layers_and_heads_too() -> None:
    base = tiny(position="rotary")
    model = ModelSpec(layers=3, width=12, heads=3, position=Part(name="rotary"), norm="post")
    spec = base.model_copy(update={"model": model})
    checkpointer = MemoryCheckpointer()
    (record,) = train_runs([spec], checkpointer=checkpointer)
    (score,) = evaluate_tasks(spec, checkpointer.finished[spec.id], [spec.task])
    assert score.accuracy == record.accuracy
