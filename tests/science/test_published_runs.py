"""The published records are what the code gives: first steps of all cells, whole runs of three of each experiment."""

from __future__ import annotations

import math

import pytest

from attnlab import resources
from attnlab.records import Record
from attnlab.storage.published import read_published
from tests.rendering.fake_runs import run, score, seeds
from tests.science.rerun import (
    ROUNDING,
    affordable,
    cells_of,
    chosen,
    differences,
    first_loss,
    metrics_of,
    run_again,
)

every_published = pytest.mark.parametrize("name", resources.published_names())


@pytest.mark.slow
@every_published
def test_every_cell_begins_as_published(name: str) -> None:
    told: dict[str, str] = {}
    for first, *_ in cells_of(read_published(name).records):
        loss = first_loss(first)
        if first.initial_loss is None or not math.isclose(loss, first.initial_loss, rel_tol=ROUNDING):
            told[first.spec.summary] = f"{loss}, published {first.initial_loss}"
    assert not told, f"{told}; data, initial weights or the model have changed: run it again and publish it anew"


@pytest.mark.slow
@every_published
def test_three_cells_end_as_published(name: str) -> None:
    published = read_published(name)
    metrics = metrics_of(published.experiment)
    told: dict[str, list[str]] = {}
    equal: list[bool] = []
    for cell in chosen(cells_of(published.records)):
        again = run_again(affordable(cell))
        told |= {one.id: found for one in again if (found := differences(cell, one, metrics))}
        equal += [one.numbers() == before.numbers() for one, before in zip(again, cell, strict=False)]
    assert not told, f"{told}; {sum(equal)} of {len(equal)} runs gave the very same numbers"


def test_runs_are_grouped_by_what_they_share_beside_their_seed() -> None:
    records = [*seeds([0.5, 0.6]), *seeds([0.7, 0.8, 0.9], attention="expressive")]
    assert sorted(len(cell) for cell in cells_of(records)) == [2, 3]


def test_of_the_cells_that_agree_three_are_chosen_by_their_cost() -> None:
    spread = {2: [0.9, 0.9], 3: [0.5, 0.6], 4: [0.8, 0.81], 8: [0.2, 0.2], 16: [0.99, 0.1], 32: [0.1, 0.3]}
    cost = {2: 9.0, 3: 1.0, 4: 5.0, 8: 7.0, 16: 2.0, 32: 3.0}
    records = [
        run(pairs=pairs, seed=seed, accuracy=accuracy, environment={"seconds": cost[pairs]})
        for pairs, accuracies in spread.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    assert [cell[0].spec.task.level for cell in chosen(cells_of(records))] == [4, 8, 2]
    assert len(chosen(cells_of(records)[:1])) == 1


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 4), (25.0, 2), (500.0, 1)])
def test_no_more_seeds_than_fit_into_a_minute(seconds: float, count: int) -> None:
    cell = tuple(one.model_copy(update={"environment": {"seconds": seconds}}) for one in seeds([0.5] * 4))
    assert len(affordable(cell)) == count


CELL = tuple(seeds([0.70, 0.74, 0.72], other_levels={8: 0.3}))
GATE = {"gate": 2.0}


@pytest.mark.parametrize(
    ("again", "phrase"),
    [
        (run(accuracy=0.70, other_levels={8: 0.3}), ""),
        (run(accuracy=0.78, other_levels={8: 0.26}), ""),  # within five points of the range of the seeds
        (run(accuracy=0.80, other_levels={8: 0.3}), "accuracy"),
        (run(accuracy=0.64, other_levels={8: 0.3}), "accuracy"),
        (run(accuracy=0.72, other_levels={8: 0.4}), "level=8"),
        (run(accuracy=0.72), "only published"),
        (run(accuracy=1.0, other_levels={8: 0.3}), "solved: True, published False"),
        (run(accuracy=0.72, status="diverged", other_levels={8: 0.3}), "status: diverged, published done"),
        (run(accuracy=0.72, other_levels={8: 0.3}, diagnostics=GATE), "metric='gate'"),
    ],
)
def test_another_conclusion_is_told(again: Record, phrase: str) -> None:
    told = "; ".join(differences(CELL, again, ["accuracy", "gate"]))
    assert phrase in told
    assert bool(told) == bool(phrase)


def test_other_numbers_have_a_margin_of_their_own_size() -> None:
    cell = tuple(run(seed=seed, diagnostics={"gate": value}) for seed, value in enumerate((1e-9, 2e-9)))
    assert not differences(cell, run(diagnostics={"gate": 2.09e-9}), ["gate"])
    assert differences(cell, run(diagnostics={"gate": 2.2e-9}), ["gate"])


def test_a_solved_cell_does_not_pass_for_an_unsolved_one() -> None:
    solved = seeds([1.0, 1.0])
    near = run(accuracy=0.97)
    assert near.accuracy == score(0.97)
    assert differences(tuple(solved), near, ["accuracy"]) == ["solved: False, published True"]
