"""A report as one HTML page for looking: charts, tables, claims and the runs, in one file that works offline.

Nothing is fetched: the script of Vega, the data and the style are in the file, and its security policy forbids every
request and every script but its own. Every text of a run reaches the page through one door: the templates escape what
they show, the data are compressed JSON that has no markup, and the script of the page sets text, never markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from attnlab.analysis.grid import Grid
from attnlab.charts.runs import COLORS, Variants
from attnlab.diagnosis.result import AttentionMap
from attnlab.errors import InvalidValueError
from attnlab.formatting import metric_heading, printable
from attnlab.records import Record
from attnlab.rendering import _page_charts as page_charts
from attnlab.rendering import _page_diagnostics as page_diagnostics
from attnlab.rendering import _page_runs as page_runs
from attnlab.rendering import _page_tables as tables
from attnlab.rendering._exporters import json_data, printable_data
from attnlab.rendering._page_axis import PageAxis, page_axis
from attnlab.rendering._page_charts import Charts
from attnlab.rendering._run_rows import loss_unit, run_values, variant_names
from attnlab.rendering._vega import script
from attnlab.rendering.failure_mode_table import FailureModeTable, failure_mode_table
from attnlab.rendering.report import Report
from attnlab.run_labels import labels_of

FOLDER = Path(__file__).parent / "page"
"""The templates, the style and the script of the page."""
SYMBOLS = (
    "M0-6A6 6 0 1 1 0 6A6 6 0 1 1 0-6Z",
    "M-5-5H5V5H-5Z",
    "M0-7L5.5 0L0 7L-5.5 0Z",
    "M0-6L6.5 5.5H-6.5Z",
    "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "M0 6L-6.5-5.5H6.5Z",
    "M6 0L-5.5 6.5V-6.5Z",
    "M-6 0L5.5-6.5V6.5Z",
)
"""Outlines of the shapes of the charts, for the legend."""
FIGURES = (
    "level_figures",
    "seed_figures",
    "curve_figures",
    "map_groups",
    "diagnostic_levels",
    "diagnostic_layers",
    "along_figures",
    "layer_figures",
)
"""What the template draws, by name."""
PAGE_COLORS = tuple(f"var(--c{index})" for index in range(len(COLORS)))
"""The colors of variants, which the style of the page defines for light and dark."""


MOST_BESIDE = 10
"""Variants whose capacities are beside the chart of a single panel; those of more are below it."""
ABOUT_CAPACITIES = (
    "Capacity: the highest solved level, and the levels at which the fitted accuracy falls to 50 % and 90 % of the way "
    "from chance to 1"
)


class RunMaps(NamedTuple):
    """The attention maps of one run."""

    record: Record
    maps: tuple[AttentionMap, ...]


def html_page(
    report: Report,
    command: str,
    sweep: str = "",
    *,
    failures: FailureModeTable | None = None,
    texts: Sequence[tuple[str, str]] = (),
    run_commands: Mapping[str, str] | None = None,
    maps: Sequence[RunMaps] = (),
    about_maps: str = "",
) -> bytes:
    """Write a report as an HTML page.

    Args:
        report: The report; its records have their whole histories.
        command: The command that reproduces the page.
        sweep: The command that reproduces the runs; empty if it is not known.
        failures: The failure modes of the runs; None computes them from the records.
        texts: Captions and further texts that reproduce the runs, such as the YAML of the experiment.
        run_commands: The command that reproduces each run, by its id; None shows none.
        maps: Attention maps of some runs.
        about_maps: What the maps show, or why there are none.

    Returns:
        The page, UTF-8.
    """
    records = report.records
    fields = report.panels[0].row_fields if report.panels else ("attention",)
    axis = page_axis(report.panels, records, fields)
    variants = Variants(tuple(dict.fromkeys([*variant_names(axis.panels), *axis.names])), PAGE_COLORS, interactive=True)
    heads, lines = page_runs.run_table(records, fields, run_values(records, fields))
    labels = labels_of([record.spec for record in records])
    commands = [_commands(record, run_commands or {}) for record in records]
    runs, sections = page_runs.run_panels(records, labels, lines, commands)
    drawn, figures, missing = _figures(report, variants, axis, maps)
    failures = failures or failure_mode_table(records)
    data = {
        "variants": variants.names,
        "runs": runs,
        "sections": sections,
        "specs": drawn.specs,
        "tables": drawn.tables,
        "charts": drawn.charts,
        "curves": drawn.curves,
    }
    scripts = [*([] if missing else [script()]), (FOLDER / "page.js").read_text()]
    first = axis.panels[0] if axis.panels else None
    panels = [tables.panel(report, panel) for panel in report.panels]
    page = _environment().get_template("page.html.j2")
    text = page.render(
        title=report.question or "attnlab report",
        lead=_lead(report, variants.names),
        opening=report.opening,
        missing=missing,
        policy=_policy(scripts),
        style=Markup((FOLDER / "page.css").read_text()),
        scripts=[Markup(one) for one in scripts],
        data=_compressed(data),
        charts=not missing,
        sections=_sections(report, first, figures, missing),
        claims=report.claims,
        published=[tables.published(one) for one in report.published],
        variants=variants.names,
        symbol=lambda index: SYMBOLS[index % len(SYMBOLS)],
        color=lambda index: PAGE_COLORS[index % len(PAGE_COLORS)],
        heading=_heading(first),
        about_capacities=ABOUT_CAPACITIES,
        beside=_are_beside(figures, panels, variants.names),
        about_levels=_about_levels(report),
        loss_unit=loss_unit(report.records),
        panels=panels,
        notes=" ".join(report.footnotes()),
        failure_grids=tables.failure_grids(failures),
        failure_evidence=tables.evidence(failures),
        no_diagnostics="No diagnostics were logged. To log them, train with --watch rank,gradients,attention.",
        about_maps=about_maps or "No attention maps were computed.",
        run_heads=heads,
        runs=lines,
        commands=[(name, one) for name, one in [("This page", command), ("The runs", sweep), *texts] if one],
        provenance=tables.provenance(records),
        **figures,
    )
    return text.encode()


def runs_with_maps(report: Report, kept: Sequence[Record], count: int) -> list[Record]:
    """Choose the runs of which the page shows attention maps.

    Args:
        report: The report.
        kept: The runs whose weights are stored.
        count: How many runs to choose.

    Returns:
        Of each of the first variants, of its runs of the hardest level the one with the best validation accuracy.
    """
    fields = report.panels[0].row_fields if report.panels else ("attention",)
    chosen: dict[str, Record] = {}
    for record, name in zip(kept, page_axis(report.panels, kept, fields).names, strict=True):
        best = chosen.get(name)
        if best is None or _rather(record, best):
            chosen[name] = record
    return list(chosen.values())[:count]


def _rather(record: Record, other: Record) -> bool:
    """Whether a run is of a harder level than another one, or of none easier and better; words have no order."""
    level, against = record.spec.task.level, other.spec.task.level
    if isinstance(level, int | float) and isinstance(against, int | float) and level != against:
        return level > against
    return record.validation_accuracy > other.validation_accuracy


def _figures(
    report: Report, variants: Variants, axis: PageAxis, maps: Sequence[RunMaps]
) -> tuple[Charts, dict[str, Any], str]:
    """The charts, the figures of each section, and what is missing to draw them."""
    records = report.records
    titles = dict(zip([record.id for record in records], labels_of([one.spec for one in records]), strict=True))
    drawn = Charts(variants, [record.id for record in records])
    figures: dict[str, Any] = {name: [] for name in FIGURES}
    try:
        script()
    except InvalidValueError as error:
        return drawn, figures, f"{error.problem} {error.hint}"
    figures["level_figures"] = page_charts.level_figures(drawn, axis.panels)
    figures["seed_figures"] = page_charts.seed_figures(drawn, axis, records)
    figures["curve_figures"] = page_charts.curve_figures(drawn, axis, records)
    diagnostics = page_diagnostics.diagnostic_figures(drawn, axis, records)
    figures |= {"diagnostic_levels": diagnostics.levels, "diagnostic_layers": diagnostics.layers}
    figures |= {"along_figures": diagnostics.along, "layer_figures": diagnostics.over_layers}
    figures["map_groups"] = [
        {
            "title": titles[one.record.id],
            "run": one.record.id,
            "figures": page_diagnostics.map_figures(drawn, str(index), one.maps),
        }
        for index, one in enumerate(maps)
    ]
    return drawn, figures, ""


def _shown(value: Any) -> Any:
    """What a template shows: text without control characters; what is HTML already as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    """The templates; what they show is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= vars(environment.get_template("parts.html.j2").module)
    return environment


def _compressed(data: Mapping[str, Any]) -> str:
    """Data as JSON, compressed to a fraction of its size, in letters and digits."""
    content = json.dumps(printable_data(json_data(data)), separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _policy(scripts: Sequence[str]) -> str:
    """The security policy: no request, and no script but those of the page, which are named by their hashes.

    Vega compiles its expressions, which the policy calls eval.
    """
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sections(report: Report, first: Grid | None, figures: Mapping[str, Any], missing: str) -> list[tuple[str, str]]:
    """Anchors and names of the sections."""
    shown = not missing
    listed = [
        ("claims", "Claims", bool(report.claims)),
        ("published", "Published values", bool(report.published)),
        ("accuracy", _heading(first).split(" against")[0], True),
        ("seeds", "Seeds", shown and bool(figures["seed_figures"])),
        ("curves", "Curves", shown and bool(figures["curve_figures"])),
        ("diagnostics", "Diagnostics", True),
        ("maps", "Attention maps", True),
        ("failures", "Failure modes", True),
        ("runs", "Runs", True),
        ("reproduce", "Reproduce", True),
    ]
    return [(name, text) for name, text, present in listed if present]


def _heading(panel: Grid | None) -> str:
    if panel is None:
        return "Results"
    metric = metric_heading(panel.metric).removesuffix(" in %").capitalize()
    return f"{metric} against complexity" if panel.is_ladder else f"{metric} by {panel.by}"


def _are_beside(figures: Mapping[str, Any], panels: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Whether the capacities are beside the chart: of one panel, with few variants."""
    return len(figures["level_figures"]) == len(panels) == 1 and len(names) <= MOST_BESIDE and panels[0]["capacities"]


