"""The table of what was measured, in Markdown; cases of a package with equal cells share a row."""

from __future__ import annotations

from typing import Any

HEADER = ("package", "what", "leak", "prefix differs", "refuses", "vmap", "ours")
LEAK = 1e-6
"""A smaller share of the largest output is rounding."""
PREFIX = 1e-5

Results = dict[str, Any]


def table(packages: Results) -> str:
    """Write the table.

    Args:
        packages: Package -> its results.

    Returns:
        Lines of Markdown.
    """
    rows = [row for name, package in packages.items() for row in _rows(name.replace("==", " "), package)]
    lines = ["| " + " | ".join(cells) + " |" for cells in [HEADER, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(HEADER), *lines[1:]])


def _rows(name: str, package: Results) -> list[tuple[str, ...]]:
    """The rows of a package."""
    nothing = package.get("not_installed") or (package["note"] if not package["cases"] else "")
    if nothing:
        return [(name, f"not measured: {nothing}", "", "", "", "", "")]
    note = f" ({package['note']})" if package["note"] else ""
    by_cells: dict[tuple[str, ...], list[str]] = {}
    for case, result in package["cases"].items():
        stopped = result.get("refused") or result.get("error")
        more = f" ({result['note']})" if result.get("note") else ""
        cells = (f"not measured{more}: {stopped}", "", "", "", "") if stopped else _cells(result)
        by_cells.setdefault(tuple(cell.replace("|", "/") for cell in cells), []).append(case)
    names = [f"{name}{note}"] + [""] * len(by_cells)
    return [(first, ", ".join(cases), *cells) for first, (cells, cases) in zip(names, by_cells.items(), strict=False)]


def _cells(result: Results) -> tuple[str, ...]:
    """The cells of a case after its name."""
    return (
        leak(result),
        _prefix(result),
        _refuses(result),
        "yes" if not result["vmap"] else "differs" if result["vmap"].startswith("differs") else "no",
        _equal(result.get("equal")),
    )


def leak(result: Results) -> str:
    """How much earlier outputs change with later tokens, from where, and in which mode.

    Args:
        result: The result of a case.

    Returns:
        The cell; empty where nothing leaks.
    """
    found = {mode: result[mode] for mode in ("evaluation", "training")}
    parts = []
    sizes = {mode: one.get("size", 0.0) for mode, one in found.items() if not one.get("size", 0.0) <= LEAK}
    if sizes:
        mode = max(sizes, key=lambda one: sizes[one])
        only = "" if len(sizes) == 2 or "error" in result["training"] else f" in {mode} only"
        parts.append(f"{percent(sizes[mode])}{only} ({found[mode].get('reach', '')})")
    rows = max(one.get("rows", 0.0) for one in found.values())
    if not rows <= LEAK:
        parts.append(f"{percent(rows)} from other rows")
    errors = [f"{mode}: {one['error']}" for mode, one in found.items() if "error" in one]
    return "; ".join([*parts, *errors])


def percent(share: float) -> str:
    """A share of the largest output in percent, with two digits.

    Args:
        share: The share.

    Returns:
        The words.
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _prefix(result: Results) -> str:
    prefix = result["prefix"]
    if prefix["size"] <= PREFIX:
        return ""
    random = ", random in evaluation" if result["random"] else ""
    return f"{percent(prefix['size'])} ({prefix['length']} of {prefix['tokens']}{random})"


def _refuses(result: Results) -> str:
    """The lengths that are refused."""
    refused = sorted({one for lengths in result["refuses"].values() for one in lengths})
    return ", ".join(map(str, refused))


def _equal(equal: Any) -> str:
    """The difference from our own mechanism."""
    if equal is None:
        return ""
    return f"{equal:.0e}" if isinstance(equal, float) else str(equal)
