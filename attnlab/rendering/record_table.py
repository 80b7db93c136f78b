"""Records as a table."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from attnlab.formatting import duration, interval, option_text, percent, thousands
from attnlab.records import Record
from attnlab.rendering._text_table import FoldedText
from attnlab.run_labels import RunLabels
from attnlab.specs import ModelSpec, variant_text

OVER_QUESTIONS = (
    "Intervals of an older attnlab count every question as independent, and are too short where a model fails "
    "whole sequences; run again for intervals over sequences."
)
"""The note below runs whose records do not have the sums over sequences."""

WIRING = ("position", "norm", "norm_layer", "mlp", "block", "residual_stream", "residual")
"""Fields of a transformer that stand in the label of a run where they vary, and else below the table."""
ID_COLUMN = 96
"""Columns of a screen from which on the ids have a column of their own; on narrower ones they are below the labels."""


@dataclass(frozen=True)
class RecordTable:
    """Runs, one line each, under a heading per task and level."""

    records: Sequence[Record]
    stale: Container[str] = ()
    """Ids of the runs of which a part has another version or other code by now."""
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The tags of the runs that have some, by id."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One table per task and level."""
        ordered = sorted(self.records, key=_sort_key)
        labels = RunLabels(record.spec for record in self.records)
        wide = options.max_width >= ID_COLUMN
        for heading, same in groupby(ordered, key=_heading):
            yield self._table(heading, list(same), labels, wide=wide)
        if any(map(_over_questions, self.records)):
            yield Text(OVER_QUESTIONS, "dim")

    def _table(self, heading: str, records: list[Record], labels: RunLabels, *, wide: bool) -> RenderableType:
        """The runs of one task and level."""
        first, _, fixed = heading.partition("\n")
        notes = [fixed, *dict.fromkeys(record.chance_note for record in records)]
        title = Text.assemble((first, "bold"), *((f"\n{note}", "dim") for note in notes if note))
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="", pad_edge=False)
        table.collapse_padding = True
        if wide:
            table.add_column("run", no_wrap=True, style="dim")
        table.add_column("variant", overflow="fold", min_width=8)
        for head in ("seed", "accuracy", "95 %", "exact\nmatch", "steps", "time"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        transformers = [record for record in records if record.spec.model.module is None]
        wiring = {record.id: _wiring(record.spec.model) for record in transformers}
        varying = [name for name in WIRING if len({texts[name] for texts in wiring.values()}) > 1]
        for record in records:
            values = "".join(f" · {name} = {value}" for name, value in _set_values(record))
            values += "".join(f" #{tag}" for tag in self.tags.get(record.id, ()))
            name = FoldedText(f"{labels.of(record.spec).within_level}{values}")
            status = Text("stale", style="yellow") if record.id in self.stale else status_text(record)
            named: list[RenderableType] = [record.id, name] if wide else [Group(name, Text(record.id, style="dim"))]
            table.add_row(*named, *_cells(record), status)
        same = _unusual(wiring[transformers[0].id], varying) if transformers else []
        return Group(table, Text(f"All transformers here: {', '.join(same)}.", "dim")) if same else table


def _over_questions(record: Record) -> bool:
    """Whether the interval takes the questions of one sequence for independent, because an old record has no more."""
    return record.accuracy.interval_over == "questions" and record.accuracy.total > record.exact_match.total > 0


def _sort_key(record: Record) -> tuple[str, float, str]:
    """By task, then by level."""
    level = record.spec.task.level
    return record.spec.task.name, level if isinstance(level, int | float) else 0, _heading(record)


def _heading(record: Record) -> str:
    """The task, the level and the chance accuracy; the other options of the task on a second line."""
    task = record.spec.task
    complexity = f", {task.complexity} {task.level}" if task.complexity else ""
    options = [(name, value) for name, value in task.options.items() if name != task.complexity]
    options += [(f"trained on {name}", value) for name, value in task.train.items()]
    same = ", the same as teacher forcing here" if record.fed_back is False else ""
    options += [("tested by", f"rollout{same}")] if record.rollout else []
    fixed = [f"{name} {text}" for name, value in options if (text := option_text(value))]
    first = f"{task.name}{complexity} (chance {percent(record.accuracy.chance)})"
    return "\n".join(filter(None, [first, ", ".join(fixed)]))


def _wiring(model: ModelSpec) -> dict[str, str]:
    """The fields of a transformer beside its attention and its sizes, each in words."""
    mlp = f"MLP {variant_text(model.mlp)}" if model.mlp_ratio else "no MLP"
    texts = (
        str(model.position),
        f"norm {model.norm}",
        f"norm layer {model.norm_layer}",
        mlp,
        f"block {model.block}",
        f"residual stream {model.residual_stream}",
        "residual" if model.residual else "no residual",
    )
    return dict(zip(WIRING, texts, strict=True))


def _unusual(texts: Mapping[str, str], varying: Container[str]) -> list[str]:
    """What differs from the defaults in all runs of a table, in words."""
    usual = _wiring(ModelSpec())
    differing = [name for name in WIRING if name not in varying and texts[name] != usual[name]]
    return [f"position {texts[name]}" if name == "position" else texts[name] for name in differing]


def _set_values(record: Record) -> list[tuple[str, str]]:
    """The constants of the run's own code that the session had given other values than their files."""
    return [pair for part in record.environment.get("code", ()) for pair in part.get("values", {}).items()]


def _cells(record: Record) -> list[str]:
    """Seed, accuracy with its interval, exact match, steps, time."""
    return [
        str(record.spec.seed),
        percent(record.accuracy.mean),
        interval(record.accuracy.interval),
        percent(record.exact_match.mean),
        thousands(record.steps),
        duration(float(record.environment.get("seconds", 0.0))),
    ]


def status_text(record: Record) -> Text:
    """Name the status of a run: solved, unsolved, diverged or failed.

    Args:
        record: The finished run.

    Returns:
        The status in its color.
    """
    if record.status != "done":
        return Text(record.status, style="red")
    return Text("solved", style="green") if record.solved else Text("unsolved", style="yellow")
