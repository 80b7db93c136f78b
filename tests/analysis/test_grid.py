from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab.analysis.grid import Grid
from attnlab.analysis.grids import grids
from attnlab.analysis.statistics import Sample, clopper_pearson, intervals
from attnlab.errors import UnknownNameError
from attnlab.records import Record
from tests.rendering.fake_runs import CHANCE, run, seeds


def only(records: list[Record], **options: object) -> Grid:
    (panel,) = grids(records, **options)  # type: ignore[arg-type]
    return panel


def ladder(attention: str, levels: dict[int, list[float]], **fields: object) -> list[Record]:
    return [
        one
        for pairs, accuracies in levels.items()
        for one in seeds(accuracies, attention=attention, pairs=pairs, **fields)
    ]


def test_rows_are_variants_columns_are_levels_and_seeds_are_the_unit() -> None:
    records = ladder("softmax", {8: [0.5, 0.7], 4: [1.0, 0.9]}) + ladder("expressive", {4: [1.0, 1.0, 0.7]})
    panel = only(records)
    assert (panel.title, panel.by, panel.row_fields) == ("recall", "pairs", ("attention",))
    assert (panel.rows, panel.columns) == ((("softmax",), ("expressive",)), (4, 8))
    cell = panel.cells[("softmax",), 8]
    assert (cell.values, cell.interval) == ((0.5, 0.7), intervals([Sample((0.5, 0.7), (CHANCE, 1.0))])[0])
    assert cell.mean == pytest.approx(0.6)
    assert [len(cell.values) for cell in panel.across(("expressive",))] == [3, 0]
    assert math.isnan(panel.across(("expressive",))[1].mean)


def test_rows_with_numbers_rise_and_other_rows_keep_their_order() -> None:
    def trained_on(examples: int | None, attention: str) -> Record:
        record = run(attention=attention)
        train = record.spec.train.model_copy(update={"train_examples": examples})
        spec = record.spec.model_copy(update={"train": train})
        return record.model_copy(update={"spec": spec, "id": spec.id})

    records = [trained_on(size, name) for name in ("softmax", "expressive") for size in (16, None, 1000, 8)]
    expected = [(name, size) for name in ("softmax", "expressive") for size in ("8", "16", "1000", "-")]
    assert list(only(records).rows) == expected


def test_the_order_in_which_runs_ended_does_not_matter_within_cells() -> None:
    records = ladder("softmax", {4: [0.3, 0.5, 0.9, 0.2, 0.7]})
    forward, backward = only(records), only(records[::-1])
    assert forward.cells == backward.cells
    assert forward.cells[("softmax",), 4].values == (0.3, 0.5, 0.9, 0.2, 0.7)


def tuned_runs() -> list[Record]:
    """The learning rate with the better validation accuracy has the worse test accuracy."""
    good = seeds([0.6, 0.62], lr=1e-3)
    bad = seeds([0.9, 0.92], lr=3e-3)
    validations = [(record, 0.8) for record in good] + [(record, 0.3) for record in bad]
    return [
        record.model_copy(update={"history": (record.history[-1].model_copy(update={"accuracy": validation}),)})
        for record, validation in validations
    ]


def test_tuned_values_are_chosen_by_validation_accuracy_never_by_test_accuracy() -> None:
    cell = only(tuned_runs(), tuned=("train.lr",)).cells[("softmax",), 4]
    assert cell.values == (0.6, 0.62)
    assert (cell.chosen, cell.tried) == ("lr 0.001", 2)


def test_nothing_is_tuned_unless_it_is_named() -> None:
    panel = only(tuned_runs())
    assert panel.row_fields == ("lr",)
    assert panel.rows == (("0.001",), ("0.003",))


def test_each_cell_is_tuned_by_itself() -> None:
    records = [run(lr=1e-3, pairs=2, accuracy=0.9), run(lr=3e-3, pairs=2, accuracy=0.8)]
    records += [run(lr=1e-3, pairs=4, accuracy=0.5), run(lr=3e-3, pairs=4, accuracy=0.6)]
    panel = only(records, tuned=("lr",))
    assert [cell.chosen for cell in panel.across(panel.rows[0])] == ["lr 0.001", "lr 0.003"]


