from __future__ import annotations

from typing import Any

import pytest

from attnlab.config.experiment import Claim, Experiment, LadderLevels, ReportLayout
from attnlab.records import Record
from attnlab.rendering._tables import capacity_table, grid_table
from attnlab.rendering.report import Report, report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run, seeds


def ladder(curves: dict[str, list[list[float]]], levels: list[Any] | None = None, **fields: Any) -> list[Record]:
    levels = levels or [2**power for power in range(1, 1 + max(map(len, curves.values())))]
    return [
        one
        for attention, cells in curves.items()
        for pairs, cell in zip(levels, cells, strict=False)
        for one in seeds(cell, attention=attention, pairs=pairs, **fields)
    ]


THREE = {
    "softmax": [[1.0, 1.0, 1.0], [0.8, 0.9, 1.0], [0.3, 0.4, 0.3]],
    "expressive": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.9, 0.95, 0.99]],
}


def experiment(**fields: Any) -> Experiment:
    return Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),), **fields)


def test_a_complete_report() -> None:
    lines = drawn(report(ladder(THREE)))
    assert lines == [
        "recall  accuracy in % by pairs, means over 3 seeds",
        "attention       2           4          8",
        "────────────────────────────────────────",
        "softmax     100.0        90.0       33.3",
        "            100.0  80.0-100.0  30.0-40.0",
        "expressive  100.0       100.0       94.7",
        "            100.0       100.0  90.0-99.0",
        "chance       25.0        25.0       25.0",
        "",
        *lines[9:],
    ]
    heads = next(line for line in lines if "max solved" in line)
    assert heads.split() == ["attention", "curve", "max", "solved", "solved", "C50", "C90", "rank"]
    (softmax,) = (line for line in lines if line.startswith("softmax") and "/" in line)
    assert softmax.split()[2:] == ["2", "4/9", "5.6", "3.36", "2"]
    (expressive,) = (line for line in lines if line.startswith("expressive") and "/" in line)
    assert expressive.split()[2:] == ["4", "7/9", ">8", ">8", "1"]


def test_the_footnotes() -> None:
    assert report(ladder(THREE)).footnotes() == [
        "18 runs.",
        "Intervals: 95 %, over seeds (expanded percentile bootstrap).",
        "With 3 seeds the interval is their range, which covers the mean in only 75 % of cases.",
        "Ranks are by C50; variants with overlapping intervals share ranks.",
    ]
    single = report([run()])
    assert single.footnotes() == ["1 run."]


def test_the_number_of_tuned_values_is_in_the_footnotes() -> None:
    records = [one for lr in (1e-3, 3e-3, 1e-2) for one in seeds([0.5] * 5, lr=lr)]
    result = report(records, experiment(grid={"lr": (1e-3, 3e-3, 1e-2)}))
    assert "lr: up to 3 values tried per cell; the best validation accuracy is chosen." in result.footnotes()
    assert result.panels[0].row_fields == ("attention",)


def test_failed_and_diverged_runs_are_counted() -> None:
    records = [run(), run(seed=1, status="failed"), run(seed=2, status="diverged"), run(seed=3, status="diverged")]
    notes = " ".join(report(records).footnotes())
    assert "Left out: 1 failed run;" in notes
    assert "2 runs diverged" in notes
    assert "failed" in " ".join(drawn(report([run(status="failed")])))


def test_variants_with_overlapping_intervals_share_ranks() -> None:
    curves = {
        "low": [[1.0] * 3, [0.3] * 3, [0.25] * 3],
        "middle": [[1.0] * 3, [1.0, 0.9, 0.8], [0.3, 0.35, 0.4]],
        "alike": [[1.0] * 3, [0.95, 0.85, 0.8], [0.4, 0.35, 0.3]],
        "high": [[1.0] * 3, [1.0] * 3, [1.0] * 3],
    }
    (panel,) = report(ladder(curves)).panels
    assert list(ranked(panel).values()) == ["4", "2-3", "2-3", "1"]