def _about_levels(report: Report) -> str:
    """What the marks of the first charts mean."""
    cells = [cell for panel in report.panels for cell in panel.cells.values() if len(cell.values) > 1]
    text = "One seed each: no intervals."
    if cells:
        kinds = {math.isnan(cell.interval[0]) for cell in cells}
        bars = {False: "their 95 % intervals", True: "the ranges of the seeds, which are too few for an interval"}
        middle = "medians" if any(cell.times for cell in cells) else "means"
        text = f"Marks are {middle} over seeds; bars are {' or '.join(bars[kind] for kind in sorted(kinds))}."
    chance = any(panel.metric == "accuracy" for panel in report.panels)
    return text + (" The dashed line is the chance accuracy." if chance else "")


def _lead(report: Report, names: Sequence[str]) -> str:
    """Tasks, variants, runs and dates in one sentence each."""
    records = report.records
    tasks = list(dict.fromkeys(record.spec.task.name for record in records))
    seeds = {record.spec.seed for record in records}
    counts = [(len(records), "run"), (len(names), "variant"), (len(seeds), "seed")]
    text = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    ended = sorted(str(record.environment["ended"])[:10] for record in records if "ended" in record.environment)
    dates = "" if not ended else f", {ended[0]}" if ended[0] == ended[-1] else f", {ended[0]} to {ended[-1]}"
    return f"{', '.join(tasks)}: {text}{dates}." if tasks else "No runs yet."


def _commands(record: Record, run_commands: Mapping[str, str]) -> list[tuple[str, str]]:
    """The command of one run."""
    return [("The command that reproduces it", run_commands[record.id])] if record.id in run_commands else []
