from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from attnlab.analysis._observations import observations
from attnlab.analysis.claims import check_claims
from attnlab.analysis.grids import grids
from attnlab.analysis.time_to_solve import SolveTimes, seconds_to_solve, steps_to_solve
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.records import HistoryPoint, Record
from attnlab.rendering._page_charts import points
from attnlab.rendering.export import FORMATS
from attnlab.rendering.latex import report_latex
from attnlab.rendering.report import needs_history, report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run

BUDGET = run().spec.train.max_steps


def trained(seed: int, solved_at: int | None, **what: object) -> Record:
    """A run of 10 ms a step: solved at a step and stopped a validation later, or not within its budget."""
    steps = BUDGET if solved_at is None else min(BUDGET, solved_at + 100)
    points = [
        HistoryPoint(step=step, loss=1.0, accuracy=0.995 if solved_at and step >= solved_at else 0.4)
        for step in range(100, steps + 1, 100)
    ]
    more = {"steps": steps, "history": tuple(points), "environment": {"seconds": steps / 100}}
    return run(seed=seed, accuracy=0.6 if solved_at is None else 1.0, **what).model_copy(update=more)  # type: ignore[arg-type]


def ladder(attention: str, times: list[int | None], **what: object) -> list[Record]:
    return [trained(seed, time, attention=attention, **what) for seed, time in enumerate(times)]


def test_a_run_is_solved_at_its_first_validation_above_99_percent() -> None:
    assert (steps_to_solve(trained(0, 500)), seconds_to_solve(trained(0, 500))) == (500, 5.0)
    assert steps_to_solve(trained(0, None)) == BUDGET


def test_a_run_whose_test_is_not_solved_is_censored_whatever_its_validation_reached() -> None:
    missed = trained(0, 500).model_copy(update={"accuracy": run(accuracy=0.98).accuracy})
    assert steps_to_solve(missed) == 600
    assert grids([missed], metric="time_to_solve")[0].cells[("softmax",), 4].times == SolveTimes((600.0,), (False,))


def test_a_diverged_run_is_not_solved_to_the_end_of_its_budget_and_a_failed_one_has_no_time() -> None:
    diverged = trained(0, 500).model_copy(update={"status": "diverged"})
    assert steps_to_solve(diverged) == BUDGET
    assert seconds_to_solve(diverged) == pytest.approx(BUDGET / 100)
    assert math.isnan(steps_to_solve(diverged.model_copy(update={"status": "failed"})))


def test_a_history_of_which_only_the_last_point_was_read_gives_no_time() -> None:
    whole = trained(0, 500)
    assert math.isnan(steps_to_solve(whole.model_copy(update={"history": whole.history[-1:]})))


def test_the_medians_of_a_published_trial() -> None:
    """Freireich et al. 1963, as in Klein and Moeschberger, "Survival analysis": medians of 23 and 8 weeks."""
    treated = [(6, 1), (6, 1), (6, 1), (6, 0), (7, 1), (9, 0), (10, 1), (10, 0), (11, 0), (13, 1), (16, 1), (17, 0)]
    treated += [(19, 0), (20, 0), (22, 1), (23, 1), (25, 0), (32, 0), (32, 0), (34, 0), (35, 0)]
    assert SolveTimes(tuple(float(time) for time, _ in treated), tuple(one == 1 for _, one in treated)).median == 23
    placebo = (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)
    assert SolveTimes(tuple(map(float, placebo)), (True,) * 21).median == 8


