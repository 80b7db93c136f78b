"""The report: accuracy against complexity, with intervals over seeds, max solved levels, capacities and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from rich.console import Group, RenderableType
from rich.text import Text

from attnlab.analysis.cell import Label
from attnlab.analysis.claims import ClaimOutcome, judge_claims
from attnlab.analysis.comparisons import Comparison, Question
from attnlab.analysis.grid import Grid
from attnlab.analysis.grids import grids, without_metric
from attnlab.analysis.pairing import pairs, with_questions
from attnlab.analysis.panel_comparisons import decided_pairs, panel_comparisons
from attnlab.analysis.planned_levels import planned_levels
from attnlab.analysis.published_values import PublishedComparison, compare_published
from attnlab.analysis.questions import questions_of
from attnlab.analysis.ranks import decided_ranks, ranks
from attnlab.analysis.statistics import MIN_SEEDS, clopper_pearson
from attnlab.analysis.time_to_solve import BOUNDING, TIME_METRICS
from attnlab.charts.as_altair import altair_chart
from attnlab.choices import SCORED
from attnlab.config.experiment import Experiment
from attnlab.data_frames import to_pandas, to_polars
from attnlab.errors import InvalidValueError
from attnlab.records import SOLVED, Record, distinct
from attnlab.rendering._tables import (
    Overall,
    capacity_table,
    claim_table,
    grid_table,
    listed,
    overall,
    overall_table,
)
from attnlab.rendering._tuned_tables import has_tuned_table, tuned_table
from attnlab.rendering.answer import SHOWN as MOST_ANSWERS
from attnlab.rendering.answer import Answer, Answers, answers_of_plan, answers_until_decided
from attnlab.rendering.cells import CELL_SCHEMA, fixed_rows
from attnlab.rendering.notebook import as_html, as_text
from attnlab.rendering.published_values import published_tables
from attnlab.rendering.reached import reached
from attnlab.storage.stored_record import one_of_each_kind

ReportPlot = Literal["levels", "curves"]
"""What a plot of a report shows."""
SHOWN = 3
"""Rows, or kinds of chance, that the footnotes name at most."""
FEW_SEEDS = 5
"""With at most this many seeds, the report says how wide the intervals stay."""


@dataclass(frozen=True)
class Report:
    """The result of a set of records."""

    panels: tuple[Grid, ...]
    claims: tuple[ClaimOutcome, ...] = ()
    question: str = ""
    records: tuple[Record, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """How each variant compares with the first, where the experiment asks that it is decided."""
    published: tuple[PublishedComparison, ...] = ()
    """The values that the source published, and ours."""

    @property
    def failed(self) -> int:
        """Number of failed runs."""
        return sum(record.status == "failed" for record in self.records)

    @property
    def diverged(self) -> int:
        """Number of diverged runs."""
        return sum(record.status == "diverged" for record in self.records)

    @property
    def claims_hold(self) -> bool:
        """Whether no claim fails."""
        return all(outcome.outcome != "fails" for outcome in self.claims)

    @property
    def ladders(self) -> list[Grid]:
        """Panels of accuracy over the levels of a ladder; these have a max solved level and capacities."""
        return [panel for panel in self.panels if panel.is_ladder and panel.metric == "accuracy"]

    @cached_property
    def ranks(self) -> list[dict[Label, str]]:
        """The rank of every variant of each of the ladders, corrected for the comparisons in the whole report."""
        return ranks([panel for panel in self.ladders if len(panel.columns) > 1])

    def ranks_of(self, panel: Grid) -> dict[Label, str]:
        """The ranks in one of the ladders.

        Args:
            panel: The ladder.

        Returns:
            A rank, a range of ranks, or a dash, for each variant.
        """
        if self.until_decided:
            return decided_ranks(panel.rows, decided_pairs(panel, self.comparisons))
        unranked = dict.fromkeys(panel.rows, "-")
        ranked = [ladder for ladder in self.ladders if len(ladder.columns) > 1]
        return next((own for ladder, own in zip(ranked, self.ranks, strict=True) if ladder is panel), unranked)

    @cached_property
    def overall(self) -> list[Overall]:
        """Every variant over all ladders; subtasks of a mixture are left out because they are parts of it."""
        return overall(self._compared)

    @cached_property
    def answers(self) -> list[Answer]:
        """What is known of each variant and the first, in words; empty where there are too many of them or few seeds.

        Of an experiment that is to be decided, all comparisons; otherwise those of ladders with several levels.
        """
        if self.until_decided:
            return answers_until_decided(self.comparisons)
        ladders = [panel for panel in self._compared if len(panel.rows) > 1 and len(panel.columns) > 1]
        count = sum(len(panel.rows) - 1 for panel in ladders)
        if not 0 < count <= MOST_ANSWERS or max(max(panel.seeds()) for panel in ladders) < MIN_SEEDS:
            return []
        found = []
        for panel in ladders:
            question = Question(comparisons=count, levels=len(panel.columns))
            ranked = {" ".join(row): rank for row, rank in self.ranks_of(panel).items()}
            found += answers_of_plan(panel_comparisons(panel, question), panel.by, ranked)
        return found

    @cached_property
    def opening(self) -> list[str]:
        """What stands above the tables: the answers, or what is solved where there is one level alone."""
        if self.answers:
            return [one.text for one in self.answers]
        return [text for panel in self._compared[:SHOWN] if (text := reached(panel))]

    @property
    def until_decided(self) -> bool:
        """Whether runs were chosen until the comparisons were decided."""
        return bool(self.comparisons)

    @cached_property
    def _told(self) -> list[Overall]:
        """The variants that the table on a screen lists."""
        known = self.__dict__.get("overall")  # where all were computed
        return overall(self._compared, whole=False) if known is None else [*listed(known)]

    @property
    def _compared(self) -> list[Grid]:
        return [panel for panel in self.ladders if not panel.panel.subtask]

    def __rich__(self) -> RenderableType:
        """Panels, capacities, summaries over all ladders, claims, published values, footnotes."""
        parts: list[RenderableType] = [Text(self.question, style="bold"), Text("")] if self.question else []
        ladders = self.ladders
        if self.opening:
            parts += [Answers(self.answers) if self.answers else Text("\n".join(self.opening)), Text("")]
        for panel in self.panels:
            parts.append(grid_table(panel))
            if has_tuned_table(panel):
                parts.append(tuned_table(panel))
            if panel in ladders and len(panel.columns) > 1:
                parts.append(capacity_table(panel, self.ranks_of(panel)))
        if sum(len(panel.columns) for panel in ladders) > 1 and (told := self._told):
            parts.append(overall_table(ladders[0].row_fields, told))
        if self.claims:
            parts.append(claim_table(self.claims))
        parts += published_tables(self.published)
        if left_out := self._left_out():
            parts.append(Text(left_out, style="yellow"))
        parts.append(Text(" ".join(self.footnotes()), style="dim"))
        return Group(*parts)

    def _left_out(self) -> str:
        """How many rows the tables on a screen do not list, and where all are; empty where they list all."""
        rows = max((panel.rows for panel in self.panels), key=len, default=())
        shown = listed(rows)
        if len(shown) == len(rows):
            return ""
        told = f"The tables list the first {len(shown)} of {len(rows):,} rows"
        return f"{told}; --csv FILE and --json have all of them, --index FIELD,.. and --columns FIELD make fewer."

    def to_pandas(self) -> Any:
        """Make a data frame of pandas of the cells, with the columns of ``attnlab report --parquet``.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            attnlab.errors.AttnlabError: pandas is not installed.
        """
        return to_pandas(fixed_rows(self.panels))

    def to_polars(self) -> Any:
        """Make a data frame of polars of the cells, with the columns of ``attnlab report --parquet``.

        Returns:
            A ``polars.DataFrame``.

        Raises:
            attnlab.errors.AttnlabError: polars is not installed.
        """
        return to_polars(fixed_rows(self.panels), CELL_SCHEMA)

    def plot(self, kind: ReportPlot = "levels") -> Any:
        """Draw the metric against the complexity, or the learning curves.

        Args:
            kind: ``levels`` draws means over seeds with their intervals, a panel for each ladder; ``curves`` the
                validation accuracy of every run by training step, a panel for each level.

        Returns:
            A chart of altair, which a notebook shows; ``chart.save("file.svg")`` writes it.

        Raises:
            InvalidValueError: altair is not installed, there is no finished run, or there is no such plot.
        """
        from attnlab.rendering.plot import chart, curves

        if kind not in get_args(ReportPlot):
            raise InvalidValueError(f"There is no plot '{kind}'.", "Write levels or curves.", where="plot()")
        try:
            return altair_chart((curves if kind == "curves" else chart)(self))
        except InvalidValueError as error:
            raise InvalidValueError(error.problem, error.hint, where="plot()") from None

    def _repr_html_(self) -> str:
        """What a terminal shows, for a notebook."""
        return as_html(self)

    def __str__(self) -> str:
        """What a terminal shows, as text: of ``print(attnlab.report(...))``."""
        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a terminal shows, as text for IPython."""
        printer.text(str(self))

    def footnotes(self) -> list[str]:
        """How the numbers were computed, one sentence each."""
        cells = [cell for panel in self.panels for cell in panel.cells.values() if cell.values]
        notes = [
            _count(len(self.records), "run") + ".",
            *self._answer_notes(),
            *self._interval_notes({len(cell.values) for cell in cells}),
        ]
        tried = max((cell.tried for cell in cells), default=1)
        first = self.panels[0] if self.panels else None
        if first and tried > 1:
            keys = " and ".join(first.tuned)
            notes.append(f"{keys}: up to {tried} values tried per cell; the best validation accuracy is chosen.")
        if first and first.merged:
            notes.append(f"Averaged, within each seed, over {' and '.join(first.merged)}.")
        if first and first.along:
            notes.append(f"Differs between cells: {', '.join(first.along)}.")
        tested = one_of_each_kind(record for record in self.records if record.status != "failed")
        if tested and all(record.rollout for record in tested):
            alone = all(record.fed_back is False for record in tested)
            own = "the model's own earlier answers are inputs."
            notes.append(f"Tested by rollout. {SCORED['independent']}" if alone else f"Tested by rollout: {own}")
        if any(panel.metric == "accuracy" for panel in self.panels):
            kinds = {(record.vocabulary, record.chance_guess): record for record in reversed(tested)}
            chances = dict.fromkeys(record.chance_note for record in reversed(kinds.values()) if record.chance_note)
            notes += [f"{text[0].upper()}{text[1:]}." for text in list(chances)[:SHOWN]]
        if self.diverged:
            notes.append(self._diverged_note(first.metric if first else "accuracy"))
        if self.failed:
            notes.append(f"Left out: {_count(self.failed, 'failed run')}; attnlab ls results shows why.")
        return notes

    def _diverged_note(self, metric: str) -> str:
        """How the runs that diverged count in the tables of a metric."""
        told = f"{_count(self.diverged, 'run')} diverged"
        if metric in TIME_METRICS:
            return f"{told}: not solved to the end of the budget."
        missing = without_metric([record for record in self.records if record.status == "diverged"], metric)
        if not missing:
            return f"{told}; what was reached until then counts, but never as solved."
        left_out = f"without a value of {metric.replace('_', ' ')}: left out of the means, and counted as not solved."
        if missing == self.diverged:
            return f"{told} {left_out}"
        return f"{told}, never counted as solved; {missing} of them {left_out}"

    def _interval_notes(self, counts: set[int]) -> list[str]:
        """How intervals and ranks were computed, given the numbers of seeds in the cells."""
        rising = self._rising_note()
        if any(panel.metric in TIME_METRICS for panel in self.panels):
            return [*_time_notes(counts), *rising]
        if max(counts, default=0) <= 1:
            return rising
        if max(counts) < MIN_SEEDS:
            text = f"Below each mean: the range of its seeds; an interval takes at least {MIN_SEEDS}"
            return [f"{text}.", *rising]
        bounds = [cell.bounds for panel in self.panels for cell in panel.cells.values() if len(cell.values) > 1]
        bounded, unbounded = any(bounds), None in bounds
        solving = any(panel.metric != "solved" for panel in self.panels)
        exact = "Gaffke" if solving else "Clopper-Pearson"
        kinds = [kind for kind, found in ((exact, bounded), ("Student's t", unbounded)) if found]
        more = ", the solved runs, and the 95 % interval of P(solve) in % (Clopper-Pearson)" if solving else ""
        notes = [f"Below each mean: its 95 % interval over seeds ({' and '.join(kinds)}){more}."]
        if min(counts) < MIN_SEEDS:
            range_note = "Where there are two seeds, the range; an" if 2 in counts else "An"
            notes.append(f"{range_note} interval takes at least {MIN_SEEDS}{'' if 2 in counts else ' seeds'}.")
        fewest = min(count for count in counts if count >= MIN_SEEDS)
        if fewest <= FEW_SEEDS and bounded:
            width = 100 * (1 - clopper_pearson(fewest, fewest)[0])
            text = f"With {fewest} seeds that all agree, the interval still spans {width:.0f} %"
            notes.append(f"{text} of the range from chance to 1." if self.ladders else f"{text} of the metric's range.")
        if any(len(panel.columns) > 1 and panel.has_curves for panel in self.ladders):
            text = "C50 and C90 are read off the closest fit that never rises; their 95 % intervals end at levels: they"
            notes.append(f"{text} assume that accuracy falls with the level, and nothing between two levels.")
        notes += rising
        if any(len(panel.rows) > 1 and len(panel.columns) > 1 for panel in self.ladders):
            text = "Ranks are by C50, corrected for all comparisons in the report"
            text = "Ranks are by what is decided above" if self.until_decided else text
            notes.append(f"{text}; variants that are not told apart share ranks.")
        return notes

    def _answer_notes(self) -> list[str]:
        """How the comparisons above the tables were decided."""
        if self.answers and not self.until_decided:
            notes = [
                "Above: decided by the ranks; where these are shared, by evidence on single levels, which may be "
                "looked at after every seed. A wrong difference has a probability of at most 5 % by either."
            ]
            if self.claims and not all(one.decided for one in self.answers):
                notes.append("A claim asks less, of its own levels alone: it may be decided where these are not.")
            return notes
        if not self.comparisons:
            return []
        error = f"{100 * self.comparisons[0].question.error:g} %"
        text = "Above: intervals that hold after every seed and on all levels at once; any wrong answer among all"
        return [f"{text} comparisons has a probability of at most {error}. Below, intervals are of a fixed sample."]

    def _rising_note(self) -> list[str]:
        """Which rows are not monotone in the level, and what that means for the numbers beside them."""
        found = [
            f"{' '.join(row) or panel.title} is worse on {panel.by} {', '.join(map(str, levels))} than on a higher one"
            for panel in self.ladders
            if len(panel.columns) > 1
            for row in panel.rows
            if (levels := panel.rises(row))
        ]
        if not found:
            return []
        more = f"; so are {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        meaning = "max solved ends before the first level that is not solved, and the fit of C50 and C90 averages them"
        return [f"Not monotone: {'; '.join(found[:SHOWN])}{more}: {meaning}."]