def test_a_learning_rate_that_diverges_is_not_chosen_and_a_failed_run_does_not_count_against_its_rate() -> None:
    records = [run(lr=1e-2, seed=0, accuracy=0.9), run(lr=1e-2, seed=1, accuracy=0.9, status="diverged")]
    records += seeds([0.5, 0.5], lr=1e-3)
    assert only(records, tuned=("lr",)).cells[("softmax",), 4].chosen == "lr 0.001"
    records[1] = run(lr=1e-2, seed=1, accuracy=0.0, status="failed")
    cell = only(records, tuned=("lr",)).cells[("softmax",), 4]
    assert (cell.chosen, cell.values, cell.failed) == ("lr 0.01", (0.9,), 1)


def test_failed_runs_are_left_out_and_diverged_ones_count_with_their_scores() -> None:
    records = [run(seed=0, accuracy=1.0), run(seed=1, accuracy=0.0, status="failed")]
    records += [run(seed=2, accuracy=1.0, status="diverged")]
    cell = only(records).cells[("softmax",), 4]
    assert (cell.values, cell.failed, cell.diverged) == ((1.0, 1.0), 1, 1)
    assert cell.solved == (True, False)


def test_the_max_solved_level_is_the_last_before_the_first_that_most_seeds_miss() -> None:
    levels = {2: [1.0, 1.0], 4: [1.0, 0.5], 8: [0.5, 0.5], 16: [1.0, 1.0]}
    panel = only(ladder("softmax", levels))
    assert panel.max_solved(("softmax",)) == 4
    assert only(ladder("softmax", {2: [0.5]})).max_solved(("softmax",)) is None


def test_levels_that_a_sweep_left_out_are_skipped_for_the_max_solved_level() -> None:
    records = ladder("softmax", {8: [1.0], 16: [0.5]}) + ladder("expressive", {2: [1.0], 16: [1.0]})
    panel = only(records)
    assert (panel.max_solved(("softmax",)), panel.max_solved(("expressive",))) == (8, 16)
    lost = [run(pairs=2, accuracy=1.0), run(pairs=4, status="failed"), run(pairs=8, accuracy=1.0)]
    assert only(lost).max_solved(("softmax",)) == 2


def test_capacity_is_counted_from_chance() -> None:
    halfway = (1 + CHANCE) / 2
    panel = only(ladder("softmax", {2: [1.0] * 3, 4: [halfway] * 3, 8: [CHANCE] * 3}))
    half, most = panel.capacities[("softmax",)]
    assert half[0] == pytest.approx(4.0, rel=1e-2)
    assert half[1][0] < half[0] < half[1][1]
    assert 2 < most[0] < half[0]


def test_levels_that_are_words_have_no_capacity() -> None:
    panel = only(ladder("softmax", {"easy": [1.0] * 3, "hard": [0.5] * 3}))  # type: ignore[dict-item]
    assert np.isnan([panel.capacities[("softmax",)][0][0], *panel.capacities[("softmax",)][0][1]]).all()


def test_runs_trained_on_other_levels_never_share_a_cell_with_runs_trained_on_the_level() -> None:
    records = [run(pairs=4, accuracy=1.0, other_levels={8: 0.6}), run(pairs=8, accuracy=0.9, other_levels={4: 0.8})]
    own, four, eight = grids(records)
    assert [panel.title for panel in (own, four, eight)] == [
        "recall",
        "recall, trained on pairs 4",
        "recall, trained on pairs 8",
    ]
    values = [[cell.values for cell in panel.across(("softmax",))] for panel in (own, four, eight)]
    assert values == [[(1.0,), (0.9,)], [(1.0,), (0.6,)], [(0.8,), (0.9,)]]


def test_train_short_and_evaluate_long_is_one_panel() -> None:
    panel = only(seeds([1.0, 0.9], pairs=4, other_levels={8: 0.6, 16: 0.3}))
    assert (panel.title, panel.columns) == ("recall, trained on pairs 4", (4, 8, 16))
    ranged = only(seeds([1.0, 0.9], pairs=4, trained="1..8", other_levels={8: 0.6}))
    assert (ranged.title, ranged.columns) == ("recall, trained on pairs 1..8", (4, 8))


