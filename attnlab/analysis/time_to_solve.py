"""Time to solve: the steps, or the seconds of training, until a run is solved.

A run is solved as everywhere: it is done, and its test accuracy reaches 99 %. It was solved at the first validation on
which its accuracy reached 99 %, so times are multiples of ``eval_every``. The time of any other run is censored: it is
longer than the run was trained, and may be finite. A run that diverged cannot be solved any more, and counts as not
solved to the end of its budget. Seconds are those of the run, in proportion to the steps.

    S(t)      share of runs that are not solved by the time t (Kaplan and Meier's estimator)
    median    the first time at which S(t) is at most 1/2; infinite where the runs were stopped before
    interval  the times whose survival may be 1/2: from the first time at which the lower end of the 95 % interval of
              S(t) is at most 1/2 to the first at which its upper end is (Brookmeyer and Crowley)

Where S(t) stays above 1/2, the runs themselves bound the median: it is later than t if more than half of them are known
to be unsolved at t, because they were followed to t or solved after it. Of runs that were stopped before t, as by an
early stop at an accuracy below 99 %, nothing is known. The interval is then that of the sign test, and has no end: it
begins at the last t until which so many runs are known to be unsolved that those of all seeds are more than half.

Up to the first censored time the number of runs solved by t is binomial, and the interval of S(t) is that of Clopper
and Pearson; the interval of the median is then that of the sign test, and covers at any number of runs. After it, as
where runs of one cell have different budgets, the interval of S(t) is Greenwood's on the scale of log(-log S), which
holds for many runs. Fewer than six runs bound no median: even if all of six are solved by t, the median is above t with
a probability of 1/64, but of five with one of 1/32.

Means of times to solve, which claims compare, are restricted: a run that is not solved counts with its whole budget,
wherever it was stopped.

Source  Kaplan and Meier, "Nonparametric estimation from incomplete observations", Journal of the American Statistical
        Association 1958; Brookmeyer and Crowley, "A confidence interval for the median survival time", Biometrics 1982;
        the estimator and Greenwood's interval are those of ``scipy.stats.ecdf``.
Letters  N runs, E times at which a run is solved.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from attnlab.analysis.statistics import MIN_SEEDS, TINY, UNKNOWN, Interval, clopper_pearson
from attnlab.records import SOLVED, Record

TIME_METRICS = ("time_to_solve", "seconds_to_solve")
"""Metrics that may be censored, in steps and in seconds."""
BOUNDING = 6
"""Runs from which the interval of a median is bounded on both sides."""


def steps_to_solve(record: Record) -> float:
    """Count the steps until a run was solved; of a run that was not, those in which it was not.

    Args:
        record: A run with its whole history.

    Returns:
        Steps; ``max_steps`` of a diverged run, nan of a failed one, and where the history has its last point alone.
    """
    if record.status == "failed" or _cut(record):
        return math.nan
    if record.status == "diverged":
        return float(record.spec.train.max_steps)
    if not record.solved:
        return float(record.steps)
    reached = (point.step for point in record.history if point.accuracy >= SOLVED)
    return float(next(reached, record.steps))


def seconds_to_solve(record: Record) -> float:
    """Tell the seconds of training until a run was solved, or in which it was not.

    Args:
        record: A run with its whole history.

    Returns:
        Seconds; nan where :func:`steps_to_solve` is, and where the seconds of the run are not known.
    """
    seconds = record.environment.get("seconds")
    if seconds is None or not record.steps:
        return math.nan
    return float(seconds) * steps_to_solve(record) / record.steps


def _restricted(time: Callable[[Record], float], record: Record) -> float:
    """A time as means count it: of a run that is not solved, its whole budget."""
    known, steps = time(record), steps_to_solve(record)
    return known if record.solved or not steps else known * record.spec.train.max_steps / steps


FOLLOWED: Mapping[str, Callable[[Record], float]] = dict(
    zip(TIME_METRICS, (steps_to_solve, seconds_to_solve), strict=True)
)
"""Metric -> the time until a run was solved, or in which it was not."""
TIMES: Mapping[str, Callable[[Record], float]] = {name: partial(_restricted, time) for name, time in FOLLOWED.items()}
"""Metric -> the number of a run of which means are taken."""


def _cut(record: Record) -> bool:
    """Whether only the last point of the history was read."""
    points = record.history
    return len(points) == 1 and points[0].step > record.spec.train.eval_every


@dataclass(frozen=True)
class SolveTimes:
    """The times of some runs."""

    times: tuple[float, ...]
    """The time until each run was solved, or in which it was not."""
    solved: tuple[bool, ...]
    """Whether each run was solved at its time."""

    @cached_property
    def median(self) -> float:
        """The median over runs; infinite where it was not reached, nan without runs."""
        if not self.times:
            return math.nan
        return next((time for time, share, _ in self._survival if share <= 0.5 + TINY), math.inf)

    @cached_property
    def unsolved_until(self) -> float:
        """The last time at which more than half of the runs are known to be unsolved; 0 where there is none."""
        known = ((time, self._unsolved_at(time)) for time in sorted(set(self.times), reverse=True))
        return next((time for time, count in known if 2 * count > len(self.times)), 0.0)

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of the median; infinite at the upper end where it is not bounded; nan of too few runs."""
        count = len(self.times)
        if count < MIN_SEEDS:
            return UNKNOWN
        high = next((time for time, _, ends in self._survival if ends[1] <= 0.5), math.inf)
        if count < BOUNDING:
            return 0.0, high
        if math.isinf(self.median):
            enough = sum(clopper_pearson(unsolved, count)[0] > 0.5 for unsolved in range(1, count + 1))
            return min(sorted(self.times)[enough - 1], self.unsolved_until), high
        return next(time for time, _, ends in self._survival if ends[0] <= 0.5), high

    @property
    def interval_kind(self) -> str:
        """How the interval was computed: ``sign-test`` where it is exact, or ``brookmeyer-crowley``."""
        if len(self.times) < MIN_SEEDS:
            return ""
        last = max((time for time, *_ in self._survival), default=0.0)
        exact = last <= self._first_censored or math.isinf(self.median)
        return "sign-test" if exact else "brookmeyer-crowley"

    @property
    def _first_censored(self) -> float:
        censored = (time for time, solved in zip(self.times, self.solved, strict=True) if not solved)
        return min(censored, default=math.inf)

    @cached_property
    def _survival(self) -> list[tuple[float, float, Interval]]:
        """Each time at which a run is solved, with the share that is not solved by then and its 95 % interval."""
        from scipy.stats import CensoredData, ecdf  # late, because the import takes longer than a command

        pairs = list(zip(self.times, self.solved, strict=True))
        solved, rest = ([time for time, one in pairs if one is kind] for kind in (True, False))
        if not solved:
            return []
        survival = ecdf(CensoredData(uncensored=solved, right=rest)).sf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # where no or every run is left, it has no interval
            ends: Any = survival.confidence_interval(method="log-log")
        result = []
        columns = (survival.quantiles, survival.probabilities, ends.low.probabilities, ends.high.probabilities)
        for time, share, low, high in zip(*(column.tolist() for column in columns), strict=True):
            if time <= self._first_censored:
                low, high = clopper_pearson(self._unsolved_at(time), len(pairs))
            elif math.isnan(low):
                low, high = 0.0, 1.0
            if time in solved:
                result.append((time, share, (low, high)))
        return result

    def _unsolved_at(self, time: float) -> int:
        """Runs that are known to be unsolved at a time: followed to it, or solved after it."""
        pairs = zip(self.times, self.solved, strict=True)
        return sum(one > time or (one == time and not solved) for one, solved in pairs)