@pytest.mark.parametrize("runs", [3, 5, 6, 10, 17, 30])
def test_with_one_budget_the_interval_is_that_of_the_sign_test(runs: int) -> None:
    times = tuple(float(100 * place) for place in range(1, runs + 1))
    below = int(binom.ppf(0.025, runs, 0.5))  # P(fewer than so many below the median) < 2.5 % <= P(at most so many)
    low = times[below - 1] if below else 0.0
    high = times[runs - below] if below else math.inf
    every = SolveTimes(times, (True,) * runs)
    assert (every.interval, every.interval_kind) == ((low, high), "sign-test")
    budget = 100.0 * (runs // 2)  # a budget hides what is after it, and nothing else
    cut = SolveTimes(tuple(min(time, budget) for time in times), tuple(time <= budget for time in times))
    assert cut.interval == (min(low, budget), math.inf)
    assert cut.interval_kind == "sign-test"


def test_the_interval_covers_the_median_with_any_number_of_seeds() -> None:
    """Steps to solve in hundreds, geometric with a median of 400, of runs that are stopped after 600."""
    rng, solves = np.random.default_rng(0), 1 - 0.5 ** (1 / 4)
    for runs in (3, 6, 9):
        drawn_times = 100.0 * rng.geometric(solves, (1000, runs))
        covered = 0
        for times in drawn_times:
            found = SolveTimes(tuple(np.minimum(times, 600).tolist()), tuple((times <= 600).tolist())).interval
            covered += found[0] <= 400 <= found[1]
        assert covered >= 0.95 * 1000 - 3 * math.sqrt(0.05 * 0.95 * 1000)


def test_a_median_that_was_not_reached_is_later_than_the_budget_and_not_never() -> None:
    panel = grids(ladder("softmax", [300, *[None] * 8]), metric="time_to_solve")[0]
    times = panel.cells[("softmax",), 4].times
    assert times is not None
    assert (times.median, times.interval, times.unsolved_until) == (math.inf, (BUDGET, math.inf), BUDGET)
    fewer = SolveTimes(times.times[:8], times.solved[:8])  # of eight runs, the first may be the median
    assert fewer.interval == (300, math.inf)


def stopped(seed: int, steps: int) -> Record:
    """A run that stopped early without being solved, as at an early_stop_accuracy below 99 %."""
    points = tuple(HistoryPoint(step=step, loss=1.0, accuracy=0.85) for step in range(100, steps + 1, 100))
    more = {"steps": steps, "history": points, "environment": {"seconds": steps / 100}}
    return run(seed=seed, accuracy=0.85).model_copy(update=more)


@pytest.mark.parametrize(
    ("times", "solved", "until", "interval"),
    [
        ([5, 5, 10, 10, 10, 15, 15, 20], "........", 10, (5, math.inf)),  # seven of eight were not followed to 20
        ([100] * 5 + [2000], "......", 100, (100, math.inf)),
        ([100] * 5 + [2000] * 6, "...........", 2000, (100, math.inf)),
        ([100] + [2000] * 8, ".........", 2000, (2000, math.inf)),  # eight of nine are enough for the sign test
        (
            [50, 60, 100, 500, 500],
            "..x..",
            60,
            (0, math.inf),
        ),  # of five, three are known to be unsolved before 100 alone
        ([50, 60, 70, 80, 100, 500, 500, 500], "....x...", 80, (50, math.inf)),
        ([300, *[1000] * 8], "x........", 1000, (1000, math.inf)),
    ],
)
def test_a_median_is_later_than_a_time_if_more_than_half_of_the_runs_are_known_to_be_unsolved_then(
    times: list[float], solved: str, until: float, interval: tuple[float, float]
) -> None:
    found = SolveTimes(tuple(map(float, times)), tuple(one == "x" for one in solved))
    assert (found.median, found.unsolved_until, found.interval) == (math.inf, until, interval)
    assert found.interval_kind == "sign-test"


def test_runs_that_were_stopped_early_are_not_said_to_be_unsolved_later() -> None:
    records = [stopped(seed, steps) for seed, steps in enumerate([500, 500, 1000, 1000, 1000, 1500, 1500, 2000])]
    found = report(records, metric="time_to_solve")
    assert [line.split() for line in drawn(found)[3:5]] == [["softmax", ">1,000"], ["500", "to", ">2,000"]]
    (point,) = points(found.panels[0])
    assert (point["mean"], point["low"], point["high"]) == (1000, 500, 2000)
    (cell,) = json.loads(FORMATS["json"](found))["cells"]
    assert (cell["median"], cell["median_low"], cell["median_high"]) == ("inf", 500, "inf")
    assert cell["mean"] == BUDGET  # restricted: each counts with its whole budget


def test_a_claim_favors_no_run_for_stopping_early() -> None:
    records = [stopped(seed, 500).model_copy(update={"id": f"s{seed}"}) for seed in range(8)]
    assert {seconds for one in observations(records) if (seconds := one.metric("seconds_to_solve"))} == {BUDGET / 100}
    claim = Claim(says="x", of={"attention": "softmax"}, metric="time_to_solve", expect="less", bound=BUDGET / 2)
    (outcome,) = check_claims([claim], records)
    assert (outcome.outcome, outcome.estimate) == ("fails", BUDGET)


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([stopped(0, 500), stopped(1, 2000)], "range >500 to >2,000"),
        ([stopped(0, 500), trained(1, 900)], "range >500 to >900"),
        ([trained(0, 300), trained(1, 900)], "range 300 to 900"),
        ([stopped(0, 500), stopped(1, 500)], "range >500"),
    ],
)
def test_the_range_of_two_seeds_begins_where_the_shorter_one_was_followed_to(records: list[Record], text: str) -> None:
    assert [line.strip() for line in drawn(report(records, metric="time_to_solve"))[4:5]] == [text]