def test_a_ladder_that_trains_up_to_each_level_is_one_panel() -> None:
    records = [run(pairs=pairs, seed=seed, trained=f"1..{pairs}") for pairs in (2, 4, 8) for seed in range(2)]
    panel = only(records)
    assert (panel.title, panel.columns, panel.panel.trained) == ("recall", (2, 4, 8), None)
    tested = [run(pairs=pairs, trained=f"1..{pairs}", other_levels={16: 0.2}) for pairs in (2, 4)]
    assert [(panel.title, panel.columns) for panel in grids(tested)] == [
        ("recall", (2, 4)),
        ("recall, trained on pairs 1..2", (2, 16)),
        ("recall, trained on pairs 1..4", (4, 16)),
    ]


def test_the_title_has_a_range_that_all_runs_were_trained_on() -> None:
    assert only([run(pairs=8, trained="1..8")]).title == "recall, trained on pairs 1..8"
    assert only([run(pairs=pairs, trained="1..8") for pairs in (4, 8)]).title == "recall, trained on pairs 1..8"


def test_trained_may_be_a_row() -> None:
    records = [run(pairs=4, accuracy=1.0, other_levels={8: 0.6}), run(pairs=8, accuracy=0.9, other_levels={4: 0.8})]
    panel = only(records, index=("trained",))
    assert panel.rows == (("4",), ("8",))
    assert [cell.mean for cell in panel.across(("8",))] == [0.8, 0.9]


def test_subtasks_of_a_mixture_are_panels_or_columns() -> None:
    records = seeds([0.5, 0.6], subtasks={"copy": 0.9, "parity": 0.2})
    assert [panel.title for panel in grids(records)] == ["recall", "recall · copy", "recall · parity"]
    panel = only(records, columns="subtask")
    assert (panel.columns, panel.by) == (("copy", "parity"), "subtask")
    assert [cell.mean for cell in panel.across(("softmax",))] == [0.9, 0.2]


def test_tasks_are_panels_with_the_same_rows() -> None:
    records = [run(task=task, attention=name) for task in ("recall", "copy") for name in ("softmax", "dape")]
    first, second = grids(records)
    assert (first.title, second.title) == ("recall", "copy")
    assert first.rows == second.rows == (("softmax",), ("dape",))


def test_any_field_makes_columns_and_the_level_then_distinguishes_rows() -> None:
    records = [run(width=width, pairs=pairs) for width in (32, 64) for pairs in (2, 4)]
    panel = only(records, columns="width")
    assert (panel.columns, panel.row_fields, panel.rows) == ((32, 64), ("level",), (("2",), ("4",)))


def test_rows_that_do_not_distinguish_all_runs_are_averaged_within_seeds() -> None:
    """Two widths of one seed are one number, not two."""
    records = [run(width=width, seed=seed, accuracy=width / 100 + seed / 10) for width in (32, 64) for seed in (0, 1)]
    panel = only(records, index=("attention",))
    assert panel.merged == ("width",)
    assert panel.cells[("softmax",), 4].values == pytest.approx((0.48, 0.58))


def test_fields_that_only_follow_the_variant_or_the_level_split_no_row() -> None:
    """Matched widths follow the variant, a level's length follows the level."""
    records = [
        run(name, pairs=pairs, width=width, options={"length": 8 * pairs})
        for name, width in (("softmax", 64), ("dape", 60))
        for pairs in (2, 4)
    ]
    panel = only(records)
    assert (panel.row_fields, panel.along) == (("attention",), ("width",))
    crossed = [*records, run("dape", pairs=2, width=32, options={"length": 16})]
    assert only(crossed).row_fields == ("attention", "width")


def test_the_probability_to_solve_stands_beside_every_mean() -> None:
    for metric in ("accuracy", "loss", "steps"):
        cell = only(seeds([1.0, 1.0, 0.5]), metric=metric).cells[("softmax",), 4]
        assert cell.solve_rate == pytest.approx(2 / 3)
        assert cell.solve_interval == clopper_pearson(2, 3)