def _time_notes(counts: set[int]) -> list[str]:
    """What the times to solve are, and how their intervals were computed, given the numbers of seeds in the cells."""
    notes = [
        f"Time to solve: until the first validation with an accuracy of {100 * SOLVED:g} %, of runs that are solved. "
        "Other runs are censored: > is the time in which they were not solved, and does not say that they never are."
    ]
    if max(counts, default=0) <= 1:
        return notes
    if max(counts) < MIN_SEEDS:
        return [*notes, f"Below each median: the range of its seeds; an interval takes at least {MIN_SEEDS}."]
    notes.append(
        "Medians are Kaplan and Meier's. Below each: its 95 % interval over seeds (Brookmeyer-Crowley; exact up to the "
        "first censored run), the solved runs, and the 95 % interval of P(solve) in % (Clopper-Pearson)."
    )
    if min(counts) < BOUNDING:
        notes.append(f"Fewer than {BOUNDING} seeds bound no median: their interval begins at 0 and has no end.")
    return notes


def needs_history(metric: str | None, experiment: Experiment | None) -> bool:
    """Tell whether a report needs the whole histories of its records.

    Args:
        metric: The metric that is asked for; None takes the experiment's.
        experiment: The experiment of the runs, if it is known.

    Returns:
        Whether the metric, or that of a claim or of a published table, is a time to solve.
    """
    named = [metric or (experiment.report.metric if experiment else "accuracy")]
    if experiment:
        named += [claim.metric for claim in experiment.claims]
        named += [table.metric for table in experiment.published]
    return any(name in TIME_METRICS for name in named)