def test_two_seeds_or_one_variant_give_no_ranks() -> None:
    (panel,) = report(ladder({"a": [[1.0, 1.0], [0.3, 0.3]], "b": [[1.0, 1.0], [1.0, 1.0]]})).panels
    assert set(ranked(panel).values()) == {"-"}
    (panel,) = report(ladder({"a": [[1.0] * 3, [0.3] * 3]})).panels
    assert set(ranked(panel).values()) == {"-"}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_wide_ladders_continue_below(width: int) -> None:
    levels = [2**power for power in range(10)]
    curves = {name: [[0.9, 0.95, 1.0]] * 10 for name in ("softmax", "dape:" + "kernel=3,hidden=64" * 2)}
    (panel,) = report(ladder(curves, levels)).panels
    lines = drawn(grid_table(panel), width=width)
    heads = [line.split()[1:] for line in lines if line.startswith("attention")]
    assert [int(head) for line in heads for head in line] == levels
    assert len(heads) == {40: 5, 60: 3, 80: 3, 120: 1}[width] or len(heads) > 1
    assert sum(line.split().count("90.0-100.0") for line in lines) == 20
    assert drawn(capacity_table(panel), width=max(width, 60))


def test_cells_have_the_number_of_seeds_where_it_differs() -> None:
    text = "\n".join(drawn(report(ladder({"a": [[0.5, 0.6, 0.7], [0.5, 0.6]]}))))
    assert "means over" not in text
    assert "n=3" in text
    assert "n=2" in text


def test_over_all_levels_and_tasks() -> None:
    records = ladder(THREE) + ladder(THREE, task="copy") + [run("lone", pairs=2)]
    first, second = report(records).overall
    assert (first.row, second.row) == (("softmax",), ("expressive",))
    assert second.mean[0] > first.mean[0]
    lines = drawn(report(records))
    title = lines.index("normalized accuracy over all levels and tasks (0 = chance, 100 = perfect)")
    assert lines[title + 1].endswith("interquartile mean  P(better than softmax) in %")
    assert second.improvement[0] == pytest.approx((0.5 + (1 * 6 + 0.5 * 3) / 9 + 1) / 3)


def test_subtasks_of_a_mixture_do_not_count_twice() -> None:
    records = [
        run(name, pairs=pairs, seed=seed, accuracy=accuracy, subtasks={"copy": 0.1})
        for name, accuracy in (("a", 0.5), ("b", 0.9))
        for pairs in (2, 4)
        for seed in range(3)
    ]
    result = report(records)
    assert len(result.panels) == 2
    assert result.overall[1].mean[0] == pytest.approx((0.9 - 0.25) / 0.75)


@pytest.mark.parametrize(("metric", "shown"), [("seconds", "21"), ("loss", "1"), ("steps", "1200"), ("rank", "3.5")])
def test_other_metrics_have_no_max_solved_level(metric: str, shown: str) -> None:
    records = [record.model_copy(update={"diagnostics": {"rank": 3.5}}) for record in ladder(THREE)]
    lines = drawn(report(records, metric=metric))
    assert lines[0].startswith(f"recall  {metric} by pairs")
    assert shown in lines[3].split()
    assert not any("max solved" in line for line in lines)


def test_the_experiment_sets_the_layout() -> None:
    result = report(
        ladder(THREE), experiment(report=ReportLayout(index=("level",), columns="attention", metric="exact_match"))
    )
    assert result.panels[0].columns == ("expressive", "softmax")
    assert drawn(result)[0] == "Which?"


def test_claims_are_below_with_their_evidence() -> None:
    claim = Claim(
        says="Expressive solves what softmax does not.",
        of={"attention": "expressive", "level": 8},
        than={"attention": "softmax"},
        expect="greater",
    )
    result = report(ladder(THREE), experiment(claims=(claim,)))
    assert result.claims_hold
    text = [line.strip() for line in drawn(result)]
    assert any(line.split() == ["holds", *claim.says.split()] for line in text)
    assert any(line.startswith("difference of accuracy 0.6133 [") for line in text)
    opposite = claim.model_copy(update={"expect": "less"})
    assert not report(ladder(THREE), experiment(claims=(opposite,))).claims_hold


def test_no_records() -> None:
    assert drawn(report([])) == ["0 runs."]
    assert report([]) == Report(())


def test_fields_that_are_averaged_over_or_differ_along_are_in_the_footnotes() -> None:
    records = [run(width=width, seed=seed) for width in (32, 64) for seed in range(3)]
    assert "Averaged, within each seed, over width." in report(records, index=("attention",)).footnotes()
    along = [run(name, width=width) for name, width in (("a", 32), ("b", 64))]
    assert "Differs between cells: width." in report(along).footnotes()