def test_runs_of_a_seed_that_are_averaged_are_not_counted_as_seeds() -> None:
    """Three seeds at two widths are three trials, not six."""
    records = [run(width=width, seed=seed, accuracy=1.0) for width in (32, 64) for seed in range(3)]
    cell = only(records, index=("attention",)).cells[("softmax",), 4]
    assert (cell.solve_rates, cell.solve_interval) == ((1.0,) * 3, clopper_pearson(3, 3))
    mixed = [run(width=width, seed=seed, accuracy=width / 64) for width in (32, 64) for seed in range(3)]
    cell = only(mixed, index=("attention",)).cells[("softmax",), 4]
    assert cell.solve_rates == (0.5,) * 3
    assert cell.solve_interval[0] < 0.2 < 0.8 < cell.solve_interval[1]


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        ("accuracy", (CHANCE, 1.0)),
        ("exact_match", (0.0, 1.0)),
        ("solved", (0.0, 1.0)),
        ("validation_accuracy", (CHANCE, 1.0)),
        ("steps", (0.0, 2000.0)),
        ("loss", None),
        ("seconds", None),
        ("parameters", None),
    ],
)
def test_metrics_state_their_bounds(metric: str, bounds: tuple[float, float] | None) -> None:
    cell = only(seeds([0.3, 0.4, 0.5]), metric=metric).cells[("softmax",), 4]
    assert cell.bounds == bounds
    assert cell.interval_kind == ("gaffke" if bounds else "student")


def test_the_lower_bound_of_accuracy_is_zero_where_a_run_is_below_chance() -> None:
    above, below = (only(seeds([0.5, low, 0.6])).cells[("softmax",), 4] for low in (CHANCE, CHANCE - 0.01))
    assert (above.bounds, below.bounds) == ((CHANCE, 1.0), (0.0, 1.0))
    assert below.interval[0] < above.interval[0]
    assert above.share_sample.bounds == (0.0, 1.0)
    assert below.share_sample.bounds is not None
    assert below.share_sample.bounds == pytest.approx((-CHANCE / (1 - CHANCE), 1.0))


def test_shares_of_solved_seeds_have_the_interval_of_clopper_and_pearson() -> None:
    panel = only(seeds([1.0, 1.0, 0.5]), metric="solved")
    cell = panel.cells[("softmax",), 4]
    assert cell.mean == pytest.approx(2 / 3)
    assert cell.interval == clopper_pearson(2, 3)


@pytest.mark.parametrize("options", [{"index": ("atention",)}, {"columns": "atention"}, {"metric": "atention"}])
def test_unknown_fields_and_metrics_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        only([run()], **options)
    assert caught.value.where == f"--{next(iter(options))}"


def test_no_records_are_no_panels() -> None:
    assert grids([]) == []


@pytest.mark.parametrize(
    ("accuracies", "levels"),
    [
        ([0.30, 0.91, 1.0, 0.997], (2, 4)),  # not solved at first, and below 90 % of the way from chance on the second
        ([1.0, 0.995, 0.5, 0.3], ()),
        ([0.4, 0.5, 0.3, 0.45], ()),  # it rises, but across nothing that the table reads off it
        ([1.0, 0.5, 0.7, 0.3], (4,)),  # halfway from 0.25 to 1 is 0.625
    ],
)
def test_rows_that_are_worse_on_a_level_than_on_a_higher_one(accuracies: list[float], levels: tuple[int, ...]) -> None:
    records = [run(pairs=2 ** (1 + index), accuracy=accuracy) for index, accuracy in enumerate(accuracies)]
    assert only(records).rises(("softmax",)) == levels


def test_two_seeds_have_no_interval() -> None:
    """Student's interval of two numbers is twelve times as wide as they are apart; Gaffke's is nearly everything."""
    for metric in ("accuracy", "loss", "solved"):
        panel = only([*seeds([0.3, 0.9]), *seeds([0.3, 0.9], pairs=8)], metric=metric)
        cell = panel.cells[("softmax",), 4]
        assert np.isnan([*cell.interval, *cell.solve_interval, *panel.capacities[("softmax",)][0][1]]).all()
