"""A report as one self-contained HTML page: no network, no scripts; the plot is inline SVG.

Below the tables and the claims, the page lists the versions that the runs used, when they ended, and the commands that
reproduce the page and the runs.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from attnlab.analysis.claims import ClaimOutcome
from attnlab.analysis.grid import Cell, Grid, Label
from attnlab.errors import InvalidValueError
from attnlab.formatting import fitted, metric_heading, number, span
from attnlab.records import Record
from attnlab.rendering._tables import CAPACITY_HEADS, max_solved_text, solved_text, spread_text
from attnlab.rendering.report import Report

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } svg { max-width: 100%; height: auto; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .6rem 0 1rem; }
th, td { padding: .25rem .7rem; text-align: right; vertical-align: top; }
th { border-bottom: 1px solid #888; color: #666; font-weight: normal; }
th.name, td.name { text-align: left; } small { color: #666; display: block; } p.notes { color: #666; max-width: 50rem; }
td.all { background: #dff3e6; } td.some { background: #fdf3d7; }
.holds { color: #17803d; } .fails { color: #b42318; } .undecided { color: #946200; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""
VERSIONS = ("attnlab", "python", "torch", "numpy", "system", "device", "processor")
"""Fields of the environments of the runs that the page lists, where they are known."""


def html_page(report: Report, command: str, sweep: str = "", *, texts: Sequence[tuple[str, str]] = ()) -> bytes:
    """Write a report as an HTML page.

    Args:
        report: The report.
        command: The command that reproduces the page.
        sweep: The command that reproduces the runs; empty if it is not known.
        texts: Captions and further texts that reproduce the runs, such as the YAML of the experiment.

    Returns:
        The page, UTF-8.
    """
    title = html.escape(report.question or "attnlab report")
    parts = [f"<h1>{title}</h1>", _plot(report)]
    for panel in report.panels:
        parts.append(f"<h2>{html.escape(panel.title)}: {metric_heading(panel.metric)} by {html.escape(panel.by)}</h2>")
        parts.append(_grid(panel))
        if panel in report.ladders and len(panel.columns) > 1:
            parts.append(_capacities(panel, report.ranks_of(panel)))
    if report.claims:
        parts += ["<h2>Claims</h2>", _claims(report.claims)]
    parts.append(f'<p class="notes">{html.escape(" ".join(report.footnotes()))}</p>')
    parts += [
        "<h2>How to reproduce this</h2>",
        _table(["item", "value"], [], _provenance(report.records, command, sweep)),
        *(f"<h2>{html.escape(caption)}</h2><pre>{html.escape(text)}</pre>" for caption, text in texts),
    ]
    about = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    head = f'<!doctype html><html lang="en"><head>{about}</head>'
    return (head + "<body>" + "\n".join(filter(None, parts)) + "</body></html>\n").encode()


def _plot(report: Report) -> str:
    """The plot as SVG, or how to install what draws it."""
    from attnlab.rendering.plot import WRITERS, chart

    try:
        return WRITERS[".svg"](chart(report)).decode()
    except InvalidValueError as error:
        return f"<p>{html.escape(f'{error.problem} {error.hint}')}</p>"


def _grid(panel: Grid) -> str:
    rows = [[*map(_name, row), *(_cell(cell, panel.metric) for cell in panel.across(row))] for row in panel.rows]
    return _table(panel.row_fields, [str(column) for column in panel.columns], rows)


def _cell(cell: Cell, metric: str) -> str:
    if not cell.values:
        return f"<td>{'failed' if cell.failed else '-'}</td>"
    css = ' class="all"' if all(cell.solved) else ' class="some"' if any(cell.solved) else ""
    ends = spread_text(cell, metric)
    notes = [ends, f"n={len(cell.values)}", f"solved {solved}" if (solved := solved_text(cell)) else ""]
    below = f"<small>{', '.join(filter(None, notes))}</small>"
    return f"<td{css}>{number(cell.mean, metric)}{below}</td>"


def _capacities(panel: Grid, ranks: Mapping[Label, str]) -> str:
    rows = []
    for row in panel.rows:
        capacities = [
            f"<td>{html.escape(fitted(value, panel.columns))}{_small(span(ends, panel.columns))}</td>"
            for value, ends in panel.capacities[row]
        ]
        max_solved = f"<td>{html.escape(max_solved_text(panel, row))}</td>"
        rows.append([*map(_name, row), max_solved, *capacities, f"<td>{ranks[row]}</td>"])
    return _table(panel.row_fields, CAPACITY_HEADS, rows)


def _claims(outcomes: Sequence[ClaimOutcome]) -> str:
    items = [
        f'<li><b class="{one.outcome}">{one.outcome}</b> {html.escape(one.statement)}{_small(one.evidence)}</li>'
        for one in outcomes
    ]
    return f"<ul>{''.join(items)}</ul>"


def _provenance(records: Sequence[Record], command: str, sweep: str) -> list[list[str]]:
    """The lines with versions, dates and commands."""
    ended = sorted(str(record.environment["ended"]) for record in records if "ended" in record.environment)
    lines = [("records", f"{len(records)}" + (f", {ended[0]} to {ended[-1]}" if ended else ""))]
    for name in VERSIONS:
        values = dict.fromkeys(str(record.environment[name]) for record in records if name in record.environment)
        lines += [(name, ", ".join(values))] if values else []
    rows = [[_name(name), _name(text)] for name, text in lines]
    commands = [("this page", command), *([("the runs", sweep)] if sweep else [])]
    return rows + [[_name(name), f'<td class="name"><code>{html.escape(text)}</code></td>'] for name, text in commands]


def _small(text: str) -> str:
    return f"<small>{html.escape(text)}</small>"


def _name(text: str) -> str:
    return f'<td class="name">{html.escape(text)}</td>'


def _table(names: Sequence[str], heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells are HTML already."""
    top = [f'<th class="name">{html.escape(name)}</th>' for name in names] + [
        f"<th>{html.escape(h)}</th>" for h in heads
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(top)}</tr>{body}</table></div>'