def test_five_solved_runs_have_an_interval_from_zero() -> None:
    assert "0 to >300" in " ".join(drawn(report(ladder("softmax", [300] * 4), metric="time_to_solve")))


def test_two_seeds_have_a_range_and_one_has_neither() -> None:
    text = " ".join(drawn(report(ladder("softmax", [300, None]), metric="time_to_solve")))
    assert f"range 300 to >{BUDGET:,}" in text
    assert "range of its seeds; an interval takes at least 3" in text
    alone = drawn(report(ladder("softmax", [None]), metric="time_to_solve"))
    assert alone[3].split() == ["softmax", f">{BUDGET:,}"]


def test_the_table_and_the_files_have_medians_with_their_intervals() -> None:
    records = ladder("softmax", [400, 500, 600, 700, 800, None]) + ladder("expressive", [100, 200, 300])
    found = report(records, metric="time_to_solve")
    lines = drawn(found)
    assert lines[0] == "recall  time to solve in steps by pairs"
    assert [line.split() for line in lines[3:6]] == [
        ["softmax", "600"],
        ["400", "to", f">{BUDGET:,}"],
        ["5/6:", "36-100"],
    ]
    assert "does not say that they never are" in " ".join(lines)
    header, first, second = (line.split(",") for line in FORMATS["csv"](found).decode().splitlines())
    cells = [dict(zip(header, line, strict=True)) for line in (first, second)]
    assert [cell["median"] for cell in cells] == ["600.0", "200.0"]
    assert [cell["median_high"] for cell in cells] == ["inf", "inf"]
    assert float(cells[0]["mean"]) == pytest.approx((3000 + BUDGET) / 6)
    assert f"600 (400 to >{BUDGET:,}; n=6" in FORMATS["markdown"](found).decode()


def test_charts_and_latex_end_a_time_that_is_not_bounded_at_the_budget() -> None:
    found = report(ladder("softmax", [400, None, None]), metric="time_to_solve")
    (point,) = points(found.panels[0])
    assert (point["mean"], point["low"], point["high"]) == (BUDGET, 0, BUDGET)
    assert (point["value"], point["interval"]) == (f">{BUDGET:,}", f"0 to >{BUDGET:,}")
    text = report_latex(found).decode()
    assert "medians over 3 seeds" in text
    assert f"\\textgreater{{}}{BUDGET:,}" in text


def test_claims_compare_means_restricted_to_the_budget() -> None:
    records = ladder("softmax", [None] * 8) + ladder("expressive", [100] * 8)
    claim = Claim(
        says="x",
        of={"attention": "expressive"},
        than={"attention": "softmax"},
        metric="time_to_solve",
        expect="less",
    )
    (outcome,) = check_claims([claim], records)
    assert outcome.outcome == "holds"
    assert outcome.estimate == 100 - BUDGET
    assert outcome.evidence.startswith("difference of restricted mean of time_to_solve")


def test_times_are_not_averaged_over_runs_of_a_seed() -> None:
    records = ladder("softmax", [100, 200, 300]) + ladder("softmax", [100, 200, 300], width=32)
    with pytest.raises(InvalidValueError, match=r"differ in width.*\n?.*Add width to --index") as caught:
        grids(records, metric="time_to_solve", index=("attention",))
    assert caught.value.where == "--metric time_to_solve"


def test_other_levels_than_the_trained_one_have_no_time() -> None:
    records = [trained(seed, 300, other_levels={8: 0.9}) for seed in range(3)]
    (panel,) = grids(records, metric="time_to_solve")
    assert [len(cell.values) for cell in panel.across(("softmax",))] == [3, 0]


def test_histories_are_read_where_a_metric_or_a_claim_is_a_time() -> None:
    assert needs_history("time_to_solve", None)
    assert not needs_history(None, None)