def report(
    records: Sequence[Record],
    experiment: Experiment | None = None,
    *,
    metric: str | None = None,
    index: Sequence[str] = (),
    columns: str | None = None,
) -> Report:
    """Report on a set of records.

    Args:
        records: Finished runs; the rows are in their order. Those of one id are one run.
        experiment: The experiment of the runs, for its tuned fields, layout, claims and published values; None has
            none of them.
        metric: The metric in the cells; None takes the experiment's, or accuracy.
        index: Fields of a row; none takes the experiment's, or all that differ.
        columns: The field of the columns; None takes the experiment's, or the level.

    Returns:
        The report, which rich prints.

    Raises:
        UnknownNameError: There is no such metric or field.
        InvalidValueError: Times to solve would be averaged over the runs of a seed.
    """
    records = distinct(records)
    layout = experiment.report if experiment else None
    tuned = experiment.tuned if experiment else ()
    panels = grids(
        records,
        metric=metric or (layout.metric if layout else "accuracy"),
        index=index or (layout.index if layout else ()),
        columns=columns or (layout.columns if layout else "level"),
        tuned=tuned,
    )
    claims, tables = (experiment.claims, experiment.published) if experiment else ((), ())
    plan = planned_levels(experiment) if experiment and (claims or tables) else ()
    outcomes = judge_claims(claims, records, tuned, plan)
    question = experiment.question if experiment else ""
    published = compare_published(tables, records, experiment.source if experiment else "", tuned, plan, half_done=True)
    decided = _comparisons(records, experiment)
    return Report(tuple(panels), tuple(outcomes), question, tuple(records), decided, tuple(published))


def _comparisons(records: Sequence[Record], experiment: Experiment | None) -> tuple[Comparison, ...]:
    """Compare the variants of an experiment that is to be decided."""
    if experiment is None or experiment.until is None:
        return ()
    found = with_questions(pairs([record.spec for record in records]), questions_of(experiment))
    by_id = {record.id: record for record in records}
    return tuple(pair.compared(by_id, question) for pair, question in found)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
