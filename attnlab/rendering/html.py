"""A report as one HTML page that needs nothing else: no network, no scripts; the chart stands in it as drawn.

Below the tables and the claims stand the versions the runs were made with, when they ended, and the commands that make
the page and the runs anew.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from attnlab.analysis.claims import ClaimOutcome
from attnlab.analysis.grid import Cell, Grid
from attnlab.errors import InvalidValueError
from attnlab.formatting import between, fitted, number, span, unit
from attnlab.records import Record
from attnlab.rendering._tables import ranked
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
"""What is told of the environments of the runs, where it is known."""


def as_page(report: Report, command: str, sweep: str = "") -> bytes:
    """The page.

    Args:
        report: What stands on it.
        command: What makes the page anew.
        sweep: What makes the runs anew; empty if it is not known.
    """
    title = html.escape(report.question or "attnlab report")
    parts = [f"<h1>{title}</h1>", _chart(report)]
    for panel in report.panels:
        parts.append(
            f"<h2>{html.escape(panel.title)}: {panel.metric}{unit(panel.metric)} by {html.escape(panel.by)}</h2>"
        )
        parts.append(_grid(panel))
        if panel in report.ladders and len(panel.columns) > 1:
            parts.append(_capacities(panel))
    if report.claims:
        parts += ["<h2>Claims</h2>", _claims(report.claims)]
    parts.append(f'<p class="notes">{html.escape(" ".join(report.footnotes()))}</p>')
    parts += [
        "<h2>Where this comes from</h2>",
        _table(["what", "with"], [], _provenance(report.records, command, sweep)),
    ]
    about = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    head = f'<!doctype html><html lang="en"><head>{about}</head>'
    return (head + "<body>" + "\n".join(filter(None, parts)) + "</body></html>\n").encode()


def _chart(report: Report) -> str:
    """The chart, or how to have one."""
    from attnlab.rendering.plot import MAKERS, chart

    try:
        return MAKERS[".svg"](chart(report)).decode()
    except InvalidValueError as error:
        return f"<p>{html.escape(f'{error.problem} {error.hint}')}</p>"


def _grid(panel: Grid) -> str:
    rows = [[*map(_name, row), *(_cell(cell, panel.metric) for cell in panel.across(row))] for row in panel.rows]
    return _table(panel.row_fields, [str(column) for column in panel.columns], rows)


def _cell(cell: Cell, value: str) -> str:
    if not cell.values:
        return f"<td>{'failed' if cell.failed else '-'}</td>"
    kind = ' class="all"' if all(cell.solved) else ' class="some"' if any(cell.solved) else ""
    ends = between(cell.interval, value)
    below = f"<small>{ends + ', ' if ends else ''}n={len(cell.values)}</small>"
    return f"<td{kind}>{number(cell.mean, value)}{below}</td>"


def _capacities(panel: Grid) -> str:
    rows, ranks = [], ranked(panel)
    for row in panel.rows:
        reach = panel.max_solved(row)
        lines = [
            f"<td>{html.escape(fitted(middle, panel.columns))}{_small(span(ends, panel.columns))}</td>"
            for middle, ends in panel.capacities[row]
        ]
        reached = f"<td>{'none' if reach is None else html.escape(str(reach))}</td>"
        rows.append([*map(_name, row), reached, *lines, f"<td>{ranks[row]}</td>"])
    return _table(panel.row_fields, ["reach", "C50", "C90", "rank"], rows)


def _claims(outcomes: Sequence[ClaimOutcome]) -> str:
    items = [
        f'<li><b class="{one.outcome}">{one.outcome}</b> {html.escape(one.statement)}{_small(one.evidence)}</li>'
        for one in outcomes
    ]
    return f"<ul>{''.join(items)}</ul>"


def _provenance(records: Sequence[Record], command: str, sweep: str) -> list[list[str]]:
    """Versions, dates, commands."""
    ended = sorted(str(record.environment["ended"]) for record in records if "ended" in record.environment)
    lines = [("records", f"{len(records)}" + (f", {ended[0]} to {ended[-1]}" if ended else ""))]
    for name in VERSIONS:
        result = dict.fromkeys(str(record.environment[name]) for record in records if name in record.environment)
        lines += [(name, ", ".join(result))] if result else []
    rows = [[_name(name), _name(words)] for name, words in lines]
    commands = [("this page", command), *([("the runs", sweep)] if sweep else [])]
    return rows + [
        [_name(name), f'<td class="name"><code>{html.escape(words)}</code></td>'] for name, words in commands
    ]


def _small(text: str) -> str:
    return f"<small>{html.escape(text)}</small>"


def _name(text: str) -> str:
    return f'<td class="name">{html.escape(text)}</td>'


def _table(names: Sequence[str], heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells come as they are."""
    top = [f'<th class="name">{html.escape(name)}</th>' for name in names] + [
        f"<th>{html.escape(h)}</th>" for h in heads
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(top)}</tr>{body}</table></div>'
