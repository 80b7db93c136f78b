"""Tasks whose tokens and targets are numbers: loss, scores, resuming, stacking and evaluation; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnlab
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.model.transformer import build
from attnlab.records import Record
from attnlab.specs import ModelSpec, Split, TaskSpec
from attnlab.tasks.io.export import export
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.testing.check_task import check_task
from attnlab.training.run import train_runs
from attnlab.training.scoring import score
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.builders import noise
from tests.training.runs import MemoryCheckpointer, interrupt_at, tiny

CPU = torch.device("cpu")
NAME = "in-context-regression"


def task(complexity: int | None = None, **options: Any) -> TaskSpec:
    return task_spec(find_ladder(NAME), options, complexity)


def spec_of(**fields: Any) -> Any:
    spec = tiny(**fields)
    return spec.model_copy(update={"task": task()})


def test_the_loss_is_the_mean_squared_error_of_one_output() -> None:
    source = Source(task(), 0)
    model = build(ModelSpec(layers=1, width=8, heads=2), vocabulary=1, features=source.features, length=9, seed=0)
    batch = source.training(0, 5)
    inputs, targets_N = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.query_targets())
    positions = torch.from_numpy(batch.query_positions())
    outputs = model(inputs, positions).logits_NV
    assert outputs.shape == (25, 1)
    expected = sum((float(o) - float(t)) ** 2 for o, t in zip(outputs.detach(), targets_N, strict=True)) / 25
    loss, _ = model.losses(inputs, positions, targets_N)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_model_reads_missing_numbers_as_zeros() -> None:
    model = build(ModelSpec(layers=1, width=8, heads=2), vocabulary=1, features=5, length=9, seed=0).double()
    few = noise(2, 9, 3)
    padded = torch.cat([few, torch.zeros(2, 9, 2).double()], -1)
    torch.testing.assert_close(model(few, None).logits_NV, model(padded, None).logits_NV, rtol=0, atol=1e-12)


def test_a_run_learns_and_its_record_has_the_squared_error() -> None:
    budget = {"max_steps": 250, "batch_size": 64, "lr": 5e-3, "validation_examples": 64, "test_examples": 256}
    (record,) = attnlab.train(
        f"{NAME}:examples=6",
        complexity=1,
        model={"layers": 2, "width": 16, "heads": 2},
        train=budget,
        store=None,
        device="cpu",
    )
    error = record.scores["mean_squared_error"]
    assert error.count == 256
    assert error.mean < 0.6 < 1
    assert record.loss == pytest.approx(error.mean, rel=1e-6)  # every sequence has equally many answers
    assert record.accuracy.mean > record.accuracy.chance + 0.05
    assert (record.vocabulary, record.chance_note) == (0, "chance: the number 0")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    store = tmp_path_factory.mktemp("numbers") / "results"
    budget = {"max_steps": 3, "batch_size": 4, "validation_examples": 8, "test_examples": 16}
    model = {"layers": 1, "width": 8, "heads": 2}
    (record,) = attnlab.train(NAME, complexity=2, model=model, train=budget, store=store, device="cpu")
    return record, store


def test_a_finished_run_is_evaluated_up_to_its_own_dimension(stored: tuple[Record, Path]) -> None:
    record, store = stored
    lower, own = attnlab.evaluate(record.id, store=store, complexity=[1, 2])
    assert own.accuracy == record.accuracy
    assert own.scores["mean_squared_error"].mean == pytest.approx(record.scores["mean_squared_error"].mean, rel=1e-6)
    assert lower.scores["mean_squared_error"].count == 16
    assert (own.loss, lower.loss) == (None, None)
    with pytest.raises(InvalidValueError) as caught:
        attnlab.evaluate(record.id, store=store, complexity=[4])
    assert "dimensions 4 has tokens of 5 numbers." in str(caught.value)
    with pytest.raises(InvalidValueError, match="The numbers of the next token are given"):
        attnlab.evaluate(record.id, store=store, rollout=True)


def test_a_resumed_run_has_the_numbers_of_a_whole_one() -> None:
    spec = spec_of()
    (whole,) = train_runs([spec])
    checkpointer = MemoryCheckpointer()
    with pytest.raises(attnlab.errors.InterruptedTraining):
        train_runs([spec], interrupt_at(5), checkpointer=checkpointer)
    (resumed,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    assert resumed.numbers() == whole.numbers()


@pytest.mark.parametrize("lengths", [{}, {"train": {"dimensions": "1..2"}}])
def test_stacked_runs_are_those_alone(lengths: dict[str, Any]) -> None:
    """With a range of dimensions the batches of a step differ in length and in numbers per token, and are padded."""
    specs = [tiny(seed=seed).model_copy(update={"task": task().model_copy(update=lengths)}) for seed in (0, 1, 2)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    vmapped = VmapStepper(specs, sources, CPU)
    singles = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, sources, strict=True)]
    for step in range(4):
        batches = {index: source.training(step, 4) for index, source in enumerate(sources)}
        vmapped.step(batches, dict.fromkeys(batches, 1e-3))
        for index, single in enumerate(singles):
            single.step({0: batches[index]}, {0: 1e-3})
    losses = vmapped.losses()
    held_out = {index: source.held_out(Split.VALIDATION, 6, 4) for index, source in enumerate(sources)}
    together = vmapped.predict_each(held_out)
    for index, single in enumerate(singles):
        np.testing.assert_allclose(losses[index], single.losses()[0], rtol=1e-5)
        for ours, alone in zip(together[index], single.predict(0, held_out[index]), strict=True):
            np.testing.assert_allclose(ours.tokens_N, alone.tokens_N, rtol=1e-4, atol=1e-5)
            assert ours.loss_sum == pytest.approx(alone.loss_sum, rel=1e-4)


def test_a_limited_number_of_sequences_is_distinct_and_keeps_what_is_accepted() -> None:
    source = Source(task(), 0, examples=12)
    batches = [source.training(step, 4) for step in range(3)]
    rows = {row.tobytes() for batch in batches for row in batch.inputs_BT}
    assert len(rows) == 12
    for batch in batches:
        targets = batch.query_targets()
        assert batch.correct(targets + np.float32(0.2)).all()
        assert not batch.correct(targets + np.float32(0.3)).any()


def test_scores_of_numbers_are_those_of_a_loop() -> None:
    batch = Source(task(), 0).held_out(Split.TEST, 6, 6)[0]
    predictions = batch.query_targets() + np.linspace(-0.5, 0.5, 18).astype(np.float32)
    scored = score([batch], [predictions], 0.3, scorers=("mean_squared_error",))
    errors = [float(p - t) ** 2 for p, t in zip(predictions, batch.query_targets(), strict=True)]
    assert scored.scores["mean_squared_error"].mean == pytest.approx(np.mean(errors), rel=1e-6)
    assert scored.accuracy.correct == sum(error <= 0.25**2 for error in errors)


def test_a_large_loss_of_large_targets_is_no_divergence() -> None:
    spec = tiny(max_steps=4).model_copy(update={"task": task(noise=30.0)})
    (record,) = train_runs([spec])
    assert record.status == "done"
    assert record.history[0].loss > 100


def test_the_audit_finds_wrong_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlab.tasks.in_context_regression import InContextRegression

    assert check_task(find_ladder(NAME), {}, 2, samples=256).passed
    monkeypatch.setattr(InContextRegression, "_zero_is_right", lambda self, places: 0.1)
    (level,) = check_task(find_ladder(NAME), {}, 2, samples=256).levels
    assert [finding.check for finding in level.findings if finding.outcome == "fail"] == ["chance"]
    monkeypatch.undo()
    monkeypatch.setattr(InContextRegression, "solve", lambda self, tokens: [0.0] * len(tokens))
    (level,) = check_task(find_ladder(NAME), {}, 2, samples=256).levels
    assert "labels" in [finding.check for finding in level.findings if finding.outcome == "fail"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"tie_embeddings": True}}, "there is no embedding of ids that the head could share"),
        ({"train": {"rollout": True}}, "The numbers of the next token are given"),
        ({"task": f"mixture:tasks=[{NAME},parity]"}, "a mixture has one vocabulary of ids"),
        ({"model": torch.nn.Linear}, "a whole model reads ids"),
    ],
)
def test_what_needs_ids_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AttnlabError, match=message):
        attnlab.train(**{"task": NAME, "store": None, "device": "cpu", **arguments})


def test_a_file_of_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="are numbers, and a file holds ids"):
        export(task(), tmp_path / "numbers.jsonl", sequences=4)
    assert not list(tmp_path.iterdir())


def test_a_diagnosis_of_numbers_is_refused(stored: tuple[Record, Path]) -> None:
    record, store = stored
    with pytest.raises(InvalidValueError, match="a diagnosis reads ids"):
        attnlab.diagnose(record, kind="rank-collapse", store=store)
