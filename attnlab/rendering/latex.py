"""A report as LaTeX tables for a paper, with the rules of the package booktabs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain, count

from attnlab.analysis.cell import Cell
from attnlab.analysis.grid import Grid
from attnlab.formatting import fitted, metric_heading, number, printable, span
from attnlab.rendering._cell_text import center_text, spread_text
from attnlab.rendering._tables import chance_line, has_uneven_seeds, max_solved_text, over_seeds
from attnlab.rendering.report import Report

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "\\char34{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "[": "{[}",
    "*": "{*}",
    "?": "{?}",
    "!": "{!}",
    "·": r"\textperiodcentered{}",
    "×": r"\texttimes{}",
    "±": r"\textpm{}",
    "–": "--",
}
"""Characters that mean something to LaTeX, alone or beside others, or that its first font encoding lacks."""
LATIN = "\u017f"
"""The last of the letters that pdflatex prints without further packages."""


def report_latex(report: Report) -> bytes:
    """Write one table for each panel, and one for its capacities; each fits into a document that loads booktabs.

    Args:
        report: The report.

    Returns:
        LaTeX, UTF-8.
    """
    ladders = report.ladders
    parts = ["% \\usepackage{booktabs}"]
    labels: set[str] = set()
    for panel in report.panels:
        ends = [cell.interval for cell in panel.cells.values()]
        below = ["their 95 % intervals over seeds"] if any(not math.isnan(low) for low, _ in ends) else []
        below += ["the numbers of seeds"] if has_uneven_seeds(panel) else []
        told = f"; below, {' and '.join(below)}" if below else ""
        caption = f"{panel.title}: {metric_heading(panel.metric)} by {panel.by}, {over_seeds(panel)}{told}."
        parts.append(_table(panel, caption, [str(column) for column in panel.columns], _cells(panel), labels))
        if panel in ladders and len(panel.columns) > 1:
            body = _capacities(report, panel)
            intervals = " (95 % intervals)" if any(len(lines) > 1 for lines in body) else ""
            caption = (
                f"{panel.title}: highest solved level, levels of {panel.by} at which the fitted accuracy falls to "
                f"50 % and 90 % of the way from chance to 1{intervals}, and rank."
            )
            parts.append(_table(panel, caption, ["max solved", "C50", "C90", "rank"], body, labels))
    text = "\n\n".join(parts)
    if max(text) > LATIN:
        text = (
            f"% Names have characters that pdflatex lacks: use lualatex or xelatex, and a font that has them.\n{text}"
        )
    return text.encode() + b"\n"


def escaped(text: str) -> str:
    r"""Write text so that LaTeX prints it as it is.

    >>> print(escaped("50 % of file_a"))
    50 \% of file\_a
    >>> print(escaped("[2] a--b"))
    {[}2] a{-}{-}b

    Args:
        text: The text.

    Returns:
        LaTeX on one line.
    """
    plain = unicodedata.normalize("NFC", " ".join(printable(text).split()))
    return "".join(SPECIAL.get(character, character) for character in plain)


def _cells(panel: Grid) -> list[list[list[str]]]:
    """For each row its lines: the names with the means, the intervals, the numbers of seeds where these differ.

    The chance accuracy is the last row.
    """
    result, uneven = [], has_uneven_seeds(panel)
    for row in panel.rows:
        cells = panel.across(row)
        lines = [[*map(escaped, row), *(_mean(cell, panel.metric) for cell in cells)]]
        if any(_interval(cell, panel.metric) for cell in cells):
            lines.append([*[""] * len(row), *(_interval(cell, panel.metric) for cell in cells)])
        if uneven:
            counts = (f"{{\\footnotesize $n={len(cell.values)}$}}" if cell.values else "" for cell in cells)
            lines.append([*[""] * len(row), *counts])
        result.append(lines)
    if chance := chance_line(panel):
        names, texts = chance
        result.append([[*names, *("--" if text == "-" else f"${text}$" for text in texts)]])
    return result


def _mean(cell: Cell, metric: str) -> str:
    if not cell.values:
        return "failed" if cell.failed else "--"
    text = center_text(cell, metric)
    plain = f"${text}$" if cell.times is None else escaped(text)
    return f"\\textbf{{{text}}}" if all(cell.solved) else plain


def _interval(cell: Cell, metric: str) -> str:
    if math.isnan(cell.interval[0]):
        return ""
    if cell.times:
        return f"{{\\footnotesize {escaped(spread_text(cell, metric))}}}"
    low, high = (number(end, metric) for end in cell.interval)
    return f"{{\\footnotesize $[{low}, {high}]$}}"


def _capacities(report: Report, panel: Grid) -> list[list[list[str]]]:
    ranks, result = report.ranks_of(panel), []
    for row in panel.rows:
        pairs = panel.capacities[row]
        levels = panel.levels_run(row)
        values = [fitted(value, levels) for value, _ in pairs]
        first = [max_solved_text(panel, row), *values, ranks[row].replace("-", "–")]
        ends = ["", *(span(ends, levels).replace("-", "–") for _, ends in pairs), ""]
        small = [f"{{\\footnotesize {escaped(text)}}}" if text else "" for text in ends]
        lines = [[*map(escaped, row), *map(escaped, first)]]
        if any(small):
            lines.append([*[""] * len(row), *small])
        result.append(lines)
    return result


def _table(
    panel: Grid, caption: str, heads: Sequence[str], rows: Sequence[Sequence[Sequence[str]]], labels: set[str]
) -> str:
    """One table; its label is added to those that are taken."""
    names = panel.row_fields
    head = " & ".join(map(escaped, [*names, *heads]))
    body = [f"{' & '.join(line)} \\\\" for lines in rows for line in lines]
    label = re.sub(r"[^a-z0-9]+", "-", f"{panel.title} {heads[0]}".lower()).strip("-")
    label = next(one for one in chain([label], (f"{label}-{number}" for number in count(2))) if one not in labels)
    labels.add(label)
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{escaped(caption)}}}",
            f"\\label{{tab:{label}}}",
            f"\\begin{{tabular}}{{{'l' * len(names)}{'r' * len(heads)}}}",
            "\\toprule",
            f"{head} \\\\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
    )
