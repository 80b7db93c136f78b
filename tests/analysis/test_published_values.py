"""Published values beside ours, against means that were computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from attnlab.analysis.grids import grids
from attnlab.analysis.planned_levels import planned_levels
from attnlab.analysis.published_values import PublishedComparison, PublishedRow, compare_published
from attnlab.config.experiment import Experiment
from attnlab.config.published_values import PublishedTable
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.records import Record
from tests.rendering.fake_runs import run, seeds


def table(*values: dict[str, Any], metric: str = "accuracy", **more: Any) -> PublishedTable:
    data = {"table": "Table 1", "quantity": "accuracy", "differs": "Theirs is larger.", "metric": metric}
    return PublishedTable.model_validate({**data, "values": values, **more})


def compared(records: list[Record], *values: dict[str, Any], tuned: tuple[str, ...] = (), **more: Any) -> Any:
    (result,) = compare_published([table(*values, **more)], records, "arXiv:1", tuned)
    return result


def row_of(records: list[Record], metric: str = "accuracy", tuned: tuple[str, ...] = (), **of: Any) -> PublishedRow:
    (row,) = compared(records, {"of": of, "value": 0.5}, metric=metric, tuned=tuned).rows
    assert isinstance(row, PublishedRow)
    return row


def test_the_mean_its_interval_and_the_extreme_seeds() -> None:
    records = seeds([0.5, 0.75, 1.0]) + seeds([0.25] * 3, attention="gpam")
    row = row_of(records, attention="softmax")
    assert (row.published, row.mean, row.best, row.worst, row.seeds) == (0.5, 0.75, 1.0, 0.5, 3)
    cell = next(cell for (label, _), cell in grids(records)[0].cells.items() if label == ("softmax",))
    assert row.interval == cell.interval


def test_of_the_error_the_best_seed_has_the_lowest() -> None:
    row = row_of(seeds([0.5, 0.75, 1.0]), "error")
    assert (row.mean, row.best, row.worst) == (0.25, 0.0, 0.5)


def test_the_normalized_accuracy() -> None:
    row = row_of(seeds([0.25, 0.625, 1.0]), "normalized_accuracy")  # chance is 0.25
    assert (row.mean, row.best, row.worst) == (0.5, 1.0, 0.0)


def test_several_levels_are_averaged_and_a_seed_is_best_over_all() -> None:
    records = seeds([0.5, 1.0, 0.6], pairs=4) + seeds([1.0, 0.2, 0.6], pairs=8)
    row = row_of(records, level=[4, 8])
    assert row.mean == pytest.approx((0.7 + 0.6) / 2)
    assert (row.best, row.worst, row.seeds) == (0.75, 0.6, 3)


def test_runs_trained_elsewhere_do_not_stand_in_for_planned_ones() -> None:
    ladders = [{"ladder": "recall", "levels": [2, 4, 8], "evaluate": [8]}]
    plan = planned_levels(Experiment.model_validate({"name": "x", "question": "?", "ladders": ladders}))
    records = [run(pairs=pairs, other_levels={8: 0.5}) for pairs in (2, 4)]
    at_eight = table({"of": {"level": 8}, "value": 0.5})
    assert compare_published([at_eight], records, plan=plan)[0].rows[0].seeds == 0
    with pytest.raises(InvalidValueError, match="more than one variant"):
        compare_published([at_eight], records)


def test_seeds_that_one_level_lacks_are_not_the_best() -> None:
    records = seeds([0.5, 1.0], pairs=4) + seeds([0.5], pairs=8)
    row = row_of(records, level=[4, 8])
    assert (row.mean, row.best, row.worst, row.seeds) == (0.625, 0.5, 0.5, 1)


def test_one_seed_has_no_interval() -> None:
    row = row_of([run(accuracy=0.7)])
    assert (row.mean, row.best, row.worst, row.seeds) == (0.7, 0.7, 0.7, 1)
    assert math.isnan(row.interval[0])


@pytest.mark.parametrize("records", [[], [run(attention="gpam")], [run(status="failed")]])
def test_without_a_run_there_is_no_number(records: list[Record]) -> None:
    row = row_of(records, attention="softmax")
    assert all(map(math.isnan, (row.mean, row.best, row.worst, *row.interval)))
    assert (row.published, row.seeds) == (0.5, 0)


def test_of_a_diagnostic_no_end_is_better() -> None:
    row = row_of([run(diagnostics={"rank": 2.0}), run(seed=1, diagnostics={"rank": 4.0})], "rank")
    assert row.mean == 3.0
    assert math.isnan(row.best)
    assert math.isnan(row.worst)


def test_what_is_tuned_is_chosen_by_validation() -> None:
    records = seeds([0.9, 0.9], lr=1e-3, validation=0.1) + seeds([0.4, 0.6], lr=3e-3, validation=0.8)
    assert row_of(records, tuned=("train.lr",)).mean == 0.5


def test_labels_have_what_differs_and_the_name_in_the_source() -> None:
    records = seeds([0.5] * 2) + seeds([0.5] * 2, attention="dape")
    found: PublishedComparison = compared(
        records,
        {"of": {"model.attention": "softmax", "level": 4}, "value": 0.1, "as": "Transformer"},
        {"of": {"attention": {"name": "dape", "kernel": 3}, "level": 4}, "value": 0.2},
    )
    assert [row.label for row in found.rows] == ["softmax (Transformer)", "dape:kernel=3"]
    assert (found.common, found.source, found.table) == ("level 4", "arXiv:1", "Table 1")


@pytest.mark.parametrize(
    ("of", "name", "label"),
    [
        ({"attention": "softmax", "level": [4, 8]}, "", "softmax, level 4, 8"),
        ({"level": 4}, "LSTM", "level 4 (LSTM)"),
        ({}, "LSTM", "LSTM"),
        ({}, "", "all runs"),
    ],
)
def test_the_label_of_a_single_row(of: dict[str, Any], name: str, label: str) -> None:
    (row,) = compared([run()], {"of": of, "value": 0.5, "as": name}).rows
    assert row.label == label


def test_a_table_may_name_its_own_source() -> None:
    assert compared([run()], {"of": {}, "value": 0.5}, source="arXiv:2").source == "arXiv:2"


def test_what_matches_no_field_or_several_variants_is_refused() -> None:
    records = [run(), run(attention="gpam")]
    with pytest.raises(UnknownNameError, match="There is no field 'widht'"):
        row_of(records, widht=64)
    (later,) = compare_published([table({"of": {"widht": 8}, "value": 0.5})], seeds([0.5]), half_done=True)
    assert (later.rows[0].label, later.rows[0].published, later.rows[0].seeds) == ("widht 8", 0.5, 0)
    with pytest.raises(UnknownNameError, match="There is no metric 'acuracy'"):
        row_of(records, "acuracy")
    with pytest.raises(InvalidValueError, match="this matches more than one variant") as caught:
        row_of(records, level=4)
    assert caught.value.where == "published"
